//! Every fault at every request of an update: the answer, and whether the update is stored. docs/reliability.md has
//! the results as a table, and `BLESS=1` writes it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::json;

use super::drill::{Drill, Outcome, Position, run};
use crate::support::fault_proxy::ConnectionFault;
use crate::support::faulty_client::{Fault, cancelled, exception};
use crate::support::responses::{BUSY, INTERNAL_ERROR, UNAVAILABLE};
use crate::support::update_case::Progress;

/// A row of the matrix.
#[derive(Clone)]
struct Row {
    name: &'static str,
    fault: Fault,
    effect: Effect,
    requests: Requests,
}

/// The requests that a fault can happen to.
#[derive(Clone, Copy, PartialEq)]
enum Requests {
    All,
    Reads,
    Writes,
}

impl Requests {
    fn include(self, position: Position) -> bool {
        match self {
            Self::All => true,
            Self::Reads => !position.is_write(),
            Self::Writes => position.is_write(),
        }
    }
}

/// What a fault does to an update.
#[derive(Clone, Copy, PartialEq)]
enum Effect {
    /// The answer is 200, however often the fault happens.
    Harmless,
    /// The answer is 200 if the fault happens once or twice, and 503 if it happens at every attempt.
    Transient,
    /// The fault uses up the time, so the answer is 503.
    UsesUpTime,
    /// The function does not try again: the answer is 500.
    Permanent,
    /// DynamoDB says that the transaction has more than 4 MB, so the function divides it. The answer is 200 if that happens once
    /// or twice, and 500 if even the smallest transaction is refused.
    Divided,
}

fn row(requests: Requests, name: &'static str, fault: Fault, effect: Effect) -> Row {
    Row { name, fault, effect, requests }
}

/// All faults.
fn rows() -> Vec<Row> {
    use Effect::*;
    let any = |name, fault, effect| row(Requests::All, name, fault, effect);
    let connection = |name, fault, effect| any(name, Fault::Connection(fault), effect);
    let named = |name, effect| any(name, exception(name), effect);
    let read = |name, fault, effect| row(Requests::Reads, name, fault, effect);
    let write = |name, fault, effect| row(Requests::Writes, name, fault, effect);
    vec![
        any("connection refused", Fault::Refused, Transient),
        any("connection neither accepted nor refused", Fault::Unreachable, Transient),
        connection(
            "connection reset before DynamoDB has the request",
            ConnectionFault::ResetBefore,
            Transient,
        ),
        connection("connection reset, the reply lost", ConnectionFault::ResetAfter, Transient),
        connection("reply cut short", ConnectionFault::Cut, Transient),
        read("reply without a body", Fault::Connection(ConnectionFault::Empty), Transient),
        // The status alone says that the transaction is committed.
        write("reply to a write without a body", Fault::Connection(ConnectionFault::Empty), Harmless),
        connection("hang before DynamoDB has the request", ConnectionFault::Hang, Transient),
        connection("hang, the reply lost", ConnectionFault::HangAfter, Transient),
        connection("slow drip of the reply", ConnectionFault::Drip, Transient),
        any("request arrives when the function has given it up", Fault::Late, Transient),
        connection("reply 300 ms late", ConnectionFault::Slow, Harmless),
        connection("hang beyond the deadline", ConnectionFault::Hang, UsesUpTime),
        named("InternalServerError", Transient),
        any("500 without a message", Fault::Reply(500, json!({})), Transient),
        any("502 with an HTML page", Fault::Html(502), Transient),
        any("503 with an HTML page", Fault::Html(503), Transient),
        named("ProvisionedThroughputExceededException", Transient),
        named("ThrottlingException", Transient),
        named("RequestLimitExceeded", Transient),
        read("some keys unprocessed", Fault::SomeUnprocessed, Harmless),
        read("all keys unprocessed", Fault::AllUnprocessed, Transient),
        write("TransactionInProgressException", exception("TransactionInProgressException"), Transient),
        write("cancelled: TransactionConflict", cancelled(&["None", "TransactionConflict"]), Transient),
        write("cancelled: ThrottlingError", cancelled(&["None", "ThrottlingError"]), Transient),
        write(
            "cancelled: ProvisionedThroughputExceeded",
            cancelled(&["ProvisionedThroughputExceeded"]),
            Transient,
        ),
        write(
            "cancelled: TransactionConflict and ThrottlingError",
            cancelled(&["TransactionConflict", "ThrottlingError", "None"]),
            Transient,
        ),
        write("cancelled: ValidationError", cancelled(&["None", "ValidationError"]), Divided),
        write("cancelled: an unknown reason", cancelled(&["TransactionConflict", "Unknown"]), Permanent),
        write(
            "IdempotentParameterMismatchException",
            exception("IdempotentParameterMismatchException"),
            Permanent,
        ),
        named("AccessDeniedException", Permanent),
        named("ResourceNotFoundException", Permanent),
        named("UnrecognizedClientException", Permanent),
        read("ValidationException of a read", exception("ValidationException"), Permanent),
        write("ValidationException of a write", exception("ValidationException"), Divided),
        any("panic inside the function", Fault::Panic, Permanent),
    ]
}

/// The text of one outcome in a cell.
fn describe(outcome: &Outcome) -> String {
    let Outcome { response, progress } = outcome;
    let answer = match (response.status_code, response.body.as_str()) {
        (200, _) => return "200".into(),
        (503, UNAVAILABLE) => "503",
        (503, BUSY) => "503 busy",
        (500, INTERNAL_ERROR) => "500",
        (status, body) => panic!("a fault causes the answer {status} {body}"),
    };
    assert_eq!(response.headers.contains_key("retry-after"), response.status_code == 503);
    let stored = match progress {
        Progress::Nothing => "",
        Progress::Part => " +",
        Progress::Everything => " *",
    };
    format!("{answer}{stored}")
}

/// Enough time for an update that succeeds in the end.
const LONG: Duration = Duration::from_secs(30);

/// Less time, for an update that fails in the end.
const SHORT: Duration = Duration::from_millis(2500);

/// The document with the table, which stands between two comments.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reliability.md");

/// Checks that the document has this table, between two comments with its name. `BLESS=1` writes the table instead. `test` is
/// the filter that selects the test which writes it.
pub fn assert_documented(name: &str, test: &str, printed: &str) {
    println!("{printed}");
    let begin = format!("<!-- {name}: written by `BLESS=1 cargo test --test api {test}` -->\n");
    let end = format!("<!-- end of {name} -->");
    let document = std::fs::read_to_string(DOCUMENT).expect("the document is readable");
    let (before, rest) = document.split_once(&begin).expect("the table begins");
    let (written, after) = rest.split_once(&end).expect("the table ends");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(DOCUMENT, [before, &begin, printed, &end, after].concat())
            .expect("the document is written");
        return;
    }
    for (written, printed) in written.lines().zip(printed.lines()) {
        assert_eq!(written, printed, "docs/reliability.md is out of date; BLESS=1 writes this line");
    }
    assert_eq!(written.len(), printed.len());
}

#[tokio::test]
async fn every_fault_at_every_request() {
    // Once, twice, at every attempt.
    const TIMES: [usize; 3] = [1, 2, usize::MAX];
    let rows = rows();
    let mut cells = Vec::new();
    for row in &rows {
        for (position, _) in Position::ALL {
            for times in TIMES {
                let is_skipped = position.is_of_large_update() && times == 2;
                if !is_skipped && row.requests.include(position) {
                    cells.push((row, position, times));
                }
            }
        }
    }
    // The drills that take longest come first. Large updates come last. They take much computing, so their faults don't happen
    // twice.
    cells.sort_by_key(|(_, position, times)| (position.is_of_large_update(), Reverse(*times)));
    let drills = cells.iter().map(|(row, position, times)| Drill {
        position: *position,
        faults: vec![row.fault.clone(); (*times).min(2)],
        is_lasting: *times == usize::MAX || row.effect == Effect::UsesUpTime,
        is_divided: row.effect == Effect::Divided,
        remaining: match row.effect {
            // A large update needs more time to reach its last transaction.
            Effect::UsesUpTime if position.is_of_large_update() => SHORT,
            // The time is over before the function gives up its first attempt.
            Effect::UsesUpTime => Duration::from_millis(1900),
            Effect::Transient if *times == usize::MAX => SHORT,
            _ => LONG,
        },
    });
    let outcomes = run(drills).await;

    let mut table: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for ((row, position, times), outcome) in cells.iter().zip(&outcomes).rev() {
        let answer = describe(outcome);
        let cell = format!("{} at {position:?}, {times} times", row.name);
        match row.effect {
            Effect::Harmless => assert_eq!(answer, "200", "{cell}"),
            Effect::Transient | Effect::Divided if *times < usize::MAX => assert_eq!(answer, "200", "{cell}"),
            Effect::Transient | Effect::UsesUpTime => assert!(answer.starts_with("503"), "{cell}: {answer}"),
            Effect::Permanent | Effect::Divided => assert!(answer.starts_with("500"), "{cell}: {answer}"),
        }
        // Without a 200, an update is stored only if the reply to its last transaction was lost. Only a large update can be
        // stored in part.
        let may_be_stored = answer == "200" || (row.fault.loses_reply() && position.is_write());
        let is_part = outcome.progress == Progress::Part;
        assert!(may_be_stored || is_part || outcome.progress == Progress::Nothing, "{cell}: {answer}");
        assert!(position.is_of_large_update() || !is_part, "{cell}: {answer}");
        table.entry((row.name, position.name())).or_default().push(answer);
    }
    assert_documented("matrix", "matrix", &markdown(&rows, &table));
}

#[tokio::test]
async fn every_fault_after_a_lost_reply_and_after_a_conflict() {
    let firsts = [
        (Fault::Connection(ConnectionFault::ResetAfter), true),
        (cancelled(&["TransactionConflict"]), false),
    ];
    let rows: Vec<Row> = rows().into_iter().filter(|row| row.requests != Requests::Reads).collect();
    let mut cases = Vec::new();
    for is_lasting in [true, false] {
        for (first, is_stored) in &firsts {
            for row in &rows {
                cases.push((first, *is_stored, row, is_lasting));
            }
        }
    }
    let drills = cases.iter().map(|(first, _, row, is_lasting)| Drill {
        position: Position::Transaction,
        faults: vec![(*first).clone(), row.fault.clone()],
        is_lasting: *is_lasting || row.effect == Effect::UsesUpTime,
        is_divided: row.effect == Effect::Divided,
        remaining: match row.effect {
            // The time is over before the function gives up its first attempt.
            Effect::UsesUpTime => Duration::from_millis(1900),
            Effect::Transient if *is_lasting => SHORT,
            _ => LONG,
        },
    });
    let outcomes = run(drills).await;
    for ((_, was_stored, row, is_lasting), outcome) in cases.iter().zip(&outcomes) {
        let answer = describe(outcome);
        let case = format!("{}, lasting: {is_lasting}, stored before: {was_stored}: {answer}", row.name);
        match row.effect {
            Effect::Harmless => assert_eq!(answer, "200", "{case}"),
            Effect::Transient | Effect::Divided if !is_lasting => assert_eq!(answer, "200", "{case}"),
            Effect::Transient | Effect::UsesUpTime => assert_eq!(outcome.response.status_code, 503, "{case}"),
            Effect::Permanent | Effect::Divided => assert_eq!(outcome.response.status_code, 500, "{case}"),
        }
        let may_be_stored = answer == "200" || *was_stored || row.fault.loses_reply();
        let is_stored = outcome.progress != Progress::Nothing;
        assert!(may_be_stored || !is_stored, "{case}");
        // `error-unit-busy` promises that nothing is stored.
        assert!(outcome.response.body != BUSY || !is_stored, "{case}");
    }
}

#[tokio::test]
async fn unprocessed_keys_are_requested_until_time_runs_out() {
    let reads = Position::ALL.into_iter().filter(|(position, _)| !position.is_write());
    let cases: Vec<_> = reads.flat_map(|(position, _)| [(position, true), (position, false)]).collect();
    let drills = cases.iter().map(|&(position, is_lasting)| Drill {
        position,
        faults: vec![Fault::SomeUnprocessed, Fault::AllUnprocessed],
        is_divided: false,
        is_lasting,
        remaining: if is_lasting { SHORT } else { LONG },
    });
    for ((position, is_lasting), outcome) in cases.iter().zip(&run(drills).await) {
        assert_eq!(describe(outcome), if *is_lasting { "503" } else { "200" }, "{position:?}");
    }
}

/// The table in Markdown.
fn markdown(rows: &[Row], table: &BTreeMap<(&str, &str), Vec<String>>) -> String {
    let mut text = String::from("| |");
    for (_, name) in Position::ALL {
        write!(text, " {name} |").expect("a string takes it");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(Position::ALL.len()));
    for row in rows {
        write!(text, "\n| {} |", row.name).expect("a string takes it");
        for (position, _) in Position::ALL {
            let mut answers = table.get(&(row.name, position.name())).cloned().unwrap_or_default();
            answers.dedup();
            write!(text, " {} |", answers.join(", ")).expect("a string takes it");
        }
    }
    text.push('\n');
    text
}
