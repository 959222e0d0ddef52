//! The same `_id` twice in a file: the last line counts.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn the_last_line_counts_in_every_file() {
    let expected = world().await;
    assert_eq!(expected.import(folder(&base()).path(), &[]).code, 0);

    // Each document of the base has an earlier version, which has more rights, other names and other places.
    let [users, permissions, departments, monitors] = base();
    let earlier_users = users.iter().map(|user| {
        let mut user = user.clone();
        user["username"] = "before".into();
        user["roles"] = json!(["admin"]);
        let token = json!({ "type": "personalAccessToken", "hashedToken": livechat_units::hashed_token(&user["_id"].to_string()) });
        user["services"] = json!({ "resume": { "loginTokens": [token] } });
        user
    });
    let earlier_departments = departments.iter().map(|document| {
        let mut document = document.clone();
        document["name"] = "before".into();
        // A unit that was a department before, and the reverse.
        document["type"] = if document["type"] == "u" { Value::Null } else { "u".into() };
        document
    });
    let twice = [
        // Far apart, so that the versions are not in one batch.
        earlier_users.chain((0..300).map(|n| user(&format!("user{n}"), &[]))).chain(users.clone()).collect(),
        vec![json!({ "_id": "manage-livechat-units", "roles": ["user"] }), permissions[0].clone()],
        earlier_departments.chain(departments.clone()).collect(),
        monitors
            .iter()
            .map(|row| {
                let mut row = row.clone();
                row["unitId"] = "shop".into();
                row
            })
            .chain(monitors.clone())
            .collect(),
    ];
    let folder = folder(&twice);
    let world = world().await;
    let dry = world.import(folder.path(), &["--dry-run"]);
    let run = world.import(folder.path(), &[]);
    assert_eq!((dry.code, run.code), (0, 0), "{run:?}");
    assert_eq!(
        lines(&run, &["skipped", "repaired", "broken"]),
        [
            "skipped: rocketchat_livechat_department.json, line 1: line 6 has the same _id, and the last line counts",
            "skipped: rocketchat_livechat_department.json, line 2: line 7 has the same _id, and the last line counts",
            "skipped: rocketchat_livechat_department.json, line 3: line 8 has the same _id, and the last line counts",
            "skipped: rocketchat_livechat_department.json, line 4: line 9 has the same _id, and the last line counts",
            "skipped: rocketchat_livechat_department.json, line 5: line 10 has the same _id, and the last line counts",
            "skipped: rocketchat_livechat_unit_monitors.json, line 1: line 3 has the same _id, and the last line counts",
            "skipped: rocketchat_livechat_unit_monitors.json, line 2: line 4 has the same _id, and the last line counts",
            "skipped: rocketchat_permissions.json, line 1: line 2 has the same _id, and the last line counts",
            "skipped: users.json, line 1: line 305 has the same _id, and the last line counts",
            "skipped: users.json, line 2: line 306 has the same _id, and the last line counts",
            "skipped: users.json, line 3: line 307 has the same _id, and the last line counts",
            "skipped: users.json, line 4: line 308 has the same _id, and the last line counts",
        ]
    );
    assert_eq!(lines(&dry, &["skipped"]), lines(&run, &["skipped"]));
    let mut items = world.items().await;
    items.retain(|key, _| !key.starts_with("USER#user"));
    assert!(items == expected.items().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn documents_on_one_line_are_told_apart() {
    // `mongoexport --jsonArray` writes the whole array in one line.
    let world = world().await;
    let folder = folder(&base());
    let before = json!({ "_id": "ann", "username": "before", "roles": ["admin"] });
    let users: Vec<Value> = [before].into_iter().chain(base()[0].clone()).collect();
    write(&folder, FILES[0], serde_json::to_string(&users).expect("JSON"));
    let run = world.import(folder.path(), &[]);
    assert_eq!(lines(&run, &["skipped"]).len(), 1, "{run:?}");
    assert_eq!(world.item("USER#ann", "USER").await["username"], "name.of.ann");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_id_is_the_same_id_as_its_text() {
    let world = world().await;
    let folder = folder(&base());
    let id = "5fd7a0b6c2d3e4f5a6b7c8d9";
    let documents = [
        json!({ "_id": { "$oid": id }, "username": "one" }),
        json!({ "_id": id, "username": "two" }),
        json!({ "_id": { "$oid": id }, "username": "three" }),
    ];
    let users: String = base()[0].iter().chain(&documents).map(|user| format!("{user}\n")).collect();
    write(&folder, FILES[0], users);
    let run = world.import(folder.path(), &[]);
    assert_eq!(lines(&run, &["skipped"]).len(), 2, "{run:?}");
    assert_eq!(world.item(&format!("USER#{id}"), "USER").await["username"], "three");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_last_line_is_not_replaced_by_an_earlier_one() {
    let world = world().await;
    assert_eq!(world.import(folder(&base()).path(), &[]).code, 0);
    let before = world.items().await;
    // The earlier version would give the user a role that they may not have any more.
    let [users, permissions, departments, monitors] = base();
    let twice = [
        [
            vec![json!({ "_id": "clerk", "username": "clerk", "roles": ["admin"] })],
            users,
            vec![json!({ "_id": "clerk", "roles": 5 })],
        ]
        .concat(),
        permissions,
        departments,
        monitors,
    ];
    let run = world.import(folder(&twice).path(), &[]);
    assert_eq!(run.code, 3, "{run:?}");
    assert_eq!(
        lines(&run, &["skipped", "broken"]),
        [
            "broken: users.json, line 6: roles is an array and not an array of strings",
            "skipped: users.json, line 1: line 5 has the same _id, and the last line counts",
            "skipped: users.json, line 5: line 6 has the same _id, and the last line counts",
        ]
        .map(|line| line.replace("is an array and", "is a number and"))
    );
    assert!(world.items().await == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_two_users_is_imported_for_the_first() {
    let [mut users, permissions, departments, monitors] = base();
    users[1]["services"] = users[3]["services"].clone();
    let world = world().await;
    let folder = folder(&[users, permissions, departments, monitors]);
    let run = world.import(folder.path(), &[]);
    assert_eq!(run.code, 3);
    assert_eq!(
        lines(&run, &["broken"]),
        ["broken: users.json, line 4: a login token that another user has, too"]
    );
    let items = world.items().await;
    assert_eq!(items[&livechat_units::hashed_token("clerk")]["userId"], "ann");
    assert_eq!(world.import(folder.path(), &[]).code, 3);
    assert!(world.items().await == items);
}

/// One line of a file: which document, and which version of it.
type Versions = Vec<(usize, u8)>;

fn users_of(versions: &Versions) -> Vec<Value> {
    let users = versions.iter().map(|(number, version)| {
        let role = ["user", "livechat-agent", "livechat-monitor", "admin"][usize::from(*version) % 4];
        let mut user = user(&format!("user{number}"), &[role]);
        user["username"] = format!("user.{number}.{version}").into();
        let tokens: Vec<Value> = (0..version % 3)
            .map(|n| login(&format!("{number} {}", (version + n) % 5), "2098-01-02T03:04:05.006Z"))
            .collect();
        user["services"] = json!({ "resume": { "loginTokens": tokens } });
        user
    });
    [admin()].into_iter().chain(users).collect()
}

fn departments_of(versions: &Versions) -> Vec<Value> {
    let documents = versions.iter().map(|(number, version)| {
        let unit = ["desk", "shop"][usize::from(*version) % 2];
        let mut department = department(&format!("d{number}"), (version % 3 > 0).then_some(unit));
        department["name"] = format!("Department {version}").into();
        department
    });
    [unit("desk", 0, 0), unit("shop", 0, 0)].into_iter().chain(documents).collect()
}

fn monitors_of(versions: &Versions) -> Vec<Value> {
    let rows = versions.iter().map(|(number, version)| {
        let mut row = monitor(
            ["desk", "shop"][usize::from(*version) % 2],
            &format!("user{}", number + usize::from(*version) % 2),
        );
        row["_id"] = format!("row{number}").into();
        row
    });
    [json!({ "_id": "first", "unitId": "desk", "monitorId": "user0" })].into_iter().chain(rows).collect()
}

/// Only the last version of each document, in the order of the file.
fn last(documents: &[Value]) -> Vec<Value> {
    let is_last =
        |place: usize| documents[place + 1..].iter().all(|later| later["_id"] != documents[place]["_id"]);
    documents
        .iter()
        .enumerate()
        .filter(|(place, _)| is_last(*place))
        .map(|(_, document)| document.clone())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_with_shuffled_duplicates_is_imported_like_its_last_lines() {
    let versions = || {
        let versions = prop::collection::vec((0..40_usize, 0..12_u8), 1..120);
        versions.prop_shuffle()
    };
    let permissions = prop::collection::vec(0..4_usize, 1..20);
    let handle = tokio::runtime::Handle::current();
    let mut runner = TestRunner::new(Config { cases: 12, failure_persistence: None, ..Config::default() });
    let result = tokio::task::block_in_place(|| {
        runner.run(&(versions(), versions(), versions(), permissions), |(users, departments, rows, roles)| {
            let permissions: Vec<Value> = roles
                .iter()
                .map(|n| json!({ "_id": "manage-livechat-units", "roles": ["admin", format!("role{n}")] }))
                .collect();
            let documents = [users_of(&users), permissions, departments_of(&departments), monitors_of(&rows)];
            let (all, only_last) = (folder(&documents), folder(&documents.clone().map(|file| last(&file))));
            handle.block_on(async {
                let (with_duplicates, without) = (world().await, world().await);
                let run = with_duplicates.import(all.path(), &[]);
                let expected = without.import(only_last.path(), &[]);
                prop_assert_eq!(run.code, expected.code);
                let items = with_duplicates.items().await;
                prop_assert!(items == without.items().await, "{:?}", run);
                let again = with_duplicates.import(all.path(), &["--output", "json"]);
                let summary: Value =
                    serde_json::from_str(again.stdout.lines().last().expect("a summary")).expect("JSON");
                for kind in ["users", "tokens", "permissions", "departments", "units"] {
                    prop_assert_eq!(&summary[kind]["written"], 0);
                }
                prop_assert!(with_duplicates.items().await == items);
                prop_assert_eq!(with_duplicates.run(&["check"]).code, 0);
                Ok::<(), TestCaseError>(())
            })
        })
    });
    result.expect("every export is imported like its last lines");
}
