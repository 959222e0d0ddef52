//! CloudWatch metrics of a request, as one line in the embedded metric format: CloudWatch Logs makes metrics
//! of it, so that a request waits for no API ("Specification: Embedded metric format", CloudWatch User Guide).

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::budget::Spent;

/// Where the metrics are found in CloudWatch; the template's alarms and dashboard look there.
pub const NAMESPACE: &str = "LivechatUnits";

/// What is measured of a request.
pub struct Report {
    /// HTTP status of the answer.
    pub status: u16,
    /// A short constant name of what became of the request.
    pub outcome: &'static str,
    /// From the event's arrival to its answer.
    pub duration: Duration,
    /// True for the first request of an execution environment.
    pub is_cold: bool,
    /// Listed users who can't be monitors.
    pub left_out_monitors: usize,
    /// What it took of DynamoDB.
    pub spent: Spent,
}

impl Report {
    /// The duration in ms.
    pub fn milliseconds(&self) -> f64 {
        self.duration.as_secs_f64() * 1e3
    }

    /// Writes the line to standard output. A line that can't be written is not worth a request.
    pub fn print(&self, function_name: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = format!("{}\n", self.line(function_name, now));
        let _unwritten = io::stdout().lock().write_all(line.as_bytes());
    }

    /// Two directives: every metric by function, and the count of requests by status as well. A metric costs
    /// by the combination of its dimensions, so the outcome is only a property, to be searched for.
    fn line(&self, function_name: &str, now: Duration) -> Value {
        let metrics = json!([
            { "Name": "Requests", "Unit": "Count" },
            { "Name": "ServerErrors", "Unit": "Count" },
            { "Name": "GivenUp", "Unit": "Count" },
            { "Name": "Duration", "Unit": "Milliseconds" },
            { "Name": "ColdStarts", "Unit": "Count" },
            { "Name": "RoundTrips", "Unit": "Count" },
            { "Name": "Attempts", "Unit": "Count" },
            { "Name": "Conflicts", "Unit": "Count" },
            { "Name": "Failures", "Unit": "Count" },
            { "Name": "LeftOutMonitors", "Unit": "Count" },
            { "Name": "ReadUnits", "Unit": "Count" },
            { "Name": "WriteUnits", "Unit": "Count" },
        ]);
        json!({
            "_aws": {
                "Timestamp": u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
                "CloudWatchMetrics": [
                    { "Namespace": NAMESPACE, "Dimensions": [["FunctionName"]], "Metrics": metrics },
                    {
                        "Namespace": NAMESPACE,
                        "Dimensions": [["FunctionName", "Status"]],
                        "Metrics": [{ "Name": "Requests", "Unit": "Count" }],
                    },
                ],
            },
            "FunctionName": function_name,
            "Status": self.status.to_string(),
            "Outcome": self.outcome,
            "Requests": 1,
            "ServerErrors": u8::from(self.status >= 500),
            "GivenUp": u8::from(self.outcome == "unit-busy"),
            "Duration": self.milliseconds(),
            "ColdStarts": u8::from(self.is_cold),
            "RoundTrips": self.spent.round_trips,
            "Attempts": self.spent.attempts,
            "Conflicts": self.spent.conflicts,
            "Failures": self.spent.failures,
            "LeftOutMonitors": self.left_out_monitors,
            "ReadUnits": self.spent.read_units,
            "WriteUnits": self.spent.write_units,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_a_value_for_all_that_it_declares() {
        let report = Report {
            status: 503,
            outcome: "unit-busy",
            duration: Duration::from_micros(1500),
            is_cold: true,
            left_out_monitors: 2,
            spent: Spent {
                round_trips: 5,
                attempts: 3,
                conflicts: 3,
                failures: 1,
                read_units: 4.0,
                write_units: 6.0,
            },
        };
        let line = report.line("stack-update-unit", Duration::from_millis(1_638_801_659_478));
        assert_eq!(line["_aws"]["Timestamp"], 1_638_801_659_478_u64);
        let mut declared = 0;
        for directive in line["_aws"]["CloudWatchMetrics"].as_array().expect("a list") {
            assert_eq!(directive["Namespace"], NAMESPACE);
            for dimension in directive["Dimensions"][0].as_array().expect("a list") {
                assert!(line[dimension.as_str().expect("a name")].is_string(), "{dimension}");
            }
            for metric in directive["Metrics"].as_array().expect("a list") {
                assert!(line[metric["Name"].as_str().expect("a name")].is_number(), "{metric}");
                declared += 1;
            }
        }
        assert_eq!(declared, 13);
        for (name, value) in [("GivenUp", 1), ("ServerErrors", 1), ("ColdStarts", 1), ("Conflicts", 3)] {
            assert_eq!(line[name], value, "{name}");
        }
        assert_eq!((&line["Duration"], &line["Status"]), (&json!(1.5), &json!("503")));
    }
}
