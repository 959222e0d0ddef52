//! Commands mark what they create. They warn if they change what came from Rocket.Chat.

use serde_json::{Value, json};

use crate::world::{World, world};

const USER: &str = unitctl::sample::USER;
const TOKEN: &str = unitctl::sample::TOKEN;

/// Tables with the sample, which is imported.
async fn sample() -> World {
    let world = world().await;
    unitctl::sample::put(&world.database).await.expect("the sample is written");
    world
}

/// Runs a command that succeeds. Returns its warning.
fn warning(world: &World, arguments: &[&str]) -> String {
    let run = world.run(arguments);
    assert_eq!(run.code, 0, "{run:?}");
    run.stderr
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_operators_says_so() {
    let world = sample().await;
    let token = world.ok_text(&["token", "create", "--user", USER]);
    let hash = livechat_units::hashed_token(token.trim());
    assert_eq!(world.items().await[&hash]["source"], "unitctl");
    let list = &world.item(&format!("USER#{USER}"), "TOKENS").await["hashes"]["set"];
    assert!(!list.as_array().expect("a set").contains(&Value::from(hash.clone())), "it is not Rocket.Chat's");
    assert_eq!(warning(&world, &["token", "revoke", "--hash", &hash]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_what_came_from_rocketchat_are_warned_of() {
    let world = sample().await;
    let hash = livechat_units::hashed_token(TOKEN);
    assert_eq!(
        warning(&world, &["user", "put", USER, "--username", "rocket.admin", "--role", "admin"]),
        format!(
            "warning: user {USER} came from Rocket.Chat; the next import or sync puts back what Rocket.Chat has\n"
        )
    );
    let of_permission = "warning: permission manage-livechat-units came from Rocket.Chat; the next import or sync puts back what Rocket.Chat has\n";
    assert_eq!(warning(&world, &["grant", "user"]), of_permission);
    assert_eq!(warning(&world, &["revoke", "user"]), of_permission);
    assert_eq!(
        warning(&world, &["token", "revoke", "--hash", &hash]),
        "warning: the token came from Rocket.Chat; the next import brings it back, unless it is revoked in Rocket.Chat, too\n"
    );
    // The next import does bring it back.
    let export = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sample");
    world.ok_text(&["import", export.to_str().expect("UTF-8")]);
    assert!(world.items().await.contains_key(&hash));
    let roles = &world.item(&format!("USER#{USER}"), "USER").await["roles"];
    assert_eq!(*roles, json!({ "set": ["admin", "livechat-manager"] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_own_items_are_changed_without_a_warning() {
    let world = sample().await;
    for arguments in [
        &["user", "put", "own", "--username", "own"][..],
        &["user", "put", "own", "--username", "own", "--role", "admin"],
        &["grant", "admin", "--permission", "own"],
        &["grant", "user", "--permission", "own"],
        &["revoke", "user", "--permission", "own"],
    ] {
        assert_eq!(warning(&world, arguments), "", "{arguments:?}");
    }
    let before = world.items().await;
    let export = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sample");
    world.ok_text(&["import", export.to_str().expect("UTF-8")]);
    assert!(world.items().await == before, "an import leaves them alone");
}

#[tokio::test(flavor = "multi_thread")]
async fn check_knows_the_marks_and_repair_keeps_them() {
    let world = sample().await;
    let before = world.items().await;
    assert_eq!(world.run(&["check", "--repair"]).code, 0);
    assert!(world.items().await == before);

    // A repair of a unit and a department changes nothing of their marks.
    world.set_number("UNIT#o5zNtKy7BcTMgyXtm", "UNIT", "numMonitors", "7").await;
    let mut department = before["DEPARTMENT#dE1gSalesGermany1 DEPARTMENT"].clone();
    department["ancestors"] = json!([]);
    world.put(department).await;
    assert_eq!(world.run(&["check", "--repair"]).code, 0);
    let repaired = world.items().await;
    for (key, item) in &before {
        assert_eq!(item.get("rev"), repaired[key].get("rev"), "{key}");
    }

    let hash = livechat_units::hashed_token(TOKEN);
    for (pk, sk, attributes, violation) in [
        ("USER#a", "TOKENS", json!({ "hashes": ["x"], "rev": 1 }), "hashes"),
        ("USER#b", "TOKENS", json!({ "hashes": { "set": ["no hash"] }, "rev": 1 }), "hashes"),
        ("USER#c", "TOKENS", json!({ "hashes": { "set": [hash] } }), "rev"),
        ("USER#d", "TOKENS", json!({ "rev": "1", "deletedAt": true }), "rev, deletedAt"),
        ("USER#", "TOKENS", json!({ "rev": 1 }), ""),
        ("PERMISSION#p", "PERMISSION", json!({ "rev": "1" }), "rev"),
        (
            "DEPARTMENT#d",
            "DEPARTMENT",
            json!({ "rev": "1", "name": "d", "_updatedAt": "2021-12-06T14:40:59.478Z" }),
            "rev",
        ),
        (
            "UNIT#u",
            "UNIT",
            json!({
                "rev": true, "importedVersion": "1", "name": "u", "visibility": "public", "type": "u", "numMonitors": 0,
                "numDepartments": 0, "monitors": {}, "_updatedAt": "2021-12-06T14:40:59.478Z",
            }),
            "rev, importedVersion",
        ),
    ] {
        let world = crate::world::world().await;
        let mut item = attributes;
        item["pk"] = pk.into();
        item["sk"] = sk.into();
        world.put(item).await;
        let run = world.run(&["check", "--output", "json"]);
        assert_eq!(run.code, 3, "{run:?}");
        let found: Value =
            serde_json::from_str(run.stdout.lines().next().expect("a violation")).expect("JSON");
        assert_eq!(found["items"], json!([format!("{pk} {sk}")]));
        assert!(found["violation"].as_str().expect("a text").ends_with(violation), "{found}");
        assert!(run.stdout.contains("\"violations\":1,"), "{run:?}");
    }
    world.put(json!({ "hashedToken": hash, "userId": USER, "source": 5 })).await;
    let run = world.run(&["check"]);
    assert_eq!(run.code, 3);
    assert!(run.stdout.contains("source"), "{run:?}");
}
