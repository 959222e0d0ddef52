//! The document's inputs that the benchmark measures are those of the table in `docs/performance.md`.

use std::collections::BTreeMap;

use super::{Inputs, between, rows};
use crate::template::read;

const DOCUMENT: &str = "docs/performance.md";

/// The benchmark's rows by their first column: the function's own value and the column after it.
fn measured() -> BTreeMap<String, (f64, String)> {
    let document = read(DOCUMENT);
    let table = document.split("\n| median (p99) | floor | ours |").nth(1);
    let table = table.unwrap_or_else(|| panic!("{DOCUMENT} has no table of the benchmark"));
    let table = table.split("\n\n").next().unwrap_or_default();
    let rows = rows(table).filter(|cells| cells.len() > 3);
    rows.filter_map(|cells| Some((cells[0].clone(), (number(&cells[2])?, cells[3].clone())))).collect()
}

/// The number at a text's beginning.
fn number(text: &str) -> Option<f64> {
    text.split(' ').next()?.replace(',', "").parse().ok()
}

/// # Panics
/// The document has another value than the benchmark.
pub fn compare(inputs: &Inputs, document: &str) {
    let measured = measured();
    let value = |row: &str| measured.get(row).unwrap_or_else(|| panic!("{DOCUMENT} has no row '{row}'")).0;
    for (input, expected) in [
        ("logged by the function", value("logged for an update, bytes")),
        ("read for an update", value("nothing changes: read, units")),
        // The unit and one department change, whether the department joins or leaves.
        ("written for an update", value("a department leaves: written, units")),
        ("written for an update without changes", value("nothing changes: written, units")),
        // That update lists no monitor and no department. It reads the unit in addition to what every request reads.
        ("read for a refused request", value("a department leaves: read, units") - 1.0),
    ] {
        assert_eq!(inputs.get(input), expected, "'{input}' and {DOCUMENT}");
    }

    let stated: BTreeMap<String, Vec<Option<f64>>> = rows(between(document, "growth").1)
        .filter(|cells| number(&cells[0]).is_some())
        .map(|cells| (cells[0].replace(',', ""), cells[1..3].iter().map(|cell| number(cell)).collect()))
        .collect();
    let expected = measured.iter().filter_map(|(row, (written, read))| {
        let members = row.strip_prefix("unit with ")?.strip_suffix(" members: written, units")?;
        Some((members.to_owned(), vec![number(read), Some(*written)]))
    });
    assert_eq!(stated, expected.collect(), "the table of how the cost grows, and {DOCUMENT}");
    assert!(stated.len() >= 3, "{DOCUMENT} has measured {} sizes of a unit", stated.len());
}
