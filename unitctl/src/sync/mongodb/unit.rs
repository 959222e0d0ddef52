//! A unit with its monitors' rows and its departments, read in one snapshot. A snapshot matters because Rocket.Chat
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

/// A unit with the numbers of what belongs to it.
pub(super) struct CountedUnit {
    pub(super) id: UnitId,
    /// The `_id` as it is stored.
    pub(super) document_id: Bson,
    record: Unit,
    pub(super) monitors: BTreeSet<UserId>,
    pub(super) departments: u64,
}

impl CountedUnit {
    /// Whether the counters of the document are these numbers.
    pub(super) fn is_right(&self) -> bool {
        self.record.num_departments == i64::try_from(self.departments).ok()
            && self.record.num_monitors == i64::try_from(self.monitors.len()).ok()
    }
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
    /// Reads a unit, its monitors' rows, its departments, and the departments in `also`, in one snapshot.
    ///
    /// # Errors
    /// MongoDB can't be read.
    pub async fn unit(&self, id: &UnitId, also: &BTreeSet<DepartmentId>) -> Result<UnitSnapshot, Failure> {
        let mut attempt = 1;
        loop {
            match self.unit_once(id, also).await {
                Err(failure) if failure.cause == Cause::Conflict && attempt < MAX_ATTEMPTS => {
                    pause(attempt).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn unit_once(&self, id: &UnitId, also: &BTreeSet<DepartmentId>) -> Result<UnitSnapshot, Failure> {
        let mut session = self.begin().await?;
        let snapshot = self.unit_in(&mut session, id, also.iter()).await?;
        commit(&mut session).await?;
        Ok(snapshot)
    }

    /// Reads a unit within a transaction.
    pub(super) async fn unit_in(
        &self,
        session: &mut ClientSession,
        id: &UnitId,
        also: impl Iterator<Item = &DepartmentId>,
    ) -> Result<UnitSnapshot, Failure> {
        let step = Step { action: "find", collection: UNIT_MONITORS };
        let collection = self.collection(UNIT_MONITORS);
        let find = collection.find(doc! { "unitId": id.as_str() });
        let rows: Vec<BsonDocument> =
            within(step, async { find.session(&mut *session).await?.stream(session).try_collect().await })
                .await?;

        // One query for all would be an `$or`, for which not every server uses the indexes.
        let filter = doc! { "parentId": id.as_str(), "type": { "$ne": "u" } };
        let mut departments = self.departments_with(session, filter).await?;
        let members = departments.len();
        let found: BTreeSet<String> =
            departments.iter().filter_map(|document| id_text(document.get("_id")?)).collect();
        let missing: BTreeSet<&str> =
            also.map(DepartmentId::as_str).filter(|id| !found.contains(*id)).collect();
        let with_unit = with_ids(missing.iter().copied().chain([id.as_str()]));
        let mut document = None;
        for other in self.departments_with(session, with_unit).await? {
            let Some(text) = other.get("_id").and_then(id_text) else { continue };
            match other.get_str("type") {
                Ok("u") if text == id.as_str() => document = Some(other),
                Ok("u") => {}
                _ if missing.contains(text.as_str()) => departments.push(other),
                _ => {}
            }
        }

        let rows: Vec<MonitorRow> = rows.into_iter().filter_map(MonitorRow::parse).collect();
        for row in &rows {
            if let Some(text) = id_text(&row.id) {
                self.known.note_row(text, row.record.unit.clone());
            }
        }
        if document.is_some() {
            self.known.note_kind(id.as_str().to_owned(), true);
        }
        let departments = departments.into_iter().filter_map(|document| {
            let id = DepartmentId::parse(id_text(document.get("_id")?)?)?;
            self.known.note_kind(id.as_str().to_owned(), false);
            Some((id, MongoDepartment::parse(document)))
        });
        Ok(UnitSnapshot {
            departments: departments.collect(),
            members,
            unit: document.map(|document| MongoUnit::parse(document, rows)),
        })
    }

    /// Counts the monitors and departments of these units, within a transaction. Units that can't be used are left out.
    pub(super) async fn counted_in(
        &self,
        session: &mut ClientSession,
        units: &[UnitId],
    ) -> Result<Vec<CountedUnit>, Failure> {
        let ids: Vec<&str> = units.iter().map(UnitId::as_str).collect();
        let mut with_type = with_ids(ids.iter().copied());
        with_type.insert("type", "u");
        let documents = self.departments_with(session, with_type).await?;

        let step = Step { action: "find", collection: UNIT_MONITORS };
        let collection = self.collection(UNIT_MONITORS);
        let find = collection.find(doc! { "unitId": { "$in": &ids } });
        let rows: Vec<BsonDocument> =
            within(step, async { find.session(&mut *session).await?.stream(session).try_collect().await })
                .await?;
        let mut monitors: HashMap<UnitId, BTreeSet<UserId>> = HashMap::new();
        for row in rows.into_iter().filter_map(MonitorRow::parse) {
            monitors.entry(row.record.unit).or_default().insert(row.record.monitor);
        }

        let filter = doc! { "parentId": { "$in": &ids }, "type": { "$ne": "u" } };
        let step = Step { action: "find", collection: DEPARTMENTS };
        let collection = self.collection(DEPARTMENTS);
        let find = collection.find(filter).projection(doc! { "parentId": 1 });
        let members: Vec<BsonDocument> =
            within(step, async { find.session(&mut *session).await?.stream(session).try_collect().await })
                .await?;
        let mut departments: HashMap<String, u64> = HashMap::new();
        for parent in members.iter().filter_map(|member| member.get_str("parentId").ok()) {
            *departments.entry(parent.to_owned()).or_default() += 1;
        }

        let counted = documents.into_iter().filter_map(|document| {
            let id = UnitId::parse(id_text(document.get("_id")?)?)?;
            let monitors = monitors.remove(&id).unwrap_or_default();
            let departments = departments.get(id.as_str()).copied().unwrap_or_default();
            let unit = MongoUnit::parse(document, Vec::new()).ok()?;
            Some(CountedUnit { id, document_id: unit.id, record: unit.record, monitors, departments })
        });
        Ok(counted.collect())
    }

    /// Reads the departments and units that a filter finds, within a transaction.
    async fn departments_with(
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
    fn parse(document: BsonDocument) -> Option<Self> {
        let id = document.get("_id")?.clone();
        let record = UnitMonitor::parse(extended_json(document)).ok()?;
        Some(Self { record, id })
    }
}

impl MongoUnit {
    fn parse(document: BsonDocument, rows: Vec<MonitorRow>) -> Result<Self, String> {
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
