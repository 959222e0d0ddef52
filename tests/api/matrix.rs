//! Every fault at every request of an update: what is answered, and what is stored.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use serde_json::json;

use crate::drill::{Drill, Outcome, Position, run};
use crate::faulty::{Fault, canceled, exception};
use crate::wire::Wire;
use crate::world::{BUSY, INTERNAL, UNAVAILABLE};

/// A row of the matrix.
#[derive(Clone)]
pub struct Row {
    pub name: &'static str,
    pub fault: Fault,
    pub effect: Effect,
    /// Whether it is a fault of writes only, or of reads only.
    pub of: Option<bool>,
}

/// What a fault does to an update.
#[derive(Clone, Copy, PartialEq)]
pub enum Effect {
    /// Nothing, however often it happens.
    None,
    /// Nothing if it passes; if it does not, the answer is 503.
    Passes,
    /// The time is over with it: 503.
    Ends,
    /// No repetition cures it: 500.
    Final,
}

fn row(of: Option<bool>, name: &'static str, fault: Fault, effect: Effect) -> Row {
    Row { name, fault, effect, of }
}

/// Everything that can happen to a request.
pub fn rows() -> Vec<Row> {
    use Effect::*;
    let any = |name, fault, effect| row(Option::None, name, fault, effect);
    let wire = |name, wire, effect| any(name, Fault::Wire(wire), effect);
    let named = |name, effect| any(name, exception(name), effect);
    let read = |name, fault, effect| row(Some(false), name, fault, effect);
    let write = |name, fault, effect| row(Some(true), name, fault, effect);
    vec![
        any("connection refused", Fault::Refused, Passes),
        any("connection neither taken nor refused", Fault::Unreachable, Passes),
        wire("connection reset before DynamoDB has the request", Wire::ResetBefore, Passes),
        wire("connection reset, the reply lost", Wire::ResetAfter, Passes),
        wire("reply cut short", Wire::Cut, Passes),
        read("reply without a body", Fault::Wire(Wire::Empty), Passes),
        // Its status says all.
        write("reply to a write without a body", Fault::Wire(Wire::Empty), None),
        wire("hang before DynamoDB has the request", Wire::Hang, Passes),
        wire("hang, the reply lost", Wire::HangAfter, Passes),
        wire("slow drip of the reply", Wire::Drip, Passes),
        wire("request under way for 1.5 s", Wire::Late, Passes),
        wire("reply 300 ms late", Wire::Slow, None),
        wire("hang beyond the deadline", Wire::Hang, Ends),
        named("InternalServerError", Passes),
        any("500 without words", Fault::Reply(500, json!({})), Passes),
        any("502 with a page of HTML", Fault::Html(502), Passes),
        any("503 with a page of HTML", Fault::Html(503), Passes),
        named("ProvisionedThroughputExceededException", Passes),
        named("ThrottlingException", Passes),
        named("RequestLimitExceeded", Passes),
        read("some keys unprocessed", Fault::SomeUnprocessed, None),
        read("all keys unprocessed", Fault::AllUnprocessed, Passes),
        write("TransactionInProgressException", exception("TransactionInProgressException"), Passes),
        write("cancelled: TransactionConflict", canceled(&["None", "TransactionConflict"]), Passes),
        write("cancelled: ThrottlingError", canceled(&["None", "ThrottlingError"]), Passes),
        write(
            "cancelled: ProvisionedThroughputExceeded",
            canceled(&["ProvisionedThroughputExceeded"]),
            Passes,
        ),
        write(
            "cancelled: TransactionConflict and ThrottlingError",
            canceled(&["TransactionConflict", "ThrottlingError", "None"]),
            Passes,
        ),
        write("cancelled: ValidationError", canceled(&["None", "ValidationError"]), Final),
        write("cancelled: an unknown reason", canceled(&["TransactionConflict", "Unknown"]), Final),
        write(
            "IdempotentParameterMismatchException",
            exception("IdempotentParameterMismatchException"),
            Final,
        ),
        named("AccessDeniedException", Final),
        named("ResourceNotFoundException", Final),
        named("UnrecognizedClientException", Final),
        named("ValidationException", Final),
        any("a panic of ours", Fault::Panic, Final),
    ]
}

/// An answer in a cell.
fn told(outcome: &Outcome) -> String {
    let Outcome { response, is_stored } = outcome;
    let answer = match (response.status_code, response.body.as_str()) {
        (200, _) => return "200".into(),
        (503, UNAVAILABLE) => "503",
        (503, BUSY) => "503 busy",
        (500, INTERNAL) => "500",
        (status, body) => panic!("undocumented here: {status} {body}"),
    };
    assert_eq!(response.headers.contains_key("retry-after"), response.status_code == 503);
    format!("{answer}{}", if *is_stored { " *" } else { "" })
}

/// Enough for whatever passes; who waits for the end need not wait so long.
const LONG: Duration = Duration::from_secs(30);
const SHORT: Duration = Duration::from_millis(2500);

/// The document that has the matrix, between two comments.
const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/reliability.md");
const BEGIN: &str = "<!-- matrix: written by `BLESS=1 cargo test --test api matrix` -->\n";
const END: &str = "<!-- end of matrix -->";

#[tokio::test]
async fn every_fault_at_every_request() {
    // Once, twice, for ever.
    const TIMES: [usize; 3] = [1, 2, usize::MAX];
    let rows = rows();
    let mut cells = Vec::new();
    for row in &rows {
        for (position, _) in Position::ALL {
            for times in TIMES {
                let is_many = position == Position::Extra && times == 2;
                if !is_many && row.of.is_none_or(|is_write| is_write == position.is_write()) {
                    cells.push((row, position, times));
                }
            }
        }
    }
    // First what takes longest, last what has many items (and not twice), since every drill looks at all
    // that are there.
    cells.sort_by_key(|(_, position, times)| (*position == Position::Extra, Reverse(*times)));
    let drills = cells.iter().map(|(row, position, times)| Drill {
        position: *position,
        faults: vec![row.fault.clone(); (*times).min(2)],
        for_ever: *times == usize::MAX || row.effect == Effect::Ends,
        remaining: match row.effect {
            // Before one try is given up.
            Effect::Ends => Duration::from_millis(1900),
            Effect::Passes if *times == usize::MAX => SHORT,
            _ => LONG,
        },
    });
    let outcomes = run(drills).await;

    let mut table: BTreeMap<(&str, &str), Vec<String>> = BTreeMap::new();
    for ((row, position, times), outcome) in cells.iter().zip(&outcomes).rev() {
        let told = told(outcome);
        let cell = format!("{} at {position:?}, {times} times", row.name);
        match row.effect {
            Effect::None => assert_eq!(told, "200", "{cell}"),
            Effect::Passes if *times < usize::MAX => assert_eq!(told, "200", "{cell}"),
            Effect::Passes | Effect::Ends => assert!(told.starts_with("503"), "{cell}: {told}"),
            Effect::Final => assert_eq!(told, "500", "{cell}"),
        }
        // Nothing of a refused request, unless it was the reply to a stored one that was lost.
        let may_be_stored = told == "200" || (row.fault.loses_reply() && position.is_write());
        assert!(may_be_stored || !outcome.is_stored, "{cell}: {told}");
        table.entry((row.name, position.name())).or_default().push(told);
    }
    let printed = print(&rows, &table);
    println!("{printed}");
    let document = std::fs::read_to_string(DOCUMENT).expect("the document is there");
    let (before, rest) = document.split_once(BEGIN).expect("the matrix begins");
    let (written, after) = rest.split_once(END).expect("the matrix ends");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(DOCUMENT, [before, BEGIN, &printed, END, after].concat()).expect("it is written");
    } else {
        for (written, printed) in written.lines().zip(printed.lines()) {
            assert_eq!(written, printed, "docs/reliability.md tells something else; BLESS=1 writes this");
        }
        assert_eq!(written.len(), printed.len());
    }
}

#[tokio::test]
async fn every_fault_after_a_lost_reply_and_after_a_conflict() {
    let firsts = [(Fault::Wire(Wire::ResetAfter), true), (canceled(&["TransactionConflict"]), false)];
    let rows: Vec<Row> = rows().into_iter().filter(|row| row.of != Some(false)).collect();
    let mut cases = Vec::new();
    for for_ever in [true, false] {
        for (first, is_stored) in &firsts {
            for row in &rows {
                cases.push((first, *is_stored, row, for_ever));
            }
        }
    }
    let drills = cases.iter().map(|(first, _, row, for_ever)| Drill {
        position: Position::Transaction,
        faults: vec![(*first).clone(), row.fault.clone()],
        for_ever: *for_ever || row.effect == Effect::Ends,
        remaining: match row.effect {
            // Before one try is given up.
            Effect::Ends => Duration::from_millis(1900),
            Effect::Passes if *for_ever => SHORT,
            _ => LONG,
        },
    });
    let outcomes = run(drills).await;
    for ((_, was_stored, row, for_ever), outcome) in cases.iter().zip(&outcomes) {
        let told = told(outcome);
        let case = format!("{}, for ever: {for_ever}, stored before: {was_stored}: {told}", row.name);
        match row.effect {
            Effect::None => assert_eq!(told, "200", "{case}"),
            Effect::Passes if !for_ever => assert_eq!(told, "200", "{case}"),
            Effect::Passes | Effect::Ends => assert_eq!(outcome.response.status_code, 503, "{case}"),
            Effect::Final => assert_eq!(outcome.response.status_code, 500, "{case}"),
        }
        let may_be_stored = told == "200" || *was_stored || row.fault.loses_reply();
        assert!(may_be_stored || !outcome.is_stored, "{case}");
        // Others were in the way, and nothing else was: that must be true when it is said.
        assert!(outcome.response.body != BUSY || !outcome.is_stored, "{case}");
    }
}

#[tokio::test]
async fn unprocessed_keys_some_then_all_then_never_ending() {
    let reads = Position::ALL.into_iter().filter(|(position, _)| !position.is_write());
    let cases: Vec<_> = reads.flat_map(|(position, _)| [(position, true), (position, false)]).collect();
    let drills = cases.iter().map(|&(position, for_ever)| Drill {
        position,
        faults: vec![Fault::SomeUnprocessed, Fault::AllUnprocessed],
        for_ever,
        remaining: if for_ever { SHORT } else { LONG },
    });
    for ((position, for_ever), outcome) in cases.iter().zip(&run(drills).await) {
        assert_eq!(told(outcome), if *for_ever { "503" } else { "200" }, "{position:?}");
    }
}

/// The matrix in Markdown.
fn print(rows: &[Row], table: &BTreeMap<(&str, &str), Vec<String>>) -> String {
    let mut text = String::from("| |");
    for (_, name) in Position::ALL {
        write!(text, " {name} |").expect("a string takes it");
    }
    text.push_str("\n|---|");
    text.push_str(&"---|".repeat(Position::ALL.len()));
    for row in rows {
        write!(text, "\n| {} |", row.name).expect("a string takes it");
        for (position, _) in Position::ALL {
            let mut told = table.get(&(row.name, position.name())).cloned().unwrap_or_default();
            told.dedup();
            write!(text, " {} |", told.join(", ")).expect("a string takes it");
        }
    }
    text.push('\n');
    text
}
