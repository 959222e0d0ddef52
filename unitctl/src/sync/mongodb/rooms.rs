//! Writes the `departmentAncestors` of rooms, by which Rocket.Chat decides which monitors see a room.

use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use livechat_units::id::{DepartmentId, UnitId};
use mongodb::bson::{Bson, DateTime, Document as BsonDocument, doc};

use super::client::MongoDb;
use super::collections::ROOMS;
use super::failure::{Failure, Step, within, within_limit};

/// The number of rooms that one write changes. With more, each write takes longer and the whole is hardly faster.
const MAX_ROOMS_A_WRITE: usize = 100;

/// How many times as long as a write the pause after it is.
const PAUSE: u32 = 3;

/// The number of ids in one reply.
const MAX_ROOMS_A_QUERY: u32 = 1_000;

/// How long a query for rooms may take. If most of hundreds of thousands of rooms are right already, the server reads these
/// before it finds the first wrong one, perhaps from a disk.
const MAX_QUERY: Duration = Duration::from_secs(300);

impl MongoDb {
    /// Gives all rooms of a department, closed ones too, the `departmentAncestors` of the unit that it is in now.
    /// Returns how many rooms were changed. Rooms that are right already are not written, so this can be repeated at
    /// any time.
    ///
    /// This is what Rocket.Chat's `associateRoomsWithDepartmentToUnit` does when it saves a unit: a room that lacks the
    /// unit gets a list of this unit alone, and the list of a room is removed when the department has left. Open rooms come
    /// first, because people work in them, and a department may have hundreds of thousands of closed ones.
    ///
    /// # Errors
    /// MongoDB can't be read or written. Some rooms may be changed.
    pub async fn write_rooms(
        &self,
        department: &DepartmentId,
        place: Option<&UnitId>,
    ) -> Result<u64, Failure> {
        let wrong = match place {
            Some(unit) => {
                doc! { "departmentId": department.as_str(), "departmentAncestors": { "$ne": unit.as_str() } }
            }
            None => doc! { "departmentId": department.as_str(), "departmentAncestors": { "$exists": true } },
        };
        // The field of the smaller index comes first, because some servers do not choose between indexes.
        let mut open = doc! { "open": true };
        open.extend(wrong.clone());
        Ok(self.write_wrong_rooms(&open, place).await? + self.write_wrong_rooms(&wrong, place).await?)
    }

    /// Writes the rooms that a filter finds. Batches keep each write short, since open rooms change with each message. After
    /// each batch there is a pause of three times as long, so that the server has most of its time for Rocket.Chat, however
    /// slow it is.
    async fn write_wrong_rooms(&self, wrong: &BsonDocument, place: Option<&UnitId>) -> Result<u64, Failure> {
        let rooms = self.collection(ROOMS);
        let finding = Step { action: "find", collection: ROOMS };
        let find = rooms.find(wrong.clone()).projection(doc! { "_id": 1 }).batch_size(MAX_ROOMS_A_QUERY);
        let mut cursor = within_limit(MAX_QUERY, finding, find).await?;
        let mut changed = 0;
        let mut ids = Vec::with_capacity(MAX_ROOMS_A_WRITE);
        loop {
            let room: Option<BsonDocument> = within_limit(MAX_QUERY, finding, cursor.try_next()).await?;
            let is_room = room.is_some();
            ids.extend(room.and_then(|mut room| room.remove("_id")));
            if ids.len() == MAX_ROOMS_A_WRITE || (!is_room && !ids.is_empty()) {
                let start = Instant::now();
                changed += self.write_some_rooms(wrong, std::mem::take(&mut ids), place).await?;
                if is_room {
                    tokio::time::sleep(start.elapsed() * PAUSE).await;
                }
            }
            if !is_room {
                return Ok(changed);
            }
        }
    }

    async fn write_some_rooms(
        &self,
        wrong: &BsonDocument,
        ids: Vec<Bson>,
        place: Option<&UnitId>,
    ) -> Result<u64, Failure> {
        let mut filter = doc! { "_id": { "$in": ids } };
        filter.extend(wrong.clone());
        let now = DateTime::now();
        let update = match place {
            Some(unit) => {
                doc! { "$set": { "departmentAncestors": [unit.as_str()], "_updatedAt": now } }
            }
            None => doc! { "$unset": { "departmentAncestors": 1 }, "$set": { "_updatedAt": now } },
        };
        let step = Step { action: "update", collection: ROOMS };
        Ok(within(step, self.collection(ROOMS).update_many(filter, update)).await?.modified_count)
    }
}
