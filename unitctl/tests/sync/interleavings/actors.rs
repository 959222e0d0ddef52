//! Who changes things: Rocket.Chat and the function.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use livechat_units::hashed_token;
use tokio::time::sleep;
use unitctl::sync::model::Side;

use super::facts::{Fact, Known, all, of_dynamodb, snapshot, text};
use super::history::{History, name};
use crate::following::body;
use crate::rocket_chat::RocketChat;
use crate::world::World;

/// What both actors know.
#[derive(Clone)]
pub struct Stage {
    pub world: Arc<World>,
    pub known: Known,
    pub history: History,
    /// The function's caller has this token, which `unitctl token create` made.
    pub token: String,
}

/// One side's actor.
pub struct Actor {
    pub stage: Stage,
    pub random: Rng,
    /// The number of names given so far.
    names: u32,
    /// The function's last name of each unit that was answered with 200.
    last: BTreeMap<String, String>,
    /// The tokens that Rocket.Chat's users have logged in with, by user.
    pub tokens: Vec<(String, String)>,
    /// The tokens that were revoked.
    pub revoked: Vec<(String, String)>,
}

fn pick<'a>(random: &mut Rng, all: &'a [String]) -> &'a String {
    &all[random.usize(..all.len())]
}

fn toggle(set: &mut BTreeSet<String>, what: &str) {
    if !set.remove(what) {
        set.insert(what.to_owned());
    }
}

impl Actor {
    pub fn new(stage: Stage, seed: u64) -> Self {
        Self {
            stage,
            random: Rng::with_seed(seed),
            names: 0,
            last: BTreeMap::new(),
            tokens: Vec::new(),
            revoked: Vec::new(),
        }
    }

    async fn pause(&mut self) {
        let longest = [5, 60, 400, 900][self.random.usize(..4)];
        sleep(Duration::from_millis(self.random.u64(..longest))).await;
    }

    /// A name that nobody has given before.
    fn name(&mut self, side: Side) -> String {
        self.names += 1;
        name(side, self.names)
    }

    fn change(&mut self, monitors: &mut BTreeSet<String>, departments: &mut BTreeSet<String>) {
        let known = self.stage.known.clone();
        for _ in 0..self.random.usize(..3) {
            toggle(monitors, pick(&mut self.random, &known.monitors));
        }
        for _ in 0..self.random.usize(..3) {
            toggle(departments, pick(&mut self.random, &known.departments));
        }
    }

    /// Changes what Rocket.Chat's pages change.
    pub async fn rocket_chat(mut self, steps: u32) -> Self {
        let world = self.stage.world.clone();
        let known = self.stage.known.clone();
        for _ in 0..steps {
            let pause = Duration::from_millis(self.random.u64(..30));
            let rocket_chat = RocketChat { pause, ..world.rocket_chat().clone() };
            let unit = pick(&mut self.random, &known.units).clone();
            let department = pick(&mut self.random, &known.departments).clone();
            let user = pick(&mut self.random, &known.monitors).clone();
            match self.random.u32(..20) {
                0..=7 => self.save_unit(&rocket_chat, &unit).await,
                8..=10 => {
                    let unit = self.random.bool().then_some(unit.as_str());
                    rocket_chat.set_department_unit(&department, unit).await;
                }
                11 => {
                    rocket_chat
                        .change_department(&department, &format!("{department} {}", self.random.u32(..)))
                        .await
                }
                12 => {
                    self.stage.history.role_is_lost_for_a_while(&known.units, &user);
                    rocket_chat.remove_monitor(&user).await;
                    self.pause().await;
                    rocket_chat.add_roles(&user, &["livechat-monitor"]).await;
                }
                13 => rocket_chat.rename_user(&user, &format!("{user}.{}", self.random.u32(..))).await,
                14 => {
                    rocket_chat.revoke("manage-livechat-units", "livechat-manager").await;
                    self.pause().await;
                    rocket_chat.grant("manage-livechat-units", "livechat-manager").await;
                }
                15 => {
                    rocket_chat.set_active(&user, false).await;
                    let (gone, left) =
                        std::mem::take(&mut self.tokens).into_iter().partition(|(other, _)| *other == user);
                    self.tokens = left;
                    self.revoked.extend::<Vec<_>>(gone);
                    self.pause().await;
                    rocket_chat.set_active(&user, true).await;
                }
                _ => self.log_in_or_out(&rocket_chat, &user).await,
            }
            self.pause().await;
        }
        self
    }

    async fn save_unit(&mut self, rocket_chat: &RocketChat, unit: &str) {
        let rows = rocket_chat.monitors(unit).await;
        let mut monitors: BTreeSet<String> = rows.into_iter().map(|(user, _)| user).collect();
        let documents = all(&rocket_chat.departments()).await;
        let here = documents.iter().filter(|document| text(document, "parentId") == unit);
        let mut departments: BTreeSet<String> = here.map(|document| text(document, "_id")).collect();
        self.change(&mut monitors, &mut departments);
        let name = self.name(Side::MongoDb);
        self.stage.history.gives_name(Side::MongoDb, unit, &name);
        let visibility = *self.random.choice(&["private", "public"]).expect("two");
        let monitors: Vec<(&str, &str)> =
            monitors.iter().map(|user| (user.as_str(), user.as_str())).collect();
        let departments: Vec<&str> = departments.iter().map(String::as_str).collect();
        rocket_chat.save_unit(Some(unit), &name, visibility, &monitors, &departments).await;
    }

    async fn log_in_or_out(&mut self, rocket_chat: &RocketChat, user: &str) {
        if self.tokens.len() < 3 || self.random.bool() {
            let token = format!("token-{}-{}", self.tokens.len() + self.revoked.len(), self.random.u64(..));
            rocket_chat.log_in(user, &hashed_token(&token)).await;
            self.tokens.push((user.to_owned(), token));
        } else {
            let (user, token) = self.tokens.swap_remove(self.random.usize(..self.tokens.len()));
            rocket_chat.log_out(&user, &hashed_token(&token)).await;
            self.revoked.push((user, token));
        }
    }

    /// Changes units as a client of the function does: it reads a unit, and sends all of it with some changes.
    pub async fn function(mut self, steps: u32) -> Self {
        for _ in 0..steps {
            let unit = pick(&mut self.random, &self.stage.known.units.clone()).clone();
            self.update(&unit, Self::change).await;
            self.pause().await;
        }
        self
    }

    /// Moves a department to a unit, and changes nothing else but the name and the visibility.
    pub async fn take_department(&mut self, id: &str, unit: &str) {
        let take = |_: &mut Self, _: &mut BTreeSet<String>, departments: &mut BTreeSet<String>| {
            departments.insert(id.to_owned());
        };
        self.update(unit, take).await;
    }

    /// One update, with monitors and departments that `change` has changed.
    async fn update(
        &mut self,
        unit: &str,
        change: impl FnOnce(&mut Self, &mut BTreeSet<String>, &mut BTreeSet<String>),
    ) {
        let Stage { world, known, history, token } = self.stage.clone();
        let items = snapshot(&world, &known).await;
        let before = of_dynamodb(&items, &known);
        let of_unit = |fact: &Fact| match fact {
            Fact::Monitor(of, user) if of == unit && before[fact] == "true" => Some(user.clone()),
            _ => None,
        };
        let mut monitors: BTreeSet<String> = before.keys().filter_map(of_unit).collect();
        let mut departments: BTreeSet<String> = known
            .departments
            .iter()
            .filter(|id| before[&Fact::Place((*id).clone())] == unit)
            .cloned()
            .collect();
        change(self, &mut monitors, &mut departments);
        history.function_finds_name(
            unit,
            &before[&Fact::Name(unit.into())],
            self.last.get(unit).map(String::as_str),
        );
        self.last.remove(unit);
        let name = self.name(Side::DynamoDb);
        let visibility = *self.random.choice(&["private", "public"]).expect("two");
        let monitors: Vec<&str> = monitors.iter().map(String::as_str).collect();
        let departments: Vec<&str> = departments.iter().map(String::as_str).collect();
        let update = body(&name, visibility, &monitors, &departments);
        let answer = world.update(unit, "boss", &token, &update).await;
        assert!([200, 403, 503].contains(&answer.status_code), "{} {}", answer.status_code, answer.body);
        if answer.status_code == 403 {
            return;
        }
        let after = snapshot(&world, &known).await;
        if answer.status_code == 200 {
            history.gives_name(Side::DynamoDb, unit, &name);
            self.last.insert(unit.to_owned(), name.clone());
        }
        // If nobody else wrote the unit meanwhile, only these facts have changed.
        let version = |items: &super::facts::Items| {
            items
                .get(&(format!("UNIT#{unit}"), "UNIT".into()))
                .and_then(|item| item["version"].as_u64())
                .unwrap_or(0)
        };
        let is_exact = answer.status_code == 200 && version(&after) == version(&items) + 1;
        let mut targets =
            vec![(Fact::Name(unit.into()), name), (Fact::Visibility(unit.into()), visibility.into())];
        for user in &known.monitors {
            targets.push((
                Fact::Monitor(unit.into(), user.clone()),
                monitors.contains(&user.as_str()).to_string(),
            ));
        }
        for id in &known.departments {
            let fact = Fact::Place(id.clone());
            if departments.contains(&id.as_str()) {
                targets.push((fact, unit.to_owned()));
            } else if !is_exact || before[&fact] == unit {
                targets.push((fact, String::new()));
            }
        }
        for (fact, value) in targets {
            if !is_exact || before[&fact] != value {
                history.function_sets(fact, value);
            }
        }
    }
}
