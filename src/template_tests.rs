//! The template gives the function what it uses, and no more.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use unitctl::template::{TEMPLATE, Table};
use yaml_serde::Value;

use crate::id::{DepartmentId, UnitId, UserId};
use crate::item::{Key, PERMISSION};
use crate::metrics::NAMESPACE;

/// How a source file would call DynamoDB, and the IAM action that this needs (Service Authorization
/// Reference, "Actions, resources, and condition keys for Amazon DynamoDB"). A transaction needs the
/// actions of its items.
const ACTIONS: [(&str, &str); 15] = [
    (".batch_get_item()", "BatchGetItem"),
    (".batch_write_item()", "BatchWriteItem"),
    (".get_item()", "GetItem"),
    (".put_item()", "PutItem"),
    (".update_item()", "UpdateItem"),
    (".delete_item()", "DeleteItem"),
    (".query()", "Query"),
    (".scan()", "Scan"),
    (".describe_table()", "DescribeTable"),
    (".execute_statement()", "PartiQLSelect"),
    ("TransactGetItem::builder()", "GetItem"),
    ("TransactWriteItem::builder().put(", "PutItem"),
    ("TransactWriteItem::builder().update(", "UpdateItem"),
    ("TransactWriteItem::builder().delete(", "DeleteItem"),
    ("TransactWriteItem::builder().condition_check(", "ConditionCheckItem"),
];

/// The function's sources without this file, which names everything, and without what only fuzzing compiles.
fn sources() -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let folders = [folder.clone(), folder.join("request"), folder.join("dynamodb")];
    let files = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("the sources are there"));
    let sources = files
        .map(|file| file.expect("readable").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .filter(|path| path.file_name().is_some_and(|name| name != "template_tests.rs" && name != "fuzz.rs"))
        .map(|path| fs::read_to_string(path).expect("a source is text"));
    sources.collect()
}

fn function() -> Value {
    let template: Value = yaml_serde::from_str(TEMPLATE).expect("the template is YAML");
    template["Resources"]["Function"]["Properties"].clone()
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// One or many.
fn list(value: &Value) -> Vec<&Value> {
    value.as_sequence().map_or_else(|| vec![value], |values| values.iter().collect())
}

/// The names of environment variables among the string literals.
fn variables_used(sources: &str) -> BTreeSet<String> {
    let literals = sources.split('"').filter(|literal| {
        literal.contains('_')
            && literal.starts_with(|c: char| c.is_ascii_uppercase())
            && literal.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    });
    literals.map(str::to_owned).collect()
}

#[test]
fn every_environment_variable_is_given_and_used() {
    let function = function();
    let given = function["Environment"]["Variables"].as_mapping().expect("there are some");
    let given: BTreeSet<String> = given.iter().map(|(name, _)| text(name)).collect();
    let mut used = variables_used(&sources());
    assert!(used.contains("TOKENS_TABLE"), "{used:?}");
    // Lambda's own, and the one for somebody who debugs.
    assert!(used.remove("AWS_LAMBDA_FUNCTION_NAME"));
    assert!(used.remove("AWS_LAMBDA_LOG_LEVEL") && used.remove("RUST_LOG"));
    // For an endpoint of somebody's own.
    assert!(used.remove("SSL_CERT_FILE") && used.remove("SSL_CERT_DIR"));
    assert!(!function["LoggingConfig"]["ApplicationLogLevel"].is_null());
    // The SDK's.
    used.insert("AWS_ENDPOINT_URL_DYNAMODB".into());
    assert_eq!(given, used);
}

#[test]
fn every_action_is_given_on_the_tables_that_it_is_used_on() {
    let mut given: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for statement in list(&function()["Policies"][0]["Statement"]) {
        assert_eq!(text(&statement["Effect"]), "Allow");
        let tables = list(&statement["Resource"]).into_iter().map(|resource| match resource {
            Value::Tagged(reference) if reference.tag == "GetAtt" => text(&reference.value),
            other => panic!("{other:?} is not one table"),
        });
        let tables: BTreeSet<String> = tables.collect();
        for action in list(&statement["Action"]) {
            let action = text(action).strip_prefix("dynamodb:").expect("DynamoDB's").to_owned();
            assert_eq!(given.insert(action, tables.clone()), None);
        }
    }
    let sources = sources();
    let used = ACTIONS.into_iter().filter(|(call, _)| sources.contains(call)).map(|(_, action)| {
        // Only reads concern the tokens: a transaction's items all name the livechat table.
        let tables: &[&str] = match action {
            "BatchGetItem" => &["LivechatTable.Arn", "TokensTable.Arn"],
            _ => &["LivechatTable.Arn"],
        };
        (action.to_owned(), tables.iter().map(ToString::to_string).collect())
    });
    assert_eq!(given, used.collect());
}

#[test]
fn keys_are_the_tables() {
    let unit = UnitId::parse("u").expect("an id");
    let user = UserId::parse("m").expect("an id");
    for (variable, keys) in [
        ("TOKENS_TABLE", vec![Key::Token("hash".into())]),
        (
            "LIVECHAT_TABLE",
            vec![
                Key::User(user.clone()),
                Key::Permission(PERMISSION.into()),
                Key::Unit(unit.clone()),
                Key::Monitor(unit, user),
                Key::Department(DepartmentId::parse("d").expect("an id")),
            ],
        ),
    ] {
        let table = Table::of_variable(variable).expect("the template has it");
        let expected: BTreeSet<&str> = table.key().into_iter().collect();
        for key in keys {
            let attributes = key.attributes();
            assert_eq!(attributes.keys().map(String::as_str).collect::<BTreeSet<_>>(), expected, "{key:?}");
        }
    }
}

#[test]
fn alarms_and_dashboard_watch_metrics_that_there_are() {
    let metrics = include_str!("metrics.rs");
    let mut watched = 0;
    let mut lines = TEMPLATE.lines().peekable();
    while let Some(line) = lines.next() {
        if line.trim() == format!("Namespace: {NAMESPACE}") {
            let metric = lines.peek().and_then(|line| line.trim().strip_prefix("MetricName: "));
            let metric = metric.expect("a metric follows its namespace");
            assert!(metrics.contains(&format!(r#""Name": "{metric}""#)), "{metric}");
            watched += 1;
        }
    }
    assert!(watched >= 5, "{watched}");
    let dashboard = TEMPLATE.split("DashboardBody").nth(1).expect("there is a dashboard");
    for metric in
        ["Requests", "Duration", "ColdStarts", "Transactions", "Conflicts", "ReadCapacity", "WriteCapacity"]
    {
        assert!(metrics.contains(&format!(r#""Name": "{metric}""#)), "{metric}");
        assert!(dashboard.contains(metric), "the dashboard lacks {metric}");
    }
}
