//! Looks at several users or several departments at once, so that few requests read them. A subject that needs more than that
//! gets a look of its own.

use anyhow::{Result, anyhow};
use futures_util::future::join_all;
use livechat_units::id::{DepartmentId, UserId};

use super::look::{compared, look};
use super::model::{Removal, Subject};
use super::place::compare_departments;
use super::sides::{Looked, Sides};
use super::together;

/// A subject to look at.
pub struct LookAt {
    /// The subject.
    pub subject: Subject,
    /// Whether it may be removed from DynamoDB.
    pub removal: Removal,
}

/// A look that has ended.
pub struct LookEnd {
    /// The subject.
    pub subject: Subject,
    /// The result.
    pub result: Result<Looked>,
}

/// Looks at one subject, or at several users or several departments.
pub async fn look_at_all(sides: &Sides, subjects: Vec<LookAt>) -> Vec<LookEnd> {
    let users: Vec<UserId> = subjects
        .iter()
        .filter_map(|look| if let Subject::User(id) = &look.subject { Some(id.clone()) } else { None })
        .collect();
    let departments: Vec<DepartmentId> = subjects
        .iter()
        .filter_map(|look| if let Subject::Department(id) = &look.subject { Some(id.clone()) } else { None })
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
                return all_failed(subjects, &error);
            }
        },
    };
    for LookAt { subject, removal } in subjects {
        let done = match (&subject, &together) {
            (Subject::User(id), Some(users)) => users.looked(sides, id),
            _ => None,
        };
        let result = match done {
            Some(looked) => Ok(looked),
            None => look(sides, &subject, removal).await,
        };
        results.push(LookEnd { subject, result });
    }
    results
}

/// Reads departments together, and looks alone at each that is not the same everywhere.
async fn look_at_departments(sides: &Sides, ids: &[DepartmentId], subjects: Vec<LookAt>) -> Vec<LookEnd> {
    let mut comparisons = match compare_departments(sides, ids).await {
        Ok(comparisons) => comparisons,
        Err(error) => return all_failed(subjects, &error),
    };
    let looks = subjects.into_iter().map(|LookAt { subject, removal }| {
        let comparison = if let Subject::Department(id) = &subject { comparisons.remove(id) } else { None };
        async move {
            let result = match compared(sides, &subject, comparison) {
                Some(looked) => Ok(looked),
                None => look(sides, &subject, removal).await,
            };
            LookEnd { subject, result }
        }
    });
    join_all(looks).await
}

/// After such a failure, each of these subjects is looked at alone the next time.
fn all_failed(subjects: Vec<LookAt>, error: &anyhow::Error) -> Vec<LookEnd> {
    let failed = |look: LookAt| LookEnd { subject: look.subject, result: Err(anyhow!("{error:#}")) };
    subjects.into_iter().map(failed).collect()
}
