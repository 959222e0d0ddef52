//! The part of a full pass that compares units.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Result;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::{Item, Key};

use super::{Pass, id_of};
use crate::import::document::Document;
use crate::import::records::UnitOrDepartment;
use crate::import::workspace::StoredUnit;
use crate::import::write::partition;
use crate::origin::{REV, unit_base_key};
use crate::sync::base::UnitBase;
use crate::sync::model::Subject;
use crate::sync::mongodb::{Kind, facts};
use crate::sync::units::view;

/// The maximum number of rounds of looks at units that other looks have named.
const MAX_ROUNDS: u32 = 4;

impl Pass<'_> {
    /// Compares all units, and looks at those that differ. What was read may be a mixture of several states, because this
    /// reads many units at once. Nothing is written because of it; a look reads one state. If a change makes a unit
    /// different that was equal, there is an event of it.
    pub(super) async fn units(&mut self) -> Result<()> {
        let mut batches = self.sides.mongodb.documents(Kind::Units);
        let mut follow_ups = BTreeSet::new();
        // Of these, the units that MongoDB lacks are left when MongoDB's own have been compared.
        let mut named = std::mem::take(&mut self.units_of_departments);
        while let Some(batch) = batches.next().await? {
            self.count(batch.len());
            let by_id: BTreeMap<UnitId, Document> = batch
                .into_iter()
                .filter_map(|document| Some((UnitId::parse(id_of(&document)?)?, document)))
                .collect();
            let keys = by_id.keys().flat_map(|id| [Key::Unit(id.clone()).attributes(), unit_base_key(id)]);
            let mut items: HashMap<String, Item> = HashMap::new();
            for item in self.sides.database.get_all(keys.collect()).await? {
                items.insert(partition(&item).to_owned(), item);
            }
            let mut differing = Vec::new();
            for (id, document) in by_id {
                let stored = items.remove(&Key::Unit(id.clone()).partition());
                let base = items.remove(&format!("SYNC#UNIT#{id}"));
                let members = self.members.get(&id).cloned().unwrap_or_default();
                let monitors = self.monitors.get(&id).cloned().unwrap_or_default();
                let subject = Subject::Unit(id.clone());
                let is_named = named.remove(&subject) || self.sides.reporter.is_unfinished(&subject);
                if is_named || !is_equal(&id, document, monitors, &members, stored, base) {
                    differing.push(subject);
                }
            }
            follow_ups.extend(self.looks(differing, self.removal).await?);
        }
        follow_ups.extend(named);
        let mut rooms = BTreeSet::new();
        // A department may go from one unit to the next. If more rounds than this are needed, others write all the time,
        // and the events of their writes lead to the next looks.
        for _ in 0..MAX_ROUNDS {
            if follow_ups.is_empty() {
                break;
            }
            let named = std::mem::take(&mut follow_ups).into_iter();
            let (of_rooms, subjects): (Vec<_>, Vec<_>) =
                named.partition(|subject| matches!(subject, Subject::Rooms(_)));
            rooms.extend(of_rooms);
            follow_ups = self.looks(subjects, self.removal).await?;
        }
        rooms.extend(follow_ups.into_iter().filter(|subject| matches!(subject, Subject::Rooms(_))));
        // One department after the other, so that the server has time for Rocket.Chat.
        for rooms in rooms {
            self.looks(vec![rooms], self.removal).await?;
        }
        Ok(())
    }
}

/// Whether a unit is the same on both sides with its monitors and departments, and its base says so. The bases of the
/// departments are not compared here.
fn is_equal(
    id: &UnitId,
    document: Document,
    monitors: BTreeSet<UserId>,
    members: &BTreeSet<DepartmentId>,
    stored: Option<Item>,
    base: Option<Item>,
) -> bool {
    let Ok(UnitOrDepartment::Unit(record)) = UnitOrDepartment::parse(document) else { return false };
    let Some(Ok(base)) = base.map(|base| UnitBase::parse(id.clone(), base)) else { return false };
    let Some(Ok(stored)) = stored.map(|item| StoredUnit::parse(id, item)) else { return false };
    let in_mongodb = facts(&record, monitors);
    stored.item.contains_key(REV)
        && base.intent.is_none()
        && base.facts == in_mongodb
        && view(&stored).facts == in_mongodb
        && stored.departments.iter().map(String::as_str).eq(members.iter().map(DepartmentId::as_str))
}
