//! Writes which unit departments are in: their `parentId` and `ancestors`, and the counters of the units.

use std::collections::{BTreeMap, BTreeSet};

use livechat_units::id::UnitId;
use mongodb::ClientSession;
use mongodb::bson::{Bson, DateTime, Document as BsonDocument, doc};

use super::client::MongoDb;
use super::collections::DEPARTMENTS;
use super::failure::{Cause, Failure, Step, within};
use super::ids::{extended_json, with_id};
use super::unit::{MongoDepartment, UnitSnapshot};
use crate::import::fields::take_texts;
use crate::sync::model::Place;

/// The maximum number of departments whose wrong `ancestors` one write corrects.
const MAX_REPAIRS: usize = 50;

/// Where a department is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaceWrite {
    /// The unit, or none.
    pub place: Place,
    /// The department's new `_updatedAt`, in RFC 3339. If the stored one is later, it stays.
    pub updated_at: String,
}

/// A unit that was read in the same transaction.
#[derive(Clone, Copy)]
pub(super) struct KnownUnit<'a> {
    /// The unit.
    pub id: &'a UnitId,
    /// The units above it: its own `ancestors`.
    pub above: &'a [String],
}

impl MongoDb {
    /// Moves departments, and corrects the counters of all units that lose or get one, except those of `unit`, whose own
    /// `ancestors` are known. The `_updatedAt` of units stays as it is. Returns false if a unit that a department moves to
    /// does not exist.
    pub(super) async fn move_departments(
        &self,
        session: &mut ClientSession,
        departments: Vec<(&MongoDepartment, &PlaceWrite)>,
        unit: KnownUnit<'_>,
    ) -> Result<bool, Failure> {
        let mut moves: BTreeMap<(&Place, DateTime), Vec<Bson>> = BTreeMap::new();
        let mut units = BTreeSet::new();
        for (department, to) in departments {
            if department.view.place != to.place {
                let moved = moves.entry((&to.place, moment(&to.updated_at)?)).or_default();
                moved.push(department.id.clone());
                units.extend([&department.view.place, &to.place].into_iter().flatten());
            }
        }
        for ((place, now), ids) in moves {
            let update = match place {
                None => doc! { "$unset": { "parentId": 1, "ancestors": 1 }, "$max": { "_updatedAt": now } },
                Some(to) => {
                    let above = if unit.id == to {
                        unit.above.to_vec()
                    } else {
                        let Some(document) = self.unit_document_in(session, to).await? else {
                            return Ok(false);
                        };
                        take_texts(&mut extended_json(document), "ancestors").unwrap_or_default()
                    };
                    let ancestors = ancestors(to, &above);
                    doc! {
                        "$set": { "parentId": to.as_str(), "ancestors": ancestors },
                        "$max": { "_updatedAt": now },
                    }
                }
            };
            self.update_departments(session, doc! { "_id": { "$in": ids } }, update).await?;
        }
        for other in units.into_iter().filter(|other| *other != unit.id) {
            let count = self.departments_in(session, other).await?;
            let mut filter = with_id(other.as_str());
            filter.insert("type", "u");
            filter.insert("numDepartments", doc! { "$ne": count });
            let update = doc! { "$set": { "numDepartments": count } };
            self.update_departments(session, filter, update).await?;
        }
        Ok(true)
    }

    /// Corrects wrong `ancestors` of a unit's departments. Their `_updatedAt` stays as it is.
    pub(super) async fn repair_ancestors(
        &self,
        session: &mut ClientSession,
        unit: &UnitId,
        above: &[String],
        snapshot: &UnitSnapshot,
    ) -> Result<(), Failure> {
        let right = ancestors(unit, above);
        let wrong = snapshot.members(unit).filter_map(|id| {
            let department = snapshot.departments.get(id)?.as_ref().ok()?;
            (department.record.place.ancestors != right).then(|| department.id.clone())
        });
        let wrong: Vec<Bson> = wrong.take(MAX_REPAIRS).collect();
        if wrong.is_empty() {
            return Ok(());
        }
        // A department that leaves the unit in the same transaction is left out.
        let filter = doc! { "_id": { "$in": wrong }, "parentId": unit.as_str() };
        self.update_departments(session, filter, doc! { "$set": { "ancestors": right } }).await
    }

    pub(super) async fn update_departments(
        &self,
        session: &mut ClientSession,
        filter: BsonDocument,
        update: BsonDocument,
    ) -> Result<(), Failure> {
        let step = Step { action: "update", collection: DEPARTMENTS };
        let departments = self.collection(DEPARTMENTS);
        within(step, departments.update_many(filter, update).session(session)).await?;
        Ok(())
    }

    /// How many departments are in a unit.
    pub(super) async fn departments_in(
        &self,
        session: &mut ClientSession,
        unit: &UnitId,
    ) -> Result<i32, Failure> {
        let filter = doc! { "parentId": unit.as_str(), "type": { "$ne": "u" } };
        let step = Step { action: "find", collection: DEPARTMENTS };
        within(step, self.collection(DEPARTMENTS).count_documents(filter).session(session)).await.map(number)
    }
}

/// The `ancestors` of a department in a unit.
fn ancestors(unit: &UnitId, above: &[String]) -> Vec<String> {
    std::iter::once(unit.as_str().to_owned()).chain(above.iter().cloned()).collect()
}

/// A count as Rocket.Chat's driver stores it.
pub fn number(count: u64) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// A time in RFC 3339 as MongoDB stores it.
pub fn moment(text: &str) -> Result<DateTime, Failure> {
    DateTime::parse_rfc3339_str(text)
        .map_err(|_| Failure::new(Cause::Other, "The time of a change is not in RFC 3339"))
}
