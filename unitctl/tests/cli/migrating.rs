//! The commands of `docs/migrating.md` and `docs/importing.md`, run as they are written, each page in one shell.
//!
//! The commands of the sync need the feature `sync` and a server that speaks MongoDB's protocol, at TEST_MONGODB_URI.
//! Without these they are left out, and the sample is imported instead.

use std::fs;
use std::future::pending;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use livechat_units::Function;
use tempfile::TempDir;
use unitctl::{engine, local_gateway};

use crate::documents::{blocks, shell};
use crate::world::{endpoint, run, world, world_with_stream};

const PAGE: &str = include_str!("../../../docs/migrating.md");
const IMPORTING: &str = include_str!("../../../docs/importing.md");
const UNIT_FILE: &str = include_str!("../../../docs/unitctl-sync.service");

/// The URI of both pages, and the address of the unit file and its page.
const URI: &str = "mongodb://127.0.0.1:27017/rocketchat?replicaSet=rs0";
const ADDRESS: &str = "127.0.0.1:9090";

/// Texts by which the commands are found that need the sync or MongoDB.
const SYNC: [&str; 4] = ["unitctl sync", "unitctl-sync", "--mongodb-uri", ADDRESS];

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

/// A stand-in for systemd: it starts what the unit file starts, and notes the process.
const SUDO: &str = r#"#!/bin/sh
[ "$*" = "systemctl enable --now unitctl-sync" ] || { echo "unexpected: $*" >&2; exit 1; }
folder=$(dirname "$0")
$EXEC_START < /dev/null > "$folder/sync.log" 2>&1 &
echo $! > "$folder/sync.pid"
"#;

/// A folder with these programs.
fn programs(folder: &TempDir) -> PathBuf {
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).expect("it is made");
    for (name, script) in [("mongoexport", MONGOEXPORT), ("aws", AWS), ("sudo", SUDO)] {
        fs::write(bin.join(name), script).expect("it is written");
        fs::set_permissions(bin.join(name), fs::Permissions::from_mode(0o755)).expect("it may be run");
    }
    bin
}

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample")
}

/// Whether nothing but the programs is left in the folder.
#[track_caller]
fn assert_nothing_is_left(folder: &TempDir) {
    let left: Vec<_> = fs::read_dir(folder.path()).expect("it is there").collect();
    assert_eq!(left.len(), 1, "nothing is left: {left:?}");
}

/// The process that the stand-in for systemd has started. It is ended when this is dropped.
struct Service(PathBuf);

impl Drop for Service {
    fn drop(&mut self) {
        if let Ok(id) = fs::read_to_string(self.0.join("sync.pid")) {
            drop(std::process::Command::new("kill").arg(id.trim()).status());
        }
    }
}

/// A database of MongoDB with the sample. `None` if there is no server.
#[cfg(feature = "sync")]
async fn mongodb() -> Option<crate::sync_world::Mongo> {
    use mongodb::bson::Document;

    let mongo = crate::sync_world::mongo().await?;
    for file in fs::read_dir(sample()).expect("it is there") {
        let path = file.expect("it is read").path();
        let collection = path.file_stem().and_then(|name| name.to_str()).expect("UTF-8");
        let text = fs::read_to_string(&path).expect("it is read");
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let documents: Vec<Document> =
            lines.map(|line| serde_json::from_str(line).expect("extended JSON")).collect();
        mongo.db.collection::<Document>(collection).insert_many(documents).await.expect("it is inserted");
    }
    Some(mongo)
}

/// The page's `sh` blocks, with the URI of this database. Without one, the commands of the sync are left out.
fn commands(uri: Option<&str>, address: &str) -> String {
    let blocks = blocks(PAGE, "sh");
    let needs_sync = |block: &&str| SYNC.iter().any(|text| block.contains(text));
    let left_out = blocks.iter().copied().filter(needs_sync).count();
    assert!(left_out >= 5, "the page uses the sync");
    match uri {
        Some(uri) => blocks.concat().replace(URI, uri).replace(ADDRESS, address),
        None => {
            println!(
                "left out: {left_out} blocks of commands, because they need the sync and TEST_MONGODB_URI"
            );
            let rest: String = blocks.into_iter().filter(|block| !needs_sync(block)).collect();
            // After the variables, the sync would fill the tables. Here an import does.
            let (variables, rest) = rest.split_once("export STACK=livechat-units\n").expect("it is there");
            let import = "unitctl import \"$SAMPLE\" --stack \"$STACK\"\nunitctl check --stack \"$STACK\"\n";
            format!("{variables}export STACK=livechat-units\n{import}{rest}")
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_lead_to_a_first_update() {
    assert!(
        unitctl::template::TEMPLATE.contains("\n  ApiUrl:\n"),
        "the stack has the output that the page reads"
    );
    let world = world_with_stream().await;
    let tables = world.database.tables.clone();
    let api = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let api_url = format!("http://{}", api.local_addr().expect("it is bound"));
    let function = Function::new(&engine::sdk_config(endpoint()), tables.clone());
    tokio::spawn(async move { local_gateway::serve(api, function, pending()).await.expect("it serves") });

    #[cfg(feature = "sync")]
    let mongodb = mongodb().await;
    #[cfg(feature = "sync")]
    let uri = mongodb.as_ref().map(|mongodb| mongodb.uri.as_str());
    #[cfg(not(feature = "sync"))]
    let uri: Option<&str> = None;

    let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = free.local_addr().expect("it is bound").to_string();
    drop(free);
    let start = UNIT_FILE.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/local/bin/"));
    let start = start.expect("the unit file starts unitctl").replace(ADDRESS, &address);

    let folder = TempDir::new().expect("a folder");
    let bin = programs(&folder);
    let _service = Service(bin.clone());
    let mut shell = shell(&commands(uri, &address), &world, folder.path(), &bin).await;
    shell.env("SAMPLE", sample()).env("API_URL", api_url).env("EXEC_START", start);
    let run = run(shell);

    let log = fs::read_to_string(bin.join("sync.log")).unwrap_or_default();
    assert_eq!(run.code, 0, "{}\n{}\n{log}", run.stdout, run.stderr);
    assert!(run.stdout.contains("may update units  yes\n"), "{}", run.stdout);
    let unit = world.item("UNIT#o5zNtKy7BcTMgyXtm", "UNIT").await;
    let answer = format!(
        "{{\"name\":{},\"visibility\":{},\"type\":\"u\",\"numMonitors\":{},\"numDepartments\":{},\"_updatedAt\":{},\
         \"_id\":\"o5zNtKy7BcTMgyXtm\",\"success\":true}}",
        unit["name"], unit["visibility"], unit["numMonitors"], unit["numDepartments"], unit["_updatedAt"],
    );
    assert!(run.stdout.contains(&answer), "{answer}\n{}", run.stdout);
    assert_eq!(unit["version"], 1, "one update");
    let checks = PAGE.matches("--mongodb-uri\n").count();
    assert_eq!(run.stdout.matches("\nsound\n").count(), if uri.is_some() { checks } else { 1 });
    if uri.is_some() {
        assert_eq!(run.stdout.matches("\nthe same as in MongoDB\n").count(), checks, "{}", run.stdout);
        assert!(run.stdout.contains("\nok\n"), "{}", run.stdout);
    }
    let tokens = world.ok(&["token", "list", "--user", "rbAXPnMktTFbNpwtJ"]);
    assert!(!tokens.contains("migration"), "the token is revoked: {tokens}");
    assert_nothing_is_left(&folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_import_an_export() {
    let world = world().await;
    let folder = TempDir::new().expect("a folder");
    let bin = programs(&folder);
    let mut shell = shell(&blocks(IMPORTING, "sh").concat(), &world, folder.path(), &bin).await;
    shell.env("SAMPLE", sample());
    let run = run(shell);

    assert_eq!(run.code, 0, "{}\n{}", run.stdout, run.stderr);
    assert_eq!(run.stdout.matches("\nsound\n").count(), 1, "{}", run.stdout);
    let unit = world.item("UNIT#o5zNtKy7BcTMgyXtm", "UNIT").await;
    assert_eq!(unit["name"], "unitxx");
    assert_nothing_is_left(&folder);
}
