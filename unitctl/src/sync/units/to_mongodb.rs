//! Writes what the function has changed of a unit to MongoDB. The intent is stored before that, and the base after it.

use std::collections::BTreeMap;

use anyhow::Result;
use livechat_units::id::{DepartmentId, UserId};

use super::both_sides::{OnBothSides, Step};
use super::read::text;
use super::report::{changes_in_words, move_in_words};
use crate::requests::transact;
use crate::sync::base::{DepartmentBase, PlaceIntent, UnitBase, UnitDelta, UnitIntent};
use crate::sync::merge::PlaceMerge;
use crate::sync::model::{Side, Subject};
use crate::sync::mongodb::{MongoWritten, PlaceWrite, UnitWrite};
use crate::sync::sides::{Looked, Sides};

/// The maximum number of monitors that one transaction changes. Together with the departments, the counters of their
/// units and the unit itself, that is under 500 documents.
const MAX_MONITORS: usize = 300;

/// The maximum number of departments that one transaction moves. Their bases fit into one transaction of DynamoDB.
const MAX_PLACES: usize = 80;

/// Writes the first transaction of what is to be changed.
pub(super) async fn write(sides: &Sides, both: &OnBothSides<'_>, looked: &mut Looked) -> Result<Step> {
    let delta = both.merge.to_mongodb.first(MAX_MONITORS);
    let places: BTreeMap<&DepartmentId, &PlaceMerge> = both.moves(Side::MongoDb).take(MAX_PLACES).collect();
    sides.check_lease()?;
    let Some(intended) = store_intents(sides, both, &delta, &places).await? else {
        return Ok(Step::Refused);
    };
    sides.check_lease()?;
    let place_write =
        |place: &PlaceMerge| PlaceWrite { place: place.target.clone(), updated_at: place.updated_at.clone() };
    let write = UnitWrite {
        id: both.id.clone(),
        seen: both.snapshot.clone(),
        name: delta.name.clone(),
        visibility: delta.visibility,
        join: delta.join.clone(),
        leave: delta.leave.clone(),
        usernames: usernames(both),
        places: places.iter().map(|(id, place)| ((*id).clone(), place_write(place))).collect(),
        updated_at: (!delta.is_empty()).then(|| delta.updated_at.clone()),
    };
    // After an error it is unknown whether MongoDB has committed it. The intent stays, and the next look finds out.
    let is_committed = sides.mongodb.write_unit(&write).await? == MongoWritten::Committed;
    let Intended { unit, departments } = intended;
    let mut puts = Vec::new();
    let table = &sides.database.tables.livechat;
    if let Some(mut base) = unit {
        base.intent = None;
        if is_committed {
            base.facts = base.facts.with(&delta);
        }
        puts.push(base.put(table)?);
    }
    for mut base in departments {
        if let Some(intent) = base.intent.take()
            && is_committed
        {
            base.place = intent.place;
        }
        puts.push(base.put(table)?);
    }
    if is_committed {
        say(sides, both, &delta, &places);
        looked.written_units.insert(both.id.clone());
        let before = places.keys().filter_map(|id| both.snapshot.departments.get(*id)?.as_ref().ok());
        looked.written_units.extend(before.filter_map(|found| found.view.place.clone()));
    }
    if !(transact(&sides.database, puts).await? && is_committed) {
        return Ok(Step::Refused);
    }
    // If all is written, both sides need not be read again to find that out.
    let is_all = delta == both.merge.to_mongodb
        && places.len() == both.moves(Side::MongoDb).count()
        && (!delta.is_empty() || both.is_base_stored())
        && both.is_settled_except(|id| places.contains_key(id));
    if !is_all {
        return Ok(Step::Again);
    }
    looked.follow_ups.extend(places.keys().map(|id| Subject::Rooms((*id).clone())));
    Ok(Step::Done)
}

/// The bases as they are stored while MongoDB is written.
struct Intended {
    unit: Option<UnitBase>,
    departments: Vec<DepartmentBase>,
}

/// Stores the intents. `None` if another process has stored a base meanwhile.
async fn store_intents(
    sides: &Sides,
    both: &OnBothSides<'_>,
    delta: &UnitDelta,
    places: &BTreeMap<&DepartmentId, &PlaceMerge>,
) -> Result<Option<Intended>> {
    let table = &sides.database.tables.livechat;
    let mut puts = Vec::new();
    let mut unit = None;
    if !delta.is_empty() {
        let base = UnitBase {
            id: both.id.clone(),
            rev: both.stored.base.as_ref().map_or(0, |base| base.rev),
            facts: both.merge.before.clone(),
            intent: Some(UnitIntent::new(delta, &both.mongodb.view)),
        };
        puts.push(base.put(table)?);
        unit = Some(UnitBase { rev: base.rev + 1, ..base });
    }
    let mut departments = Vec::new();
    for (id, place) in places {
        let Some(Ok(found)) = both.snapshot.departments.get(*id) else { continue };
        let base = DepartmentBase {
            id: (*id).clone(),
            rev: both.stored.department_bases.get(*id).map_or(0, |base| base.rev),
            place: place.before.clone(),
            intent: Some(PlaceIntent::new(&place.target, &place.updated_at, &found.view)),
            rooms: true,
        };
        puts.push(base.put(table)?);
        departments.push(DepartmentBase { rev: base.rev + 1, ..base });
    }
    let is_stored = transact(&sides.database, puts).await?;
    Ok(is_stored.then_some(Intended { unit, departments }))
}

/// The usernames of the unit's monitors, as DynamoDB has them.
fn usernames(both: &OnBothSides<'_>) -> BTreeMap<UserId, String> {
    let items = both.unit.monitors.iter();
    items.filter_map(|(id, item)| Some((id.clone(), text(item, "username")?.to_owned()))).collect()
}

fn say(
    sides: &Sides,
    both: &OnBothSides<'_>,
    delta: &UnitDelta,
    places: &BTreeMap<&DepartmentId, &PlaceMerge>,
) {
    for words in changes_in_words(delta) {
        sides.reporter.change(&both.subject(), Side::MongoDb, words);
    }
    for (id, place) in places {
        let subject = Subject::Department((*id).clone());
        sides.reporter.change(&subject, Side::MongoDb, move_in_words(id, place));
    }
}
