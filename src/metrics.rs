//! CloudWatch metrics of a request, as one line in the embedded metric format (Amazon CloudWatch User Guide,
//! "Specification: Embedded metric format"). CloudWatch Logs turns the line into metrics, so that no request waits for
//! an API call.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::budget::Usage;

/// The metrics' namespace in CloudWatch. The template's alarms and dashboard read from it.
pub const NAMESPACE: &str = "LivechatUnits";

/// The measurements of one request.
pub(crate) struct RequestMetrics {
    /// HTTP status of the answer.
    pub status: u16,
    /// A short constant name of the request's result.
    pub outcome: &'static str,
    /// From the event's arrival to the answer.
    pub duration: Duration,
    /// True for the first request of an execution environment.
    pub is_cold: bool,
    /// The number of listed users who can't be monitors.
    pub left_out_monitors: usize,
    /// What the request used of DynamoDB.
    pub usage: Usage,
}

impl RequestMetrics {
    /// The duration in ms.
    pub fn milliseconds(&self) -> f64 {
        self.duration.as_secs_f64() * 1e3
    }

    /// Writes the line to standard output. A failure to write is ignored, because the request must be answered.
    /// `version` is the version of the Lambda function.
    pub fn print(&self, function_name: &str, version: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = format!("{}\n", self.line(function_name, version, now));
        let _ignored = io::stdout().lock().write_all(line.as_bytes());
    }

    /// The line has two directives: all metrics by function, and the number of requests by function and status.
    /// CloudWatch charges for each combination of dimensions. So outcome and version are no dimensions but properties,
    /// which log queries can search.
    fn line(&self, function_name: &str, version: &str, now: Duration) -> Value {
        let metrics = json!([
            { "Name": "Requests", "Unit": "Count" },
            { "Name": "ServerErrors", "Unit": "Count" },
            { "Name": "GivenUp", "Unit": "Count" },
            { "Name": "Duration", "Unit": "Milliseconds" },
            { "Name": "ColdStarts", "Unit": "Count" },
            { "Name": "Calls", "Unit": "Count" },
            { "Name": "Transactions", "Unit": "Count" },
            { "Name": "Hedged", "Unit": "Count" },
            { "Name": "Conflicts", "Unit": "Count" },
            { "Name": "Failures", "Unit": "Count" },
            { "Name": "LeftOutMonitors", "Unit": "Count" },
            { "Name": "ReadCapacity", "Unit": "Count" },
            { "Name": "WriteCapacity", "Unit": "Count" },
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
            "Version": version,
            "Requests": 1,
            "ServerErrors": u8::from(self.status >= 500),
            "GivenUp": u8::from(self.outcome == "unit-busy"),
            "Duration": self.milliseconds(),
            "ColdStarts": u8::from(self.is_cold),
            "Calls": self.usage.calls,
            "Transactions": self.usage.transactions,
            "Hedged": self.usage.hedged,
            "Conflicts": self.usage.conflicts,
            "Failures": self.usage.failures,
            "LeftOutMonitors": self.left_out_monitors,
            "ReadCapacity": self.usage.read_capacity,
            "WriteCapacity": self.usage.write_capacity,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_has_a_value_for_every_metric_and_dimension() {
        let metrics = RequestMetrics {
            status: 503,
            outcome: "unit-busy",
            duration: Duration::from_micros(1500),
            is_cold: true,
            left_out_monitors: 2,
            usage: Usage {
                calls: 5,
                transactions: 3,
                hedged: 2,
                conflicts: 3,
                failures: 1,
                read_capacity: 4.0,
                write_capacity: 6.0,
            },
        };
        let line = metrics.line("stack-update-unit", "7", Duration::from_millis(1_638_801_659_478));
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
        assert_eq!(declared, 14);
        for (name, value) in
            [("GivenUp", 1), ("ServerErrors", 1), ("ColdStarts", 1), ("Hedged", 2), ("Conflicts", 3)]
        {
            assert_eq!(line[name], value, "{name}");
        }
        assert_eq!((&line["Duration"], &line["Status"]), (&json!(1.5), &json!("503")));
        assert_eq!((&line["Outcome"], &line["Version"]), (&json!("unit-busy"), &json!("7")));
    }
}
