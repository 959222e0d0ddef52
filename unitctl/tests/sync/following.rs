//! What Rocket.Chat writes counts in the function, and what the function writes is in MongoDB, within about a second.

use std::collections::BTreeSet;
use std::time::Duration;

use mongodb::bson::{DateTime, doc};
use serde_json::{Value, json};

use crate::world::{Process, World, eventually, world};

/// The token of the caller of the tests, and its hash as Rocket.Chat stores it.
pub const TOKEN: &str = "9HqLlyZOugoStsXCUfD_0YdwnNnunAJF8V47U3QHXSq";
pub const HASH: &str = "ui3/82zPrpjnqZbLqQeMM8D1K9n6EwuUOXOReep/WGc=";

/// Longer than a second, since the tests share the machine with others. The benchmark measures how long it takes.
pub const SOON: Duration = Duration::from_secs(120);

/// A workspace with a caller who may update units, two monitors, three departments and no unit.
pub async fn workspace() -> Option<(World, Vec<String>)> {
    let world = world().await?;
    let departments = fill(&world).await;
    Some((world, departments))
}

/// Fills an empty workspace. Returns the departments.
pub async fn fill(world: &World) -> Vec<String> {
    let rocket_chat = world.rocket_chat();
    rocket_chat.create_permission("manage-livechat-units", &["livechat-manager"]).await;
    rocket_chat.create_user("boss", "the.boss", &["livechat-manager"]).await;
    rocket_chat.log_in("boss", HASH).await;
    rocket_chat.create_user("mona", "mona", &["livechat-monitor"]).await;
    rocket_chat.create_user("mike", "mike", &["livechat-monitor"]).await;
    let mut departments = Vec::new();
    for name in ["Sales", "Support", "Returns"] {
        departments.push(rocket_chat.create_department(name).await);
    }
    departments
}

/// Starts the sync, and waits until it follows.
pub async fn following(world: &World, options: &[&str]) -> Process {
    let process = world.sync(options);
    process.prints(SOON, "a full pass has ended").await;
    process
}

pub fn body(name: &str, visibility: &str, monitors: &[&str], departments: &[&str]) -> Value {
    let monitors: Vec<Value> = monitors.iter().map(|id| json!({ "monitorId": id, "username": id })).collect();
    let departments: Vec<Value> = departments.iter().map(|id| json!({ "departmentId": id })).collect();
    json!({
        "unitData": { "name": name, "visibility": visibility },
        "unitMonitors": monitors,
        "unitDepartments": departments,
    })
}

/// The status with which the function answers an update of a unit that does not exist: 400 says that the caller is let in.
async fn status(world: &World) -> u16 {
    world.update("nowhere", "boss", TOKEN, &body("a", "private", &[], &[])).await.status_code
}

async fn status_becomes(world: &World, expected: u16) {
    eventually(SOON, async || status(world).await == expected).await;
}

async fn user(world: &World, id: &str) -> Option<Value> {
    world.item(&format!("USER#{id}"), "USER").await
}

pub async fn dynamodb_unit(world: &World, id: &str) -> Option<Value> {
    world.item(&format!("UNIT#{id}"), "UNIT").await
}

/// A unit in DynamoDB: name, visibility, monitors, departments.
pub async fn unit_facts(
    world: &World,
    id: &str,
) -> Option<(String, String, BTreeSet<String>, BTreeSet<String>)> {
    let unit = dynamodb_unit(world, id).await?;
    let text = |name: &str| unit[name].as_str().unwrap_or_default().to_owned();
    let monitors: BTreeSet<String> = unit["monitors"].as_object()?.keys().cloned().collect();
    let departments = &unit["departmentIds"]["set"];
    let departments: BTreeSet<String> = departments
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|id| id.as_str().map(str::to_owned))
        .collect();
    assert_eq!(unit["numMonitors"], json!(monitors.len()));
    assert_eq!(unit["numDepartments"], json!(departments.len()));
    Some((text("name"), text("visibility"), monitors, departments))
}

fn set(ids: &[&str]) -> BTreeSet<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn users_tokens_and_permissions_follow_rocket_chat() {
    let Some((world, _)) = workspace().await else { return };
    let rocket_chat = world.rocket_chat();
    let mut sync = following(&world, &[]).await;
    assert_eq!(status(&world).await, 400);

    rocket_chat.log_out("boss", HASH).await;
    status_becomes(&world, 401).await;
    rocket_chat.log_in("boss", HASH).await;
    status_becomes(&world, 400).await;
    rocket_chat.log_out_others("boss", "another").await;
    status_becomes(&world, 401).await;
    rocket_chat.log_in("boss", HASH).await;
    status_becomes(&world, 400).await;
    // A workspace lets its oldest logins go when there are too many.
    for n in 0..55 {
        let hash = livechat_units::hashed_token(&n.to_string());
        rocket_chat
            .log_in_at("boss", &hash, DateTime::from_millis(DateTime::now().timestamp_millis() + n))
            .await;
    }
    status_becomes(&world, 401).await;
    rocket_chat.log_out_everywhere("boss").await;
    rocket_chat.add_personal_token("boss", HASH, "mine").await;
    status_becomes(&world, 400).await;
    rocket_chat.set_login_expiration(1).await;
    rocket_chat.remove_personal_token("boss", "mine").await;
    status_becomes(&world, 401).await;
    // Two days old: with a lifetime of 90 days it would be valid.
    let two_days_ago = DateTime::from_millis(DateTime::now().timestamp_millis() - 2 * 86_400_000);
    rocket_chat.log_in_at("boss", HASH, two_days_ago).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(status(&world).await, 401);
    rocket_chat.set_login_expiration(90).await;
    status_becomes(&world, 400).await;

    rocket_chat.revoke("manage-livechat-units", "livechat-manager").await;
    status_becomes(&world, 403).await;
    rocket_chat.grant("manage-livechat-units", "livechat-manager").await;
    status_becomes(&world, 400).await;
    rocket_chat.remove_roles("boss", &["livechat-manager"]).await;
    status_becomes(&world, 403).await;
    rocket_chat.add_roles("boss", &["livechat-manager"]).await;
    status_becomes(&world, 400).await;
    rocket_chat.rename_user("boss", "big.boss").await;
    eventually(SOON, async || user(&world, "boss").await.is_some_and(|user| user["username"] == "big.boss"))
        .await;

    rocket_chat.create_user("nina", "nina", &["livechat-monitor"]).await;
    eventually(SOON, async || {
        user(&world, "nina").await.is_some_and(|user| user["roles"] == json!({ "set": ["livechat-monitor"] }))
    })
    .await;
    rocket_chat.set_active("boss", false).await;
    status_becomes(&world, 401).await;
    rocket_chat.delete_user("boss").await;
    eventually(SOON, async || user(&world, "boss").await.is_none()).await;
    assert!(world.items().await.keys().all(|key| !key.starts_with("ui3/")));

    sync.signal("TERM");
    assert!(sync.end(SOON).await.success());
    let printed = sync.printed().join("\n");
    assert!(!printed.contains("ui3/") && !printed.contains(TOKEN), "{printed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn departments_and_units_follow_rocket_chat() {
    let Some((world, departments)) = workspace().await else { return };
    let [sales, support, returns] = [&departments[0], &departments[1], &departments[2]];
    let rocket_chat = world.rocket_chat();
    let _sync = following(&world, &[]).await;

    let monitors = [("mona", "mona"), ("mike", "mike")];
    let unit = rocket_chat.save_unit(None, "North", "private", &monitors, &[sales, support]).await;
    let is = async |name: &str, visibility: &str, monitors: &[&str], departments: &[&str]| {
        let expected = Some((name.to_owned(), visibility.to_owned(), set(monitors), set(departments)));
        eventually(SOON, async || unit_facts(&world, &unit).await == expected).await;
    };
    is("North", "private", &["mona", "mike"], &[sales, support]).await;
    rocket_chat.save_unit(Some(&unit), "Northern", "public", &[("mike", "mike")], &[support, returns]).await;
    is("Northern", "public", &["mike"], &[support, returns]).await;
    // Older versions store nulls.
    let old =
        crate::rocket_chat::RocketChat { leaving: crate::rocket_chat::Leaving::Null, ..rocket_chat.clone() };
    old.save_unit(Some(&unit), "Northern", "public", &[("mike", "mike")], &[support]).await;
    is("Northern", "public", &["mike"], &[support]).await;

    // The department's page, from 7.x on.
    rocket_chat.set_department_unit(returns, Some(&unit)).await;
    is("Northern", "public", &["mike"], &[support, returns]).await;
    rocket_chat.set_department_unit(support, None).await;
    is("Northern", "public", &["mike"], &[returns]).await;

    rocket_chat.change_department(returns, "Returns and refunds").await;
    let department = |id: &str| format!("DEPARTMENT#{id}");
    eventually(SOON, async || {
        let item = world.item(&department(returns), "DEPARTMENT").await;
        item.is_some_and(|item| item["name"] == "Returns and refunds" && item["parentId"] == unit.as_str())
    })
    .await;
    rocket_chat.archive_department(returns).await;
    eventually(SOON, async || {
        world.item(&department(returns), "DEPARTMENT").await.is_some_and(|item| item["archived"] == true)
    })
    .await;
    rocket_chat.delete_department(returns).await;
    eventually(SOON, async || world.item(&department(returns), "DEPARTMENT").await.is_none()).await;
    is("Northern", "public", &["mike"], &[]).await;

    rocket_chat.remove_monitor("mike").await;
    is("Northern", "public", &[], &[]).await;

    for rows_first in [true, false] {
        let gone = rocket_chat.save_unit(None, "Gone", "private", &[("mona", "mona")], &[sales]).await;
        eventually(SOON, async || {
            unit_facts(&world, &gone)
                .await
                .is_some_and(|(.., monitors, departments)| monitors.len() + departments.len() == 2)
        })
        .await;
        if rows_first {
            rocket_chat.delete_unit_rows_first(&gone).await;
        } else {
            rocket_chat.delete_unit_document_first(&gone).await;
        }
        eventually(SOON, async || dynamodb_unit(&world, &gone).await.is_none()).await;
        assert!(world.item(&format!("UNIT#{gone}"), "MONITOR#mona").await.is_none());
        eventually(SOON, async || {
            world
                .item(&department(sales), "DEPARTMENT")
                .await
                .is_some_and(|item| item.get("parentId").is_none())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_through_the_function_are_in_mongodb() {
    let Some((world, departments)) = workspace().await else { return };
    let [sales, support, returns] = [&departments[0], &departments[1], &departments[2]];
    let rocket_chat = world.rocket_chat();
    let north = rocket_chat.save_unit(None, "North", "private", &[("mona", "mona")], &[sales]).await;
    let south = rocket_chat.save_unit(None, "South", "private", &[], &[support]).await;
    let mut rooms = Vec::new();
    for department in [sales, support, returns] {
        rooms.push(rocket_chat.create_room(department, true).await);
        rocket_chat.create_room(department, false).await;
    }
    let _sync = following(&world, &[]).await;

    let update = body("Northern", "public", &["mike"], &[support, returns]);
    let answer = world.update(&north, "boss", TOKEN, &update).await;
    assert_eq!(answer.status_code, 200, "{}", answer.body);
    let answer: Value = serde_json::from_str(&answer.body).expect("JSON");
    let updated_at = answer["_updatedAt"].as_str().expect("it is a text");
    let updated_at = DateTime::parse_rfc3339_str(updated_at).expect("it is a time");

    eventually(SOON, async || {
        let unit = rocket_chat.unit(&north).await.expect("it is there");
        unit.get_str("name").ok() == Some("Northern")
            && unit.get_str("visibility").ok() == Some("public")
            && unit.get_i32("numMonitors").ok() == Some(1)
            && unit.get_i32("numDepartments").ok() == Some(2)
            && unit.get_datetime("_updatedAt").is_ok_and(|time| *time == updated_at)
    })
    .await;
    assert_eq!(rocket_chat.monitors(&north).await, [("mike".to_owned(), "mike".to_owned())]);
    let place = async |id: &str| {
        let department = rocket_chat.department(id).await.expect("it is there");
        (
            department.get_str("parentId").ok().map(str::to_owned),
            department.get_array("ancestors").cloned().ok(),
        )
    };
    assert_eq!(place(sales).await, (None, None));
    for department in [support, returns] {
        assert_eq!(place(department).await, (Some(north.clone()), Some(vec![north.as_str().into()])));
    }
    // The losing unit's counter, which Rocket.Chat itself leaves wrong.
    eventually(SOON, async || {
        rocket_chat.unit(&south).await.is_some_and(|unit| unit.get_i32("numDepartments").ok() == Some(0))
    })
    .await;
    // Rooms, closed ones too.
    eventually(SOON, async || {
        let of = async |filter| rocket_chat.rooms().count_documents(filter).await.expect("it is read");
        let joined =
            doc! { "departmentAncestors": north.as_str(), "departmentId": { "$in": [support, returns] } };
        of(joined).await == 4
            && of(doc! { "departmentId": sales, "departmentAncestors": { "$exists": true } }).await == 0
    })
    .await;
    assert!(rocket_chat.may_see("mike", &rooms[1]).await && rocket_chat.may_see("mike", &rooms[2]).await);
    assert!(!rocket_chat.may_see("mona", &rooms[0]).await);

    // Both sides change the same unit, in different facts: both changes are kept.
    rocket_chat.save_monitor(&north, "mona", "mona").await;
    let update = body("Arctic", "public", &["mike"], &[support, returns]);
    assert_eq!(world.update(&north, "boss", TOKEN, &update).await.status_code, 200);
    eventually(SOON, async || {
        let expected =
            ("Arctic".to_owned(), "public".to_owned(), set(&["mona", "mike"]), set(&[support, returns]));
        unit_facts(&world, &north).await == Some(expected)
            && rocket_chat.unit(&north).await.is_some_and(|unit| unit.get_str("name").ok() == Some("Arctic"))
            && rocket_chat.monitors(&north).await.len() == 2
    })
    .await;
}
