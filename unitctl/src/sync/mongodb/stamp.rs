//! Sets the `_updatedAt` of a document, if it is still the one that was read. After that, MongoDB refuses a write that
//! another process has decided before.

use livechat_units::id::{DepartmentId, UnitId};
use mongodb::bson::{Bson, Document as BsonDocument, doc};

use super::client::MongoDb;
use super::collections::{DEPARTMENTS, Kind};
use super::failure::{Failure, Step, within};
use super::ids::with_id;
use super::places::moment;
use crate::import::records::long_ago;

impl MongoDb {
    /// Sets a unit's `_updatedAt` to `stamp` if it is still `seen`. Returns whether it was.
    ///
    /// # Errors
    /// MongoDB can't be written. It may have stored the stamp.
    pub async fn stamp_unit(&self, id: &UnitId, seen: &str, stamp: &str) -> Result<bool, Failure> {
        self.stamp(Kind::Units, id.as_str(), seen, stamp).await
    }

    /// Sets a department's `_updatedAt` to `stamp` if it is still `seen`. Returns whether it was.
    ///
    /// # Errors
    /// MongoDB can't be written. It may have stored the stamp.
    pub async fn stamp_department(
        &self,
        id: &DepartmentId,
        seen: &str,
        stamp: &str,
    ) -> Result<bool, Failure> {
        self.stamp(Kind::Departments, id.as_str(), seen, stamp).await
    }

    async fn stamp(&self, kind: Kind, id: &str, seen: &str, stamp: &str) -> Result<bool, Failure> {
        let mut filter: BsonDocument = kind.condition();
        filter.extend(with_id(id));
        let moment_seen = moment(seen)?;
        // A document without `_updatedAt` was read as very old.
        let condition = if seen == long_ago() {
            doc! { "$in": [moment_seen, Bson::Null] }
        } else {
            doc! { "$eq": moment_seen }
        };
        filter.insert("_updatedAt", condition);
        let update = doc! { "$set": { "_updatedAt": moment(stamp)? } };
        let step = Step { action: "update", collection: DEPARTMENTS };
        let departments = self.collection(DEPARTMENTS);
        Ok(within(step, departments.update_one(filter, update)).await?.matched_count > 0)
    }
}
