//! One update under faults, and all that must hold of it whatever the faults are.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::{FutureExt, join_all};
use livechat_units::{Function, Response};
use serde_json::{Value, json};

use crate::faulty::{Fault, Faulty, Meanwhile, Sent};
use crate::world::{Items, World, body, event, invoke, updated_at, username, world};

/// The requests of an update.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Position {
    /// Token, user and permission, for a token new to this execution environment.
    Caller,
    /// Unit, departments and monitors, after the caller is known.
    Unit,
    /// Both at once, for a token that was seen before.
    SeenCaller,
    SeenUnit,
    /// Items that a plan with too many changes takes to be as it needs them.
    Extra,
    /// The transaction.
    Transaction,
    /// The transaction that is planned after another one was refused.
    AfterRefused,
}

impl Position {
    pub const ALL: [(Self, &str); 7] = [
        (Self::Caller, "caller"),
        (Self::Unit, "unit"),
        (Self::SeenCaller, "caller, seen token"),
        (Self::SeenUnit, "unit, seen token"),
        (Self::Extra, "extra read"),
        (Self::Transaction, "transaction"),
        (Self::AfterRefused, "after a refused one"),
    ];

    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(position, _)| *position == self).expect("it is one of all").1
    }

    pub fn is_write(self) -> bool {
        matches!(self, Self::Transaction | Self::AfterRefused)
    }

    fn is_at(self, sent: &Sent) -> bool {
        let is_of_caller = sent.body.contains("PERMISSION#");
        match self {
            Self::Caller | Self::SeenCaller => is_of_caller,
            Self::Unit | Self::SeenUnit => !sent.is_write && !is_of_caller,
            Self::Extra => !sent.is_write && !is_of_caller && !sent.body.contains("UNIT#"),
            Self::Transaction => sent.is_write,
            Self::AfterRefused => sent.is_write && sent.number > 0,
        }
    }
}

/// An update that has something of everything to change, in items of its own.
struct Case {
    position: Position,
    unit: String,
    event: Value,
}

impl Case {
    async fn new(world: &World, position: Position, number: usize) -> Self {
        let id = |name: &str| format!("{name}-{number}");
        let (unit, other, leaving, joining) = (id("U"), id("V"), id("d"), id("e"));
        let update = if position == Position::Extra {
            // All but one can leave in one transaction, and one is gone already.
            let departments: Vec<String> = (0..100).map(|n| format!("d{n}-{number}")).collect();
            let departments: Vec<&str> = departments.iter().map(String::as_str).collect();
            world.unit(&unit, &["m"], &departments).await;
            world.delete(&format!("DEPARTMENT#{}", departments[0]), "DEPARTMENT").await;
            body(&["m"], &[])
        } else {
            world.unit(&unit, &["m"], &[&leaving]).await;
            world.unit(&other, &[], &[&joining]).await;
            body(&["n"], &[&joining])
        };
        Self { position, event: event(&unit, &update), unit }
    }

    /// What is stored when the update is, and nothing else.
    fn asked(&self, before: &Items, time: &str) -> Items {
        let mut items = before.clone();
        let unit_key = (format!("UNIT#{}", self.unit), "UNIT".to_owned());
        let number = self.unit.strip_prefix('U').expect("as named above");
        let mut change = |pk: String, change: &dyn Fn(&mut Value)| {
            let sk = pk.split_once('#').expect("a key has a kind").0.to_owned();
            let item = items.get_mut(&(pk, sk)).expect("it was there before");
            change(item);
            item["_updatedAt"] = time.into();
        };
        let remove = |item: &mut Value, name: &str| item.as_object_mut().expect("an object").remove(name);
        let count =
            |item: &mut Value| item["version"] = (item["version"].as_u64().expect("a count") + 1).into();
        let leave = |item: &mut Value| {
            remove(item, "parentId");
            remove(item, "ancestors");
        };
        change(unit_key.0.clone(), &|unit| {
            count(unit);
            unit["name"] = "new name".into();
            unit["visibility"] = "private".into();
        });
        if self.position == Position::Extra {
            (1..100).for_each(|n| change(format!("DEPARTMENT#d{n}{number}"), &leave));
            change(unit_key.0, &|unit| {
                remove(unit, "departmentIds");
                unit["numDepartments"] = 0.into();
            });
            return items;
        }
        change(format!("DEPARTMENT#d{number}"), &leave);
        change(format!("DEPARTMENT#e{number}"), &|item| {
            item["parentId"] = self.unit.as_str().into();
            item["ancestors"] = json!([self.unit]);
        });
        change(format!("UNIT#V{number}"), &|other| {
            count(other);
            remove(other, "departmentIds");
            other["numDepartments"] = 0.into();
        });
        change(unit_key.0.clone(), &|unit| {
            unit["departmentIds"] = json!({ "set": [format!("e{number}")] });
            unit["monitors"] = json!({ "n": username("n") });
        });
        items.remove(&(unit_key.0.clone(), "MONITOR#m".into())).expect("it was there before");
        let monitor = json!({
            "pk": unit_key.0, "sk": "MONITOR#n", "unitId": self.unit, "monitorId": "n",
            "username": username("n"), "_updatedAt": time,
        });
        items.insert((unit_key.0, "MONITOR#n".into()), monitor);
        items
    }

    /// Another update of the unit, which leaves it as it is but for the version.
    fn competitor(&self, world: &World) -> Meanwhile {
        let request = world
            .client
            .update_item()
            .table_name(&world.tables.livechat)
            .key("pk", AttributeValue::S(format!("UNIT#{}", self.unit)))
            .key("sk", AttributeValue::S("UNIT".into()))
            .update_expression("SET version = version + :one")
            .expression_attribute_values(":one", AttributeValue::N("1".into()));
        Arc::new(move || {
            let request = request.clone();
            async move { drop(request.send().await.expect("the unit is updated")) }.boxed()
        })
    }
}

/// What became of an update.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    pub response: Response,
    pub is_stored: bool,
}

/// An update to try.
#[derive(Clone)]
pub struct Drill {
    /// Which of its requests meets faults.
    pub position: Position,
    /// One a try.
    pub faults: Vec<Fault>,
    /// Whether the last one never ends.
    pub for_ever: bool,
    /// How long Lambda lets it run.
    pub remaining: Duration,
}

/// Runs drills in a few worlds side by side, since most of the time they wait.
pub async fn run(drills: impl IntoIterator<Item = Drill>) -> Vec<Outcome> {
    const WORLDS: usize = 48;
    let drills = RefCell::new(drills.into_iter().enumerate());
    let outcomes = RefCell::new(BTreeMap::new());
    let worker = async || {
        world(async |world| {
            world.monitors(&["m", "n"]).await;
            loop {
                let next = drills.borrow_mut().next();
                let Some((number, drill)) = next else { break };
                let outcome = update_through(world, &drill, number).await;
                outcomes.borrow_mut().insert(number, outcome);
            }
        })
        .await;
    };
    join_all((0..WORLDS).map(|_| worker())).await;
    outcomes.into_inner().into_values().collect()
}

/// Checks everything that holds of any update: an answer in time, all stored as asked or nothing, and that it
/// can be repeated.
async fn update_through(world: &World, drill: &Drill, number: usize) -> Outcome {
    let Drill { position, faults, for_ever, remaining } = drill.clone();
    let case = Case::new(world, position, number).await;
    let hits = AtomicUsize::new(0);
    let competitor = case.competitor(world);
    let armed = Arc::new(AtomicBool::new(false));
    let is_armed = armed.clone();
    let faulty = Faulty::new(move |sent| {
        if !is_armed.load(Ordering::Relaxed) {
            return None;
        }
        if position == Position::AfterRefused && sent.is_write && sent.number == 0 {
            return Some(Fault::After(competitor.clone()));
        }
        let hit = || {
            let hit = hits.fetch_add(1, Ordering::Relaxed);
            faults.get(hit).or(faults.last().filter(|_| for_ever)).cloned()
        };
        position.is_at(sent).then(hit)?
    });
    let sdk = faulty.sdk()(world.sdk.clone());
    let function = Function::new(&sdk, world.tables.clone());
    if matches!(position, Position::SeenCaller | Position::SeenUnit) {
        assert_eq!(invoke(&function, &event(&case.unit, "{"), None).await.status_code, 400);
    }
    let mut before = world.items().await;
    armed.store(true, Ordering::Relaxed);

    let started = Instant::now();
    let response = invoke(&function, &case.event, Some(remaining)).await;
    let took = started.elapsed();
    armed.store(false, Ordering::Relaxed);

    // In time by Lambda's clock, and nothing was begun that could not end.
    assert!(took < remaining.max(Duration::from_secs(1)), "answered after {took:?} of {remaining:?}");
    let budget = remaining.saturating_sub(Duration::from_secs(1)).min(Duration::from_secs(10));
    let mut bodies: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for sent in faulty.sent() {
        assert!(sent.at < started + budget + Duration::from_millis(200), "a try after the time was over");
        if sent.is_write {
            let token = sent.json()["ClientRequestToken"].as_str().expect("every write has one").to_owned();
            bodies.entry(token).or_default().insert(sent.body);
        }
    }
    assert!(bodies.values().all(|bodies| bodies.len() == 1), "one token, two transactions: {bodies:?}");

    // All or nothing, under the answer's time.
    if position == Position::AfterRefused && faulty.writes() > 0 {
        let unit = before.get_mut(&(format!("UNIT#{}", case.unit), "UNIT".into())).expect("the unit");
        unit["version"] = 8.into();
    }
    let after = world.items().await;
    let is_stored = after != before;
    if is_stored {
        let time = match response.status_code {
            200 => updated_at(&response),
            _ => after[&(format!("UNIT#{}", case.unit), "UNIT".into())]["_updatedAt"]
                .as_str()
                .expect("a time")
                .to_owned(),
        };
        let asked = case.asked(&before, &time);
        for (key, item) in &asked {
            assert_eq!(Some(item), after.get(key), "half done: {key:?}");
        }
        assert_eq!(asked.len(), after.len(), "half done");
    }

    // The client repeats what was not answered with 200, and it works: nothing is broken or locked.
    if response.status_code != 200 {
        let again = invoke(&function, &case.event, Some(Duration::from_secs(30))).await;
        assert_eq!(again.status_code, 200, "again: {}", again.body);
        let repeated = if is_stored { after } else { case.asked(&before, &updated_at(&again)) };
        let unit = (format!("UNIT#{}", case.unit), "UNIT".to_owned());
        let mut now = world.items().await;
        if is_stored {
            // Asked again for what is: the version and the time move.
            let version = repeated[&unit]["version"].as_u64().expect("a count");
            let now = now.get_mut(&unit).expect("the unit");
            assert_eq!(now["version"], version + 1);
            now["version"] = version.into();
            now["_updatedAt"] = repeated[&unit]["_updatedAt"].clone();
        }
        assert!(now == repeated, "the repetition is not what was asked");
    }
    Outcome { response, is_stored }
}
