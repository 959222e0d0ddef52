//! A model of both sides, their clients, and processes that may end, pause, or lose the answer to a write between any two
//! steps. Random histories must end with both sides equal, and must lose no change without naming it.
//!
//! A change is a value that differs from the last common one. A value is common once the sync has committed it to the
//! second side, or has stored it in the base after it found it on both sides. A value that a client sets and takes back
//! between two looks is not seen, and not missed.

mod process;
mod world;

use proptest::prelude::*;

use super::tests::config;
use process::Process;
use world::{Clients, World};

/// One event of a history.
#[derive(Clone, Debug)]
enum Event {
    /// A process does its next step.
    Step(usize),
    /// A process ends, and another one starts.
    Restart(usize),
    /// A process gets no answer to its write, and looks again. The write may still arrive.
    LoseAnswer(usize),
    /// A write arrives whose process has given it up.
    Arrive,
    /// The next write of a process is refused.
    Refuse(usize),
    /// The base items are lost, when no process is at work.
    LoseBases,
    /// A client changes something.
    Client(Clients),
}

fn events(disturbances: u32) -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        40 => Just(Event::Step(0)),
        2 => Just(Event::Refuse(0)),
        12 => world::clients().prop_map(Event::Client),
        20 * disturbances => Just(Event::Step(1)),
        2 * disturbances => (0..2_usize).prop_map(Event::Restart),
        3 * disturbances => (0..2_usize).prop_map(Event::LoseAnswer),
        2 * disturbances => Just(Event::Arrive),
        disturbances => Just(Event::LoseBases),
    ];
    prop::collection::vec(event, 0..150)
}

/// Runs a history, then lets one process work until nothing is left to do.
fn run(skew_ms: i64, events: Vec<Event>) {
    let mut world = World::new(skew_ms);
    // The first look stores the base.
    rest(&mut Process::default(), &mut world);
    let mut processes = [Process::default(), Process::default()];
    let mut given_up: Vec<Process> = Vec::new();
    for event in events {
        world.is_disturbed |= matches!(
            event,
            Event::Step(1) | Event::Restart(_) | Event::LoseAnswer(_) | Event::Arrive | Event::LoseBases
        );
        match event {
            Event::Step(index) => processes[index].step(&mut world),
            Event::Restart(index) => processes[index] = Process::default(),
            Event::LoseAnswer(index) => {
                given_up.extend(processes[index].is_writing().then(|| std::mem::take(&mut processes[index])));
            }
            Event::Arrive => {
                if let Some(mut process) = given_up.pop() {
                    process.step(&mut world);
                }
            }
            Event::Refuse(index) => processes[index].is_next_write_refused = true,
            Event::LoseBases => {
                processes = [Process::default(), Process::default()];
                given_up.clear();
                world.lose_bases();
            }
            Event::Client(change) => world.change(change),
        }
    }
    for mut process in given_up {
        process.step(&mut world);
    }
    // The other process ended, at some point of its work.
    let [mut process, _] = processes;
    rest(&mut process, &mut world);
    // A client's last change may have come after the last look began.
    process = Process::default();
    rest(&mut process, &mut world);
    world.assert_equal();
    let writes = world.writes;
    rest(&mut Process::default(), &mut world);
    assert_eq!(world.writes, writes, "something is still written");
}

/// Lets a process work until it finds nothing to do.
fn rest(process: &mut Process, world: &mut World) {
    for _ in 0..300 {
        if process.is_at_rest() {
            return;
        }
        process.step(world);
    }
    panic!("never at rest");
}

fn skews() -> impl Strategy<Value = i64> {
    prop::sample::select(vec![0, 3_600_000, -3_600_000])
}

proptest! {
    // With this many cases, every mistake that was put in on trial was found, such as to decide without proof that an
    // intent was committed, or that it was not.
    #![proptest_config(config(3000))]

    #[test]
    fn both_sides_become_equal_and_no_change_is_lost_without_being_named(
        skew in skews(),
        events in events(1),
    ) {
        run(skew, events);
    }
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn one_process_that_never_ends_names_only_values_that_both_sides_changed(
        skew in skews(),
        events in events(0),
    ) {
        run(skew, events);
    }
}
