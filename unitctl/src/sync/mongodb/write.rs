//! Writes a unit to MongoDB in one transaction, with documents of the form that Rocket.Chat's own `createOrUpdateUnit`
//! writes. Unlike Rocket.Chat, this writes all of it or nothing, and all counters are true counts.

use std::collections::{BTreeMap, BTreeSet};

use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::request::Visibility;
use mongodb::ClientSession;
use mongodb::bson::{DateTime, Document as BsonDocument, doc};

use super::client::MongoDb;
use super::collections::UNIT_MONITORS;
use super::failure::{Cause, Failure, Step, within};
use super::ids::new_id;
use super::places::{KnownUnit, PlaceWrite, moment, number};
use super::transaction::{MAX_ATTEMPTS, MongoWritten, commit, pause};
use super::unit::{Asked, MongoDepartment, MongoUnit, UnitSnapshot};

const UPDATE_ROWS: Step = Step { action: "update", collection: UNIT_MONITORS };
const REMOVE_ROWS: Step = Step { action: "remove", collection: UNIT_MONITORS };

/// What to change of a unit.
#[derive(Clone, Debug)]
pub struct UnitWrite {
    /// The unit.
    pub id: UnitId,
    /// What the decision was based on, with every department of `places`.
    pub seen: UnitSnapshot,
    /// The new name.
    pub name: Option<String>,
    /// The new visibility.
    pub visibility: Option<Visibility>,
    /// The users who monitor the unit now and did not before.
    pub join: BTreeSet<UserId>,
    /// The users who do not monitor the unit any more.
    pub leave: BTreeSet<UserId>,
    /// The usernames of monitors: of all who join, and of those who stay and may have a new username.
    pub usernames: BTreeMap<UserId, String>,
    /// The new places of departments.
    pub places: BTreeMap<DepartmentId, PlaceWrite>,
    /// The unit's new `_updatedAt`, in RFC 3339. `None` leaves it as it is. Then nothing of the unit's document may
    /// change except its counters.
    pub updated_at: Option<String>,
}

impl MongoDb {
    /// Writes a unit if it, its monitors' rows and the departments still are what the decision was based on.
    ///
    /// # Errors
    /// MongoDB can't be written. It may have committed the transaction.
    pub async fn write_unit(&self, write: &UnitWrite) -> Result<MongoWritten, Failure> {
        for attempt in 1..=MAX_ATTEMPTS {
            match self.write_unit_once(write).await {
                Err(failure) if failure.cause == Cause::Conflict => pause(attempt).await,
                result => return result,
            }
        }
        Ok(MongoWritten::Refused)
    }

    async fn write_unit_once(&self, write: &UnitWrite) -> Result<MongoWritten, Failure> {
        let mut session = self.begin_to_write().await?;
        let asked = Asked { id: write.id.clone(), also: write.seen.departments.keys().cloned().collect() };
        let current = self.unit_in(&mut session, asked).await?;
        let Some(Ok(unit)) = &current.unit else { return Ok(MongoWritten::Refused) };
        if !is_based_on(write, &current) {
            return Ok(MongoWritten::Refused);
        }
        let moves = write.places.iter().filter_map(|(id, place)| {
            let department = current.departments.get(id)?.as_ref().ok()?;
            Some((department, place))
        });
        let moves: Vec<_> = moves.collect();
        let departments = number(members_after(&write.id, &current, &moves));
        let known = KnownUnit { id: &write.id, above: &unit.record.ancestors };
        if !self.move_departments(&mut session, moves, known).await? {
            return Ok(MongoWritten::Refused);
        }
        self.repair_ancestors(&mut session, &write.id, &unit.record.ancestors, &current).await?;
        let update = match &write.updated_at {
            None => doc! { "$set": { "numDepartments": departments } },
            Some(updated_at) => {
                let now = moment(updated_at)?;
                self.write_rows(&mut session, write, unit, now).await?;
                document_update(write, unit, departments, now)
            }
        };
        self.update_departments(&mut session, doc! { "_id": unit.id.clone() }, update).await?;
        commit(&mut session).await?;
        Ok(MongoWritten::Committed)
    }

    /// Writes the rows of the monitors. If a user has several rows, one stays.
    async fn write_rows(
        &self,
        session: &mut ClientSession,
        write: &UnitWrite,
        unit: &MongoUnit,
        now: DateTime,
    ) -> Result<(), Failure> {
        let rows = self.collection(UNIT_MONITORS);
        let mut staying = BTreeSet::new();
        let mut removed = Vec::new();
        let mut renamed = Vec::new();
        for row in &unit.rows {
            let user = &row.record.monitor;
            if write.leave.contains(user) || !staying.insert(user) {
                removed.push(row.id.clone());
            } else if let Some(username) = write.usernames.get(user)
                && row.record.username.as_ref() != Some(username)
            {
                renamed.push((row.id.clone(), username));
            }
        }
        if !removed.is_empty() {
            let delete = rows.delete_many(doc! { "_id": { "$in": removed } }).session(&mut *session);
            within(REMOVE_ROWS, delete).await?;
        }
        for (id, username) in renamed {
            let update = doc! { "$set": { "username": username }, "$max": { "_updatedAt": now } };
            within(UPDATE_ROWS, rows.update_one(doc! { "_id": id }, update).session(&mut *session)).await?;
        }
        for user in write.join.iter().filter(|user| !staying.contains(user)) {
            let Some(username) = write.usernames.get(user) else {
                let sentence = format!("The username of user {user} is not known");
                return Err(Failure::new(Cause::Other, sentence));
            };
            let filter = doc! { "monitorId": user.as_str(), "unitId": write.id.as_str() };
            let update = doc! {
                "$set": { "monitorId": user.as_str(), "unitId": write.id.as_str(), "username": username },
                "$max": { "_updatedAt": now },
                "$setOnInsert": { "_id": new_id() },
            };
            let update = rows.update_one(filter, update).upsert(true).session(&mut *session);
            within(UPDATE_ROWS, update).await?;
        }
        Ok(())
    }
}

/// How many departments a unit has when these are moved.
fn members_after(id: &UnitId, current: &UnitSnapshot, moves: &[(&MongoDepartment, &PlaceWrite)]) -> u64 {
    let count = |is_there: &dyn Fn(&(&MongoDepartment, &PlaceWrite)) -> bool| {
        moves.iter().filter(|moved| is_there(moved)).count()
    };
    let leave = count(&|(department, _)| department.view.place.as_ref() == Some(id));
    let join = count(&|(_, to)| to.place.as_ref() == Some(id));
    (current.members + join - leave) as u64
}

/// The change of a unit's document, with all the fields that Rocket.Chat writes each time.
fn document_update(write: &UnitWrite, unit: &MongoUnit, departments: i32, now: DateTime) -> BsonDocument {
    let facts = &unit.view.facts;
    let monitors: BTreeSet<_> = facts.monitors.union(&write.join).collect();
    let monitors = monitors.into_iter().filter(|user| !write.leave.contains(user)).count();
    doc! {
        "$set": {
            "name": write.name.as_ref().unwrap_or(&facts.name),
            "visibility": write.visibility.unwrap_or(facts.visibility).as_str(),
            "type": "u",
            "numMonitors": number(monitors as u64),
            "numDepartments": departments,
        },
        "$max": { "_updatedAt": now },
    }
}

/// True if MongoDB still has the values that the decision was based on: the unit's facts and the time of its last
/// change, the set of its departments, and the places that change.
fn is_based_on(write: &UnitWrite, now: &UnitSnapshot) -> bool {
    let (Some(Ok(seen)), Some(Ok(unit))) = (&write.seen.unit, &now.unit) else { return false };
    let place_is_the_same = |id: &DepartmentId| {
        let view = |snapshot: &UnitSnapshot| Some(snapshot.departments.get(id)?.as_ref().ok()?.view.clone());
        view(&write.seen).is_some_and(|seen| view(now) == Some(seen))
    };
    seen.view == unit.view
        && write.seen.members(&write.id).eq(now.members(&write.id))
        && write.places.keys().all(place_is_the_same)
}
