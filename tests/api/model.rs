//! Random sequences of requests and of what others do meanwhile, on the function and on a plain model of
//! the contract: every answer and everything stored must agree. `MODEL_SEQUENCES` is how many are tried.

mod reference;
mod steps;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::thread;

use aws_sdk_dynamodb::types::{AttributeValue, DeleteRequest, PutRequest, WriteRequest};
use proptest::test_runner::{Config, TestCaseError, TestError, TestRunner};
use serde_json::Value;
use unitctl::sample;

use crate::world::{Items, World, broken_invariant, event, invoke};
use reference::Stored;
use steps::{Caller, Step, at_first};

/// As many as the normal test run has time for.
const SEQUENCES: u32 = 2_000;

/// Sequences are tried side by side, each row of them in tables of its own.
const ROWS: u32 = 4;

/// How often each answer came, and how often the invariants held before an update.
type Seen = BTreeMap<&'static str, usize>;

const HELD: &str = "the invariants held before";

#[test]
fn the_function_and_the_model_agree() {
    let sequences = std::env::var("MODEL_SEQUENCES").map_or(SEQUENCES, |n| n.parse().expect("a number"));
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
fn row(sequences: u32, seen: &Mutex<Seen>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let tested = runtime.block_on(Tested::new());
    // What is kept of a failing case is in the message; a file of them would be read by nobody.
    let config = Config { cases: sequences, failure_persistence: None, ..Config::default() };
    let stored = Mutex::new(Stored::default());
    let run = TestRunner::new(config).run(&steps::sequences(), |steps| {
        let mut stored = stored.lock().expect("nobody panics");
        runtime.block_on(tested.run(&steps, &mut stored, seen))
    });
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

struct Tested(World);

impl Tested {
    async fn new() -> Self {
        let http = aws_smithy_http_client::Builder::new().build_http();
        Self(World::new(|sdk| sdk.into_builder().http_client(http).build()).await)
    }

    /// `stored` is what the tables hold, from sequence to sequence.
    async fn run(
        &self,
        steps: &[Step],
        stored: &mut Stored,
        seen: &Mutex<Seen>,
    ) -> Result<(), TestCaseError> {
        let mut function = self.0.another_function();
        let mut model = at_first();
        for step in steps {
            if let Step::NewEnvironment = step {
                function = self.0.another_function();
            }
            let Some((caller, unit, sent)) = step.request() else {
                step.happen(&mut model);
                continue;
            };
            self.store(stored, &model).await;
            let held = broken_invariant(&model.livechat).is_none();

            let response = invoke(&function, &event_of(caller, unit.0, &sent.body()), None).await;
            let body: Value = serde_json::from_str(&response.body).expect("a body is JSON");
            let updated_at = body["_updatedAt"].as_str().unwrap_or("no time");
            let expected = model.answer(caller, unit.0, &sent, updated_at);
            stored.livechat = self.0.items().await;

            let answered = (response.status_code, response.body);
            if answered != expected {
                return fail(format!("the function answers {answered:?}, the model {expected:?}"));
            }
            if *stored != model {
                return fail(difference(stored, &model));
            }
            if held && let Some(broken) = broken_invariant(&stored.livechat) {
                return fail(format!("an invariant is broken that held before: {broken}"));
            }
            note(seen, &answered.1, held);
        }
        // Nobody but the test writes tokens, so one look at the end shows that nobody else did.
        self.store(stored, &model).await;
        stored.tokens = self.0.tokens().await;
        if *stored == model { Ok(()) } else { fail(difference(stored, &model)) }
    }

    /// Changes what is stored into what the model has.
    async fn store(&self, stored: &mut Stored, model: &Stored) {
        let tables = &self.0.tables;
        for (table, names, old, new) in [
            (&tables.livechat, &["pk", "sk"][..], &stored.livechat, &model.livechat),
            (&tables.tokens, &["hashedToken"], &stored.tokens, &model.tokens),
        ] {
            let puts = new.iter().filter(|(key, item)| old.get(key) != Some(item)).map(|(_, item)| put(item));
            let gone = old.iter().filter(|(key, _)| !new.contains_key(key));
            let writes: Vec<WriteRequest> = puts.chain(gone.map(|(_, item)| delete(item, names))).collect();
            for batch in writes.chunks(25) {
                let request = self.0.client.batch_write_item().request_items(table, batch.to_vec());
                let output = request.send().await.expect("the items are written");
                assert!(output.unprocessed_items.is_none_or(|left| left.is_empty()), "some are left");
            }
        }
        *stored = model.clone();
    }
}

fn event_of(caller: Caller, unit: &str, body: &str) -> Value {
    let mut event = event(unit, body);
    event["headers"]["x-auth-token"] = caller.token.as_token().into();
    event["headers"]["x-user-id"] = caller.user.0.into();
    event
}

fn put(item: &Value) -> WriteRequest {
    let AttributeValue::M(item) = sample::attribute(item) else { panic!("no item: {item}") };
    let put = PutRequest::builder().set_item(Some(item)).build().expect("it has an item");
    WriteRequest::builder().put_request(put).build()
}

fn delete(item: &Value, key: &[&str]) -> WriteRequest {
    let delete = key
        .iter()
        .fold(DeleteRequest::builder(), |delete, name| delete.key(*name, sample::attribute(&item[*name])));
    WriteRequest::builder().delete_request(delete.build().expect("it has a key")).build()
}

fn fail(what: String) -> Result<(), TestCaseError> {
    Err(TestCaseError::fail(what))
}

fn difference(stored: &Stored, model: &Stored) -> String {
    let differ = |stored: &Items, model: &Items| {
        let keys = stored.keys().chain(model.keys().filter(|key| !stored.contains_key(*key)));
        let differ = keys.filter(|key| stored.get(*key) != model.get(*key)).map(|key| {
            let show = |item: Option<&Value>| item.map_or("nothing".into(), Value::to_string);
            format!("\n  {}\n  and the model says {}", show(stored.get(key)), show(model.get(key)))
        });
        differ.collect::<String>()
    };
    let items = differ(&stored.livechat, &model.livechat) + &differ(&stored.tokens, &model.tokens);
    format!("there is stored{items}")
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
