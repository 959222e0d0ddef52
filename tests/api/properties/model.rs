//! Random sequences of requests, and of changes by other programs. The function and a model of the contract get the same
//! sequence. Their answers and everything stored must agree. `MODEL_SEQUENCES` is the number of sequences.

pub mod changes;
pub mod random;
pub mod reference;
pub mod steps;
pub mod tables;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};

use crate::support::app::is_late;
use crate::support::invariants::broken_invariant;
use crate::support::{case_count, invoke};
use changes::initial_tables;
use random::sequences;
use steps::Step;
use tables::{ModelTables, difference};

const SEQUENCES: u32 = 1_500;

/// Threads that try sequences at the same time, each in tables of its own.
const WORKERS: u32 = 4;

/// How often each answer came, and how often the invariants held before an update.
type AnswerCounts = BTreeMap<&'static str, usize>;

const INVARIANTS_HELD: &str = "the invariants held before";

#[test]
fn the_function_and_the_model_agree() {
    let sequences = case_count("MODEL_SEQUENCES", SEQUENCES);
    let counts = Mutex::new(AnswerCounts::new());
    let failure = thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS)
            .map(|_| scope.spawn(|| try_sequences(sequences.div_ceil(WORKERS), &counts).err()))
            .collect();
        let failures =
            workers.into_iter().filter_map(|worker| worker.join().expect("a worker does not panic"));
        failures.min_by_key(String::len)
    });
    if let Some(failure) = failure {
        panic!("{failure}");
    }
    let counts = counts.into_inner().expect("no worker panics");
    println!("{counts:#?}");
    // Sequences that are all refused for the same reason would test little.
    if sequences < SEQUENCES {
        return;
    }
    for answer in ANSWERS.into_iter().chain([INVARIANTS_HELD]) {
        assert!(counts.contains_key(answer), "no {answer:?} in {counts:?}");
    }
}

/// Tries this many sequences, one after the other. Returns the shortest failing sequence that it finds.
fn try_sequences(cases: u32, counts: &Mutex<AnswerCounts>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let tables = runtime.block_on(ModelTables::new());
    // The panic message has the failing case, so no file is needed.
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let run = TestRunner::new(config)
        .run(&sequences(), |steps| runtime.block_on(try_steps(&tables, &steps, counts)));
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

async fn try_steps(
    tables: &ModelTables,
    steps: &[Step],
    counts: &Mutex<AnswerCounts>,
) -> Result<(), TestCaseError> {
    let mut function = tables.app.another_function();
    let mut model = initial_tables();
    for step in steps {
        if let Step::NewEnvironment = step {
            function = tables.app.another_function();
        }
        let Some(event) = step.event() else {
            step.apply_to(&mut model);
            continue;
        };
        tables.store(&model).await;
        let invariants_held = broken_invariant(&model.livechat).is_none();

        let started = Instant::now();
        let response = invoke(&function, &event, None).await;
        if is_late(&response, started) {
            // The update may be stored or not, so nothing is known any more.
            tables.items().await;
            return Ok(());
        }
        let expected = model.expected_answer(step, &response);
        let answered = (response.status_code, response.body);
        if answered != expected {
            return fail(format!("the function answers {answered:?}, the model {expected:?}"));
        }
        let items = tables.items().await;
        difference(&items, &model.livechat).map_or(Ok(()), fail)?;
        if invariants_held && let Some(broken) = broken_invariant(&items) {
            return fail(format!("an invariant held before and is broken now: {broken}"));
        }
        count(counts, &answered.1, invariants_held);
    }
    // The function never writes tokens, so one check at the end is enough.
    tables.store(&model).await;
    difference(&tables.tokens().await, &model.tokens).map_or(Ok(()), fail)
}

fn fail(reason: String) -> Result<(), TestCaseError> {
    Err(TestCaseError::fail(reason))
}

/// The answers that a run must contain, each by a part of its body.
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

fn count(counts: &Mutex<AnswerCounts>, body: &str, invariants_held: bool) {
    let answer = ANSWERS.into_iter().find(|answer| body.contains(answer)).expect("one of these");
    let mut counts = counts.lock().expect("no worker panics");
    *counts.entry(answer).or_default() += 1;
    if invariants_held {
        *counts.entry(INVARIANTS_HELD).or_default() += 1;
    }
}
