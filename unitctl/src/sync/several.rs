//! Looks at several users or several departments at once, so that few requests read them. A subject that needs more than that
//! gets a look of its own.

use anyhow::{Result, anyhow};
use futures_util::future::join_all;
use livechat_units::id::{DepartmentId, UserId};

use super::look::{found_equal, look};
use super::model::Subject;
use super::place::equal_departments;
use super::sides::{Looked, Removal, Sides};
use super::together;

/// Looks at one subject, or at several users or several departments.
pub async fn look_at_all(sides: &Sides, subjects: Vec<(Subject, Removal)>) -> Vec<(Subject, Result<Looked>)> {
    let users: Vec<UserId> = subjects
        .iter()
        .filter_map(|(subject, _)| if let Subject::User(id) = subject { Some(id.clone()) } else { None })
        .collect();
    let departments: Vec<DepartmentId> = subjects
        .iter()
        .filter_map(
            |(subject, _)| {
                if let Subject::Department(id) = subject { Some(id.clone()) } else { None }
            },
        )
        .collect();
    if departments.len() > 1 {
        return look_at_departments(sides, &departments, subjects).await;
    }
    let mut results = Vec::with_capacity(subjects.len());
    let together = match users.len() {
        0 | 1 => None,
        _ => match together::look(sides, &users).await {
            Ok(users) => Some(users),
            Err(error) => {
                // Next time, each of these users is looked at alone.
                let fail = |(subject, _)| (subject, Err(anyhow!("{error:#}")));
                return subjects.into_iter().map(fail).collect();
            }
        },
    };
    for (subject, removal) in subjects {
        let done = match (&subject, &together) {
            (Subject::User(id), Some(users)) => users.looked(sides, id),
            _ => None,
        };
        let result = match done {
            Some(looked) => Ok(looked),
            None => look(sides, &subject, removal).await,
        };
        results.push((subject, result));
    }
    results
}

/// Reads departments together, and looks alone at each that is not the same everywhere.
async fn look_at_departments(
    sides: &Sides,
    ids: &[DepartmentId],
    subjects: Vec<(Subject, Removal)>,
) -> Vec<(Subject, Result<Looked>)> {
    let equal = match equal_departments(sides, ids).await {
        Ok(equal) => equal,
        Err(error) => {
            let fail = |(subject, _)| (subject, Err(anyhow!("{error:#}")));
            return subjects.into_iter().map(fail).collect();
        }
    };
    let looks = subjects.into_iter().map(|(subject, removal)| {
        let equal = &equal;
        async move {
            let result = match &subject {
                Subject::Department(id) if equal.contains(id) => Ok(found_equal(sides, &subject)),
                _ => look(sides, &subject, removal).await,
            };
            (subject, result)
        }
    });
    join_all(looks).await
}
