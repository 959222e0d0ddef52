//! What `unitctl sync` costs. The intervals are read from its source code, because these tests are built without it.

use std::fmt::Write as _;

use super::{DOCUMENT, Inputs, MILLION, MONTH, between, dollars, rows, thousands};
use crate::template::read;

/// The only number in a source file after this text.
fn number_in(path: &str, text: &str) -> f64 {
    let source = read(path);
    let mut places = source.split(text).skip(1);
    let (Some(rest), None) = (places.next(), places.next()) else {
        panic!("{path} does not have {text} once")
    };
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{path} has no number after {text}"))
}

/// What `unitctl sync` costs while nothing changes: each row with what it consists of, and $ a month.
pub fn idle(inputs: &Inputs, document: &str) -> Vec<(String, String, f64)> {
    const LEASE: &str = "unitctl/src/lease/timing.rs";
    let read_every = number_in(
        "unitctl/src/sync/streams/follow.rs",
        "const READ_EVERY: Duration = Duration::from_millis(",
    );
    let renewal = number_in(LEASE, " renewal: Duration::from_secs(");
    let look = number_in(LEASE, " look: Duration::from_secs(");
    let store = number_in("unitctl/src/sync/follow.rs", "const STORE_EVERY: Duration = Duration::from_secs(");
    let hours = number_in("unitctl/src/sync/options.rs", "value_name = \"HOURS\", default_value_t = ");

    let shards = inputs.get("shards of a stream");
    let calls = shards * MONTH / (read_every / 1e3);
    let lease = MONTH / renewal * inputs.get("written when `unitctl sync` renews its lease");
    let positions = MONTH / store * inputs.get("written when `unitctl sync` stores its positions");
    let looks = MONTH / look;
    let passes = MONTH / (hours * 3600.0) * passes(document).0;
    let read = |units: f64| format!("{} read units", thousands(units));
    let written = |units: f64| format!("{} write units", thousands(units));
    vec![
        (
            format!("each of {shards} shards of the stream is read every {read_every} ms"),
            format!("{} GetRecords calls", thousands(calls)),
            calls / MILLION * inputs.get("DynamoDB Streams, read"),
        ),
        (format!("the lease is renewed every {renewal} s"), written(lease), inputs.units(0.0, lease)),
        (
            format!("the positions are stored every {store} s"),
            written(positions),
            inputs.units(0.0, positions),
        ),
        (
            format!("a process that waits reads the lease every {look} s"),
            read(looks),
            inputs.units(looks, 0.0),
        ),
        (
            format!("a full pass every {hours} hours, as in the example below"),
            read(passes),
            inputs.units(passes, 0.0),
        ),
    ]
}

/// What `unitctl sync` costs while nothing changes.
pub fn sync(inputs: &Inputs, document: &str) -> String {
    let rows = idle(inputs, document);
    let mut table = String::from("| all month long | in a month | $ a month |\n|---|---|---|\n");
    for (name, amount, cost) in &rows {
        let _infallible = writeln!(table, "| {name} | {amount} | {} |", dollars(*cost));
    }
    let all = rows.iter().map(|(.., cost)| cost).sum();
    let _infallible = writeln!(table, "| **all** | | **{}** |", dollars(all));
    table
}

/// The read units of a full pass over the example, and the write units of the first one.
fn passes(document: &str) -> (f64, f64) {
    let table = document.split("| a full pass over each |").nth(1).expect("the table is there");
    let table = table.split("\n\n").next().unwrap_or_default();
    let mut sums = (0.0, 0.0);
    for cells in rows(table) {
        let numbers: Vec<f64> = cells.iter().filter_map(|cell| cell.replace(',', "").parse().ok()).collect();
        let [number, read, written] = numbers[..] else { panic!("{cells:?}") };
        sums = (sums.0 + number * read, sums.1 + number * written);
    }
    sums
}

/// What full passes over the example cost.
pub fn full_passes(inputs: &Inputs, document: &str) -> String {
    let (read, written) = passes(document);
    let mut table = String::from("| in the example | units | $ |\n|---|---|---|\n");
    for (name, kind, units, cost) in [
        ("a full pass", "read", read, inputs.units(read, 0.0)),
        ("what the first pass writes", "write", written, inputs.units(0.0, written)),
    ] {
        let _infallible =
            writeln!(table, "| {name} | {} {kind} units | {} |", thousands(units), dollars(cost));
    }
    table
}

/// $ for one change that the sync carries over.
pub fn carried(inputs: &Inputs, document: &str, change: &str) -> f64 {
    let table = between(document, "changes").1;
    let row = rows(table).find(|cells| cells[0] == change);
    let row = row.unwrap_or_else(|| panic!("{DOCUMENT} does not state '{change}'"));
    let number = |cell: &str| cell.parse::<f64>().expect("a number");
    inputs.units(number(&row[1]), number(&row[2]))
}
