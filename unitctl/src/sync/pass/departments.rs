//! The part of a full pass that compares departments.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Result;
use aws_sdk_dynamodb::types::TransactWriteItem;
use futures_util::{StreamExt, stream};
use livechat_units::id::{DepartmentId, UnitId};
use livechat_units::item::{Item, Key};
use time::OffsetDateTime;

use super::{Pass, id_of};
use crate::import::document::Document;
use crate::import::records::UnitOrDepartment;
use crate::import::write::partition;
use crate::limits::{MAX_TRANSACTION_ACTIONS, MAX_TRANSACTION_BYTES};
use crate::origin::department_base_key;
use crate::requests::transact;
use crate::sync::base::DepartmentBase;
use crate::sync::dynamodb::departments::{DepartmentPut, DepartmentWrite, decide};
use crate::sync::model::{Removal, Side, Subject};
use crate::sync::mongodb::{Ids, Kind};

/// The number of departments that are read from DynamoDB ahead of a batch of MongoDB's documents: as many as a batch has.
const DEPARTMENTS_AHEAD: usize = 1_000;

/// The number of transactions at the same time.
const MAX_TRANSACTIONS_AT_ONCE: usize = 8;

/// What a pass does about a department.
enum Step {
    /// It is the same on both sides.
    Nothing,
    /// Writes it together with other departments.
    Write(Box<Write>),
    /// Looks at it alone.
    Look,
}

/// What is written of a department.
struct Write {
    id: DepartmentId,
    /// `None` if only its base is stored.
    department: Option<DepartmentWrite>,
    actions: Vec<TransactWriteItem>,
    bytes: usize,
}

impl Pass<'_> {
    /// Compares all departments with their places. The looks at units write places, so this only notes the units.
    /// DynamoDB's items are read before MongoDB's documents. Otherwise a write could rest on a document that is older than
    /// the item, and undo what a look has written since.
    pub(super) async fn departments(&mut self, ids: Ids, units: &Ids) -> Result<()> {
        let mut ids = ids.in_order();
        let mut batches = self.sides.mongodb.documents(Kind::Departments);
        // What was read from DynamoDB and not yet from MongoDB.
        let (mut read, mut items) = (BTreeSet::new(), HashMap::new());
        loop {
            let ahead = ids.by_ref().filter_map(|id| DepartmentId::parse(&*id)).take(DEPARTMENTS_AHEAD);
            let ahead: Vec<DepartmentId> = ahead.collect();
            let keys = ahead
                .iter()
                .flat_map(|id| [Key::Department(id.clone()).attributes(), department_base_key(id)]);
            for item in self.sides.database.get_all(keys.collect()).await? {
                items.insert(partition(&item).to_owned(), item);
            }
            read.extend(ahead);
            let Some(batch) = batches.next().await? else { return Ok(()) };
            self.count(batch.len());
            let by_id: BTreeMap<DepartmentId, Document> = batch
                .into_iter()
                .filter_map(|document| Some((DepartmentId::parse(id_of(&document)?)?, document)))
                .collect();
            let mut writes = Vec::new();
            let mut looks = Vec::new();
            for (id, document) in by_id {
                if !read.remove(&id) {
                    // It was created since the pass began.
                    looks.push(Subject::Department(id));
                    continue;
                }
                let stored: Option<Item> = items.remove(&Key::Department(id.clone()).partition());
                let base = items.remove(&format!("SYNC#DEPARTMENT#{id}"));
                match self.compare(&id, stored.as_ref(), base.as_ref(), document, units)? {
                    Step::Nothing => {}
                    // In a dry run, the look at the single department reports it.
                    Step::Write(write) if !self.sides.mode.is_dry_run => writes.push(*write),
                    Step::Write(_) | Step::Look => looks.push(Subject::Department(id)),
                }
            }
            looks.extend(self.write(writes).await?);
            let follow_ups = self.looks(looks, self.removal).await?;
            self.units_of_departments.extend(follow_ups);
        }
    }

    fn compare(
        &mut self,
        id: &DepartmentId,
        stored: Option<&Item>,
        base: Option<&Item>,
        document: Document,
        units: &Ids,
    ) -> Result<Step> {
        let decision = decide(id, stored, Some(document.clone()), Removal::No, OffsetDateTime::now_utc());
        let Ok(UnitOrDepartment::Department(found)) = UnitOrDepartment::parse(document) else {
            return Ok(Step::Look);
        };
        let Ok(base) = base.map(|base| DepartmentBase::parse(id.clone(), base.clone())).transpose() else {
            return Ok(Step::Look);
        };
        // A department of a unit that does not exist is in none, as for the import.
        let parent = found.place.parent_id.and_then(UnitId::parse);
        let in_mongodb = parent.filter(|unit| units.contains(unit.as_str()));
        if let Some(unit) = &in_mongodb {
            self.named.departments.entry(unit.clone()).or_default().insert(id.clone());
        }
        let parent = stored.and_then(|item| item.get("parentId")?.as_s().ok());
        let in_dynamodb = parent.and_then(|parent| UnitId::parse(parent.as_str()));
        if !decision.problems.is_empty() {
            return Ok(Step::Look);
        }
        let is_settled = base.as_ref().is_some_and(|base| {
            base.place == in_mongodb && in_mongodb == in_dynamodb && base.intent.is_none() && !base.rooms
        });
        let is_in_no_unit = in_mongodb.is_none() && in_dynamodb.is_none();
        let creates = decision.write.as_ref().is_some_and(DepartmentWrite::creates);
        // A new department is in no unit, and so is its base. MongoDB's place is a change against that.
        let new_base = (creates || is_in_no_unit && base.is_none()).then(|| DepartmentBase {
            rev: base.as_ref().map_or(0, |base| base.rev),
            ..DepartmentBase::new(id.clone(), None)
        });
        if is_in_no_unit && !is_settled && new_base.is_none() {
            return Ok(Step::Look);
        }
        if !is_settled {
            let units = [in_mongodb, in_dynamodb].into_iter().flatten();
            self.units_of_departments.extend(units.map(Subject::Unit));
        }
        let table = &self.sides.database.tables.livechat;
        let mut write = Write { id: id.clone(), department: decision.write, actions: Vec::new(), bytes: 0 };
        if let Some(department) = &write.department {
            let Some(DepartmentPut { action, bytes }) = department.put(table)? else {
                return Ok(Step::Look);
            };
            write.actions.push(action);
            write.bytes = bytes;
        }
        if let Some(base) = new_base {
            write.actions.push(base.put(table)?);
        }
        Ok(if write.actions.is_empty() { Step::Nothing } else { Step::Write(Box::new(write)) })
    }

    /// Writes these departments, many in one transaction. Returns those of refused transactions, which need looks of their
    /// own.
    async fn write(&self, writes: Vec<Write>) -> Result<Vec<Subject>> {
        let sides = self.sides;
        let transactions = groups(writes).into_iter().map(|group| async move {
            sides.check_lease()?;
            let actions = group.iter().flat_map(|write| write.actions.clone()).collect();
            let is_stored = transact(&sides.database, actions).await?;
            let mut refused = Vec::new();
            for write in group {
                let subject = Subject::Department(write.id);
                if !is_stored {
                    refused.push(subject);
                } else if let Some(department) = write.department {
                    sides.reporter.change(&subject, Side::DynamoDb, &department);
                }
            }
            Ok::<_, anyhow::Error>(refused)
        });
        let mut transactions = stream::iter(transactions).buffer_unordered(MAX_TRANSACTIONS_AT_ONCE);
        let mut looks = Vec::new();
        while let Some(refused) = transactions.next().await {
            looks.extend(refused?);
        }
        Ok(looks)
    }
}

/// The writes in groups that fit into a transaction each.
fn groups(writes: Vec<Write>) -> Vec<Vec<Write>> {
    let mut groups: Vec<Vec<Write>> = Vec::new();
    let (mut actions, mut bytes) = (0, 0);
    for write in writes {
        actions += write.actions.len();
        bytes += write.bytes;
        match groups.last_mut() {
            Some(group) if actions <= MAX_TRANSACTION_ACTIONS && bytes <= MAX_TRANSACTION_BYTES => {
                group.push(write)
            }
            _ => {
                (actions, bytes) = (write.actions.len(), write.bytes);
                groups.push(vec![write]);
            }
        }
    }
    groups
}
