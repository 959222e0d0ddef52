//! The rights that the sync needs in MongoDB, and which of them the user lacks.

use mongodb::bson::{Bson, Document, doc};

use super::client::MongoDb;
use super::collections::{DEPARTMENTS, PERMISSIONS, ROOMS, SETTINGS, UNIT_MONITORS, USERS};
use super::failure::{Cause, Failure, Step, within_connect};

/// What the sync does with MongoDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It only reads, as with `--from-mongodb`.
    Read,
    /// It writes units, too.
    ReadAndWrite,
}

/// The actions of each collection: those of reading, and those of writing.
const RIGHTS: [(&str, &[&str], &[&str]); 6] = [
    (USERS, &["find", "changeStream"], &[]),
    (PERMISSIONS, &["find", "changeStream"], &[]),
    (SETTINGS, &["find", "changeStream"], &[]),
    (DEPARTMENTS, &["find", "changeStream"], &["update"]),
    (UNIT_MONITORS, &["find", "changeStream"], &["insert", "update", "remove"]),
    (ROOMS, &[], &["find", "update"]),
];

impl MongoDb {
    /// Makes sure that the user has all rights that are needed, as far as the server tells its users their rights.
    ///
    /// # Errors
    /// MongoDB can't be reached, or the user lacks a right. The error names the first one.
    pub async fn check_rights(&self, access: Access) -> Result<(), Failure> {
        let command = doc! { "connectionStatus": 1, "showPrivileges": true };
        let status = within_connect(self.database.run_command(command)).await?;
        match lacking(&status, self.database.name(), access) {
            Some(step) => Err(Failure::lacks_right(step)),
            None => Ok(()),
        }
    }
}

impl Failure {
    /// The user may not do this.
    pub(super) fn lacks_right(step: Step) -> Self {
        let Step { action, collection } = step;
        Self::new(
            Cause::Other,
            format!("The MongoDB user lacks the right `{action}` on the collection {collection}"),
        )
    }
}

/// The first right that the reply to `connectionStatus` lacks. Returns `None` also if the reply lists no rights. A server
/// without access control lists none, and some servers never do.
fn lacking(status: &Document, database: &str, access: Access) -> Option<Step> {
    let privileges = status.get_document("authInfo").ok()?.get_array("authenticatedUserPrivileges").ok()?;
    if privileges.is_empty() {
        return None;
    }
    let has = |step: &Step| {
        privileges.iter().filter_map(Bson::as_document).any(|privilege| allows(privilege, database, step))
    };
    RIGHTS
        .iter()
        .flat_map(|(collection, reading, writing)| {
            let writing = if access == Access::ReadAndWrite { *writing } else { &[] };
            reading.iter().chain(writing).map(|action| Step { action, collection })
        })
        .find(|step| !has(step))
}

/// Whether a privilege allows an action. An empty name of a database or collection stands for all of them ("Resource
/// Document" in MongoDB's manual).
fn allows(privilege: &Document, database: &str, step: &Step) -> bool {
    let is_allowed = privilege.get_array("actions").is_ok_and(|actions| {
        actions
            .iter()
            .any(|action| matches!(action.as_str(), Some(a) if a == step.action || a == "anyAction"))
    });
    let Ok(resource) = privilege.get_document("resource") else { return false };
    let covers = |name: &str, value: &str| {
        resource.get_str(name).is_ok_and(|covered| covered.is_empty() || covered == value)
    };
    let is_covered = resource.get_bool("anyResource").unwrap_or(false)
        || (covers("db", database) && covers("collection", step.collection));
    is_allowed && is_covered
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reply of a server to a user with these privileges.
    fn status(privileges: Vec<Document>) -> Document {
        doc! { "authInfo": { "authenticatedUsers": [{ "user": "sync", "db": "admin" }], "authenticatedUserPrivileges": privileges }, "ok": 1.0 }
    }

    /// The privileges of a role with exactly the rights of the table.
    fn least() -> Vec<Document> {
        RIGHTS
            .iter()
            .map(|(collection, reading, writing)| {
                let actions: Vec<&str> = reading.iter().chain(*writing).copied().collect();
                doc! { "resource": { "db": "rocketchat", "collection": *collection }, "actions": actions }
            })
            .collect()
    }

    fn found(privileges: Vec<Document>, access: Access) -> Option<(&'static str, &'static str)> {
        lacking(&status(privileges), "rocketchat", access).map(|step| (step.action, step.collection))
    }

    #[test]
    fn the_least_rights_are_enough() {
        assert_eq!(found(least(), Access::ReadAndWrite), None);
        assert_eq!(found(least()[..5].to_vec(), Access::Read), None);
        assert_eq!(found(vec![], Access::ReadAndWrite), None, "a server that does not tell");
        let all = |resource: Document| {
            let actions = ["find", "insert", "update", "remove", "changeStream"].to_vec();
            vec![doc! { "resource": resource, "actions": actions }]
        };
        assert_eq!(found(all(doc! { "db": "rocketchat", "collection": "" }), Access::ReadAndWrite), None);
        assert_eq!(found(all(doc! { "db": "", "collection": "" }), Access::ReadAndWrite), None);
        let root = vec![doc! { "resource": { "anyResource": true }, "actions": ["anyAction"] }];
        assert_eq!(found(root, Access::ReadAndWrite), None);
    }

    #[test]
    fn the_first_right_that_is_missing_is_found() {
        assert_eq!(found(least()[..5].to_vec(), Access::ReadAndWrite), Some(("find", ROOMS)));
        let mut without_streams = least();
        without_streams[0].insert("actions", ["find"].to_vec());
        assert_eq!(found(without_streams, Access::Read), Some(("changeStream", USERS)));
        let elsewhere = vec![doc! { "resource": { "db": "test", "collection": "" }, "actions": ["find"] }];
        assert_eq!(found(elsewhere, Access::Read), Some(("find", USERS)));
        let mut read_only = least();
        read_only[3].insert("actions", ["find", "changeStream"].to_vec());
        assert_eq!(found(read_only.clone(), Access::ReadAndWrite), Some(("update", DEPARTMENTS)));
        assert_eq!(found(read_only, Access::Read), None);
    }
}
