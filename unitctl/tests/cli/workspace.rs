//! `unitctl token`, `user`, `grant`, `revoke`, `unit` and `department`: a workspace that does not come from MongoDB.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::world::{Run, World, body, run, world};

const ADMIN: &str = "rbAXPnMktTFbNpwtJ";
const MONITOR: &str = "GT67Tv6x5p5y5xZWN";
const UNIT: &str = "o5zNtKy7BcTMgyXtm";
const DEPARTMENT: &str = "CgM4vfNNtj8t4QEMd";

impl World {
    /// Runs the binary with this text on its standard input.
    fn run_with(&self, arguments: &[&str], input: &str) -> Run {
        let mut command = self.command(arguments);
        command.write_stdin(input);
        run(command)
    }

    /// Runs the binary, which must succeed. Returns the JSON line that it printed.
    fn json(&self, arguments: &[&str]) -> Value {
        let line = self.ok(&[arguments, &["--output", "json"]].concat());
        assert_eq!(line.find('\n'), Some(line.len() - 1), "one line: {line}");
        serde_json::from_str(&line).expect("it is JSON")
    }

    /// Runs the binary, which must fail with this message and print no result.
    fn fails(&self, arguments: &[&str], message: &str) {
        let expected = Run { code: 1, stdout: String::new(), stderr: format!("error: {message}\n") };
        assert_eq!(self.run(arguments), expected, "{arguments:?}");
    }

    /// Creates a token for the user that does not expire.
    fn token(&self, user: &str) -> String {
        let created = self.json(&["token", "create", "--user", user, "--expires", "never"]);
        created["token"].as_str().expect("a token").to_owned()
    }
}

/// The moment at the end of the line with this start. It must be about now.
fn moment<'a>(text: &'a str, line: &str) -> &'a str {
    let value = text.lines().find_map(|whole| whole.strip_prefix(line)).expect("the line is there").trim();
    let format = time::format_description::well_known::Rfc3339;
    let moment = time::OffsetDateTime::parse(value, &format).expect("a moment");
    let age = time::OffsetDateTime::now_utc() - moment;
    assert!((time::Duration::ZERO..time::Duration::minutes(5)).contains(&age), "{value}");
    assert_eq!(value.len(), "2021-12-06T14:40:59.478Z".len());
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workspace_is_created_and_used_and_its_access_revoked() {
    let world = world().await;
    assert_eq!(
        world.ok(&["user", "put", ADMIN, "--username", "rocket.admin", "--role", "admin", "--role", "user"]),
        "\
_id               rbAXPnMktTFbNpwtJ
username          rocket.admin
roles             admin, user
active            yes
may update units  no
may be a monitor  no
"
    );
    assert_eq!(
        world.ok(&["grant", "admin", "--permission", "manage-livechat-units"]),
        "admin now holds manage-livechat-units\n"
    );
    assert_eq!(world.ok(&["grant", "admin"]), "admin already holds manage-livechat-units\n");
    assert!(world.ok(&["user", "show", ADMIN]).contains("may update units  yes\n"));
    let monitor = world.ok(&["user", "put", MONITOR, "--username", "testerio", "--role", "livechat-monitor"]);
    assert!(monitor.ends_with("may update units  no\nmay be a monitor  yes\n"), "{monitor}");

    let unit = world.ok(&["unit", "create", "--name", "Sales Europe", "--id", UNIT]);
    let updated_at = moment(&unit, "_updatedAt");
    let expected = format!(
        "\
_id             o5zNtKy7BcTMgyXtm
name            Sales Europe
visibility      public
numMonitors     0
numDepartments  0
version         0
_updatedAt      {updated_at}
"
    );
    assert_eq!(unit, expected);
    let department = world.ok(&["department", "create", "--name", "Support", "--id", DEPARTMENT]);
    let updated_at = moment(&department, "_updatedAt");
    let expected =
        format!("_id          CgM4vfNNtj8t4QEMd\nname         Support\n_updatedAt   {updated_at}\n");
    assert_eq!(department, expected);

    let created = world.run(&["token", "create", "--user", ADMIN, "--name", "nightly sync"]);
    let token = created.stdout.trim_end();
    let hash = livechat_units::hashed_token(token);
    assert_eq!((created.code, created.stdout.as_str()), (0, format!("{token}\n").as_str()));
    assert_eq!(
        created.stderr,
        format!("Token of user {ADMIN}, with the hash {hash}. It can't be shown again.\n")
    );

    let body = body(&[MONITOR], &[DEPARTMENT]);
    let response = world.update(UNIT, ADMIN, token, &body).await;
    assert_eq!(response.status_code, 200, "{response:?}");
    let shown = world.ok(&["unit", "show", UNIT]);
    let updated_at = moment(&shown, "_updatedAt");
    let expected = format!(
        "\
_id             o5zNtKy7BcTMgyXtm
name            new name
visibility      private
numMonitors     1
numDepartments  1
version         1
_updatedAt      {updated_at}
monitor         GT67Tv6x5p5y5xZWN  testerio
department      CgM4vfNNtj8t4QEMd
"
    );
    assert_eq!(shown, expected);
    assert_eq!(
        world.ok(&["unit", "show", UNIT, "--body"]),
        "{\"unitData\":{\"name\":\"new name\",\"visibility\":\"private\"},\
         \"unitMonitors\":[{\"monitorId\":\"GT67Tv6x5p5y5xZWN\",\"username\":\"testerio\"}],\
         \"unitDepartments\":[{\"departmentId\":\"CgM4vfNNtj8t4QEMd\"}]}\n"
    );
    assert!(world.ok(&["check"]).ends_with("\nsound\n"));

    // Without the token, the permission or the active user, the next request is refused.
    let items = world.items().await;
    let other = world.token(ADMIN);
    let revoked = world.run_with(&["token", "revoke", "--token", "-"], &format!("{token}\n"));
    assert_eq!(revoked.stdout, format!("revoked {hash}, a token of user {ADMIN}\n"));
    assert_eq!((revoked.code, revoked.stderr.as_str()), (0, ""));
    assert_eq!(world.update(UNIT, ADMIN, token, &body).await.status_code, 401);

    assert_eq!(world.update(UNIT, ADMIN, &other, &body).await.status_code, 200);
    assert_eq!(world.ok(&["revoke", "admin"]), "admin no longer holds manage-livechat-units\n");
    assert_eq!(world.ok(&["revoke", "admin"]), "admin did not hold manage-livechat-units\n");
    assert_eq!(world.update(UNIT, ADMIN, &other, &body).await.status_code, 403);

    world.ok(&["grant", "admin"]);
    assert_eq!(world.update(UNIT, ADMIN, &other, &body).await.status_code, 200);
    let put = ["user", "put", ADMIN, "--username", "rocket.admin", "--role", "admin"];
    assert!(world.ok(&[&put[..], &["--inactive"]].concat()).contains("active            no\n"));
    let refused = world.update(UNIT, ADMIN, &other, &body).await;
    assert_eq!(
        (refused.status_code, refused.body.as_str()),
        (403, r#"{"success":false,"error":"unauthorized"}"#)
    );
    world.ok(&put);
    assert_eq!(world.update(UNIT, ADMIN, &other, &body).await.status_code, 200);

    assert!(items.values().all(|item| !item.to_string().contains(token)), "only the hash is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn results_are_json_for_scripts() {
    let world = world().await;
    assert_eq!(
        world.ok(&[
            "user",
            "put",
            ADMIN,
            "--username",
            "rocket.admin",
            "--role",
            "admin",
            "--output",
            "json"
        ]),
        "{\"_id\":\"rbAXPnMktTFbNpwtJ\",\"username\":\"rocket.admin\",\"roles\":[\"admin\"],\"active\":true,\
         \"mayUpdateUnits\":false,\"mayBeMonitor\":false}\n"
    );
    assert_eq!(
        world.ok(&["grant", "admin", "--output", "json"]),
        "{\"role\":\"admin\",\"permission\":\"manage-livechat-units\",\"isHeld\":true,\"changed\":true}\n"
    );
    assert_eq!(
        world.ok(&["revoke", "user", "--permission", "view-l-room", "--output", "json"]),
        "{\"role\":\"user\",\"permission\":\"view-l-room\",\"isHeld\":false,\"changed\":false}\n"
    );
    assert_eq!(world.json(&["user", "show", ADMIN])["mayUpdateUnits"], true);

    let unit = world.json(&["unit", "create", "--name", "Billing", "--visibility", "private"]);
    let id = unit["_id"].as_str().expect("a random id");
    assert_eq!(id.len(), 17, "as long as Rocket.Chat's: {id}");
    let expected = json!({
        "_id": id, "name": "Billing", "visibility": "private", "numMonitors": 0, "numDepartments": 0,
        "monitors": {}, "departmentIds": [], "ancestors": [], "version": 0, "_updatedAt": unit["_updatedAt"],
        "isSound": true,
    });
    assert_eq!(unit, expected);
    assert_eq!(world.json(&["unit", "show", id]), expected);

    let department = world.json(&["department", "create", "--name", "Support"]);
    let id = department["_id"].as_str().expect("a random id");
    assert_eq!(department, json!({ "_id": id, "name": "Support", "_updatedAt": department["_updatedAt"] }));
    let mut stored = department.clone();
    stored["pk"] = format!("DEPARTMENT#{id}").into();
    stored["sk"] = "DEPARTMENT".into();
    stored.as_object_mut().expect("an object").remove("_id");
    assert_eq!(world.item(&format!("DEPARTMENT#{id}"), "DEPARTMENT").await, stored);

    let created = world.json(&["token", "create", "--user", ADMIN, "--expires", "12h"]);
    let token = created["token"].as_str().expect("a token");
    let hash = livechat_units::hashed_token(token);
    assert_eq!(token.len(), 43, "as long as Rocket.Chat's: {token}");
    let end = created["expiresAt"].as_i64().expect("epoch seconds");
    let now = time::OffsetDateTime::now_utc().unix_timestamp();
    assert!((now + 12 * 3600 - 300..=now + 12 * 3600).contains(&end), "{end}");
    assert_eq!(created, json!({ "token": token, "hashedToken": hash, "userId": ADMIN, "expiresAt": end }));

    let listed = world.json(&["token", "list", "--user", ADMIN]);
    let [only] = listed["tokens"].as_array().expect("a list").as_slice() else { panic!("{listed}") };
    assert_eq!(
        only,
        &json!({
            "hashedToken": hash, "createdAt": only["createdAt"], "expiresAt": only["expiresAt"], "isExpired": false
        })
    );
    assert_eq!(
        world.ok(&["token", "revoke", "--hash", &hash, "--output", "json"]),
        format!("{{\"hashedToken\":\"{hash}\",\"userId\":\"{ADMIN}\"}}\n")
    );
    assert_eq!(world.json(&["token", "list", "--user", ADMIN]), json!({ "tokens": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_users_own_tokens_are_listed() {
    let world = world().await;
    assert_eq!(world.ok(&["token", "list", "--user", ADMIN]), "no tokens\n");
    for token in [
        json!({ "hashedToken": "b=", "userId": ADMIN, "createdAt": "2021-11-02T08:15:00.000Z",
            "type": "personalAccessToken", "name": "nightly sync" }),
        json!({ "hashedToken": "a=", "userId": ADMIN, "createdAt": "2021-12-02T08:15:00.000Z",
            "expiresAt": 1_640_000_000 }),
        json!({ "hashedToken": "d=", "userId": ADMIN, "expiresAt": 4_102_444_800.5 }),
        json!({ "hashedToken": "c=", "userId": MONITOR, "expiresAt": 4_102_444_800_u64 }),
        json!({ "hashedToken": "e=" }),
    ] {
        world.put(token).await;
    }
    assert_eq!(
        world.ok(&["token", "list", "--user", ADMIN]),
        "\
d=  expires 2100-01-01T00:00:00.000Z
b=  created 2021-11-02T08:15:00.000Z  does not expire  personalAccessToken  nightly sync
a=  created 2021-12-02T08:15:00.000Z  expired 2021-12-20T11:33:20.000Z
"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn attributes_and_items_of_other_functions_stay() {
    let world = world().await;
    world
        .put(
            json!({ "pk": format!("USER#{ADMIN}"), "sk": "USER", "username": "old", "roles": { "set": ["a"] },
            "lang": "en" }),
        )
        .await;
    world.ok(&["user", "put", ADMIN, "--username", "rocket.admin"]);
    assert_eq!(
        world.item(&format!("USER#{ADMIN}"), "USER").await,
        json!({ "pk": format!("USER#{ADMIN}"), "sk": "USER", "username": "rocket.admin", "active": true,
            "lang": "en" })
    );

    let permission =
        json!({ "pk": "PERMISSION#p", "sk": "PERMISSION", "roles": { "set": ["a"] }, "level": 3 });
    world.put(permission.clone()).await;
    world.ok(&["grant", "b", "--permission", "p"]);
    let mut both = permission.clone();
    both["roles"] = json!({ "set": ["a", "b"] });
    assert_eq!(world.item("PERMISSION#p", "PERMISSION").await, both);
    world.ok(&["revoke", "b", "--permission", "p"]);
    assert_eq!(world.item("PERMISSION#p", "PERMISSION").await, permission);
    world.ok(&["revoke", "a", "--permission", "p"]);
    assert_eq!(world.item("PERMISSION#p", "PERMISSION").await.get("roles"), None);

    // An item of another function in the unit's partition is not a monitor.
    world.ok(&["unit", "create", "--name", "Sales", "--id", UNIT]);
    world.put(json!({ "pk": format!("UNIT#{UNIT}"), "sk": "BADGE", "of": "another function" })).await;
    assert_eq!(world.json(&["unit", "show", UNIT])["isSound"], true);
    world.set_number(&format!("UNIT#{UNIT}"), "UNIT", "numMonitors", "2").await;
    let shown = world.ok(&["unit", "show", UNIT]);
    assert!(shown.ends_with("\nThe unit is not sound: see `unitctl check`.\n"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_at_the_same_time_do_not_undo_each_others_changes() {
    let world = world().await;
    let roles = ["a", "b", "c", "d", "e", "f"];
    std::thread::scope(|scope| {
        for role in roles {
            let world = &world;
            scope.spawn(move || world.ok(&["grant", role]));
        }
    });
    let permission = world.item("PERMISSION#manage-livechat-units", "PERMISSION").await;
    assert_eq!(permission["roles"], json!({ "set": roles }));

    let codes = std::thread::scope(|scope| {
        let create = || world.run(&["unit", "create", "--name", "Sales", "--id", UNIT]).code;
        [scope.spawn(create), scope.spawn(create)].map(|thread| thread.join().expect("it ends"))
    });
    assert_eq!(BTreeSet::from(codes), BTreeSet::from([0, 1]), "the unit is created once");
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_have_a_message_and_change_nothing() {
    let world = world().await;
    world.ok(&["unit", "create", "--name", "Sales", "--id", "u"]);
    world.ok(&["department", "create", "--name", "Support", "--id", "d"]);
    world.put(json!({ "pk": "USER#broken", "sk": "USER", "username": 5 })).await;
    world.put(json!({ "pk": "UNIT#broken", "sk": "UNIT", "monitors": [] })).await;
    world.put(json!({ "pk": "PERMISSION#broken", "sk": "PERMISSION", "roles": "admin" })).await;
    let before = world.items().await;
    for (arguments, message) in [
        (&["user", "show", "x"][..], "there is no user x; create it with `unitctl user put`"),
        (&["user", "show", "broken"], "corrupt item USER#broken: attribute username"),
        (&["token", "create", "--user", "x"], "there is no user x; create it with `unitctl user put`"),
        (&["token", "revoke", "--hash", "x="], "there is no token with the hash x="),
        (&["token", "revoke", "--hash", ""], "there is no token with the hash "),
        (&["unit", "show", "x"], "there is no unit x"),
        (&["unit", "show", "broken"], "corrupt item UNIT#broken: attribute monitors"),
        (&["unit", "create", "--name", "Sales", "--id", "u"], "the unit u exists already"),
        (&["department", "create", "--name", "Support", "--id", "d"], "the department d exists already"),
    ] {
        world.fails(arguments, message);
    }
    let broken = world.run(&["grant", "admin", "--permission", "broken"]);
    let start = format!("error: table {}: ValidationException: ", world.database.tables.livechat);
    assert!(broken.code == 1 && broken.stdout.is_empty() && broken.stderr.starts_with(&start), "{broken:?}");

    let unknown = "a token that no user has";
    let message = format!("there is no token with the hash {}", livechat_units::hashed_token(unknown));
    for (input, message) in [
        ("", "there is no token on standard input"),
        (" \n", "there is no token on standard input"),
        (unknown, message.as_str()),
    ] {
        let run = world.run_with(&["token", "revoke", "--token", "-"], input);
        assert_eq!(run, Run { code: 1, stdout: String::new(), stderr: format!("error: {message}\n") });
    }
    for arguments in [
        &["token", "create", "--user", "x"][..],
        &["token", "list", "--user", "x"],
        &["token", "revoke", "--hash", "x"],
        &["user", "show", "x"],
        &["user", "put", "x", "--username", "x"],
        &["grant", "x"],
        &["unit", "show", "x"],
        &["unit", "create", "--name", "x"],
        &["department", "create", "--name", "x"],
    ] {
        let tables = ["--tokens-table", "gone", "--livechat-table", "gone"];
        world.fails(&[arguments, &tables].concat(), "there is no table gone in this region and account");
    }
    assert_eq!(world.items().await, before, "a failed command changes nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn invalid_command_lines_exit_with_2() {
    let world = world().await;
    let long = "x".repeat(513);
    for (arguments, message) in [
        (&["user", "show", ""][..], "an id must have 1 to 512 bytes"),
        (&["user", "show", &long], "an id must have 1 to 512 bytes"),
        (&["user", "put", "x", "--username", " "], "a name must not be blank"),
        (&["user", "put", "x"], "--username <USERNAME>"),
        (&["unit", "create", "--name", ""], "a name must not be blank"),
        (&["unit", "create", "--name", "x", "--visibility", "secret"], "[possible values: public, private]"),
        (&["department", "create", "--name", "x", "--id", ""], "an id must have 1 to 512 bytes"),
        (&["grant", ""], "an id must have 1 to 512 bytes"),
        (&["token", "create", "--user", "x", "--expires", "soon"], "try 90d, 12h or never"),
        (&["token", "create", "--user", "x", "--expires", "0s"], "a token must live for at least a second"),
        (
            &["token", "create", "--user", "x", "--expires", "999ms"],
            "a token must live for at least a second",
        ),
        (&["token", "create", "--user", "x", "--expires", "1000y"], "at most a hundred years"),
        // A token is never an argument: every user of the machine can read the command line.
        (&["token", "revoke", "--token", "secret"], "[possible values: -]"),
        (&["token", "revoke", "--token", "-", "--hash", "x"], "cannot be used with"),
        (&["token", "revoke"], "<--hash <HASH>|--token <->>"),
        (&["check", "--output", "xml"], "[possible values: text, json]"),
        (&["check", "--stack", "x"], "cannot be used with"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&[], "Usage: unitctl"),
    ] {
        let run = world.run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (2, ""), "{arguments:?}: {run:?}");
        assert!(run.stderr.contains(message), "{arguments:?}: {}", run.stderr);
    }
    assert!(world.items().await.is_empty());
}
