//! The table that the benchmark prints, and the same as JSON.

use serde_json::{Value, json};

use crate::statistics::Samples;

/// One measured value and its floor.
pub struct Row {
    pub what: String,
    pub unit: &'static str,
    pub floor: Option<Figure>,
    pub ours: Figure,
    /// The value that is compared with the goal.
    pub result: String,
    pub goal: &'static str,
    /// Whether the goal is met. `None` for a row without a goal.
    pub met: Option<bool>,
}

/// A median and a 99th percentile, or a single value.
#[derive(Clone, Copy)]
pub struct Figure {
    pub median: f64,
    p99: Option<f64>,
}

impl From<&Samples> for Figure {
    fn from(samples: &Samples) -> Self {
        Self { median: samples.median(), p99: Some(samples.p99()) }
    }
}

impl From<f64> for Figure {
    fn from(value: f64) -> Self {
        Self { median: value, p99: None }
    }
}

impl Figure {
    fn text(self) -> String {
        match self.p99 {
            Some(p99) => format!("{} ({})", number(self.median), number(p99)),
            None => number(self.median),
        }
    }

    fn json(self) -> Value {
        json!({ "median": self.median, "p99": self.p99 })
    }
}

impl Row {
    /// A row whose result is the ratio of the medians.
    pub fn ratio(
        what: &str,
        unit: &'static str,
        floor: impl Into<Figure>,
        ours: impl Into<Figure>,
        goal: &'static str,
        max: Option<f64>,
    ) -> Self {
        let (floor, ours) = (floor.into(), ours.into());
        let ratio = ours.median / floor.median;
        let result = format!("{ratio:.2}x");
        let met = max.map(|max| ratio <= max);
        Self { what: what.into(), unit, floor: Some(floor), ours, result, goal, met }
    }

    fn json(&self) -> Value {
        json!({
            "what": self.what, "unit": self.unit, "floor": self.floor.map(Figure::json),
            "ours": self.ours.json(), "result": self.result, "goal": self.goal, "met": self.met,
        })
    }
}

/// The rows as a table, readable as text and as Markdown.
pub fn table(rows: &[Row]) -> String {
    let mut lines = vec![["median (p99)", "floor", "ours", "", "goal", "met"].map(String::from)];
    for row in rows {
        lines.push([
            format!("{}, {}", row.what, row.unit),
            row.floor.map_or_else(|| "-".into(), Figure::text),
            row.ours.text(),
            row.result.clone(),
            row.goal.into(),
            row.met.map_or("", |met| if met { "yes" } else { "no" }).into(),
        ]);
    }
    let widths: Vec<usize> =
        (0..6).map(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or_default()).collect();
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let cells: Vec<String> =
            line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        text += &format!("| {} |\n", cells.join(" | "));
        if number == 0 {
            let rules: Vec<String> = widths.iter().map(|&width| "-".repeat(width)).collect();
            text += &format!("|-{}-|\n", rules.join("-|-"));
        }
    }
    text
}

pub fn json(machine: &str, date: &str, rows: &[Row]) -> Value {
    json!({ "machine": machine, "date": date, "rows": rows.iter().map(Row::json).collect::<Vec<_>>() })
}

/// A number with three digits, or all digits of a larger number.
fn number(value: f64) -> String {
    match value.abs() {
        small if small < 10.0 && small.fract() != 0.0 => format!("{value:.2}"),
        medium if medium < 100.0 && medium.fract() != 0.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}
