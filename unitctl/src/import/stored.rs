//! Reads what is stored of an export's units and departments.

use std::collections::{BTreeSet, HashMap};

use anyhow::Result;
use futures_util::{StreamExt, TryStreamExt, stream};
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::{self, Item, Key};

use super::records::Place;
use super::workspace::{Exported, Stored, StoredUnit};
use crate::database::Database;

/// The maximum number of units that are read at the same time.
const MAX_AT_ONCE: usize = 8;

/// The maximum number of departments that are read before only their places are kept.
const MAX_DEPARTMENTS_A_READ: usize = 1_000;

/// Reads the units and departments that are exported, the units that stored ones are in, and the
/// departments that those list.
///
/// # Errors
/// DynamoDB refuses a request, or an item is corrupt.
pub async fn read(database: &Database, exported: &Exported) -> Result<Stored> {
    let mut departments = read_places(database, exported.departments.keys()).await?;

    let parents = departments.values().filter_map(|place| UnitId::parse(place.parent_id.clone()?));
    let units: BTreeSet<UnitId> = exported.units.keys().cloned().chain(parents).collect();
    let units = units.into_iter().map(|id| async move {
        let unit = read_unit(database, &id).await?;
        anyhow::Ok(unit.map(|unit| (id, unit)))
    });
    let units: Vec<_> = stream::iter(units).buffer_unordered(MAX_AT_ONCE).try_collect().await?;
    let units: HashMap<UnitId, StoredUnit> = units.into_iter().flatten().collect();

    let listed = units.values().flat_map(|unit| &unit.departments).filter_map(DepartmentId::parse);
    let unread: Vec<_> = listed.filter(|id| !exported.departments.contains_key(id)).collect();
    departments.extend(read_places(database, unread.iter()).await?);
    Ok(Stored { units, departments })
}

/// The places of those of these departments that exist.
async fn read_places(
    database: &Database,
    ids: impl Iterator<Item = &DepartmentId>,
) -> Result<HashMap<DepartmentId, Place>> {
    let mut places = HashMap::new();
    let mut keys = ids.map(|id| Key::Department(id.clone()).attributes());
    loop {
        let some: Vec<Item> = keys.by_ref().take(MAX_DEPARTMENTS_A_READ).collect();
        if some.is_empty() {
            return Ok(places);
        }
        for item in database.get_all(some).await? {
            let id = text(&item, "pk").and_then(|pk| DepartmentId::parse(pk.strip_prefix("DEPARTMENT#")?));
            if let Some(id) = id {
                let department = item::Department::parse(&Key::Department(id.clone()), item)?;
                let ancestors =
                    department.ancestors.unwrap_or_default().iter().map(ToString::to_string).collect();
                places.insert(id, Place { parent_id: department.parent_id.map(Into::into), ancestors });
            }
        }
    }
}

/// A unit with its monitors, if it exists.
async fn read_unit(database: &Database, id: &UnitId) -> Result<Option<StoredUnit>> {
    let (mut unit, mut monitors) = (None, Vec::new());
    for item in database.unit_partition(id).await? {
        match text(&item, "sk").and_then(|sk| sk.strip_prefix("MONITOR#")).map(UserId::parse) {
            Some(Some(monitor)) => monitors.push((monitor, item)),
            Some(None) => {}
            None => unit = Some(StoredUnit::parse(id, item)?),
        }
    }
    Ok(unit.map(|mut unit| {
        unit.monitors.extend(monitors);
        unit
    }))
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}
