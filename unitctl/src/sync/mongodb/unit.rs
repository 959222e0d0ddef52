//! Units with their monitors' rows and their departments, read in one snapshot. A snapshot matters because Rocket.Chat
//! saves a unit in many writes, and a mixture of two states would be taken for changes.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::TryStreamExt;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::request::Visibility;
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document as BsonDocument, doc};

use super::client::MongoDb;
use super::collections::{DEPARTMENTS, UNIT_MONITORS};
use super::failure::{Cause, Failure, Step, within};
use super::ids::{extended_json, id_text, with_id, with_ids};
use super::transaction::{MAX_ATTEMPTS, commit, pause};
use crate::import::records::{Department, Unit, UnitMonitor, UnitOrDepartment, long_ago};
use crate::sync::model::{PlaceView, UnitFacts, UnitView};

/// A unit and departments at one moment.
#[derive(Clone, Debug)]
pub struct UnitSnapshot {
    /// The unit, or why its document can't be used. `None` if there is no such unit.
    pub unit: Option<Result<MongoUnit, String>>,
    /// The departments whose `parentId` is the unit, and those that were asked for and exist. An error says why the
    /// document can't be used.
    pub departments: BTreeMap<DepartmentId, Result<MongoDepartment, String>>,
    /// The number of documents whose `parentId` is the unit.
    pub(super) members: usize,
}

/// A unit to read.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The unit.
    pub id: UnitId,
    /// Departments to read in addition to the unit's own.
    pub also: BTreeSet<DepartmentId>,
}

/// Departments that were read.
#[derive(Default)]
struct Departments {
    /// All of them. An error says why a document can't be used.
    all: HashMap<DepartmentId, Result<MongoDepartment, String>>,
    /// Those that each unit has, by `parentId`.
    members: HashMap<String, Members>,
}

/// The departments of a unit.
#[derive(Default)]
struct Members {
    ids: Vec<DepartmentId>,
    /// The number of documents, with those whose `_id` can be no department's.
    number: usize,
}

/// A unit in MongoDB.
#[derive(Clone, Debug)]
pub struct MongoUnit {
    /// Its facts. A visibility that is neither public nor private counts as private, as for the import.
    pub view: UnitView,
    /// The document as the import reads it.
    pub record: Unit,
    /// The rows of its monitors. A user may have several.
    pub rows: Vec<MonitorRow>,
    /// The `_id` as it is stored.
    pub(super) id: Bson,
}

/// A row that says that a user monitors a unit.
#[derive(Clone, Debug, PartialEq)]
pub struct MonitorRow {
    /// The row as the import reads it.
    pub record: UnitMonitor,
    /// The `_id` as it is stored.
    pub(super) id: Bson,
}

/// A department in MongoDB.
#[derive(Clone, Debug)]
pub struct MongoDepartment {
    /// The unit that it is in.
    pub view: PlaceView,
    /// The document as the import reads it.
    pub record: Department,
    /// The `_id` as it is stored.
    pub(super) id: Bson,
}

impl UnitSnapshot {
    /// The departments that are in a unit.
    pub fn members<'a>(&'a self, unit: &'a UnitId) -> impl Iterator<Item = &'a DepartmentId> {
        self.departments.iter().filter_map(move |(id, department)| {
            let is_member = department.as_ref().is_ok_and(|found| found.view.place.as_ref() == Some(unit));
            is_member.then_some(id)
        })
    }
}

impl MongoDb {
    /// Reads units with their monitors' rows and departments in one snapshot of all of them.
    ///
    /// # Errors
    /// MongoDB can't be read.
    pub async fn units(&self, asked: &[Asked]) -> Result<Vec<UnitSnapshot>, Failure> {
        let mut attempt = 1;
        loop {
            match self.units_once(asked).await {
                Err(failure) if failure.cause == Cause::Conflict && attempt < MAX_ATTEMPTS => {
                    pause(attempt).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    /// Reads one unit as [`Self::units`] does.
    ///
    /// # Errors
    /// MongoDB can't be read.
    pub async fn unit(&self, id: &UnitId, also: &BTreeSet<DepartmentId>) -> Result<UnitSnapshot, Failure> {
        let asked = Asked { id: id.clone(), also: also.clone() };
        Ok(self.units(&[asked]).await?.remove(0))
    }

    async fn units_once(&self, asked: &[Asked]) -> Result<Vec<UnitSnapshot>, Failure> {
        let mut session = self.begin().await?;
        let snapshots = self.units_in(&mut session, asked).await?;
        commit(&mut session).await?;
        Ok(snapshots)
    }

    /// Reads a unit within a transaction.
    pub(super) async fn unit_in(
        &self,
        session: &mut ClientSession,
        asked: Asked,
    ) -> Result<UnitSnapshot, Failure> {
        Ok(self.units_in(session, &[asked]).await?.remove(0))
    }

    /// Reads units within a transaction, with three queries for all of them. The result has a snapshot for each.
    async fn units_in(
        &self,
        session: &mut ClientSession,
        asked: &[Asked],
    ) -> Result<Vec<UnitSnapshot>, Failure> {
        let ids: BTreeSet<&str> = asked.iter().map(|asked| asked.id.as_str()).collect();
        let of_units = doc! { "$in": ids.iter().copied().collect::<Vec<_>>() };
        let step = Step { action: "find", collection: UNIT_MONITORS };
        let collection = self.collection(UNIT_MONITORS);
        let find = collection.find(doc! { "unitId": of_units.clone() });
        let found: Vec<BsonDocument> =
            within(step, async { find.session(&mut *session).await?.stream(session).try_collect().await })
                .await?;
        let mut rows: HashMap<UnitId, Vec<MonitorRow>> = HashMap::new();
        for row in found.into_iter().filter_map(MonitorRow::parse) {
            if let Some(text) = id_text(&row.id) {
                self.known.note_row(text, row.record.unit.clone());
            }
            rows.entry(row.record.unit.clone()).or_default().push(row);
        }

        // One query for all would be an `$or`, for which not every server uses the indexes.
        let filter = doc! { "parentId": of_units, "type": { "$ne": "u" } };
        let mut departments = Departments::default();
        for document in self.departments_with(session, filter).await? {
            self.add_department(&mut departments, document);
        }
        let missing =
            asked.iter().flat_map(|asked| &asked.also).filter(|id| !departments.all.contains_key(*id));
        let missing: BTreeSet<&str> = missing.map(DepartmentId::as_str).collect();
        let mut units = HashMap::new();
        for document in self.departments_with(session, with_ids(missing.union(&ids).copied())).await? {
            let Some(id) = document.get("_id").and_then(id_text) else { continue };
            if document.get_str("type").ok() != Some("u") {
                if missing.contains(id.as_str()) {
                    self.add_department(&mut departments, document);
                }
            } else if ids.contains(id.as_str()) {
                self.known.note_kind(id.clone(), true);
                units.insert(id, document);
            }
        }

        let snapshot = |Asked { id, also }: &Asked| {
            let members = departments.members.get(id.as_str());
            let listed = members.map_or(&[][..], |members| &members.ids).iter().chain(also);
            let found = listed.filter_map(|id| Some((id.clone(), departments.all.get(id)?.clone())));
            let rows = rows.get(id).cloned().unwrap_or_default();
            UnitSnapshot {
                departments: found.collect(),
                members: members.map_or(0, |members| members.number),
                unit: units.get(id.as_str()).map(|document| MongoUnit::parse(document.clone(), rows)),
            }
        };
        Ok(asked.iter().map(snapshot).collect())
    }

    fn add_department(&self, departments: &mut Departments, document: BsonDocument) {
        let id = document.get("_id").and_then(id_text).and_then(DepartmentId::parse);
        if let Ok(parent) = document.get_str("parentId") {
            let members = departments.members.entry(parent.to_owned()).or_default();
            members.number += 1;
            members.ids.extend(id.clone());
        }
        if let Some(id) = id {
            self.known.note_kind(id.as_str().to_owned(), false);
            departments.all.insert(id, MongoDepartment::parse(document));
        }
    }

    /// Reads the departments and units that a filter finds, within a transaction.
    pub(super) async fn departments_with(
        &self,
        session: &mut ClientSession,
        filter: BsonDocument,
    ) -> Result<Vec<BsonDocument>, Failure> {
        let step = Step { action: "find", collection: DEPARTMENTS };
        let collection = self.collection(DEPARTMENTS);
        let find = collection.find(filter);
        within(step, async { find.session(&mut *session).await?.stream(session).try_collect().await }).await
    }

    /// Reads a unit's document within a transaction.
    pub(super) async fn unit_document_in(
        &self,
        session: &mut ClientSession,
        id: &UnitId,
    ) -> Result<Option<BsonDocument>, Failure> {
        let mut filter = with_id(id.as_str());
        filter.insert("type", "u");
        let step = Step { action: "find", collection: DEPARTMENTS };
        within(step, self.collection(DEPARTMENTS).find_one(filter).session(session)).await
    }
}

impl MonitorRow {
    /// `None` for a row that names no unit or no user. Such a row is ignored.
    pub(super) fn parse(document: BsonDocument) -> Option<Self> {
        let id = document.get("_id")?.clone();
        let record = UnitMonitor::parse(extended_json(document)).ok()?;
        Some(Self { record, id })
    }
}

impl MongoUnit {
    pub(super) fn parse(document: BsonDocument, rows: Vec<MonitorRow>) -> Result<Self, String> {
        let id = document.get("_id").cloned().ok_or("no _id")?;
        let UnitOrDepartment::Unit(record) = UnitOrDepartment::parse(extended_json(document))? else {
            return Err("it is a department".into());
        };
        let monitors: BTreeSet<UserId> = rows.iter().map(|row| row.record.monitor.clone()).collect();
        let facts = facts(&record, monitors);
        let updated_at = record.updated_at.clone().unwrap_or_else(long_ago);
        Ok(Self { view: UnitView { facts, updated_at }, record: *record, rows, id })
    }
}

/// The facts of a unit with these monitors. A visibility that is neither public nor private counts as private, as for the
/// import.
pub fn facts(record: &Unit, monitors: BTreeSet<UserId>) -> UnitFacts {
    let visibility = if record.visibility == Ok("public") { Visibility::Public } else { Visibility::Private };
    UnitFacts { name: record.name.clone(), visibility, monitors }
}

impl MongoDepartment {
    fn parse(document: BsonDocument) -> Result<Self, String> {
        let id = document.get("_id").cloned().ok_or("no _id")?;
        let UnitOrDepartment::Department(record) = UnitOrDepartment::parse(extended_json(document))? else {
            return Err("it is a unit".into());
        };
        // A `parentId` that can be no unit's id names no unit.
        let place = record.place.parent_id.clone().and_then(UnitId::parse);
        let updated_at = record.updated_at.clone().unwrap_or_else(long_ago);
        Ok(Self { view: PlaceView { place, updated_at }, record, id })
    }
}
