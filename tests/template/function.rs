//! The function's environment variables, permissions and tables in the template are those that its sources use.

use std::collections::{BTreeMap, BTreeSet};

use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::{Key, PERMISSION};
use unitctl::template::Table;
use yaml_serde::Value;

use crate::template::{function, list, sources, text};

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

/// The names of environment variables among the string literals.
fn variables_used(sources: &str) -> BTreeSet<String> {
    let literals = sources.split('"').filter(|literal| {
        literal.contains('_')
            && literal.starts_with(|c: char| c.is_ascii_uppercase())
            && literal.chars().all(|c| c.is_ascii_uppercase() || c == '_')
    });
    literals.map(str::to_owned).collect()
}

/// The table behind the condition that chooses between the stack's own table and an existing one, by the ARN of
/// either.
fn table_of(resource: &Value) -> String {
    let Value::Tagged(choice) = resource else { panic!("{resource:?} is not one table") };
    assert!(choice.tag == "If");
    let condition = text(&choice.value[0]);
    let table = condition.strip_prefix("Creates").expect("a condition that creates a table").to_owned();
    let Value::Tagged(own) = &choice.value[1] else { panic!("{resource:?} has no table of the stack") };
    assert!(own.tag == "GetAtt");
    assert_eq!(text(&own.value), format!("{table}.Arn"));
    let Value::Tagged(existing) = &choice.value[2] else { panic!("{resource:?} has no existing table") };
    let arn = "arn:${AWS::Partition}:dynamodb:${AWS::Region}:${AWS::AccountId}:table/";
    assert_eq!(text(&existing.value), format!("{arn}${{Existing{table}}}"));
    table
}

/// The policy's statements: those for DynamoDB, and the one that the template adds under a condition.
fn statements() -> (Vec<Value>, Vec<Value>) {
    let policy = function()["Policies"][0]["Statement"].clone();
    let statements: Vec<Value> = list(&policy).into_iter().cloned().collect();
    statements.into_iter().partition(|statement| !matches!(statement, Value::Tagged(_)))
}

#[test]
fn every_environment_variable_is_given_and_used() {
    let function = function();
    let given = function["Environment"]["Variables"].as_mapping().expect("there are some");
    let given: BTreeSet<String> = given.iter().map(|(name, _)| text(name)).collect();
    let mut used = variables_used(&sources());
    assert!(used.contains("TOKENS_TABLE"), "{used:?}");
    // Lambda sets these itself.
    used.retain(|name| !name.starts_with("AWS_LAMBDA_"));
    // These are for an endpoint that has another certificate.
    assert!(used.remove("SSL_CERT_FILE") && used.remove("SSL_CERT_DIR"));
    // The SDK reads this one.
    used.insert("AWS_ENDPOINT_URL_DYNAMODB".into());
    assert_eq!(given, used);
}

#[test]
fn lambda_drops_no_metrics_at_any_log_level() {
    let function = function();
    // Lambda drops lines below this level, and a line of metrics counts as INFO.
    assert_eq!(function["LoggingConfig"]["ApplicationLogLevel"].as_str(), Some("INFO"));
    let Value::Tagged(level) = &function["Environment"]["Variables"]["RUST_LOG"] else {
        panic!("the function's own level is a parameter")
    };
    assert!(level.tag == "Ref");
    assert_eq!(text(&level.value), "LogLevel");
}

#[test]
fn every_action_is_given_on_the_tables_that_it_is_used_on() {
    let mut given: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for statement in statements().0 {
        assert_eq!(text(&statement["Effect"]), "Allow");
        let tables: BTreeSet<String> = list(&statement["Resource"]).into_iter().map(table_of).collect();
        for action in list(&statement["Action"]) {
            let action = text(action).strip_prefix("dynamodb:").expect("DynamoDB's").to_owned();
            assert_eq!(given.insert(action, tables.clone()), None);
        }
    }
    let sources = sources();
    let used = ACTIONS.into_iter().filter(|(call, _)| sources.contains(call)).map(|(_, action)| {
        // Only reads concern the tokens: a transaction's items all name the livechat table.
        let tables: &[&str] = match action {
            "BatchGetItem" => &["LivechatTable", "TokensTable"],
            _ => &["LivechatTable"],
        };
        (action.to_owned(), tables.iter().map(ToString::to_string).collect())
    });
    assert_eq!(given, used.collect());
}

#[test]
fn a_key_may_be_used_through_dynamodb_only() {
    let conditional = statements().1;
    let [Value::Tagged(choice)] = conditional.as_slice() else { panic!("one statement has a condition") };
    assert_eq!(text(&choice.value[0]), "HasKmsKey");
    let statement = &choice.value[1];
    let actions: BTreeSet<String> = list(&statement["Action"]).into_iter().map(text).collect();
    // What DynamoDB asks of a principal that reads and writes items ("DynamoDB encryption at rest usage notes"). Only a
    // principal that creates a table needs kms:CreateGrant.
    let expected =
        ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"];
    assert_eq!(actions, expected.map(str::to_owned).into());
    let Value::Tagged(key) = &statement["Resource"] else { panic!("the resource is a parameter") };
    assert_eq!(text(&key.value), "KmsKeyArn");
    let Value::Tagged(via) = &statement["Condition"]["StringEquals"]["kms:ViaService"] else {
        panic!("the condition names a service")
    };
    assert_eq!(text(&via.value), "dynamodb.${AWS::Region}.${AWS::URLSuffix}");
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
