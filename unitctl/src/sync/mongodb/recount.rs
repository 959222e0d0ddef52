//! Corrects the counters of units. They may be wrong if this process wrote a unit while Rocket.Chat moved a department,
//! because Rocket.Chat adds to a counter or subtracts from it.

use std::collections::{BTreeSet, HashMap};

use futures_util::TryStreamExt;
use livechat_units::id::{UnitId, UserId};
use mongodb::ClientSession;
use mongodb::bson::{Bson, Document as BsonDocument, doc};

use super::client::MongoDb;
use super::collections::{DEPARTMENTS, UNIT_MONITORS};
use super::failure::{Cause, Failure, Step, within};
use super::ids::{id_text, with_ids};
use super::places::number;
use super::transaction::{MAX_ATTEMPTS, commit, pause};
use super::unit::{MongoUnit, MonitorRow};
use crate::import::records::Unit;

/// A unit with the numbers of what belongs to it.
struct CountedUnit {
    id: UnitId,
    /// The `_id` as it is stored.
    document_id: Bson,
    record: Unit,
    monitors: BTreeSet<UserId>,
    departments: u64,
}

impl CountedUnit {
    /// Whether the counters of the document are these numbers.
    fn is_right(&self) -> bool {
        self.record.num_departments == i64::try_from(self.departments).ok()
            && self.record.num_monitors == i64::try_from(self.monitors.len()).ok()
    }
}

impl MongoDb {
    /// Corrects the counters of these units. Returns those whose counters were wrong.
    ///
    /// # Errors
    /// MongoDB can't be read or written.
    pub async fn recount(&self, units: &[UnitId]) -> Result<Vec<UnitId>, Failure> {
        let mut attempt = 1;
        loop {
            match self.recount_once(units).await {
                Err(failure) if failure.cause == Cause::Conflict && attempt < MAX_ATTEMPTS => {
                    pause(attempt).await;
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn recount_once(&self, units: &[UnitId]) -> Result<Vec<UnitId>, Failure> {
        let mut session = self.begin_to_write().await?;
        let mut wrong = Vec::new();
        for counted in self.counted_in(&mut session, units).await? {
            if !counted.is_right() {
                let counters = doc! {
                    "numMonitors": number(counted.monitors.len() as u64),
                    "numDepartments": number(counted.departments),
                };
                let filter = doc! { "_id": counted.document_id };
                self.update_departments(&mut session, filter, doc! { "$set": counters }).await?;
                wrong.push(counted.id);
            }
        }
        commit(&mut session).await?;
        Ok(wrong)
    }

    /// Counts the monitors and departments of these units, within a transaction. Units that can't be used are left out.
    async fn counted_in(
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
}
