//! `docs/cost.md` states prices and quantities once. This module computes the other numbers from them. `BLESS=1 cargo
//! test --test template cost` writes the tables anew.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::fs;

use livechat_units::limits::MAX_TRANSACTION_ACTIONS;

mod measured;
mod sync;

use self::sync::{carried, full_passes, idle, sync};
use crate::alarm::Alarm;
use crate::template::{default_of, number, read, repository, resources, sources};

const DOCUMENT: &str = "docs/cost.md";
/// Seconds in a month of 730 hours, as AWS counts them.
const MONTH: f64 = 730.0 * 3600.0;
const MILLION: f64 = 1e6;

/// The tables below a heading: the number in the second column, by the text in the first.
struct Inputs(BTreeMap<String, f64>);

impl Inputs {
    fn new(document: &str, headings: &[&str]) -> Self {
        let mut inputs = BTreeMap::new();
        for heading in headings {
            let section = document.split(&format!("\n## {heading}\n")).nth(1);
            let section = section.unwrap_or_else(|| panic!("{DOCUMENT} has no section {heading}"));
            let section = section.split("\n## ").next().unwrap_or_default();
            for cells in rows(section) {
                if let Ok(value) = cells[1].replace(',', "").parse() {
                    assert_eq!(inputs.insert(cells[0].clone(), value), None, "{} is stated twice", cells[0]);
                }
            }
        }
        Self(inputs)
    }

    fn get(&self, name: &str) -> f64 {
        *self.0.get(name).unwrap_or_else(|| panic!("{DOCUMENT} does not state '{name}'"))
    }

    /// What this number of requests costs in a month, in $: each row by its name.
    fn by_request(&self, requests: f64, of: &Use) -> Vec<(&'static str, f64)> {
        let gigabyte_seconds = of.milliseconds / 1e3 * number(&default_of("MemorySize")) / 1024.0;
        let logs = |bytes| requests * bytes / 1e9 * self.get("CloudWatch Logs");
        // The first request of each second is traced, and a share of the others.
        let first = requests.min(MONTH);
        let traces = first
            + (requests - first)
                * self.get("share of requests that X-Ray traces, after the first of each second")
                / 100.0;
        vec![
            ("API Gateway", requests / MILLION * self.get("API Gateway, HTTP API")),
            ("Lambda, requests", requests / MILLION * self.get("Lambda, requests")),
            ("Lambda, time", requests * gigabyte_seconds * self.get("Lambda, arm64")),
            ("DynamoDB, read", requests * of.read_units / MILLION * self.get("DynamoDB, read")),
            ("DynamoDB, write", requests * of.write_units / MILLION * self.get("DynamoDB, write")),
            ("logs of the function", logs(of.log_bytes)),
            ("logs of Lambda and API Gateway", logs(self.get("logged by Lambda and API Gateway"))),
            ("X-Ray", traces / MILLION * self.get("X-Ray")),
        ]
    }

    /// What a month costs in $, however many requests there are.
    fn fixed(&self) -> Vec<(&'static str, f64)> {
        let stored = self.get("stored data");
        vec![
            (
                "metrics",
                (metrics() + self.get("different statuses in a month")) * self.get("CloudWatch, metric"),
            ),
            ("alarms", alarm_metrics() * self.get("CloudWatch, metric of an alarm")),
            (
                "dashboard",
                resources("AWS::CloudWatch::Dashboard").len() as f64 * self.get("CloudWatch, dashboard"),
            ),
            ("storage", stored * self.get("DynamoDB, storage")),
            ("point-in-time recovery", stored * self.get("DynamoDB, point-in-time recovery")),
        ]
    }

    /// The price of this many read units and write units, in $.
    fn units(&self, read: f64, written: f64) -> f64 {
        (read * self.get("DynamoDB, read") + written * self.get("DynamoDB, write")) / MILLION
    }

    fn update(&self) -> Use {
        Use {
            milliseconds: self.get("time of an update"),
            read_units: self.get("read for an update"),
            write_units: self.get("written for an update"),
            log_bytes: self.get("logged by the function"),
        }
    }

    fn refused(&self) -> Use {
        Use {
            milliseconds: self.get("time of a refused request"),
            read_units: self.get("read for a refused request"),
            write_units: 0.0,
            log_bytes: self.get("logged by the function"),
        }
    }
}

/// What one request uses.
struct Use {
    milliseconds: f64,
    read_units: f64,
    write_units: f64,
    log_bytes: f64,
}

/// The metrics that the function writes for each request, without those by status.
fn metrics() -> f64 {
    let sources = sources();
    let names = sources.split("{ \"Name\": \"").skip(1).filter_map(|rest| rest.split('"').next());
    names.collect::<BTreeSet<_>>().len() as f64
}

fn alarm_metrics() -> f64 {
    Alarm::all().iter().map(Alarm::charged_metrics).sum::<usize>() as f64
}

/// The cells of a text's table rows.
fn rows(text: &str) -> impl Iterator<Item = Vec<String>> {
    let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    rows.map(|row| row.split(" | ").map(|cell| cell.replace("**", "").trim().to_owned()).collect())
}

fn sum(rows: &[(&str, f64)]) -> f64 {
    rows.iter().map(|(_, dollars)| dollars).sum()
}

/// Cents, rounded half up; whole dollars from a thousand on.
fn dollars(amount: f64) -> String {
    if amount >= 1000.0 {
        thousands(amount.round())
    } else {
        format!("{:.2}", (amount * 100.0).round() / 100.0)
    }
}

/// A whole number with commas.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (position, digit) in digits.char_indices() {
        if position > 0 && (digits.len() - position) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// What a million updates cost.
fn million(inputs: &Inputs) -> String {
    let mut table = String::from("| | $ a million updates |\n|---|---|\n");
    // How many of them X-Ray traces depends on how fast they come.
    let rows: Vec<_> = inputs
        .by_request(MILLION, &inputs.update())
        .into_iter()
        .filter(|(name, _)| *name != "X-Ray")
        .collect();
    for (name, amount) in &rows {
        let _infallible = writeln!(table, "| {name} | {} |", dollars(*amount));
    }
    let _infallible = writeln!(table, "| **all** | **{}** |", dollars(sum(&rows)));
    table
}

/// What a month costs.
fn month(inputs: &Inputs, document: &str) -> String {
    let volumes = [1e3, 1e5, 1e7];
    let columns: Vec<Vec<(&str, f64)>> = volumes
        .iter()
        .map(|updates| {
            inputs.by_request(*updates, &inputs.update()).into_iter().chain(inputs.fixed()).collect()
        })
        .collect();
    let mut table = String::from("| $ a month, for updates a month: |");
    for updates in volumes {
        let _infallible = write!(table, " {} |", thousands(updates));
    }
    table.push_str("\n|---|---|---|---|\n");
    let mut row = |name: &str, amounts: Vec<f64>, mark: &str| {
        let cells: Vec<String> =
            amounts.into_iter().map(|amount| format!("{mark}{}{mark}", dollars(amount))).collect();
        let _infallible = writeln!(table, "| {mark}{name}{mark} | {} |", cells.join(" | "));
    };
    for (index, (name, _)) in columns[0].iter().enumerate() {
        row(name, columns.iter().map(|column| column[index].1).collect(), "");
    }
    row("all", columns.iter().map(|column| sum(column)).collect(), "**");
    let idle: f64 = idle(inputs, document).iter().map(|(.., dollars)| dollars).sum();
    let carried = carried(inputs, document, "the function's reference update: a department joins a unit");
    let amounts = volumes.iter().map(|updates| idle + updates * carried).collect();
    row("more, if `unitctl sync` runs and carries each update to MongoDB", amounts, "");
    table
}

/// Computes the last column of a table: the price in $ of a million of each row. The two columns before it are measured
/// read units and write units.
fn priced(inputs: &Inputs, document: &str, name: &str) -> String {
    let mut table = String::new();
    let mut count = 0;
    for line in between(document, name).1.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let number = |from_end: usize| cells.iter().rev().nth(from_end)?.replace(',', "").parse::<f64>().ok();
        match (number(3), number(2), line.rsplit_once(" | ")) {
            (Some(read), Some(written), Some((measured, _))) => {
                let cost = dollars(MILLION * inputs.units(read, written));
                let _infallible = writeln!(table, "{measured} | {cost} |");
                count += 1;
            }
            _ => {
                let _infallible = writeln!(table, "{line}");
            }
        }
    }
    assert!(count >= 4, "{name} has {count} rows");
    table
}

/// The bills that the template's limits allow.
fn ceilings(inputs: &Inputs) -> String {
    let rate = number(&default_of("RateLimit"));
    let mut table = String::from("| all month long | $ a month |\n|---|---|\n");
    let mut row = |name: String, amount: f64| {
        let _infallible = writeln!(table, "| {name} | {} |", dollars(amount));
    };
    let requests = rate * MONTH;
    row(
        format!("{rate} requests a second without a valid token"),
        sum(&inputs.by_request(requests, &inputs.refused())),
    );
    row(format!("{rate} updates a second"), sum(&inputs.by_request(requests, &inputs.update())));
    let units = 1000.0;
    for (parameter, price) in [("MaxReadUnits", "DynamoDB, read"), ("MaxWriteUnits", "DynamoDB, write")] {
        row(
            format!("`{parameter}={units}`, used up by one table"),
            units * MONTH / MILLION * inputs.get(price),
        );
    }
    table
}

/// How many updates a second each limit allows.
fn limits(inputs: &Inputs) -> String {
    let update = inputs.update();
    // One read of each update is of the tokens table.
    let livechat_reads = update.read_units - 1.0;
    let (item_reads, item_writes) =
        (inputs.get("read units of an item"), inputs.get("write units of an item"));
    let (table_reads, table_writes) =
        (inputs.get("read units of a table"), inputs.get("write units of a table"));
    let least_written = inputs.get("written for an update without changes");
    let mut table = String::from("| | limited by | updates a second |\n|---|---|---|\n");
    let mut row = |who: &str, limit: &str, updates: f64| {
        let _infallible = writeln!(table, "| {who} | {limit} | {} |", thousands(updates.floor()));
    };
    row("one unit, at most", "the write units of its item", item_writes / least_written);
    row("one caller", "the read units of the user's item and the token's", item_reads);
    row(
        "the workspace",
        "**the read units of the permission's item, which every request reads**",
        item_reads,
    );
    row("the livechat table", "its read units", table_reads / livechat_reads);
    row("the livechat table", "its write units", table_writes / update.write_units);
    row("API Gateway", "requests of an account in a region", inputs.get("requests of an account"));
    row(
        "Lambda",
        "execution environments of an account",
        inputs.get("execution environments of an account") / update.milliseconds * 1e3,
    );
    table
}

/// How long updates take that let many monitors join a unit: their items and the unit's are in one partition.
fn large(inputs: &Inputs) -> String {
    // The unit's action is one of them.
    let joining_at_once = MAX_TRANSACTION_ACTIONS - 1;
    let unit_units = |members: usize| {
        let bytes = inputs.get("the unit's item without members, bytes")
            + members as f64 * inputs.get("each member in the unit's item, bytes");
        2.0 * (bytes / 1024.0).ceil()
    };
    let mut table = String::from(
        "| monitors that join | monitors before | transactions | write units of the partition | seconds, at least |\n|---|---|---|---|---|\n",
    );
    for (joining, before) in [(99, 0), (1000, 0), (1000, 5000), (5000, 0), (5000, 5000)] {
        let (mut joined, mut transactions, mut units) = (0, 0, 0.0);
        while joined < joining {
            let more = joining_at_once.min(joining - joined);
            joined += more;
            transactions += 1;
            units += 2.0 * more as f64 + unit_units(before + joined);
        }
        let seconds = units / inputs.get("write units of an item");
        let _infallible = writeln!(
            table,
            "| {} | {} | {transactions} | {} | {seconds:.1} |",
            thousands(joining as f64),
            thousands(before as f64),
            thousands(units),
        );
    }
    table
}

/// The parts of the document before a table, the table between its marks, and what is behind it.
fn between<'a>(document: &'a str, name: &str) -> (&'a str, &'a str, &'a str) {
    let (begin, end) = (format!("<!-- {name}: "), format!("<!-- end of {name} -->"));
    let start = document.find(&begin).unwrap_or_else(|| panic!("{DOCUMENT} has no mark {begin}"));
    let (mark, _) = document[start..].split_once('\n').expect("a mark ends");
    let (before, rest) = document.split_at(start + mark.len() + 1);
    let length = rest.find(&end).unwrap_or_else(|| panic!("{DOCUMENT} has no mark {end}"));
    (before, &rest[..length], &rest[length..])
}

#[test]
fn the_document_computes_what_it_costs() {
    let document = read(DOCUMENT);
    let inputs = Inputs::new(&document, &["Prices", "Quantities", "Limits"]);
    measured::compare(&inputs, &document);
    let mut computed = document.clone();
    for (name, table) in [
        ("million", million(&inputs)),
        ("month", month(&inputs, &document)),
        ("sync", sync(&inputs, &document)),
        ("passes", full_passes(&inputs, &document)),
        ("changes", priced(&inputs, &document, "changes")),
        ("ceilings", ceilings(&inputs)),
        ("growth", priced(&inputs, &document, "growth")),
        ("limits", limits(&inputs)),
        ("large", large(&inputs)),
    ] {
        let (before, _, after) = between(&computed, name);
        computed = format!("{before}{table}{after}");
    }
    if env::var_os("BLESS").is_some() {
        fs::write(repository(DOCUMENT), computed).expect("the document can be written");
    } else {
        assert!(
            document == computed,
            "run `BLESS=1 cargo test --test template cost` and look at the changes"
        );
    }
}
