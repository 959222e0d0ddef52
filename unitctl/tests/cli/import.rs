//! `unitctl import`: what becomes of an export.

mod broken;
mod duplicates;
mod formats;
mod incomplete;
mod interrupted;
mod lease;
mod refused;
mod tokens;
mod values;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::world::{Run, World, body, run, world};

const FILES: [&str; 4] = [
    "users.json",
    "rocketchat_permissions.json",
    "rocketchat_livechat_department.json",
    "rocketchat_livechat_unit_monitors.json",
];

const ADMIN: &str = unitctl::sample::USER;
const TOKEN: &str = unitctl::sample::TOKEN;
const EUROPE: &str = "aW4sEuropeUnit001";

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("sample")
}

/// A folder with these documents, a line each.
fn export(users: &[Value], permissions: &[Value], departments: &[Value], monitors: &[Value]) -> TempDir {
    let folder = TempDir::new().expect("a folder");
    for (file, documents) in FILES.into_iter().zip([users, permissions, departments, monitors]) {
        let lines: String = documents.iter().map(|document| format!("{document}\n")).collect();
        fs::write(folder.path().join(file), lines).expect("it is written");
    }
    folder
}

fn write(folder: &TempDir, file: &str, text: impl AsRef<[u8]>) {
    fs::write(folder.path().join(file), text).expect("it is written");
}

impl World {
    fn import(&self, folder: &Path, options: &[&str]) -> Run {
        let mut arguments = vec!["import", folder.to_str().expect("a path in UTF-8")];
        arguments.extend(options);
        self.run(&arguments)
    }
}

fn user(id: &str, roles: &[&str]) -> Value {
    json!({ "_id": id, "username": format!("name.of.{id}"), "active": true, "roles": roles })
}

fn unit(id: &str, monitors: usize, departments: usize) -> Value {
    json!({
        "_id": id, "name": format!("Unit {id}"), "visibility": "public", "type": "u", "numMonitors": monitors,
        "numDepartments": departments, "_updatedAt": { "$date": "2021-12-06T14:40:59.478Z" },
    })
}

fn department(id: &str, unit: Option<&str>) -> Value {
    let mut department = json!({
        "_id": id, "name": format!("Department {id}"), "enabled": true,
        "_updatedAt": { "$date": "2021-12-06T14:40:59.478Z" },
    });
    if let Some(unit) = unit {
        department["parentId"] = unit.into();
        department["ancestors"] = json!([unit]);
    }
    department
}

fn monitor(unit: &str, user: &str) -> Value {
    json!({
        "_id": format!("{unit} {user}"), "unitId": unit, "monitorId": user, "username": format!("name.of.{user}"),
    })
}

fn permission() -> Value {
    json!({ "_id": "manage-livechat-units", "roles": ["admin"] })
}

/// The administrator of the sample, with the sample's token.
fn admin() -> Value {
    let mut admin = user(ADMIN, &["admin"]);
    let token = json!({ "type": "personalAccessToken", "hashedToken": livechat_units::hashed_token(TOKEN) });
    admin["services"] = json!({ "resume": { "loginTokens": [token] } });
    admin
}

/// A small sound workspace: the units `desk` (monitors `ann` and `bob`, departments `mail` and `phone`) and `shop`
/// (department `orders`), the administrator, and a permission. In the order of [`FILES`].
fn base() -> [Vec<Value>; 4] {
    let mut clerk = user("clerk", &["livechat-agent"]);
    clerk["services"] = json!({ "resume": { "loginTokens": [login("clerk", "2098-01-02T03:04:05.006Z")] } });
    let users =
        vec![admin(), user("ann", &["livechat-monitor"]), user("bob", &["user", "livechat-monitor"]), clerk];
    let departments = vec![
        unit("desk", 2, 2),
        unit("shop", 0, 1),
        department("mail", Some("desk")),
        department("phone", Some("desk")),
        department("orders", Some("shop")),
    ];
    [users, vec![permission()], departments, vec![monitor("desk", "ann"), monitor("desk", "bob")]]
}

/// A folder with these documents, in the order of [`FILES`].
fn folder(documents: &[Vec<Value>; 4]) -> TempDir {
    let [users, permissions, departments, monitors] = documents;
    export(users, permissions, departments, monitors)
}

/// A login token as Rocket.Chat stores it.
fn login(token: &str, when: &str) -> Value {
    json!({ "when": { "$date": when }, "hashedToken": livechat_units::hashed_token(token) })
}

/// Lines that start with any of these words, in order of the alphabet.
fn lines<'a>(run: &'a Run, starts: &[&str]) -> Vec<&'a str> {
    let mut lines: Vec<&str> =
        run.stdout.lines().filter(|line| starts.iter().any(|start| line.starts_with(start))).collect();
    lines.sort_unstable();
    lines
}

/// The items without these attributes of departments, and without `rev` of units, if `rev` is among them.
fn without(names: &[&str], items: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    let mut items = items.clone();
    for (key, item) in &mut items {
        let item = item.as_object_mut().expect("an item");
        for name in names.iter().filter(|name| key.starts_with("DEPARTMENT#") || **name == "rev") {
            item.remove(*name);
        }
    }
    items
}

/// The items whose keys start like this.
fn starting(start: &str, items: &BTreeMap<String, Value>) -> Vec<String> {
    items.keys().filter(|key| key.starts_with(start)).cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sample_is_imported_and_repaired() {
    let world = world().await;
    let run = world.import(&sample(), &[]);
    assert_eq!(
        run.stdout,
        "\
repaired: department iT3gSalesItaly001: ancestors are now aW4sEuropeUnit001
repaired: department oL6dLegacyChat001: is in no unit now: its parent rEm0vedUnit000001 does not exist
repaired: department sP7cSpecialists01: dropped ancestors: it is in no unit
repaired: unit aW4sEuropeUnit001: monitor pV7dGs2EwJ4uRm9Xo is now called jonas.berg
repaired: unit aW4sEuropeUnit001: dropped a duplicate row of monitor hN3qTzW8rYbL5xKcA
repaired: unit aW4sEuropeUnit001: numMonitors is 3 and was 4
repaired: unit aW4sEuropeUnit001: numDepartments is 4 and was 3
repaired: unit bL9iBillingUnit02: left out monitor kC5yLf8QnB3tZv6Hs: the user does not hold the role livechat-monitor
repaired: unit bL9iBillingUnit02: numDepartments is 1 and was 2
repaired: unit rEm0vedUnit000001: there is no such unit; left out its 1 monitors
                written  unchanged left alone
users                10          0          0
tokens               10          0          0
permissions           5          0          0
departments         108          0          0
units                 4          0          0
0 units kept, 10 repairs, 0 broken lines
"
    );
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));

    let items = world.items().await;
    assert_eq!(
        items[&format!("UNIT#{EUROPE} UNIT")],
        json!({
            "pk": "UNIT#aW4sEuropeUnit001", "sk": "UNIT", "name": "Sales Europe", "visibility": "private",
            "type": "u", "numMonitors": 3, "numDepartments": 4, "rev": 1,
            "monitors": {
                "hN3qTzW8rYbL5xKcA": "maria.lopez", "pV7dGs2EwJ4uRm9Xo": "jonas.berg", "xR2mWp9JcD7gTq4Ye": "li.wei",
            },
            "departmentIds": { "set": [
                "dE1gSalesGermany1", "fR2gSalesFrance01", "iT3gSalesItaly001", "rF5dRefunds000001",
            ] },
            "_updatedAt": "2021-11-30T16:21:09.115Z",
        })
    );
    assert_eq!(
        items[&format!("UNIT#{EUROPE} MONITOR#pV7dGs2EwJ4uRm9Xo")],
        json!({
            "pk": "UNIT#aW4sEuropeUnit001", "sk": "MONITOR#pV7dGs2EwJ4uRm9Xo", "unitId": EUROPE,
            "monitorId": "pV7dGs2EwJ4uRm9Xo", "username": "jonas.berg", "_updatedAt": "2021-11-30T16:21:09.118Z",
        })
    );
    assert_eq!(
        items["DEPARTMENT#dE1gSalesGermany1 DEPARTMENT"],
        json!({
            "pk": "DEPARTMENT#dE1gSalesGermany1", "sk": "DEPARTMENT", "name": "Sales Germany", "enabled": true,
            "description": "", "showOnRegistration": true, "showOnOfflineForm": false,
            "requestTagBeforeClosingChat": false, "email": "sales-germany@example.com", "chatClosingTags": [],
            "abandonedRoomsCloseCustomMessage": "", "waitingQueueMessage": "", "departmentsAllowedToForward": [],
            "numAgents": 3, "businessHourId": "wH3nOfficeHours01", "maxNumberSimultaneousChat": 5,
            "parentId": EUROPE, "ancestors": [EUROPE], "_updatedAt": "2021-11-30T16:21:09.120Z", "rev": 1,
        })
    );
    let specialists = &items["DEPARTMENT#sP7cSpecialists01 DEPARTMENT"];
    assert_eq!((specialists.get("parentId"), specialists.get("ancestors")), (None, None));
    assert_eq!(
        items["USER#hN3qTzW8rYbL5xKcA USER"],
        json!({
            "pk": "USER#hN3qTzW8rYbL5xKcA", "sk": "USER", "username": "maria.lopez", "active": true,
            "roles": { "set": ["livechat-agent", "livechat-monitor", "user"] },
        })
    );
    assert_eq!(
        items["PERMISSION#retired-permission PERMISSION"],
        json!({ "pk": "PERMISSION#retired-permission", "sk": "PERMISSION", "rev": 1 })
    );
    // The hashes of the user's tokens, or none.
    let hash = livechat_units::hashed_token("loginOfTesterio");
    assert_eq!(
        items["USER#GT67Tv6x5p5y5xZWN TOKENS"],
        json!({ "pk": "USER#GT67Tv6x5p5y5xZWN", "sk": "TOKENS", "hashes": { "set": [hash] }, "rev": 1 })
    );
    assert_eq!(items["USER#rocket.cat TOKENS"], json!({ "pk": "USER#rocket.cat", "sk": "TOKENS", "rev": 1 }));
    // `when` and 90 days.
    assert_eq!(
        items[&hash],
        json!({
            "hashedToken": hash, "userId": "GT67Tv6x5p5y5xZWN", "createdAt": "2021-11-29T07:58:12.031Z",
            "expiresAt": 1_638_172_692 + 90 * 86_400,
        })
    );
    let hash = livechat_units::hashed_token(TOKEN);
    assert_eq!(
        items[&hash],
        json!({
            "hashedToken": hash, "userId": ADMIN, "createdAt": "2021-11-02T08:15:00.000Z",
            "type": "personalAccessToken", "name": "sample",
        })
    );

    // Again: nothing changes.
    let run = world.import(&sample(), &[]);
    assert!(
        run.stdout.ends_with(
            "\
                written  unchanged left alone
users                 0         10          0
tokens                0         10          0
permissions           0          5          0
departments           0        108          0
units                 0          4          0
0 units kept, 10 repairs, 0 broken lines
"
        ),
        "{run:?}"
    );
    assert!(world.items().await == items, "the second import changed something");
    // And the invariants hold, as `check` sees them.
    assert_eq!(world.run(&["check"]).code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_updated_unit_is_kept_unless_it_is_to_be_overwritten() {
    let world = world().await;
    assert_eq!(world.import(&sample(), &[]).code, 0);
    let imported = world.items().await;
    // A department of Billing and one that is in no unit move to Sales, which keeps only one of its own.
    let update =
        body(&["hN3qTzW8rYbL5xKcA"], &["dE1gSalesGermany1", "iN4vInvoices00001", "sP7cSpecialists01"]);
    assert_eq!(world.update(EUROPE, ADMIN, TOKEN, &update).await.status_code, 200);
    let updated = world.items().await;

    let run = world.import(&sample(), &[]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(
        lines(&run, &["kept"]),
        [
            "kept: unit aW4sEuropeUnit001 was updated since it was imported",
            "kept: unit bL9iBillingUnit02 was updated since it was imported",
        ]
    );
    assert_eq!(
        lines(&run, &["repaired: department iN", "repaired: department iT", "repaired: department sP"]),
        [
            "repaired: department iN4vInvoices00001: stays in unit aW4sEuropeUnit001, which was updated or made since",
            "repaired: department iT3gSalesItaly001: is in no unit now: unit aW4sEuropeUnit001 was updated since and does not list it",
            "repaired: department sP7cSpecialists01: stays in unit aW4sEuropeUnit001, which was updated or made since",
        ]
    );
    // Only departments that go on in the same unit are written: they get the time that was exported.
    let times = ["_updatedAt", "rev"];
    assert!(without(&times, &world.items().await) == without(&times, &updated), "{run:?}");
    assert_eq!(world.run(&["check"]).code, 0);

    let run = world.import(&sample(), &["--overwrite"]);
    assert_eq!((run.code, lines(&run, &["kept"]).len()), (0, 0), "{run:?}");
    let mut overwritten = world.items().await;
    for (id, version) in [(EUROPE, 2), ("bL9iBillingUnit02", 2)] {
        let unit = overwritten.get_mut(&format!("UNIT#{id} UNIT")).expect("it is there");
        let unit = unit.as_object_mut().expect("an item");
        assert_eq!(
            unit.remove("version"),
            Some(version.into()),
            "an update that read the old version must fail"
        );
        assert_eq!(unit.remove("importedVersion"), Some(version.into()));
        assert_eq!(unit["rev"], 2, "the second write by an import");
    }
    assert!(without(&["rev"], &overwritten) == without(&["rev"], &imported), "{run:?}");
    // What was overwritten counts as imported again.
    let run = world.import(&sample(), &[]);
    assert!(run.stdout.contains("units                 0          4          0\n0 units kept"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_version_imported_is_marked_as_rocketchats() {
    let world = world().await;
    assert_eq!(world.import(folder(&base()).path(), &[]).code, 0);
    let imported = world.items().await;
    // As older versions imported it: without `rev`, and without the lists of hashes.
    for (key, item) in imported.clone() {
        if key.ends_with(" TOKENS") {
            let key = |name: &str| AttributeValue::S(item[name].as_str().expect("a text").into());
            let delete = world.database.client.delete_item().table_name(&world.database.tables.livechat);
            delete.key("pk", key("pk")).key("sk", key("sk")).send().await.expect("it is deleted");
        } else if item.get("rev").is_some() {
            let mut item = item;
            item.as_object_mut().expect("an item").remove("rev");
            world.put(item).await;
        }
    }
    // One unit was updated since, and is kept.
    let update = body(&["ann"], &["mail", "phone"]);
    assert_eq!(world.update("desk", ADMIN, TOKEN, &update).await.status_code, 200);
    let run = world.import(folder(&base()).path(), &[]);
    assert_eq!((run.code, lines(&run, &["kept"]).len()), (0, 1), "{run:?}");
    let items = world.items().await;
    assert_eq!(items["UNIT#desk UNIT"]["rev"], 1);
    assert_eq!(items["UNIT#desk UNIT"]["version"], 1, "nothing else of it changes");
    for (key, item) in imported.iter().filter(|(key, _)| *key != "UNIT#desk UNIT") {
        assert_eq!(item.get("rev"), items.get(key).and_then(|item| item.get("rev")), "{key}");
    }
    assert_eq!(items.keys().filter(|key| key.ends_with(" TOKENS")).count(), 4);
    assert_eq!(world.import(folder(&base()).path(), &[]).code, 0);
    assert!(world.items().await == items, "the second import changed something");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_unit_without_room_for_a_mark_is_reported() {
    let mut codes = std::collections::BTreeSet::new();
    for missing in [0, 2, 4, 8, 16, 40] {
        let world = world().await;
        assert_eq!(world.import(folder(&base()).path(), &[]).code, 0);
        // A unit that an older version imported, and that was updated since. It has the longest notes that DynamoDB stores,
        // or some bytes less.
        let mut unit = world.item("UNIT#shop", "UNIT").await;
        unit.as_object_mut().expect("an item").remove("rev");
        unit["version"] = 3.into();
        let (mut fits, mut does_not) = (400_000, 409_600);
        while does_not - fits > 1 {
            let length = (fits + does_not) / 2;
            unit["notes"] = "x".repeat(length).into();
            let table = &world.database.tables.livechat;
            match testing::items::put(&world.database.client, table, std::slice::from_ref(&unit)).await {
                Ok(()) => fits = length,
                Err(_) => does_not = length,
            }
        }
        unit["notes"] = "x".repeat(fits - missing).into();
        world.put(unit).await;

        let before = world.items().await;
        let dry = world.import(folder(&base()).path(), &["--dry-run"]);
        let run = world.import(folder(&base()).path(), &[]);
        assert_eq!((dry.code, dry.stderr.as_str()), (run.code, run.stderr.as_str()), "{missing}");
        assert_eq!(lines(&run, &["kept"]).len(), 1, "{run:?}");
        let broken = lines(&run, &["broken"]);
        assert_eq!(lines(&dry, &["broken"]), broken);
        if run.code == 3 {
            let start = "broken: rocketchat_livechat_department.json, line 2: unit shop can't get the attribute `rev`: \
                         it would have ";
            assert!(broken.len() == 1 && broken[0].starts_with(start), "{broken:?}");
            assert!(world.items().await == before, "{missing}");
        } else {
            assert_eq!((run.code, broken.len()), (0, 0), "{missing}: {run:?}");
            assert_eq!(world.item("UNIT#shop", "UNIT").await["rev"], 1);
        }
        codes.insert(run.code);
    }
    assert_eq!(codes.into_iter().collect::<Vec<_>>(), [0, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn units_and_departments_made_here_stay() {
    let world = world().await;
    let departments = [unit("U", 0, 2), department("d", Some("U")), department("gone", Some("U"))];
    let first = export(&[admin()], &[permission()], &departments, &[]);
    assert_eq!(world.import(first.path(), &["--no-monitors"]).code, 0);
    world
        .put(json!({
            "pk": "UNIT#own", "sk": "UNIT", "name": "Made here", "visibility": "public", "type": "u",
            "numMonitors": 0, "numDepartments": 0, "monitors": {}, "_updatedAt": "2021-12-06T14:40:59.478Z",
        }))
        .await;
    assert_eq!(world.update("own", ADMIN, TOKEN, &body(&[], &["d"])).await.status_code, 200);

    // In the next export a department is gone, which here is still in a unit.
    let second = export(&[admin()], &[permission()], &[unit("U", 0, 1), department("d", Some("U"))], &[]);
    for options in [&["--no-monitors"][..], &["--no-monitors", "--overwrite"]] {
        let run = world.import(second.path(), options);
        assert_eq!(run.code, 0, "{run:?}");
        assert!(
            run.stdout
                .contains("repaired: department d: stays in unit own, which was updated or made since\n"),
            "{run:?}"
        );
        assert_eq!(world.run(&["check"]).code, 0);
    }
    let items = world.items().await;
    assert_eq!(items["UNIT#own UNIT"]["departmentIds"], json!({ "set": ["d"] }));
    assert_eq!(items["UNIT#U UNIT"]["departmentIds"], json!({ "set": ["gone"] }));
    assert_eq!(items["DEPARTMENT#gone DEPARTMENT"]["parentId"], "U");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_reports_and_writes_nothing() {
    let world = world().await;
    let departments = [unit("U", 1, 1), department("d", Some("U"))];
    let folder =
        export(&[user("m", &["livechat-monitor"])], &[permission()], &departments, &[monitor("U", "m")]);
    let run = world.import(folder.path(), &["--dry-run"]);
    assert_eq!(
        run.stdout,
        "\
would write: {\"pk\":\"PERMISSION#manage-livechat-units\",\"rev\":1,\"roles\":[\"admin\"],\"sk\":\"PERMISSION\"}
would write: {\"active\":true,\"pk\":\"USER#m\",\"roles\":[\"livechat-monitor\"],\"sk\":\"USER\",\"username\":\"name.of.m\"}
would write: {\"pk\":\"USER#m\",\"rev\":1,\"sk\":\"TOKENS\"}
note: no usable line of users.json has services.resume, so no stored login token is deleted; if users have login tokens, export the field, too
would write: {\"_updatedAt\":\"2021-12-06T14:40:59.478Z\",\"ancestors\":[\"U\"],\"enabled\":true,\"name\":\"Department d\",\"parentId\":\"U\",\"pk\":\"DEPARTMENT#d\",\"rev\":1,\"sk\":\"DEPARTMENT\"}
would write: {\"_updatedAt\":\"2021-12-06T14:40:59.478Z\",\"departmentIds\":[\"d\"],\"monitors\":{\"m\":\"name.of.m\"},\"name\":\"Unit U\",\"numDepartments\":1,\"numMonitors\":1,\"pk\":\"UNIT#U\",\"rev\":1,\"sk\":\"UNIT\",\"type\":\"u\",\"visibility\":\"public\"}
               to write  unchanged left alone
users                 1          0          0
tokens                0          0          0
permissions           1          0          0
departments           1          0          0
units                 1          0          0
0 units kept, 0 repairs, 0 broken lines
"
    );
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    assert!(world.items().await.is_empty());

    let run = world.import(folder.path(), &["--dry-run", "--output", "json"]);
    let events: Vec<Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON lines")).collect();
    assert_eq!(events.len(), 7, "{run:?}");
    assert_eq!(events[0]["event"], "write");
    assert_eq!(events[0]["item"]["pk"], "PERMISSION#manage-livechat-units");
    let (one, none) = (
        json!({ "written": 1, "unchanged": 0, "changedMeanwhile": 0 }),
        json!({ "written": 0, "unchanged": 0, "changedMeanwhile": 0 }),
    );
    assert_eq!(
        events[6],
        json!({
            "event": "summary", "dryRun": true, "users": one, "tokens": none, "permissions": one,
            "departments": one, "units": one, "tokensDeleted": 0, "kept": 0, "repairs": 0, "broken": 0,
            "superseded": 0, "changedFields": 0,
        })
    );
    assert!(world.items().await.is_empty());
    assert_eq!(world.import(folder.path(), &[]).code, 0);
    let run = world.import(folder.path(), &["--dry-run"]);
    assert_eq!(lines(&run, &["would"]), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn arrays_and_canonical_json_are_the_same() {
    let relaxed = world().await;
    assert_eq!(relaxed.import(&sample(), &[]).code, 0);
    let expected = relaxed.items().await;

    let folder = TempDir::new().expect("a folder");
    for file in FILES {
        let text = fs::read_to_string(sample().join(file)).expect("the sample is there");
        let documents: Vec<Value> =
            text.lines().map(|line| canonical(serde_json::from_str(line).expect("JSON"))).collect();
        // As `mongoexport --jsonArray --pretty` has it.
        let text = serde_json::to_string_pretty(&documents).expect("JSON");
        write(&folder, file, format!("{text}\n"));
    }
    let world = world().await;
    let run = world.import(folder.path(), &["--strict"]);
    assert_eq!(run.code, 0, "{run:?}");
    assert!(world.items().await == expected);
}

/// `mongoexport --jsonFormat=canonical`.
fn canonical(value: Value) -> Value {
    match value {
        Value::Number(number) => json!({ "$numberInt": number.to_string() }),
        Value::Array(values) => values.into_iter().map(canonical).collect(),
        Value::Object(fields) => match fields.get("$date").and_then(Value::as_str) {
            Some(date) => {
                let format = &time::format_description::well_known::Rfc3339;
                let date = time::OffsetDateTime::parse(date, format).expect("a date");
                json!({ "$date": { "$numberLong": (date.unix_timestamp_nanos() / 1_000_000).to_string() } })
            }
            None => fields.into_iter().map(|(name, value)| (name, canonical(value))).collect(),
        },
        other => other,
    }
}
