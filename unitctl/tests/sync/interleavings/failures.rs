//! The processes of the sync, and whoever makes them fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::proxy::{Mode, Proxy};
use crate::world::{Process, World};

/// A process of the sync with its connections. It may be started again and again.
pub struct Slot {
    pub process: Process,
    pub mongodb: Proxy,
    pub dynamodb: Proxy,
    /// The options of the processes.
    options: &'static [&'static str],
    /// What the processes before it have printed.
    printed: Vec<String>,
    /// The number of lines at the start that do not count.
    ignored: usize,
}

impl Slot {
    pub async fn start(world: &World, options: &'static [&'static str]) -> Self {
        let mongodb = Proxy::start(&super::random::mongodb_address(world)).await;
        let dynamodb = Proxy::start(testing::dynamodb::address()).await;
        let process = process(world, &mongodb, &dynamodb, options);
        Self { process, mongodb, dynamodb, options, printed: Vec::new(), ignored: 0 }
    }

    pub fn restart(&mut self, world: &World) {
        self.process.kill();
        self.printed.extend(self.process.printed());
        self.process = process(world, &self.mongodb, &self.dynamodb, self.options);
    }

    /// What was printed since the last call of [`Slot::begin`].
    pub fn printed(&self) -> Vec<String> {
        self.printed.iter().cloned().chain(self.process.printed()).skip(self.ignored).collect()
    }

    pub fn begin(&mut self) {
        self.ignored = self.printed.len() + self.process.printed().len();
    }
}

/// Starts a process whose connections go through these proxies.
fn process(world: &World, mongodb: &Proxy, dynamodb: &Proxy, options: &[&str]) -> Process {
    let uri = super::random::through(world, mongodb);
    let endpoint = format!("http://{}", dynamodb.address);
    let arguments = [&["sync", "--mongodb-uri", &uri], options].concat();
    Process::start(world.command_at(&endpoint, &arguments))
}

/// Makes processes fail until the test ends it. All of them run again at the end.
pub async fn chaos(
    world: Arc<World>,
    mut slots: Vec<Slot>,
    seed: u64,
    mut stop: tokio::sync::oneshot::Receiver<()>,
) -> Vec<Slot> {
    let mut random = Rng::with_seed(seed);
    while stop.try_recv() == Err(tokio::sync::oneshot::error::TryRecvError::Empty) {
        let index = random.usize(..slots.len());
        let moment = |random: &mut Rng, longest| Duration::from_millis(random.u64(20..longest));
        match random.u32(..12) {
            0..=2 => {
                let slot = &mut slots[index];
                slot.process.kill();
                if random.bool() {
                    sleep(moment(&mut random, 1_000)).await;
                }
                // The others would take over after some time. Now, both may work at the same time.
                world.delete("SYNC#STATE", "LEASE").await;
                slot.restart(&world);
            }
            3..=5 => {
                slots[index].process.signal("STOP");
                sleep(moment(&mut random, 300)).await;
                world.delete("SYNC#STATE", "LEASE").await;
                sleep(moment(&mut random, 3_000)).await;
                slots[index].process.signal("CONT");
            }
            6 | 7 => {
                let slot = &slots[index];
                let proxy = if random.bool() { &slot.mongodb } else { &slot.dynamodb };
                proxy.set(Mode::Cut);
                sleep(moment(&mut random, 1_500)).await;
                proxy.set(Mode::Open);
            }
            8 | 9 => {
                let slot = &slots[index];
                let proxy = if random.bool() { &slot.mongodb } else { &slot.dynamodb };
                proxy.set(Mode::Slow(moment(&mut random, 150)));
                sleep(moment(&mut random, 2_000)).await;
                proxy.set(Mode::Open);
            }
            10 => {
                if random.bool() {
                    world.delete("SYNC#STATE", "POSITIONS").await;
                } else {
                    world.put(rubbish(&mut random)).await;
                }
                world.delete("SYNC#STATE", "LEASE").await;
                slots[index].restart(&world);
            }
            _ => world.delete("SYNC#STATE", "LEASE").await,
        }
        sleep(moment(&mut random, 1_200)).await;
    }
    slots
}

/// Positions that no stream ever had.
fn rubbish(random: &mut Rng) -> Value {
    let position = *random.choice(&["rubbish", "", "{}", "{\"_data\":\"82\"}"]).expect("some");
    let names = [
        "users",
        "rocketchat_permissions",
        "rocketchat_settings",
        "rocketchat_livechat_department",
        "rocketchat_livechat_unit_monitors",
        "dynamodb",
    ];
    let positions: BTreeMap<&str, &str> = names.into_iter().map(|name| (name, position)).collect();
    json!({ "pk": "SYNC#STATE", "sk": "POSITIONS", "positions": positions })
}
