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
use crate::requests::{ScanPage, scan_page};

/// What a scan found.
#[derive(Debug, Default)]
pub struct Scanned {
    /// What came from Rocket.Chat and is not in MongoDB, and base items whose unit or department is not in MongoDB.
    pub missing: Vec<Subject>,
    /// The numbers for the guard.
    pub counts: Vec<Count>,
    /// The users of DynamoDB who came from Rocket.Chat.
    pub users: StoredUsers,
    /// The ids of MongoDB's permissions, departments and units.
    pub ids: BTreeMap<Kind, Ids>,
    /// The monitors of each unit, as MongoDB's rows name them.
    pub monitors: HashMap<UnitId, BTreeSet<UserId>>,
}

/// Users of DynamoDB who came from Rocket.Chat. MongoDB's users are many, so they are read only once, when they are compared.
/// This says in the end which users MongoDB does not have.
#[derive(Debug, Default)]
pub struct StoredUsers {
    /// Sorted by id.
    users: Vec<StoredUser>,
    is_empty_in_mongodb: bool,
}

#[derive(Debug)]
struct StoredUser {
    id: Box<str>,
    /// True if only an item with the time of the deletion is left.
    is_deleted: bool,
    is_in_mongodb: bool,
}

impl StoredUsers {
    fn new(mut users: Vec<StoredUser>) -> Self {
        users.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        Self { users, is_empty_in_mongodb: true }
    }

    /// MongoDB has this user.
    pub fn mark(&mut self, id: &str) {
        self.is_empty_in_mongodb = false;
        if let Ok(place) = self.users.binary_search_by(|user| (*user.id).cmp(id)) {
            self.users[place].is_in_mongodb = true;
        }
    }
}

impl Scanned {
    /// Adds the users that MongoDB does not have. All that it has must be marked.
    pub fn count_users(&mut self) {
        let StoredUsers { users, is_empty_in_mongodb } = std::mem::take(&mut self.users);
        let in_dynamodb = users.iter().filter(|user| !user.is_deleted).count();
        let missing = users.iter().filter(|user| !user.is_in_mongodb);
        self.counts.insert(
            0,
            Count {
                kind: "users",
                in_dynamodb,
                missing: missing.clone().filter(|user| !user.is_deleted).count(),
                is_empty_in_mongodb: in_dynamodb > 0 && is_empty_in_mongodb,
                is_lenient: false,
            },
        );
        self.missing.extend(missing.filter_map(|user| UserId::parse(&*user.id)).map(Subject::User));
        self.missing.sort();
        self.missing.dedup();
    }
}

/// The other kinds that are compared by `_id`, with their names.
const KINDS: [(Kind, &str); 3] =
    [(Kind::Permissions, "permissions"), (Kind::Departments, "departments"), (Kind::Units, "units")];

/// An item of the livechat table, as far as the scan needs it.
enum Found {
    /// A user who came from Rocket.Chat. If they were deleted there, only an item with the time of the deletion is left.
    User { id: UserId, is_deleted: bool },
    /// Something else that came from Rocket.Chat.
    RocketChats(Subject),
    /// The base of a unit or department.
    Base(Subject),
}

/// How many items of a kind came from Rocket.Chat.
#[derive(Clone, Copy, Default)]
struct Total {
    in_dynamodb: usize,
    /// The number of those that MongoDB lacks.
    missing: usize,
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
    let mut totals: BTreeMap<Kind, Total> = BTreeMap::new();
    let mut monitors = Monitors::read(sides).await?;
    let mut users = Vec::new();
    let mut start = None;
    loop {
        let ScanPage { items, last_key } = page(&sides.database, start).await?;
        for item in &items {
            monitors.add(item);
            let (subject, is_base) = match found(item) {
                None => continue,
                Some(Found::User { id, is_deleted }) => {
                    users.push(StoredUser { id: id.as_str().into(), is_deleted, is_in_mongodb: false });
                    continue;
                }
                Some(Found::RocketChats(subject)) => (subject, false),
                Some(Found::Base(subject)) => (subject, true),
            };
            let Some(ById { kind, id }) = by_id(&subject) else { continue };
            let is_missing = !scanned.ids[&kind].contains(id);
            if !is_base {
                let total = totals.entry(kind).or_default();
                total.in_dynamodb += 1;
                total.missing += usize::from(is_missing);
            }
            if is_missing {
                scanned.missing.push(subject);
            }
        }
        start = last_key;
        if start.is_none() {
            break;
        }
    }
    scanned.users = StoredUsers::new(users);
    for (kind, name) in KINDS {
        let Total { in_dynamodb, missing } = totals.get(&kind).copied().unwrap_or_default();
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
    Ok(scanned)
}

/// One page of the livechat table, with what the scan needs of each item.
async fn page(database: &Database, start: Option<Item>) -> Result<ScanPage> {
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
        ("USER", "TOKENS") => {
            let is_deleted = item.contains_key("deletedAt");
            return Some(Found::User { id: UserId::parse(id)?, is_deleted });
        }
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

/// How a subject is looked for in MongoDB.
struct ById<'a> {
    kind: Kind,
    id: &'a str,
}

/// `None` for a user, and for rooms.
fn by_id(subject: &Subject) -> Option<ById<'_>> {
    let (kind, id) = match subject {
        Subject::User(_) | Subject::Rooms(_) => return None,
        Subject::Permission(id) => (Kind::Permissions, id.as_str()),
        Subject::Department(id) => (Kind::Departments, id.as_str()),
        Subject::Unit(id) => (Kind::Units, id.as_str()),
    };
    Some(ById { kind, id })
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
