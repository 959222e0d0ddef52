//! Writes a unit to MongoDB in one transaction, with documents of the form that Rocket.Chat's own `createOrUpdateUnit`
//! writes. Unlike there, all of it is written or nothing, and all counters are true counts.

use std::collections::{BTreeMap, BTreeSet};

use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::request::Visibility;
use mongodb::ClientSession;
use mongodb::bson::{Bson, DateTime, Document as BsonDocument, doc};

use super::failure::{Cause, Failure, Step, within};
use super::ids::{new_id, with_id};
use super::transaction::{ATTEMPTS, commit, pause};
use super::unit::{MongoUnit, UnitSnapshot};
use super::{DEPARTMENTS, MongoDb, UNIT_MONITORS};
use crate::import::fields::take_texts;
use crate::import::records::long_ago;
use crate::sync::model::Place;

/// The most departments with wrong `ancestors` that are set right with one write.
const MAX_REPAIRS: usize = 50;

const UPDATE_DEPARTMENTS: Step = Step { action: "update", collection: DEPARTMENTS };
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
    /// The usernames of monitors: of all who join, and of those who stay if theirs may have changed.
    pub usernames: BTreeMap<UserId, String>,
    /// The new places of departments.
    pub places: BTreeMap<DepartmentId, Place>,
    /// The time of the change, in RFC 3339. A document that was changed later keeps its time.
    pub updated_at: String,
}

/// The result of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MongoWritten {
    /// All of it is stored.
    Committed,
    /// Nothing is stored, because MongoDB is not as it was when the decision was made.
    Refused,
}

impl MongoDb {
    /// Writes a unit if it, its monitors' rows and the departments still are what the decision was based on.
    ///
    /// # Errors
    /// MongoDB can't be written. It may have committed the transaction.
    pub async fn write_unit(&self, write: &UnitWrite) -> Result<MongoWritten, Failure> {
        let now = DateTime::parse_rfc3339_str(&write.updated_at).map_err(|_| {
            Failure::new(Cause::Other, format!("The time of the change of unit {} is no time", write.id))
        })?;
        for attempt in 1..=ATTEMPTS {
            match self.write_unit_once(write, now).await {
                Err(failure) if failure.cause == Cause::Conflict => pause(attempt).await,
                result => return result,
            }
        }
        Ok(MongoWritten::Refused)
    }

    async fn write_unit_once(&self, write: &UnitWrite, now: DateTime) -> Result<MongoWritten, Failure> {
        let mut session = self.begin().await?;
        let current = self.unit_in(&mut session, &write.id, write.seen.departments.keys()).await?;
        let Some(Ok(unit)) = &current.unit else { return Ok(MongoWritten::Refused) };
        if !is_based_on(write, &current) {
            return Ok(MongoWritten::Refused);
        }
        if !self.write_places(&mut session, write, unit, &current, now).await? {
            return Ok(MongoWritten::Refused);
        }
        self.write_rows(&mut session, write, unit, now).await?;
        self.write_document(&mut session, write, unit, now).await?;
        commit(&mut session).await?;
        Ok(MongoWritten::Committed)
    }

    /// Moves the departments. Returns false if a unit that one of them moves to does not exist.
    async fn write_places(
        &self,
        session: &mut ClientSession,
        write: &UnitWrite,
        unit: &MongoUnit,
        current: &UnitSnapshot,
        now: DateTime,
    ) -> Result<bool, Failure> {
        let mut moves: BTreeMap<&Place, Vec<Bson>> = BTreeMap::new();
        let mut others = BTreeSet::new();
        for (id, to) in &write.places {
            let Some(Ok(department)) = current.departments.get(id) else { return Ok(false) };
            if department.view.place != *to {
                moves.entry(to).or_default().push(department.id.clone());
                others.extend([&department.view.place, to].into_iter().flatten());
            }
        }
        others.remove(&write.id);

        let own_ancestors = ancestors(&write.id, &unit.record.ancestors);
        for (to, ids) in moves {
            let update = match to {
                None => doc! { "$unset": { "parentId": 1, "ancestors": 1 }, "$max": { "_updatedAt": now } },
                Some(to) => {
                    let ancestors = if *to == write.id {
                        own_ancestors.clone()
                    } else {
                        let Some(other) = self.unit_document_in(session, to).await? else { return Ok(false) };
                        ancestors(to, &stored_ancestors(other))
                    };
                    doc! {
                        "$set": { "parentId": to.as_str(), "ancestors": ancestors },
                        "$max": { "_updatedAt": now },
                    }
                }
            };
            self.update_departments(session, doc! { "_id": { "$in": ids } }, update).await?;
        }

        let wrong = current.members(&write.id).filter(|id| !write.places.contains_key(id)).filter_map(|id| {
            let department = current.departments.get(id)?.as_ref().ok()?;
            (department.record.place.ancestors != own_ancestors).then(|| department.id.clone())
        });
        let wrong: Vec<Bson> = wrong.take(MAX_REPAIRS).collect();
        if !wrong.is_empty() {
            let update =
                doc! { "$set": { "ancestors": own_ancestors.clone() }, "$max": { "_updatedAt": now } };
            self.update_departments(session, doc! { "_id": { "$in": wrong } }, update).await?;
        }

        for other in others {
            let count = self.departments_in(session, other).await?;
            let mut filter = with_id(other.as_str());
            filter.insert("type", "u");
            filter.insert("numDepartments", doc! { "$ne": count });
            // Its `_updatedAt` stays: that tells what became of other writes of that unit.
            let update = doc! { "$set": { "numDepartments": count } };
            self.update_departments(session, filter, update).await?;
        }
        Ok(true)
    }

    async fn update_departments(
        &self,
        session: &mut ClientSession,
        filter: BsonDocument,
        update: BsonDocument,
    ) -> Result<(), Failure> {
        let departments = self.collection(DEPARTMENTS);
        within(UPDATE_DEPARTMENTS, departments.update_many(filter, update).session(session)).await?;
        Ok(())
    }

    /// Writes the rows of the monitors. Of a user's rows one stays.
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

    /// Writes the unit's document, with all the fields that Rocket.Chat writes each time.
    async fn write_document(
        &self,
        session: &mut ClientSession,
        write: &UnitWrite,
        unit: &MongoUnit,
        now: DateTime,
    ) -> Result<(), Failure> {
        let facts = &unit.view.facts;
        let monitors: BTreeSet<_> = facts.monitors.union(&write.join).collect();
        let monitors = monitors.into_iter().filter(|user| !write.leave.contains(user)).count();
        let departments = self.departments_in(session, &write.id).await?;
        let update = doc! {
            "$set": {
                "name": write.name.as_ref().unwrap_or(&facts.name),
                "visibility": write.visibility.unwrap_or(facts.visibility).as_str(),
                "type": "u",
                "numMonitors": number(monitors as u64),
                "numDepartments": departments,
            },
            "$max": { "_updatedAt": now },
        };
        self.update_departments(session, doc! { "_id": unit.id.clone() }, update).await
    }

    /// Sets a unit's counters right. Returns whether they were wrong. They may be wrong after this process wrote a unit
    /// while Rocket.Chat moved a department, since Rocket.Chat adds to a counter or subtracts from it.
    ///
    /// # Errors
    /// MongoDB can't be read or written.
    pub async fn recount(&self, unit: &UnitId) -> Result<bool, Failure> {
        let mut attempt = 1;
        loop {
            match self.recount_once(unit).await {
                Err(failure) if failure.cause == Cause::Conflict && attempt < ATTEMPTS => {
                    pause(attempt).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// Sets `_updatedAt` of a unit or department, if it still is what was seen. A transaction that was decided on what was
    /// seen, and may still arrive, is refused then.
    ///
    /// # Errors
    /// MongoDB can't be written.
    pub async fn set_updated_at(&self, id: &str, seen: &str, updated_at: &str) -> Result<(), Failure> {
        let time = |text: &str| {
            DateTime::parse_rfc3339_str(text)
                .map_err(|_| Failure::new(Cause::Other, format!("{text} of {id} is no time")))
        };
        let mut filter = with_id(id);
        // A document without `_updatedAt` is read as one of long ago.
        let absent = if seen == long_ago() { Bson::Null } else { Bson::from(time(seen)?) };
        filter.insert("_updatedAt", doc! { "$in": [time(seen)?, absent] });
        let update = doc! { "$set": { "_updatedAt": time(updated_at)? } };
        let departments = self.collection(DEPARTMENTS);
        within(UPDATE_DEPARTMENTS, departments.update_one(filter, update)).await?;
        Ok(())
    }

    async fn recount_once(&self, id: &UnitId) -> Result<bool, Failure> {
        let mut session = self.begin().await?;
        let Some(Ok(unit)) = self.unit_in(&mut session, id, std::iter::empty()).await?.unit else {
            return Ok(false);
        };
        let departments = self.departments_in(&mut session, id).await?;
        let monitors = unit.view.facts.monitors.len();
        let is_right = unit.record.num_departments == Some(i64::from(departments))
            && unit.record.num_monitors == i64::try_from(monitors).ok();
        if !is_right {
            let counters = doc! { "numMonitors": number(monitors as u64), "numDepartments": departments };
            self.update_departments(&mut session, doc! { "_id": unit.id }, doc! { "$set": counters }).await?;
        }
        commit(&mut session).await?;
        Ok(!is_right)
    }

    /// How many departments are in a unit.
    async fn departments_in(&self, session: &mut ClientSession, unit: &UnitId) -> Result<i32, Failure> {
        let filter = doc! { "parentId": unit.as_str(), "type": { "$ne": "u" } };
        let step = Step { action: "find", collection: DEPARTMENTS };
        within(step, self.collection(DEPARTMENTS).count_documents(filter).session(session)).await.map(number)
    }
}

/// Whether what is read now is what the decision was based on: the unit's facts and the time of its last change, the set of
/// its departments, and the places that change.
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

/// The `ancestors` of a department in a unit.
fn ancestors(unit: &UnitId, above: &[String]) -> Vec<String> {
    std::iter::once(unit.as_str().to_owned()).chain(above.iter().cloned()).collect()
}

fn stored_ancestors(unit: BsonDocument) -> Vec<String> {
    take_texts(&mut super::ids::extended_json(unit), "ancestors").unwrap_or_default()
}

/// A count as Rocket.Chat's driver stores it.
fn number(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}
