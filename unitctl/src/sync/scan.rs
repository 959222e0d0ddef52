//! Scans DynamoDB for what MongoDB may not have, before a full pass.

mod users;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use anyhow::Result;
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::Item;

pub use self::users::StoredUsers;
use self::users::{Collected, UserItem};
use super::base::UnitBase;
use super::guard::Count;
use super::model::Subject;
use super::mongodb::{Ids, Kind};
use super::sides::Sides;
use crate::database::Database;
use crate::import::records::UnitMonitor;
use crate::origin::{REV, TOKENS, unit_base_key};
use crate::requests::{ScanPage, scan_page};

/// What a scan found.
#[derive(Debug)]
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

impl Scanned {
    /// Adds the users that MongoDB does not have. All that it has must be marked.
    pub fn count_users(&mut self) {
        let (missing, count) = self.users.missing();
        self.counts.insert(0, count);
        self.missing.extend(missing.into_iter().map(Subject::User));
        self.missing.sort();
        self.missing.dedup();
    }
}

/// The other kinds that are compared by `_id`, with their names.
const KINDS: [(Kind, &str); 3] =
    [(Kind::Permissions, "permissions"), (Kind::Departments, "departments"), (Kind::Units, "units")];

/// The maximum number of items in a page of a scan. A page of a megabyte, DynamoDB's limit, takes many times its size in
/// memory.
const MAX_ITEMS_A_PAGE: i32 = 1_000;

/// An item of the livechat table, as far as the scan needs it.
enum Found {
    /// One of a user's two items.
    User(UserId, UserItem),
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

/// Scans both tables.
///
/// # Errors
/// A side can't be read.
pub async fn scan(sides: &Sides) -> Result<Scanned> {
    let mut ids = BTreeMap::new();
    for (kind, _) in KINDS {
        ids.insert(kind, sides.mongodb.ids(kind).await?);
    }
    let (mut missing, mut counts) = (Vec::new(), Vec::new());
    let mut totals: BTreeMap<Kind, Total> = BTreeMap::new();
    let mut monitors = Monitors::read(sides).await?;
    let mut users = Collected::default();
    let mut start = None;
    loop {
        let scan = sides.database.client.scan().limit(MAX_ITEMS_A_PAGE).set_exclusive_start_key(start);
        let ScanPage { items, last_key } = scan_page(scan, &sides.database.tables.livechat).await?;
        for item in &items {
            monitors.add(item);
            let (subject, is_base) = match found(item) {
                None => continue,
                Some(Found::User(id, kind)) => {
                    users.add(&id, kind, item);
                    continue;
                }
                Some(Found::RocketChats(subject)) => (subject, false),
                Some(Found::Base(subject)) => (subject, true),
            };
            let Some(ById { kind, id }) = by_id(&subject) else { continue };
            let is_missing = !ids[&kind].contains(id);
            if !is_base {
                let total = totals.entry(kind).or_default();
                total.in_dynamodb += 1;
                total.missing += usize::from(is_missing);
            }
            if is_missing {
                missing.push(subject);
            }
        }
        start = last_key;
        if start.is_none() {
            break;
        }
    }
    for (kind, name) in KINDS {
        let Total { in_dynamodb, missing } = totals.get(&kind).copied().unwrap_or_default();
        let is_empty_in_mongodb = in_dynamodb > 0 && ids[&kind].is_empty();
        counts.push(Count { kind: name, in_dynamodb, missing, is_empty_in_mongodb, is_lenient: false });
    }
    counts.push(monitors.count(sides).await?);
    let mut users = users.finish();
    tokens(&sides.database, &mut users).await?;
    Ok(Scanned { missing, counts, users, ids, monitors: monitors.in_mongodb })
}

/// Scans the tokens table, and adds the tokens to their users.
async fn tokens(database: &Database, users: &mut StoredUsers) -> Result<()> {
    let mut start = None;
    loop {
        let scan = database.client.scan().limit(MAX_ITEMS_A_PAGE).set_exclusive_start_key(start);
        let ScanPage { items, last_key } = scan_page(scan, &database.tables.tokens).await?;
        for token in &items {
            users.add_token(token);
        }
        start = last_key;
        if start.is_none() {
            return Ok(());
        }
    }
}

fn text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

/// What an item is, unless the sync has nothing to do with it.
fn found(item: &Item) -> Option<Found> {
    let (kind, id) = text(item, "pk")?.split_once('#')?;
    let is_rocket_chats = item.contains_key(REV);
    let subject = match (kind, text(item, "sk")?) {
        ("USER", TOKENS) => return Some(Found::User(UserId::parse(id)?, UserItem::List)),
        ("USER", "USER") => return Some(Found::User(UserId::parse(id)?, UserItem::User)),
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
