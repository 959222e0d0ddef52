//! What happened in a run: each change that the actors of both sides made, each value that MongoDB had, and each line of
//! each process. From these it follows whether a change was lost without a warning.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use mongodb::Collection;
use mongodb::bson::{Bson, Document};
use mongodb::change_stream::event::OperationType;
use serde_json::Value;
use unitctl::sync::model::Side;

use super::facts::{Fact, Facts, text};
use crate::world::World;

/// Everything that was noted. A clone is the same history.
#[derive(Clone, Default)]
pub struct History(Arc<Mutex<Noted>>);

#[derive(Default)]
struct Noted {
    /// MongoDB's values now, as its change streams show them.
    mongodb: Facts,
    /// Each new value in MongoDB, in order, whoever wrote it.
    transitions: Vec<(Fact, String)>,
    /// The rows of monitors by their `_id`.
    rows: BTreeMap<String, (String, String)>,
    /// What the function may have changed: its own update was the only one that could have set this value.
    by_function: Vec<(Fact, String)>,
    /// What either side may have become because a user lost the role of a monitor, or got it back.
    by_role: Vec<(Fact, String)>,
    /// The names that each side's actor gave, by unit, in order, if it knows that they were stored. Each is given once.
    names: BTreeMap<(Side, String), Vec<String>>,
    /// The names that DynamoDB was seen to have.
    seen_in_dynamodb: BTreeSet<String>,
    /// Names of the function that were gone before the function gave the next one, and what was there instead.
    replaced: Vec<(String, String)>,
}

/// A name that this side's actor gives.
pub fn name(side: Side, number: u32) -> String {
    format!("{} {number}", prefix(side))
}

fn prefix(side: Side) -> &'static str {
    match side {
        Side::MongoDb => "Rocket.Chat",
        Side::DynamoDb => "function",
    }
}

/// What a process of the sync printed.
#[derive(Clone, Debug)]
struct Line {
    level: String,
    message: String,
    subject: String,
}

impl History {
    fn noted<T>(&self, note: impl FnOnce(&mut Noted) -> T) -> T {
        note(&mut self.0.lock().expect("no panic"))
    }

    /// Follows MongoDB's changes from now on. Both sides have these facts.
    pub async fn follow(&self, world: &World, facts: Facts, rows: &[Document]) {
        self.noted(|noted| {
            noted.seen_in_dynamodb.extend(
                facts.iter().filter(|(fact, _)| matches!(fact, Fact::Name(_))).map(|(_, name)| name.clone()),
            );
            noted.mongodb = facts;
            noted.rows.extend(rows.iter().map(row));
        });
        for collection in [world.rocket_chat().departments(), world.rocket_chat().unit_monitors()] {
            self.clone().follow_collection(collection).await;
        }
    }

    async fn follow_collection(self, collection: Collection<Document>) {
        let mut stream = collection.watch().await.expect("it is a replica set");
        tokio::spawn(async move {
            // At the end the database is dropped, and the stream with it.
            while stream.is_alive()
                && let Ok(event) = stream.next_if_any().await
            {
                let Some(event) = event else { continue };
                let id = event.document_key.as_ref().map(|key| text(key, "_id")).unwrap_or_default();
                let is_row = collection.name().ends_with("unit_monitors");
                self.noted(|noted| match event.operation_type {
                    OperationType::Insert | OperationType::Replace => {
                        let document = event.full_document.as_ref().expect("an insert has the document");
                        if is_row {
                            let (id, monitor) = row(document);
                            noted.rows.insert(id, monitor.clone());
                            noted.insert_row(Fact::Monitor(monitor.0, monitor.1));
                        } else {
                            noted.fields(&id, document, &[]);
                        }
                    }
                    OperationType::Update if !is_row => {
                        let update = event.update_description.as_ref().expect("an update says what");
                        noted.fields(&id, &update.updated_fields, &update.removed_fields);
                    }
                    OperationType::Delete if is_row => {
                        if let Some(monitor) = noted.rows.remove(&id)
                            && !noted.rows.values().any(|other| *other == monitor)
                        {
                            noted.set(Fact::Monitor(monitor.0, monitor.1), "false".into());
                        }
                    }
                    _ => {}
                });
            }
        });
    }

    /// Whether MongoDB's change streams have shown these facts as they are now.
    pub fn has_followed(&self, facts: &Facts) -> bool {
        self.noted(|noted| facts.iter().all(|(fact, value)| noted.mongodb.get(fact) == Some(value)))
    }

    /// One side's actor has given a unit this name.
    pub fn gives_name(&self, side: Side, unit: &str, name: &str) {
        self.noted(|noted| noted.names.entry((side, unit.to_owned())).or_default().push(name.to_owned()));
    }

    /// The function is about to give a unit another name, and this one was there before.
    pub fn function_finds_name(&self, unit: &str, name: &str, last: Option<&str>) {
        self.noted(|noted| {
            noted.seen_in_dynamodb.insert(name.to_owned());
            if let Some(last) = last.filter(|last| *last != name) {
                noted.replaced.push((last.to_owned(), format!("{name} of {unit}")));
            }
        });
    }

    /// The function may have set a fact.
    pub fn function_sets(&self, fact: Fact, value: String) {
        self.noted(|noted| noted.by_function.push((fact, value)));
    }

    /// Rocket.Chat takes the role of a monitor from a user, and gives it back later. Meanwhile an update of a unit, by the
    /// function or by the sync, leaves the user out. If MongoDB still has a row for the user then, the user comes back with
    /// the role.
    pub fn role_is_lost_for_a_while(&self, units: &[String], user: &str) {
        self.noted(|noted| {
            for unit in units {
                for value in ["false", "true"] {
                    noted.by_role.push((Fact::Monitor(unit.clone(), user.to_owned()), value.to_owned()));
                }
            }
        });
    }

    pub fn sees_in_dynamodb(&self, facts: &Facts) {
        self.noted(|noted| {
            for (fact, value) in facts {
                if matches!(fact, Fact::Name(_)) && !noted.seen_in_dynamodb.contains(value) {
                    noted.seen_in_dynamodb.insert(value.clone());
                }
            }
        });
    }

    /// The changes that were lost although no line of the processes names them, and the writes of the sync for which the other
    /// side gave no reason.
    pub fn complaints(&self, printed: &[String]) -> Vec<String> {
        let lines: Vec<Line> = printed.iter().filter_map(|line| parse(line)).collect();
        self.noted(|noted| {
            let mut complaints = noted.lost_names(&lines);
            complaints.extend(noted.writes_without_reason(&lines));
            complaints
        })
    }
}

impl Noted {
    fn set(&mut self, fact: Fact, value: String) {
        if self.mongodb.get(&fact) != Some(&value) {
            self.mongodb.insert(fact.clone(), value.clone());
            self.transitions.push((fact, value));
        }
    }

    /// Rocket.Chat and the sync may insert a row for the same monitor at the same time. Each of them counts.
    fn insert_row(&mut self, monitor: Fact) {
        self.mongodb.insert(monitor.clone(), "true".into());
        self.transitions.push((monitor, "true".into()));
    }

    fn fields(&mut self, id: &str, changed: &Document, removed: &[String]) {
        let is_unit = self.mongodb.contains_key(&Fact::Name(id.to_owned()))
            || changed.get_str("type").is_ok_and(|kind| kind == "u");
        if !is_unit {
            match changed.get("parentId") {
                Some(Bson::String(unit)) => self.set(Fact::Place(id.into()), unit.clone()),
                Some(_) => self.set(Fact::Place(id.into()), String::new()),
                None if removed.iter().any(|field| field == "parentId") => {
                    self.set(Fact::Place(id.into()), String::new());
                }
                None => {}
            }
            return;
        }
        if let Ok(name) = changed.get_str("name") {
            self.set(Fact::Name(id.into()), name.into());
        }
        if let Ok(visibility) = changed.get_str("visibility") {
            self.set(Fact::Visibility(id.into()), visibility.into());
        }
    }

    /// Names are given once, so what became of each is known exactly.
    fn lost_names(&self, lines: &[Line]) -> Vec<String> {
        let mut complaints = Vec::new();
        let is_named = |name: &str| {
            let text = format!("the name {name:?} in ");
            lines.iter().any(|line| line.level == "WARN" && line.message.contains(&text))
        };
        let was_in_dynamodb = |name: &str| {
            let text = format!("wrote to DynamoDB: the name is now {name:?}");
            self.seen_in_dynamodb.contains(name) || lines.iter().any(|line| line.message == text)
        };
        let in_mongodb: BTreeSet<&String> = self
            .transitions
            .iter()
            .filter(|(fact, _)| matches!(fact, Fact::Name(_)))
            .map(|(_, name)| name)
            .collect();
        let units: BTreeSet<&String> = self.names.keys().map(|(_, unit)| unit).collect();
        for unit in units {
            let fact = Fact::Name(unit.clone());
            let had: Vec<&String> = self
                .transitions
                .iter()
                .filter(|(changed, _)| *changed == fact)
                .map(|(_, name)| name)
                .collect();
            for pair in had.windows(2) {
                let (old, new) = (pair[0], pair[1]);
                // The sync has written this. Rocket.Chat's name must have been carried before, or be named.
                let is_by_sync = new.starts_with(prefix(Side::DynamoDb));
                if is_by_sync
                    && old.starts_with(prefix(Side::MongoDb))
                    && !was_in_dynamodb(old)
                    && !is_named(old)
                {
                    complaints.push(format!("{unit}: Rocket.Chat's {old} was overwritten with {new}"));
                }
            }
            for (index, name) in had.iter().enumerate() {
                if had[..index].contains(name) && !is_named(name) && !had.iter().any(|other| is_named(other))
                {
                    complaints.push(format!("{unit}: MongoDB had {name} again"));
                }
            }
            // The last name of each side is the name now, or was seen by the other side and replaced there, or is named.
            let now = self.mongodb.get(&fact);
            for side in [Side::MongoDb, Side::DynamoDb] {
                let Some(last) = self.names.get(&(side, unit.clone())).and_then(|names| names.last()) else {
                    continue;
                };
                let was_carried = match side {
                    Side::MongoDb => was_in_dynamodb(last),
                    Side::DynamoDb => in_mongodb.contains(last),
                };
                if now != Some(last) && !was_carried && !is_named(last) {
                    complaints.push(format!("{unit}: {last} of {side} is lost, the name is {now:?}"));
                }
            }
        }
        for (name, by) in &self.replaced {
            if !in_mongodb.contains(name) && !is_named(name) {
                complaints.push(format!("the function's {name} was overwritten with {by}"));
            }
        }
        complaints
    }

    /// Each write of the sync carries a change of the other side, and each change is carried once. A write that has no such
    /// change has undone one. Warnings may stand for the decision between two changes.
    fn writes_without_reason(&self, lines: &[Line]) -> Vec<String> {
        let mut to_mongodb: BTreeMap<(Fact, String), usize> = BTreeMap::new();
        let mut to_dynamodb: BTreeMap<(Fact, String), usize> = BTreeMap::new();
        let mut warnings: BTreeMap<Fact, usize> = BTreeMap::new();
        for line in lines {
            if let Some((side, fact, value)) = line.written() {
                let written = if side == Side::MongoDb { &mut to_mongodb } else { &mut to_dynamodb };
                *written.entry((fact, value)).or_default() += 1;
            } else if line.level == "WARN"
                && let Some(fact) = line.overwritten()
            {
                *warnings.entry(fact).or_default() += 1;
            }
        }
        let count =
            |of: &[(Fact, String)], what: &(Fact, String)| of.iter().filter(|other| *other == what).count();
        let mut complaints = Vec::new();
        let written: BTreeSet<&(Fact, String)> = to_mongodb.keys().chain(to_dynamodb.keys()).collect();
        for what in written {
            let warnings = warnings.get(&what.0).copied().unwrap_or_default();
            let role = count(&self.by_role, what);
            let (mongodb, dynamodb) = (
                to_mongodb.get(what).copied().unwrap_or_default(),
                to_dynamodb.get(what).copied().unwrap_or_default(),
            );
            let function = count(&self.by_function, what);
            if mongodb > function + role + warnings {
                complaints.push(format!(
                    "{what:?} was written to MongoDB {mongodb} times; the function set it {function} times, the role \
                     explains {role}, and there are {warnings} warnings"
                ));
            }
            // What the sync wrote to MongoDB was in MongoDB, too.
            let rocket_chat = count(&self.transitions, what).saturating_sub(mongodb);
            if dynamodb > rocket_chat + role + warnings {
                complaints.push(format!(
                    "{what:?} was written to DynamoDB {dynamodb} times; Rocket.Chat set it {rocket_chat} times, the role \
                     explains {role}, and there are {warnings} warnings"
                ));
            }
        }
        complaints
    }
}

impl Line {
    /// What the sync says that it has written.
    fn written(&self) -> Option<(Side, Fact, String)> {
        let (side, what) = self.message.strip_prefix("wrote to ")?.split_once(": ")?;
        let side = if side == "MongoDB" { Side::MongoDb } else { Side::DynamoDb };
        if let Some(department) = self.subject.strip_prefix("department ") {
            let place = what.strip_prefix(&format!("department {department} is now in "))?;
            let unit = place.strip_prefix("unit ").unwrap_or_default();
            return Some((side, Fact::Place(department.into()), unit.into()));
        }
        let unit = self.subject.strip_prefix("unit ")?.to_owned();
        if let Some(name) = what.strip_prefix("the name is now ") {
            return Some((side, Fact::Name(unit), serde_json::from_str(name).ok()?));
        }
        if let Some(visibility) = what.strip_prefix("the visibility is now ") {
            return Some((side, Fact::Visibility(unit), visibility.into()));
        }
        let (user, what) = what.strip_prefix("user ")?.split_once(" is ")?;
        Some((side, Fact::Monitor(unit, user.into()), what.starts_with("a monitor").to_string()))
    }

    /// The fact of which the sync says that one side's value is overwritten.
    fn overwritten(&self) -> Option<Fact> {
        if let Some(department) = self.subject.strip_prefix("department ") {
            return Some(Fact::Place(department.into()));
        }
        let unit = self.subject.strip_prefix("unit ")?.to_owned();
        if self.message.contains(": the name ") {
            return Some(Fact::Name(unit));
        }
        if self.message.contains(": the visibility ") {
            return Some(Fact::Visibility(unit));
        }
        let (_, user) = self.message.split_once(": user ")?;
        Some(Fact::Monitor(unit, user.split(' ').next()?.into()))
    }
}

fn parse(line: &str) -> Option<Line> {
    let line: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| line[name].as_str().unwrap_or_default().to_owned();
    Some(Line { level: text("level"), message: text("message"), subject: text("subject") })
}

fn row(document: &Document) -> (String, (String, String)) {
    (text(document, "_id"), (text(document, "unitId"), text(document, "monitorId")))
}
