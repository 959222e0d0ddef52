//! The part of a full pass that compares units.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Result;
use futures_util::{StreamExt, stream};
use livechat_units::id::{DepartmentId, UnitId};
use livechat_units::item::{Item, Key};

use super::{Pass, id_of};
use crate::import::document::Document;
use crate::import::records::UnitOrDepartment;
use crate::import::workspace::StoredUnit;
use crate::import::write::partition;
use crate::origin::{REV, unit_base_key};
use crate::sync::base::UnitBase;
use crate::sync::model::{Removal, Subject};
use crate::sync::mongodb::{Kind, facts};
use crate::sync::sides::{Looked, Sides};
use crate::sync::units::{MoreToRead, look_together, view};

/// The number of documents of a snapshot of several units: a single unit may have more. With about as many, the queries for
/// many small units are few, and a snapshot takes little memory.
const MAX_DOCUMENTS_A_SNAPSHOT: usize = 500;

/// The maximum number of such snapshots at the same time.
const MAX_SNAPSHOTS_AT_ONCE: usize = 2;

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
                let in_mongodb = self.named.by(&id);
                let subject = Subject::Unit(id.clone());
                let is_named = named.remove(&subject) || self.sides.reporter.is_unfinished(&subject);
                if is_named || !is_equal(&id, document, in_mongodb, stored, base) {
                    differing.push(id);
                }
            }
            follow_ups.extend(self.look_at_units(differing).await?);
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
            let (mut units, mut others) = (Vec::new(), Vec::new());
            for subject in named {
                match subject {
                    Subject::Rooms(_) => drop(rooms.insert(subject)),
                    Subject::Unit(id) => units.push(id),
                    _ => others.push(subject),
                }
            }
            follow_ups = self.looks(others, self.removal).await?;
            follow_ups.extend(self.look_at_units(units).await?);
        }
        rooms.extend(follow_ups.into_iter().filter(|subject| matches!(subject, Subject::Rooms(_))));
        // One department after the other, so that the server has time for Rocket.Chat.
        for rooms in rooms {
            self.looks(vec![rooms], self.removal).await?;
        }
        Ok(())
    }

    /// Looks at these units, many in one snapshot of MongoDB. Returns the subjects that have to be looked at because of that.
    async fn look_at_units(&mut self, units: Vec<UnitId>) -> Result<BTreeSet<Subject>> {
        let (sides, removal, named) = (self.sides, self.removal, &self.named);
        let groups = groups(units.into_iter().map(|id| {
            let more = named.by(&id);
            (id, more)
        }));
        let looks: Vec<_> = groups.into_iter().map(|group| look_at_group(sides, group, removal)).collect();
        let mut looks = stream::iter(looks).buffer_unordered(MAX_SNAPSHOTS_AT_ONCE);
        let (mut all, mut alone) = (Looked::default(), Vec::new());
        while let Some((looked, failed)) = looks.next().await {
            all.extend(looked);
            alone.extend(failed.into_iter().map(Subject::Unit));
        }
        self.outcome.written_units.extend(all.written_units);
        all.follow_ups.extend(self.looks(alone, removal).await?);
        Ok(all.follow_ups)
    }
}

/// Looks at units in one snapshot. Returns what was done, and the units that need looks of their own, which are repeated.
async fn look_at_group(
    sides: &Sides,
    group: Vec<(UnitId, MoreToRead)>,
    removal: Removal,
) -> (Looked, Vec<UnitId>) {
    let ids: Vec<UnitId> = group.iter().map(|(id, _)| id.clone()).collect();
    look_together(sides, group, removal).await.unwrap_or_else(|_| (Looked::default(), ids))
}

/// The units in groups of which each is read in one snapshot.
fn groups(units: impl Iterator<Item = (UnitId, MoreToRead)>) -> Vec<Vec<(UnitId, MoreToRead)>> {
    let mut groups: Vec<Vec<_>> = Vec::new();
    let mut documents = 0;
    for (id, more) in units {
        let added = 1 + more.departments.len() + more.users.len();
        match groups.last_mut() {
            Some(group) if documents + added <= MAX_DOCUMENTS_A_SNAPSHOT => {
                documents += added;
                group.push((id, more));
            }
            _ => {
                documents = added;
                groups.push(vec![(id, more)]);
            }
        }
    }
    groups
}

/// Whether a unit is the same on both sides with its monitors and departments, and its base says so. The bases of the
/// departments are not compared here.
fn is_equal(
    id: &UnitId,
    document: Document,
    MoreToRead { departments: members, users: monitors }: MoreToRead,
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
