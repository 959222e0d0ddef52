//! The commands of the sync in `docs/restore.md`, run as they are written over tables that were restored.

use std::path::Path;
use std::process::{Command, Stdio};

use livechat_units::hashed_token;
use testing::dynamodb::{endpoint, new_tables_with_stream};
use testing::items::{put, scan};

use crate::following::{HASH, TOKEN, body, unit_facts, workspace};
use crate::world::{Run, World};

const PAGE: &str = include_str!("../../../docs/restore.md");

/// Runs a command of the page in a shell.
fn shell(world: &World, restored: &str, command: &str) -> Run {
    let unitctl = Path::new(env!("CARGO_BIN_EXE_unitctl")).parent().expect("it is in a folder");
    let path = std::env::var("PATH").expect("there is a PATH");
    let mut shell = Command::new("sh");
    shell.args(["-euc", command]).stdin(Stdio::null());
    shell.env("RESTORED", restored).env("MONGODB_URI", &world.mongo.uri);
    shell.env("PATH", format!("{}:{path}", unitctl.display()));
    shell.env("AWS_ENDPOINT_URL_DYNAMODB", endpoint()).env("AWS_ENDPOINT_URL_DYNAMODB_STREAMS", endpoint());
    shell
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "eu-west-1");
    for name in ["AWS_PROFILE", "TOKENS_TABLE", "LIVECHAT_TABLE"] {
        shell.env_remove(name);
    }
    let output = shell.output().expect("it starts");
    let text = |bytes| String::from_utf8(bytes).expect("it prints UTF-8");
    let code = output.status.code().expect("no signal");
    Run { code, stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_bring_restored_tables_up_to_date() {
    let commands: Vec<&str> = PAGE.lines().filter(|line| line.starts_with("unitctl sync ")).collect();
    let [dry_run, once] = commands[..] else { panic!("the page has two commands of the sync: {commands:?}") };
    let Some((mut world, departments)) = workspace().await else { return };
    let [sales, support] = [&*departments[0], &departments[1]];
    let rocket_chat = world.rocket_chat();
    let unit = rocket_chat.save_unit(None, "North", "private", &[("mona", "mona")], &[sales]).await;
    let stolen = hashed_token("stolen");
    rocket_chat.log_in("boss", &stolen).await;
    assert_eq!(world.run(&["sync", "--once"]).code, 0);

    // The moment to which the tables are restored.
    let restored = new_tables_with_stream(&world.database.client).await;
    for (from, to) in [
        (&world.database.tables.tokens, &restored.tokens),
        (&world.database.tables.livechat, &restored.livechat),
    ] {
        copy(&world, from, to).await;
    }
    // What happens after that moment, and before the damage.
    rocket_chat.log_out("boss", &stolen).await;
    rocket_chat.remove_roles("mike", &["livechat-monitor"]).await;
    let update = body("Northern", "public", &["mona"], &[sales, support]);
    assert_eq!(world.update(&unit, "boss", TOKEN, &update).await.status_code, 200);
    assert_eq!(world.run(&["sync", "--once"]).code, 0);

    let name = restored.tokens.strip_suffix("-tokens").expect("it ends with that").to_owned();
    assert_eq!(restored.livechat, format!("{name}-livechat"));
    world.database.tables = restored;
    let before = world.all_items().await;
    assert!(before.contains_key(&stolen) && before.contains_key(HASH));
    let run = shell(&world, &name, dry_run);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("the name is now \\\"Northern\\\""), "{run:?}");
    assert_eq!(world.all_items().await, before, "a dry run writes nothing");

    let run = shell(&world, &name, once);
    assert_eq!(run.code, 0, "{run:?}");
    let after = world.all_items().await;
    assert!(!after.contains_key(&stolen) && after.contains_key(HASH), "the revoked token is revoked again");
    let facts = unit_facts(&world, &unit).await.expect("it is there");
    assert_eq!((facts.0.as_str(), facts.1.as_str(), facts.3.len()), ("Northern", "public", 2));
    let check = world.run(&["check", "--mongodb-uri"]);
    assert_eq!(check.code, 0, "{check:?}");
    assert!(check.stdout.contains("the same as in MongoDB"), "{check:?}");
}

/// Copies all items, as DynamoDB does when it restores a table.
async fn copy(world: &World, from: &str, to: &str) {
    let client = &world.database.client;
    let items = scan(client, from).await.expect("it is read");
    let as_json = |item| testing::items::json_of(&aws_sdk_dynamodb::types::AttributeValue::M(item));
    let items: Vec<_> = items.into_iter().map(as_json).collect();
    put(client, to, &items).await.expect("they are written");
}
