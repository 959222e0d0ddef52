//! Scans DynamoDB at the start of a full pass, and finds what MongoDB does not have of it.

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

/// What a scan has found in DynamoDB.
#[derive(Debug, Default)]
pub struct Scanned {
    /// The users.
    pub users: StoredUsers,
    /// What else came from Rocket.Chat.
    rocket_chats: Vec<Subject>,
    /// The units and departments that have a base.
    bases: Vec<Subject>,
    /// The monitors of each unit that has some.
    monitors: HashMap<UnitId, BTreeSet<UserId>>,
}

/// What MongoDB has besides users.
#[derive(Debug)]
pub struct InMongoDb {
    permissions: Ids,
    /// The ids of the departments.
    pub departments: Ids,
    /// The ids of the units.
    pub units: Ids,
    /// The monitors of each unit, as the rows name them.
    pub monitors: HashMap<UnitId, BTreeSet<UserId>>,
}

impl InMongoDb {
    /// Reads it.
    ///
    /// # Errors
    /// MongoDB can't be read.
    pub async fn read(sides: &Sides) -> Result<Self> {
        Ok(Self {
            permissions: sides.mongodb.ids(Kind::Permissions).await?,
            departments: sides.mongodb.ids(Kind::Departments).await?,
            units: sides.mongodb.ids(Kind::Units).await?,
            monitors: monitors_in_mongodb(sides).await?,
        })
    }
}

/// How what a scan has found compares with MongoDB.
#[derive(Debug)]
pub struct Compared {
    /// What came from Rocket.Chat and is not in MongoDB, and base items whose unit or department is not in MongoDB.
    pub missing: Vec<Subject>,
    /// The numbers for the guard.
    pub counts: Vec<Count>,
}

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

/// Scans both tables.
///
/// # Errors
/// DynamoDB can't be read.
pub async fn scan(database: &Database) -> Result<Scanned> {
    let mut scanned = Scanned::default();
    let mut users = Collected::default();
    let mut start = None;
    loop {
        let scan = database.client.scan().limit(MAX_ITEMS_A_PAGE).set_exclusive_start_key(start);
        let ScanPage { items, last_key } = scan_page(scan, &database.tables.livechat).await?;
        for item in &items {
            if let Some((unit, monitors)) = monitors(item) {
                scanned.monitors.insert(unit, monitors);
            }
            match found(item) {
                None => {}
                Some(Found::User(id, kind)) => users.add(&id, kind, item),
                Some(Found::RocketChats(subject)) => scanned.rocket_chats.push(subject),
                Some(Found::Base(subject)) => scanned.bases.push(subject),
            }
        }
        start = last_key;
        if start.is_none() {
            break;
        }
    }
    scanned.users = users.finish();
    tokens(database, &mut scanned.users).await?;
    Ok(scanned)
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

impl Scanned {
    /// Compares what was found with MongoDB. All users that MongoDB has must be marked.
    ///
    /// # Errors
    /// DynamoDB can't be read.
    pub async fn compare(&self, database: &Database, in_mongodb: &InMongoDb) -> Result<Compared> {
        let (missing, of_users) = self.users.missing();
        let mut missing: Vec<Subject> = missing.into_iter().map(Subject::User).collect();
        let mut counts = vec![of_users];
        let kinds = [
            (Kind::Permissions, "permissions", &in_mongodb.permissions),
            (Kind::Departments, "departments", &in_mongodb.departments),
            (Kind::Units, "units", &in_mongodb.units),
        ];
        for (kind, name, ids) in kinds {
            let is_of_kind = |subject: &&Subject| by_id(subject).is_some_and(|by_id| by_id.kind == kind);
            let is_missing = |subject: &&Subject| by_id(subject).is_some_and(|by_id| !ids.contains(by_id.id));
            let rocket_chats = || self.rocket_chats.iter().filter(is_of_kind);
            let bases = self.bases.iter().filter(is_of_kind);
            let in_dynamodb = rocket_chats().count();
            counts.push(Count {
                kind: name,
                in_dynamodb,
                missing: rocket_chats().filter(is_missing).count(),
                is_empty_in_mongodb: in_dynamodb > 0 && ids.is_empty(),
                is_lenient: false,
            });
            missing.extend(rocket_chats().chain(bases).filter(is_missing).cloned());
        }
        missing.sort();
        missing.dedup();
        counts.push(self.count_monitors(database, &in_mongodb.monitors).await?);
        Ok(Compared { missing, counts })
    }

    /// Counts the monitors that MongoDB lacks although it had them before. Monitors that MongoDB never had were added
    /// by the function, and do not count.
    async fn count_monitors(
        &self,
        database: &Database,
        in_mongodb: &HashMap<UnitId, BTreeSet<UserId>>,
    ) -> Result<Count> {
        let mut lacking: BTreeMap<&UnitId, BTreeSet<&UserId>> = BTreeMap::new();
        for (unit, monitors) in &self.monitors {
            let rows = in_mongodb.get(unit);
            let users = monitors.iter().filter(|user| rows.is_none_or(|rows| !rows.contains(*user)));
            let users: BTreeSet<&UserId> = users.collect();
            if !users.is_empty() {
                lacking.insert(unit, users);
            }
        }
        let mut bases: HashMap<String, Item> = HashMap::new();
        for item in database.get_all(lacking.keys().map(|unit| unit_base_key(unit)).collect()).await? {
            if let Some(AttributeValue::S(partition)) = item.get("pk") {
                bases.insert(partition.clone(), item);
            }
        }
        let mut missing = 0;
        for (unit, users) in lacking {
            let base = bases.remove(&format!("SYNC#UNIT#{unit}"));
            missing += match base.and_then(|item| UnitBase::parse(unit.clone(), item).ok()) {
                Some(base) => users.iter().filter(|user| base.facts.monitors.contains(**user)).count(),
                None => users.len(),
            };
        }
        Ok(Count {
            kind: "monitors of units",
            in_dynamodb: self.monitors.values().map(BTreeSet::len).sum(),
            missing,
            is_empty_in_mongodb: missing > 0 && in_mongodb.is_empty(),
            is_lenient: true,
        })
    }
}

/// The monitors of each unit, as MongoDB's rows name them.
async fn monitors_in_mongodb(sides: &Sides) -> Result<HashMap<UnitId, BTreeSet<UserId>>> {
    let mut rows = sides.mongodb.documents(Kind::UnitMonitors);
    let mut monitors: HashMap<UnitId, BTreeSet<UserId>> = HashMap::new();
    while let Some(batch) = rows.next().await? {
        for row in batch.into_iter().filter_map(|row| UnitMonitor::parse(row).ok()) {
            monitors.entry(row.unit).or_default().insert(row.monitor);
        }
    }
    Ok(monitors)
}

/// The monitors of a unit, if the item is one that has some. A look removes them if MongoDB has no row of them.
fn monitors(item: &Item) -> Option<(UnitId, BTreeSet<UserId>)> {
    let unit = UnitId::parse(text(item, "pk")?.strip_prefix("UNIT#")?)?;
    let monitors = item.get("monitors")?.as_m().ok()?;
    let users: BTreeSet<UserId> = monitors.keys().filter_map(|user| UserId::parse(user.as_str())).collect();
    (!users.is_empty()).then_some((unit, users))
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
