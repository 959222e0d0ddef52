//! The policies in the documents allow exactly what the tool calls on AWS.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::documents::blocks;

/// Calls in the sources, with the action that each needs.
const ACTIONS: [(&str, &str); 17] = [
    (".operation_name(\"DescribeStacks\")", "cloudformation:DescribeStacks"),
    (".batch_get_item()", "dynamodb:BatchGetItem"),
    (".batch_write_item()", "dynamodb:BatchWriteItem"),
    ("ConditionCheck::builder()", "dynamodb:ConditionCheckItem"),
    (".delete_item()", "dynamodb:DeleteItem"),
    ("Delete::builder()", "dynamodb:DeleteItem"),
    (".describe_stream()", "dynamodb:DescribeStream"),
    (".describe_table()", "dynamodb:DescribeTable"),
    (".get_item()", "dynamodb:GetItem"),
    (".get_records()", "dynamodb:GetRecords"),
    (".get_shard_iterator()", "dynamodb:GetShardIterator"),
    (".put_item()", "dynamodb:PutItem"),
    ("Put::builder()", "dynamodb:PutItem"),
    (".query()", "dynamodb:Query"),
    (".scan()", "dynamodb:Scan"),
    (".update_item()", "dynamodb:UpdateItem"),
    ("Update::builder()", "dynamodb:UpdateItem"),
];

fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(path)
}

/// All sources in a file or folder, except files and folders with these names.
fn sources(path: &Path, except: &[&str]) -> String {
    if path.is_file() {
        return fs::read_to_string(path).expect("it is read");
    }
    let entries = fs::read_dir(path).expect("it is there").map(|entry| entry.expect("it is read").path());
    let is_wanted = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        !except.contains(&name)
    };
    entries.filter(is_wanted).map(|path| sources(&path, except)).collect()
}

fn needed(sources: &str) -> BTreeSet<&'static str> {
    let called = ACTIONS.into_iter().filter(|(call, _)| sources.contains(call));
    called.map(|(_, action)| action).collect()
}

/// The actions that the only policy of a page allows.
fn allowed(page: &'static str) -> BTreeSet<String> {
    let policies = blocks(page, "json").into_iter().filter(|block| block.contains("\"Statement\""));
    let policies: Vec<&str> = policies.collect();
    let [policy] = policies[..] else { panic!("one policy") };
    let policy: Value = serde_json::from_str(policy).expect("JSON");
    let statements = policy["Statement"].as_array().expect("a list");
    let actions = statements.iter().flat_map(|statement| match &statement["Action"] {
        Value::Array(actions) => actions.iter().collect(),
        action => vec![action],
    });
    actions.filter_map(|action| action.as_str().map(str::to_owned)).collect()
}

fn owned(actions: BTreeSet<&str>) -> BTreeSet<String> {
    actions.into_iter().map(str::to_owned).collect()
}

#[test]
fn the_operators_policy_allows_exactly_what_the_other_commands_do() {
    // `local` creates its tables on an engine that requires no permissions. The sync has a policy of its own.
    let except = ["engine.rs", "local.rs", "local_gateway.rs", "template.rs", "sync"];
    let needed = needed(&sources(&source(""), &except));
    assert_eq!(allowed(include_str!("../../../docs/unitctl.md")), owned(needed));
}

#[test]
fn the_syncs_policy_allows_exactly_what_it_does() {
    // The sync also uses these modules of the tool, and one of the function for the actions of its transactions.
    let shared = ["condition.rs", "lease", "requests.rs", "stack.rs", "../../src/dynamodb/expression.rs"];
    let own = sources(&source("sync"), &["model_tests", "tests", "tests.rs", "testing.rs"]);
    let shared: String = shared.map(|path| sources(&source(path), &["tests.rs"])).concat();
    let mut needed = needed(&(shared + &own));
    // `requests.rs` can send batches of writes, but only the import does. The sync would need their type for that.
    if !own.contains("WriteRequest") {
        needed.remove("dynamodb:BatchWriteItem");
    }
    assert_eq!(allowed(include_str!("../../../docs/sync.md")), owned(needed));
}
