//! Scans DynamoDB for what MongoDB may not have, before a full pass.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Result;
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::Item;

use super::base::UnitBase;
use super::guard::Count;
use super::model::Subject;
use super::mongodb::{Ids, Kind};
use super::sides::Sides;
use crate::database::Database;
use crate::import::records::UnitMonitor;
use crate::origin::{REV, unit_base_key};
use crate::requests::scan_page;

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scanned {
    /// What came from Rocket.Chat and is not in MongoDB, and base items whose unit or department is not in MongoDB.
    pub missing: Vec<Subject>,
    /// The numbers for the guard.
    pub counts: Vec<Count>,
    /// The ids of MongoDB's users, permissions, departments and units.
    pub ids: BTreeMap<Kind, Ids>,
    /// The monitors of each unit, as MongoDB's rows name them.
    pub monitors: HashMap<UnitId, BTreeSet<UserId>>,
}

/// The kinds that are compared by `_id`, with their names.
const KINDS: [(Kind, &str); 4] = [
    (Kind::Users, "users"),
    (Kind::Permissions, "permissions"),
    (Kind::Departments, "departments"),
    (Kind::Units, "units"),
];

/// An item of the livechat table, as far as the scan needs it.
enum Found {
    /// Something that came from Rocket.Chat.
    RocketChats(Subject),
    /// A user who was deleted in MongoDB. Only an item with the time of the deletion is left.
    Deleted(UserId),
    /// The base of a unit or department.
    Base(Subject),
}

/// Scans the livechat table.
///
/// # Errors
/// A side can't be read.
pub async fn scan(sides: &Sides) -> Result<Scanned> {
    let mut scanned = Scanned::default();
    for (kind, _) in KINDS {
        scanned.ids.insert(kind, sides.mongodb.ids(kind).await?);
    }
    let mut totals: BTreeMap<Kind, (usize, usize)> = BTreeMap::new();
    let mut monitors = Monitors::read(sides).await?;
    let mut start = None;
    loop {
        let (items, next) = page(&sides.database, start).await?;
        for item in &items {
            monitors.add(item);
            let Some(found) = found(item) else { continue };
            let (kind, id) = kind_and_id(&found);
            let is_missing = !scanned.ids[&kind].contains(id);
            let total = totals.entry(kind).or_default();
            match found {
                Found::RocketChats(subject) => {
                    total.0 += 1;
                    if is_missing {
                        total.1 += 1;
                        scanned.missing.push(subject);
                    }
                }
                Found::Deleted(user) if is_missing => scanned.missing.push(Subject::User(user)),
                Found::Base(subject) if is_missing => scanned.missing.push(subject),
                Found::Deleted(_) | Found::Base(_) => {}
            }
        }
        start = next;
        if start.is_none() {
            break;
        }
    }
    for (kind, name) in KINDS {
        let (in_dynamodb, missing) = totals.get(&kind).copied().unwrap_or_default();
        let is_empty_in_mongodb = in_dynamodb > 0 && scanned.ids[&kind].is_empty();
        scanned.counts.push(Count {
            kind: name,
            in_dynamodb,
            missing,
            is_empty_in_mongodb,
            is_lenient: false,
        });
    }
    scanned.counts.push(monitors.count(sides).await?);
    scanned.monitors = monitors.in_mongodb;
    scanned.missing.sort();
    scanned.missing.dedup();
    Ok(scanned)
}

/// One page of the livechat table, with what the scan needs of each item.
async fn page(database: &Database, start: Option<Item>) -> Result<(Vec<Item>, Option<Item>)> {
    let scan = database
        .client
        .scan()
        .projection_expression("pk, sk, #rev, deletedAt, monitors")
        .expression_attribute_names("#rev", REV)
        .set_exclusive_start_key(start);
    scan_page(scan, &database.tables.livechat).await
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// What an item is, unless the sync has nothing to do with it.
fn found(item: &Item) -> Option<Found> {
    let (kind, id) = text(item, "pk")?.split_once('#')?;
    let is_rocket_chats = item.contains_key(REV);
    let subject = match (kind, text(item, "sk")?) {
        ("USER", "TOKENS") if item.contains_key("deletedAt") => {
            return Some(Found::Deleted(UserId::parse(id)?));
        }
        ("USER", "TOKENS") => Subject::User(UserId::parse(id)?),
        ("PERMISSION", "PERMISSION") if is_rocket_chats => Subject::Permission(id.to_owned()),
        ("DEPARTMENT", "DEPARTMENT") if is_rocket_chats => Subject::Department(DepartmentId::parse(id)?),
        ("UNIT", "UNIT") if is_rocket_chats => Subject::Unit(UnitId::parse(id)?),
        ("SYNC", "BASE") => {
            let (kind, id) = id.split_once('#')?;
            return Some(Found::Base(match kind {
                "UNIT" => Subject::Unit(UnitId::parse(id)?),
                "DEPARTMENT" => Subject::Department(DepartmentId::parse(id)?),
                _ => return None,
            }));
        }
        _ => return None,
    };
    Some(Found::RocketChats(subject))
}

fn kind_and_id(found: &Found) -> (Kind, &str) {
    match found {
        Found::Deleted(id) => (Kind::Users, id.as_str()),
        Found::RocketChats(subject) | Found::Base(subject) => match subject {
            Subject::User(id) => (Kind::Users, id.as_str()),
            Subject::Permission(id) => (Kind::Permissions, id),
            Subject::Department(id) => (Kind::Departments, id.as_str()),
            Subject::Unit(id) => (Kind::Units, id.as_str()),
        },
    }
}

/// The monitors of units, whom a look removes if MongoDB has no row of them.
struct Monitors {
    in_mongodb: HashMap<UnitId, BTreeSet<UserId>>,
    in_dynamodb: usize,
    missing: BTreeMap<UnitId, BTreeSet<UserId>>,
}

impl Monitors {
    async fn read(sides: &Sides) -> Result<Self> {
        let mut rows = sides.mongodb.documents(Kind::UnitMonitors);
        let mut in_mongodb: HashMap<UnitId, BTreeSet<UserId>> = HashMap::new();
        while let Some(batch) = rows.next().await? {
            for row in batch.into_iter().filter_map(|row| UnitMonitor::parse(row).ok()) {
                in_mongodb.entry(row.unit).or_default().insert(row.monitor);
            }
        }
        Ok(Self { in_mongodb, in_dynamodb: 0, missing: BTreeMap::new() })
    }

    fn add(&mut self, item: &Item) {
        let unit = text(item, "pk").and_then(|pk| UnitId::parse(pk.strip_prefix("UNIT#")?));
        let monitors = item.get("monitors").and_then(|monitors| monitors.as_m().ok());
        let (Some(unit), Some(monitors)) = (unit, monitors) else { return };
        self.in_dynamodb += monitors.len();
        let in_mongodb = self.in_mongodb.get(&unit);
        let missing = monitors.keys().filter_map(|user| UserId::parse(user.as_str()));
        let missing: BTreeSet<UserId> =
            missing.filter(|user| in_mongodb.is_none_or(|users| !users.contains(user))).collect();
        if !missing.is_empty() {
            self.missing.insert(unit, missing);
        }
    }

    /// Counts the monitors that MongoDB lacks although it had them before. Monitors that MongoDB never had were added
    /// by the function, and do not count.
    async fn count(&self, sides: &Sides) -> Result<Count> {
        let keys: Vec<Item> = self.missing.keys().map(unit_base_key).collect();
        let mut bases: HashMap<String, Item> = HashMap::new();
        for item in sides.database.get_all(keys).await? {
            if let Some(AttributeValue::S(partition)) = item.get("pk") {
                bases.insert(partition.clone(), item);
            }
        }
        let mut missing = 0;
        for (unit, users) in &self.missing {
            let base = bases.remove(&format!("SYNC#UNIT#{unit}"));
            missing += match base.and_then(|item| UnitBase::parse(unit.clone(), item).ok()) {
                Some(base) => users.iter().filter(|user| base.facts.monitors.contains(user)).count(),
                None => users.len(),
            };
        }
        Ok(Count {
            kind: "monitors of units",
            in_dynamodb: self.in_dynamodb,
            missing,
            is_empty_in_mongodb: missing > 0 && self.in_mongodb.is_empty(),
            is_lenient: true,
        })
    }
}
