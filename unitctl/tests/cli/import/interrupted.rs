//! Imports that are killed, throttled, or answered in parts.

use super::*;
use crate::throttled;

/// Many users with tokens, units with departments and monitors.
fn large(users: usize) -> TempDir {
    let units = users / 100;
    let user = |n: usize| {
        let mut user = user(&format!("user{n:06}"), &["livechat-agent", "livechat-monitor"]);
        let token = json!({
            "hashedToken": livechat_units::hashed_token(&format!("token {n}")),
            "when": { "$date": "2026-01-01T00:00:00.000Z" },
        });
        user["services"] = json!({ "resume": { "loginTokens": [token] } });
        user
    };
    let users: Vec<Value> = (0..users).map(user).collect();
    let mut departments = Vec::new();
    let mut monitors = Vec::new();
    for n in 0..units {
        let id = format!("unit{n:04}");
        departments.push(unit(&id, 3, 10));
        departments.extend((0..10).map(|d| department(&format!("department{n:04}{d}"), Some(&id))));
        monitors.extend((0..3).map(|m| monitor(&id, &format!("user{:06}", n * 3 + m))));
    }
    export(&users, &[permission()], &departments, &monitors)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_import_that_is_killed_is_finished_by_the_next() {
    let folder = large(1000);
    let whole = world().await;
    assert_eq!(whole.import(folder.path(), &[]).code, 0);
    let expected = whole.items().await;
    assert_eq!(expected.len(), 1000 + 1000 + 1000 + 1 + 10 * (1 + 10 + 3));

    // Killed again and again, each time a little later, in all of its phases.
    let world = world().await;
    let mut least = 0;
    while least < expected.len() - 50 {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_unitctl"))
            .args(["--endpoint", crate::world::endpoint()])
            .args(["--tokens-table", &world.database.tables.tokens])
            .args(["--livechat-table", &world.database.tables.livechat])
            .args(["import", folder.path().to_str().expect("UTF-8")])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("it starts");
        loop {
            let count = world.items().await.len();
            let has_ended = child.try_wait().expect("it can be waited for").is_some();
            if count > least || has_ended {
                child.kill().expect("it can be killed");
                child.wait().expect("it has ended");
                // Otherwise the next import would wait, to see whether this one is still running.
                world.delete("SYNC#STATE", "LEASE").await;
                least = world.items().await.len() + 150;
                break;
            }
        }
    }
    let run = world.import(folder.path(), &["--strict"]);
    assert_eq!(run.code, 0, "{run:?}");
    // Some items are written again, and `rev` counts that.
    assert!(
        without(&["rev"], &world.items().await) == without(&["rev"], &expected),
        "an item is missing or different"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_unprocessed_is_sent_again() {
    let world = world().await;
    let proxy = throttled::proxy(crate::world::endpoint()).await;
    let folder = large(100);
    let import = || {
        let mut command = assert_cmd::Command::new(env!("CARGO_BIN_EXE_unitctl"));
        command.args(["--endpoint", &proxy.url, "--output", "json"]);
        command.args(["--tokens-table", &world.database.tables.tokens]);
        command.args(["--livechat-table", &world.database.tables.livechat]);
        command.args(["import", folder.path().to_str().expect("UTF-8")]);
        let run = run(command);
        assert_eq!(run.code, 0, "{run:?}");
        serde_json::from_str::<Value>(run.stdout.lines().last().expect("a summary")).expect("JSON")
    };
    assert_eq!(import()["users"]["written"], 100);
    assert_eq!(world.items().await.len(), 100 + 100 + 100 + 1 + (1 + 10 + 3));
    let (keys, items) = proxy.unprocessed();
    assert!(keys > 50 && items > 50, "{keys} keys and {items} items were left unprocessed");
    // What is stored is found, although replies lose their bodies.
    let again = import();
    for kind in ["users", "tokens", "permissions", "departments", "units"] {
        assert_eq!(again[kind]["written"], 0, "{kind}");
    }
}
