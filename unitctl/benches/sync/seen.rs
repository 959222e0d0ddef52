//! Notes when a change is seen on the other side: every 40 ms it reads all that is awaited, many at a time, and every 100 ms if
//! that is much, so that reading does not slow what it measures.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::Result;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};
use futures_util::TryStreamExt;
use livechat_units::id::{UnitId, UserId};
use livechat_units::item::{Item, Key};
use mongodb::bson::{Document, doc};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use unitctl::database::Database;

use crate::measure::Times;
use crate::workspace::Workspace;

/// The time between two reads.
const READ_EVERY: Duration = Duration::from_millis(40);

/// The time between two reads of more than [`MANY`].
const READ_MANY_EVERY: Duration = Duration::from_millis(100);

/// More changes than this are read less often.
const MANY: usize = 20;

/// How long a change is awaited. One that is not seen by then counts as this time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be seen.
pub enum Expected {
    /// A token is in DynamoDB, or is not.
    Token { hash: String, is_there: bool },
    /// A user in DynamoDB has a role.
    Role { user: String, role: String },
    /// A unit in DynamoDB has this name and this many monitors and departments, or a later name of the same side.
    InDynamoDb { unit: String, name: String, members: (usize, usize) },
    /// A unit in MongoDB has them.
    InMongoDb { unit: String, name: String, members: (usize, usize) },
}

struct Awaited {
    kind: &'static str,
    since: Instant,
    expected: Expected,
}

/// The other end of a watcher.
#[derive(Clone)]
pub struct Awaiting(UnboundedSender<Awaited>);

impl Awaiting {
    /// Awaits a change that was made at this moment.
    pub fn see(&self, kind: &'static str, since: Instant, expected: Expected) {
        // If the watcher has failed, its own error counts.
        drop(self.0.send(Awaited { kind, since, expected }));
    }
}

/// The times by kind of change. The task ends when no one awaits anything any more.
pub type Watcher = JoinHandle<Result<BTreeMap<&'static str, Times>>>;

pub fn watch(workspace: &Workspace) -> (Awaiting, Watcher) {
    let (sender, receiver) = unbounded_channel();
    let (database, units) = (workspace.database(), workspace.mongo.rocket_chat.departments());
    (Awaiting(sender), tokio::spawn(watch_all(database, units, receiver)))
}

async fn watch_all(
    database: Database,
    units: mongodb::Collection<Document>,
    mut receiver: UnboundedReceiver<Awaited>,
) -> Result<BTreeMap<&'static str, Times>> {
    let mut times: BTreeMap<&'static str, Times> = BTreeMap::new();
    let mut awaited: Vec<Awaited> = Vec::new();
    loop {
        tokio::time::sleep(if awaited.len() > MANY { READ_MANY_EVERY } else { READ_EVERY }).await;
        while let Ok(new) = receiver.try_recv() {
            awaited.push(new);
        }
        if awaited.is_empty() && receiver.is_closed() {
            return Ok(times);
        }
        let items = read_items(&database, &awaited).await?;
        let units = read_units(&units, &awaited).await?;
        let now = Instant::now();
        let mut still = Vec::new();
        for one in awaited {
            let lag = now.saturating_duration_since(one.since);
            if is_seen(&one.expected, items.as_ref(), &units) || lag >= PATIENCE {
                times.entry(one.kind).or_default().add(lag);
            } else {
                still.push(one);
            }
        }
        awaited = still;
    }
}

fn key(expected: &Expected) -> Option<Key> {
    match expected {
        Expected::Token { hash, .. } => Some(Key::Token(hash.clone())),
        Expected::Role { user, .. } => UserId::parse(user).map(Key::User),
        Expected::InDynamoDb { unit, .. } => UnitId::parse(unit).map(Key::Unit),
        Expected::InMongoDb { .. } => None,
    }
}

/// The items that are awaited and exist, by key. `None` if DynamoDB has left some unread.
async fn read_items(database: &Database, awaited: &[Awaited]) -> Result<Option<HashMap<String, Item>>> {
    let keys: BTreeMap<String, Key> =
        awaited.iter().filter_map(|one| key(&one.expected)).map(|key| (format!("{key:?}"), key)).collect();
    let keys: Vec<(String, Key)> = keys.into_iter().collect();
    let mut found = HashMap::new();
    for chunk in keys.chunks(100) {
        let mut by_table: HashMap<String, Vec<Item>> = HashMap::new();
        for (_, key) in chunk {
            by_table.entry(database.table(key).to_owned()).or_default().push(key.attributes());
        }
        let mut request = database.client.batch_get_item();
        for (table, keys) in by_table {
            let keys = KeysAndAttributes::builder().set_keys(Some(keys)).consistent_read(true).build()?;
            request = request.request_items(table, keys);
        }
        let output = request.send().await?;
        if output.unprocessed_keys.is_some_and(|keys| !keys.is_empty()) {
            return Ok(None);
        }
        let items: Vec<Item> = output.responses.unwrap_or_default().into_values().flatten().collect();
        for (name, key) in chunk {
            let attributes = key.attributes();
            let is_it = |item: &&Item| attributes.iter().all(|(name, value)| item.get(name) == Some(value));
            if let Some(item) = items.iter().find(is_it) {
                found.insert(name.clone(), item.clone());
            }
        }
    }
    Ok(Some(found))
}

async fn read_units(
    units: &mongodb::Collection<Document>,
    awaited: &[Awaited],
) -> Result<HashMap<String, Document>> {
    let ids: Vec<&str> = awaited
        .iter()
        .filter_map(|one| match &one.expected {
            Expected::InMongoDb { unit, .. } => Some(unit.as_str()),
            _ => None,
        })
        .collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let fields = doc! { "name": 1, "numMonitors": 1, "numDepartments": 1 };
    let find = units.find(doc! { "_id": { "$in": ids } }).projection(fields);
    let found: Vec<Document> = find.await?.try_collect().await?;
    Ok(found.into_iter().filter_map(|unit| Some((unit.get_str("_id").ok()?.to_owned(), unit))).collect())
}

fn is_seen(
    expected: &Expected,
    items: Option<&HashMap<String, Item>>,
    units: &HashMap<String, Document>,
) -> bool {
    if let Expected::InMongoDb { unit, name, members } = expected {
        let Some(unit) = units.get(unit) else { return false };
        let number = |name| unit.get(name).and_then(mongodb::bson::Bson::as_i32).unwrap_or(-1);
        let (monitors, departments) = (number("numMonitors"), number("numDepartments"));
        let stored = unit.get_str("name").unwrap_or_default();
        return is_later(stored, name)
            || stored == name
                && (usize::try_from(monitors), usize::try_from(departments))
                    == (Ok(members.0), Ok(members.1));
    }
    let (Some(items), Some(key)) = (items, key(expected)) else { return false };
    let item = items.get(&format!("{key:?}"));
    match expected {
        Expected::Token { is_there, .. } => item.is_some() == *is_there,
        Expected::Role { role, .. } => {
            let roles = item.and_then(|item| item.get("roles")?.as_ss().ok());
            roles.is_some_and(|roles| roles.contains(role))
        }
        Expected::InDynamoDb { name, members, .. } => item.is_some_and(|item| {
            let Some(Ok(stored)) = item.get("name").map(AttributeValue::as_s) else { return false };
            let is = |name, number: usize| item.get(name) == Some(&AttributeValue::N(number.to_string()));
            is_later(stored, name)
                || stored == name && is("numMonitors", members.0) && is("numDepartments", members.1)
        }),
        Expected::InMongoDb { .. } => false,
    }
}

/// Whether a later change of the same kind has given the unit its name: names end in the number of the change. Then the
/// earlier change can't be seen any more.
fn is_later(stored: &str, name: &str) -> bool {
    let number = |name: &str| {
        let (kind, number) = name.rsplit_once(' ')?;
        Some((kind.to_owned(), number.parse::<u64>().ok()?))
    };
    match (number(stored), number(name)) {
        (Some((stored_kind, stored)), Some((kind, number))) => stored_kind == kind && stored > number,
        _ => false,
    }
}
