//! Copies a user, a permission or a department (without its place) from MongoDB to DynamoDB.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, bail};
use livechat_units::id::{DepartmentId, UserId};
use time::OffsetDateTime;

use super::base::DepartmentBase;
use super::dynamodb::users::{Found, Options};
use super::dynamodb::{Decision, Written, departments, permissions, users};
use super::model::{Removal, Side, Subject};
use super::sides::Sides;
use crate::origin::department_base_key;

/// The number of refused writes in a row after which a look gives up for a while.
const MAX_REFUSALS: u32 = 20;

/// The longest pause after a refused write.
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// Brings a user, a permission or a department (without its place) to DynamoDB, or removes it there. Returns whether
/// something was written.
///
/// # Errors
/// A side can't be read or written.
pub async fn copy_to_dynamodb(sides: &Sides, subject: &Subject, removal: Removal) -> Result<bool> {
    for _ in 0..=MAX_REFUSALS {
        let written = match subject {
            Subject::User(id) => user(sides, subject, id, removal).await?,
            Subject::Permission(id) => permission(sides, subject, id, removal).await?,
            Subject::Department(id) => department(sides, subject, id, removal).await?,
            Subject::Unit(_) | Subject::Rooms(_) => None,
        };
        match written {
            None => return Ok(false),
            // If something has changed since it was read, an event follows.
            Some(Written::Committed) => return Ok(true),
            Some(Written::Refused) => {
                sides.reporter.counters.refusals.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(MAX_PAUSE.mul_f64(fastrand::f64())).await;
            }
        }
    }
    bail!("the data kept changing while the sync tried to write it")
}

/// Returns `None` if nothing has to be written.
async fn user(sides: &Sides, subject: &Subject, id: &UserId, removal: Removal) -> Result<Option<Written>> {
    let mut stored = users::read(&sides.database, std::slice::from_ref(id)).await?;
    let Some(stored) = stored.get_mut(id) else { bail!("the user was not read") };
    let document = sides.mongodb.user(id).await?;
    let lifetime = sides.lifetime();
    let found = Found::parse(document, removal, lifetime);
    users::read_named(&sides.database, &mut [(&mut *stored, &found)]).await?;
    let options = Options { lifetime, now: OffsetDateTime::now_utc(), removal };
    if removal == Removal::Missing
        && matches!(found, Found::Absent { .. })
        && stored.is_forgettable(options.now)
        && !sides.mode.is_dry_run
    {
        sides.check_lease()?;
        users::forget(&sides.database, stored).await?;
        return Ok(None);
    }
    let Some(write) = report_decision(sides, subject, users::decide(stored, found, &options)) else {
        return Ok(None);
    };
    for orphan in write.orphans() {
        sides.reporter.warn(format!("{orphan} is removed: neither MongoDB nor the user's list has it"));
    }
    if sides.mode.is_dry_run {
        sides.reporter.change(subject, Side::DynamoDb, &write);
        return Ok(Some(Written::Committed));
    }
    sides.check_lease()?;
    let written = users::write(&sides.database, &write).await?;
    if written == Written::Committed {
        sides.reporter.change(subject, Side::DynamoDb, &write);
    }
    Ok(Some(written))
}

async fn permission(sides: &Sides, subject: &Subject, id: &str, removal: Removal) -> Result<Option<Written>> {
    let stored = permissions::read(&sides.database, &[id.to_owned()]).await?;
    let document = sides.mongodb.permission(id).await?;
    let stored = stored.get(id).and_then(Option::as_ref);
    let now = OffsetDateTime::now_utc();
    let decision = permissions::decide(id, stored, document, removal, now);
    let Some(write) = report_decision(sides, subject, decision) else { return Ok(None) };
    let written = if sides.mode.is_dry_run {
        Written::Committed
    } else {
        sides.check_lease()?;
        permissions::write(&sides.database, &write).await?
    };
    if written == Written::Committed {
        sides.reporter.change(subject, Side::DynamoDb, &write);
    }
    Ok(Some(written))
}

async fn department(
    sides: &Sides,
    subject: &Subject,
    id: &DepartmentId,
    removal: Removal,
) -> Result<Option<Written>> {
    let stored = departments::read(&sides.database, std::slice::from_ref(id)).await?;
    let base = base(sides, id).await?;
    let document = sides.mongodb.department(id).await?;
    let stored = stored.get(id).and_then(Option::as_ref);
    let now = OffsetDateTime::now_utc();
    let decision = departments::decide(id, stored, document, removal, now);
    let Some(write) = report_decision(sides, subject, decision) else { return Ok(None) };
    let written = if sides.mode.is_dry_run {
        Written::Committed
    } else {
        // A new department is in no unit in DynamoDB, so its base is no unit. Its place in MongoDB then counts as a
        // change of MongoDB.
        let base = write.creates().then(|| {
            let rev = base.map_or(0, |base| base.rev);
            DepartmentBase { rev, ..DepartmentBase::new(id.clone(), None) }
                .put(&sides.database.tables.livechat)
        });
        sides.check_lease()?;
        departments::write(&sides.database, &write, base.transpose()?).await?
    };
    if written == Written::Committed {
        sides.reporter.change(subject, Side::DynamoDb, &write);
    }
    Ok(Some(written))
}

/// Reports what can't be used and what was not removed. Returns what to write.
fn report_decision<W>(sides: &Sides, subject: &Subject, decision: Decision<W>) -> Option<W> {
    let problems =
        decision.problems.into_iter().map(|problem| format!("MongoDB's document can't be used: {problem}"));
    sides.reporter.open(subject, problems.collect());
    sides.reporter.held_back(subject, decision.is_held_back);
    decision.write
}

/// A department's base. A base that can't be parsed counts as absent. The look at the unit deletes it.
pub(super) async fn base(sides: &Sides, id: &DepartmentId) -> Result<Option<DepartmentBase>> {
    let items = sides.database.get_all(vec![department_base_key(id)]).await?;
    Ok(items.into_iter().next().and_then(|item| DepartmentBase::parse(id.clone(), item).ok()))
}
