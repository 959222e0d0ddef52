//! The commands of `docs/migrating.md`, run as they are written, in one shell.

use std::collections::BTreeSet;
use std::fs;
use std::future::pending;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use livechat_units::Function;
use serde_json::Value;
use tempfile::TempDir;
use unitctl::{engine, local_gateway};

use crate::documents::{blocks, shell};
use crate::world::{endpoint, run, world};

const PAGE: &str = include_str!("../../../docs/migrating.md");

/// A stand-in for mongoexport: it accepts only options that mongoexport has, and exports the sample.
const MONGOEXPORT: &str = r#"#!/bin/sh
set -eu
while [ $# -gt 0 ]; do
  case $1 in
    --uri) [ "$2" = "$MONGODB_URI" ] || exit 1 ;;
    --collection) collection=$2 ;;
    --fields) ;;
    --out) out=$2 ;;
    *) echo "unknown option $1" >&2; exit 1 ;;
  esac
  shift 2
done
cp "$SAMPLE/$collection.json" "$out"
"#;

/// A stand-in for the AWS CLI: it prints one output of one stack.
const AWS: &str = r#"#!/bin/sh
[ "$*" = "cloudformation describe-stacks --stack-name livechat-units --query Stacks[0].Outputs[?OutputKey=='ApiUrl'].OutputValue --output text" ] || { echo "unexpected: $*" >&2; exit 1; }
echo "$API_URL"
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_lead_to_a_first_update() {
    assert!(
        unitctl::template::TEMPLATE.contains("\n  ApiUrl:\n"),
        "the stack has the output that the page reads"
    );
    let world = world().await;
    let tables = world.database.tables.clone();
    let api = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let api_url = format!("http://{}", api.local_addr().expect("it is bound"));
    let function = Function::new(&engine::sdk_config(endpoint()), tables.clone());
    tokio::spawn(async move { local_gateway::serve(api, function, pending()).await.expect("it serves") });

    let folder = TempDir::new().expect("a folder");
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).expect("it is made");
    for (name, script) in [("mongoexport", MONGOEXPORT), ("aws", AWS)] {
        fs::write(bin.join(name), script).expect("it is written");
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).expect("it may be run");
    }
    let mut shell = shell(PAGE, &world, folder.path(), &bin).await;
    shell.env("SAMPLE", Path::new(env!("CARGO_MANIFEST_DIR")).join("sample")).env("API_URL", api_url);
    let run = run(shell);

    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    assert!(run.stdout.contains("may update units  yes\n"), "{}", run.stdout);
    let unit = world.item("UNIT#o5zNtKy7BcTMgyXtm", "UNIT").await;
    let answer = format!(
        "{{\"name\":{},\"visibility\":{},\"type\":\"u\",\"numMonitors\":{},\"numDepartments\":{},\"_updatedAt\":{},\
         \"_id\":\"o5zNtKy7BcTMgyXtm\",\"success\":true}}",
        unit["name"], unit["visibility"], unit["numMonitors"], unit["numDepartments"], unit["_updatedAt"],
    );
    assert!(run.stdout.contains(&answer), "{answer}\n{}", run.stdout);
    assert_eq!(unit["version"], 1, "one update");
    assert_eq!(run.stdout.matches("\nsound\n").count(), 2);
    let tokens = world.ok(&["token", "list", "--user", "rbAXPnMktTFbNpwtJ"]);
    assert!(!tokens.contains("migration"), "the token is revoked: {tokens}");
    let left: Vec<_> = fs::read_dir(folder.path()).expect("it is there").collect();
    assert_eq!(left.len(), 1, "nothing of the export is left: {left:?}");
}

#[test]
fn the_policy_allows_exactly_what_the_tool_does() {
    let [policy] = blocks(PAGE, "json")[..] else { panic!("one policy") };
    let policy: Value = serde_json::from_str(policy).expect("JSON");
    let statements = policy["Statement"].as_array().expect("a list");
    let actions = statements.iter().flat_map(|statement| match &statement["Action"] {
        Value::Array(actions) => actions.iter().collect(),
        action => vec![action],
    });
    let allowed: BTreeSet<&str> = actions.filter_map(Value::as_str).collect();

    // `local` creates its tables on an engine that requires no permissions.
    let local = ["engine.rs", "local.rs", "local_gateway.rs", "template.rs"];
    let mut sources = String::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("it is there") {
            let path = entry.expect("it is read").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("UTF-8").to_owned();
            if path.is_dir() {
                folders.push(path);
            } else if !local.contains(&name.as_str()) {
                sources += &fs::read_to_string(path).expect("it is read");
            }
        }
    }
    let needed: BTreeSet<&str> = [
        (".operation_name(\"DescribeStacks\")", "cloudformation:DescribeStacks"),
        (".batch_get_item()", "dynamodb:BatchGetItem"),
        (".batch_write_item()", "dynamodb:BatchWriteItem"),
        ("ConditionCheck::builder()", "dynamodb:ConditionCheckItem"),
        (".delete_item()", "dynamodb:DeleteItem"),
        ("Delete::builder()", "dynamodb:DeleteItem"),
        (".describe_table()", "dynamodb:DescribeTable"),
        (".get_item()", "dynamodb:GetItem"),
        (".put_item()", "dynamodb:PutItem"),
        ("Put::builder()", "dynamodb:PutItem"),
        (".query()", "dynamodb:Query"),
        (".scan()", "dynamodb:Scan"),
        (".update_item()", "dynamodb:UpdateItem"),
        ("Update::builder()", "dynamodb:UpdateItem"),
    ]
    .into_iter()
    .filter(|(call, _)| sources.contains(call))
    .map(|(_, action)| action)
    .collect();
    assert_eq!(allowed, needed);
}
