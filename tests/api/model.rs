//! Random sequences of requests and of what others do meanwhile, on the function and on a plain model of
//! the contract: every answer and everything stored must agree. `MODEL_SEQUENCES` is how many are tried.

pub mod random;
pub mod reference;
pub mod steps;
pub mod tables;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::thread;

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use crate::invariants::broken_invariant;
use crate::world::{cases, invoke};
use random::sequences;
use steps::{Step, at_first};
use tables::{ModelTables, difference};

const SEQUENCES: u32 = 2_000;

/// Sequences are tried side by side, each row of them in tables of its own.
const ROWS: u32 = 4;

/// How often each answer came, and how often the invariants held before an update.
type Seen = BTreeMap<&'static str, usize>;

const HELD: &str = "the invariants held before";

#[test]
fn the_function_and_the_model_agree() {
    let sequences = cases("MODEL_SEQUENCES", SEQUENCES);
    let seen = Mutex::new(Seen::new());
    let failure = thread::scope(|scope| {
        let rows: Vec<_> =
            (0..ROWS).map(|_| scope.spawn(|| row(sequences.div_ceil(ROWS), &seen).err())).collect();
        let failures = rows.into_iter().filter_map(|row| row.join().expect("a row does not panic"));
        failures.min_by_key(String::len)
    });
    if let Some(failure) = failure {
        panic!("{failure}");
    }
    let seen = seen.into_inner().expect("nobody panics");
    println!("{seen:#?}");
    // The sequences are worth nothing if they are all refused for the same reason.
    if sequences < SEQUENCES {
        return;
    }
    for answer in ANSWERS.into_iter().chain([HELD]) {
        assert!(seen.contains_key(answer), "no {answer:?} in {seen:?}");
    }
}

/// Tries so many sequences, one after the other. Gives back the shortest failing one that it finds.
fn row(cases: u32, seen: &Mutex<Seen>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let tables = runtime.block_on(ModelTables::new());
    // A failing case is in the message; a file of them would be read by nobody.
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let run =
        TestRunner::new(config).run(&sequences(), |steps| runtime.block_on(try_steps(&tables, &steps, seen)));
    run.map_err(|error| match error {
        TestError::Fail(reason, steps) => {
            let list = steps.iter().enumerate().fold(String::new(), |mut list, (n, step)| {
                _ = writeln!(list, "{:3}. {step:?}", n + 1);
                list
            });
            format!("After the last of these steps, {reason}\n{list}")
        }
        TestError::Abort(reason) => format!("gave up: {reason}"),
    })
}

async fn try_steps(tables: &ModelTables, steps: &[Step], seen: &Mutex<Seen>) -> Result<(), TestCaseError> {
    let mut function = tables.world.another_function();
    let mut model = at_first();
    for step in steps {
        if let Step::NewEnvironment = step {
            function = tables.world.another_function();
        }
        let Some(event) = step.event() else {
            step.happen(&mut model);
            continue;
        };
        tables.hold(&model).await;
        let held = broken_invariant(&model.livechat).is_none();

        let response = invoke(&function, &event, None).await;
        let expected = model.follow(step, &response);
        let answered = (response.status_code, response.body);
        if answered != expected {
            return fail(format!("the function answers {answered:?}, the model {expected:?}"));
        }
        let items = tables.items().await;
        difference(&items, &model.livechat).map_or(Ok(()), fail)?;
        if held && let Some(broken) = broken_invariant(&items) {
            return fail(format!("an invariant is broken that held before: {broken}"));
        }
        note(seen, &answered.1, held);
    }
    // Only the test writes tokens, so one look at the end shows that nobody else did.
    tables.hold(&model).await;
    difference(&tables.tokens().await, &model.tokens).map_or(Ok(()), fail)
}

fn fail(what: String) -> Result<(), TestCaseError> {
    Err(TestCaseError::fail(what))
}

/// The answers that a run must have seen, by what is in their bodies.
const ANSWERS: [&str; 9] = [
    "success\":true",
    "You must be logged in",
    "\"unauthorized\"",
    "permissions",
    "Unit not found",
    "Department not found",
    "Invalid JSON",
    "Match error",
    "Internal server error",
];

fn note(seen: &Mutex<Seen>, body: &str, held: bool) {
    let answer = ANSWERS.into_iter().find(|answer| body.contains(answer)).expect("one of these");
    let mut seen = seen.lock().expect("nobody panics");
    *seen.entry(answer).or_default() += 1;
    if held {
        *seen.entry(HELD).or_default() += 1;
    }
}
