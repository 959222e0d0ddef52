//! Alarms, dashboard and saved queries look for metrics and log fields that the function writes.

use std::collections::BTreeSet;

use crate::alarm::Alarm;
use crate::template::{resources, sources, text};

/// The metrics of other services that the template looks at, by their documents ("Monitoring metrics for HTTP APIs", "Types of
/// metrics for Lambda functions", "DynamoDB metrics and dimensions").
const OF_OTHERS: [(&str, &[&str]); 3] = [
    ("AWS/ApiGateway", &["4xx", "5xx", "Count", "Latency"]),
    (
        "AWS/DynamoDB",
        &[
            "ConsumedReadCapacityUnits",
            "ConsumedWriteCapacityUnits",
            "ReadThrottleEvents",
            "TransactionConflict",
            "WriteThrottleEvents",
        ],
    ),
    ("AWS/Lambda", &["Errors", "Throttles"]),
];

/// Whether the function or a service writes this metric.
fn exists(namespace: &str, metric: &str, sources: &str) -> bool {
    match OF_OTHERS.iter().find(|(other, _)| *other == namespace) {
        Some((_, metrics)) => metrics.contains(&metric),
        None => {
            sources.contains(&format!(r#": &str = "{namespace}";"#))
                && sources.contains(&format!(r#""Name": "{metric}""#))
        }
    }
}

#[test]
fn alarms_watch_metrics_that_exist() {
    let sources = sources();
    for alarm in Alarm::all() {
        for (namespace, metric) in alarm.watched() {
            assert!(exists(namespace, metric, &sources), "{}: {namespace} {metric}", alarm.name);
        }
    }
}

#[test]
fn the_dashboard_shows_metrics_that_exist() {
    let sources = sources();
    let dashboard = resources("AWS::CloudWatch::Dashboard")[0].1["DashboardBody"].clone();
    let yaml_serde::Value::Tagged(sub) = dashboard else { panic!("the dashboard refers to the stack") };
    let dashboard: serde_json::Value =
        serde_json::from_str(&text(&sub.value[0])).expect("a dashboard is JSON");
    let mut shown = BTreeSet::new();
    for widget in dashboard["widgets"].as_array().expect("there are widgets") {
        let (mut namespace, mut name) = (String::new(), String::new());
        for metric in widget["properties"]["metrics"].as_array().expect("a widget has metrics") {
            // A dot stands for the same value as in the metric above, and three dots for all its values.
            let parts: Vec<&str> =
                metric.as_array().expect("a list").iter().filter_map(|part| part.as_str()).collect();
            match parts.as_slice() {
                [] | ["...", ..] => {}
                [first, second, ..] => {
                    if *first != "." {
                        namespace = (*first).to_owned();
                    }
                    name = (*second).to_owned();
                }
                [_] => panic!("{metric} has no name"),
            }
            if !parts.is_empty() {
                assert!(exists(&namespace, &name, &sources), "{namespace} {name}");
                shown.insert(name.clone());
            }
        }
    }
    // An alarm leads to the dashboard, so what raises it must be there. `Requests` is found by a search.
    shown.extend(["Requests", "ServerErrors", "Count"].map(str::to_owned));
    for alarm in Alarm::all() {
        for (_, metric) in alarm.watched() {
            assert!(shown.contains(metric), "the dashboard does not show {metric} of {}", alarm.name);
        }
    }
}

#[test]
fn saved_queries_name_fields_that_log_lines_have() {
    let sources = sources();
    let queries = resources("AWS::Logs::QueryDefinition");
    assert_eq!(queries.len(), 3);
    for (id, query) in queries {
        let query = text(&query["QueryString"]);
        // The first line lists the fields, if there is a list; `by` names those that a statistic is grouped by.
        let listed = query.lines().filter_map(|line| line.trim().strip_prefix("fields "));
        let grouped = query.lines().filter_map(|line| line.split_once(" by ")).map(|(_, fields)| fields);
        let fields: Vec<&str> =
            listed.chain(grouped).flat_map(|fields| fields.split(',')).map(str::trim).collect();
        assert!(fields.len() >= 2, "{id}");
        for field in fields {
            let is_written = ["@timestamp", "message", "level"].contains(&field)
                || sources.contains(&format!("{field} = "))
                || sources.contains(&format!(" {field},"));
            assert!(is_written, "{id}: {field}");
        }
    }
}
