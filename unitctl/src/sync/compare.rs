//! `unitctl check --mongodb-uri`: names what differs between both sides and still differs when it is compared again.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::Serialize;

use super::dynamodb::workspace;
use super::look::look;
use super::model::{Removal, Subject};
use super::mongodb::MongoDb;
use super::pass;
use super::report::Reporter;
use super::sides::{Mode, Sides};
use crate::database::Database;

/// The pause before what differs is looked at again. A running sync carries a change within about a second.
const PAUSE: Duration = Duration::from_secs(3);

/// Something that is not the same on both sides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The user, permission, department or unit.
    pub subject: String,
    /// What a sync would write, and where.
    pub difference: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.subject, self.difference)
    }
}

/// Compares both sides, and looks a second time at what differs. It writes nothing. Open facts, which can't be carried
/// over, are no differences: for example, a row in MongoDB of a monitor who lacks the role.
///
/// # Errors
/// A side can't be read, or the database is another workspace.
pub async fn differences(database: &Database, mongodb_uri: &str) -> Result<Vec<Difference>> {
    let mongodb = MongoDb::connect(mongodb_uri).await?;
    workspace::check(database, &mongodb.workspace().await?, true, true).await?;
    let lifetime = mongodb.login_expiration().await?;
    let reporter = Arc::new(Reporter::collecting());
    let mode = Mode { is_dry_run: true, ..Mode::default() };
    let sides = Sides::new(database.clone(), mongodb, Arc::clone(&reporter), mode, None, lifetime);
    pass::run(&sides, true).await?;
    let suspects: BTreeMap<Subject, Vec<String>> = reporter.take_collected();
    if suspects.is_empty() {
        return Ok(Vec::new());
    }
    tokio::time::sleep(PAUSE).await;
    for subject in suspects.keys() {
        look(&sides, subject, Removal::Missing).await?;
    }
    let again = reporter.take_collected();
    let still = again.into_iter().flat_map(|(subject, found)| {
        let before = suspects.get(&subject).cloned().unwrap_or_default();
        let both = found.into_iter().filter(move |difference| before.contains(difference));
        both.map(move |difference| Difference { subject: subject.to_string(), difference })
    });
    Ok(still.collect())
}
