//! `unitctl check`: every kind of violation is found, reported, and repaired if the data shows what is right.

mod violations;
mod while_serving;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::world::{World, body, world};

const THEN: &str = "2021-12-06T14:40:59.478Z";

fn unit(id: &str, monitors: &[&str], departments: &[&str]) -> Value {
    let by_id: serde_json::Map<String, Value> =
        monitors.iter().map(|id| (id.to_string(), format!("name.of.{id}").into())).collect();
    let mut unit = json!({
        "pk": format!("UNIT#{id}"), "sk": "UNIT", "name": format!("Unit {id}"), "visibility": "public", "type": "u",
        "numMonitors": monitors.len(), "numDepartments": departments.len(), "monitors": by_id, "version": 7,
        "_updatedAt": THEN,
    });
    if !departments.is_empty() {
        unit["departmentIds"] = json!({ "set": departments });
    }
    unit
}

fn monitor(unit: &str, id: &str) -> Value {
    json!({
        "pk": format!("UNIT#{unit}"), "sk": format!("MONITOR#{id}"), "unitId": unit, "monitorId": id,
        "username": format!("name.of.{id}"), "_updatedAt": THEN,
    })
}

fn department(id: &str, unit: Option<&str>) -> Value {
    let mut department = json!({ "pk": format!("DEPARTMENT#{id}"), "sk": "DEPARTMENT", "name": format!("Department {id}"),
        "_updatedAt": THEN, "email": "kept@example.com" });
    if let Some(unit) = unit {
        department["parentId"] = unit.into();
        department["ancestors"] = json!([unit]);
    }
    department
}

fn with(mut item: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().expect("changes are an object") {
        item[name] = value.clone();
    }
    item
}

fn without(mut item: Value, name: &str) -> Value {
    item.as_object_mut().expect("an item is an object").remove(name).expect("it was there");
    item
}

impl World {
    async fn put_all(&self, items: impl IntoIterator<Item = Value>) {
        for item in items {
            self.put(item).await;
        }
    }

    /// Checks the invariants of docs/data-model.md, independently of the tool.
    async fn assert_sound(&self) {
        let items = self.items().await;
        let of_kind = |prefix: &'static str, sort: &'static str| {
            items.values().filter(move |item| {
                let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
                text("pk").starts_with(prefix) && text("sk").starts_with(sort)
            })
        };
        let id =
            |item: &Value| item["pk"].as_str().and_then(|pk| pk.split_once('#')).map(|(_, id)| id.to_owned());
        let departments: BTreeMap<String, &Value> =
            of_kind("DEPARTMENT#", "DEPARTMENT").filter_map(|item| Some((id(item)?, item))).collect();
        let units: BTreeMap<String, &Value> =
            of_kind("UNIT#", "UNIT").filter_map(|item| Some((id(item)?, item))).collect();
        for (id, unit) in &units {
            let rows: BTreeMap<&str, &str> = of_kind("UNIT#", "MONITOR#")
                .filter(|row| row["unitId"] == id.as_str())
                .map(|row| (row["monitorId"].as_str().expect("S"), row["username"].as_str().expect("S")))
                .collect();
            assert_eq!(json!(rows), unit["monitors"], "{id}");
            assert_eq!(json!(rows.len()), unit["numMonitors"], "{id}");
            let members: BTreeSet<&str> = departments
                .iter()
                .filter(|(_, department)| department["parentId"] == id.as_str())
                .map(|(id, _)| id.as_str())
                .collect();
            let listed = unit.get("departmentIds").map_or(json!([]), |set| set["set"].clone());
            assert_eq!(json!(members), listed, "{id}");
            assert_eq!(json!(members.len()), unit["numDepartments"], "{id}");
        }
        for (id, department) in departments {
            match department.get("parentId").and_then(Value::as_str) {
                None => assert!(department.get("ancestors").is_none(), "{id}"),
                Some(parent) => {
                    let mut ancestors = vec![json!(parent)];
                    let above = units[parent].get("ancestors").and_then(Value::as_array);
                    ancestors.extend(above.into_iter().flatten().cloned());
                    assert_eq!(department["ancestors"], json!(ancestors), "{id}");
                }
            }
        }
        let rows = of_kind("UNIT#", "MONITOR#").count();
        let counted = units.values().map(|unit| unit["numMonitors"].as_u64().expect("N")).sum::<u64>();
        assert_eq!(rows as u64, counted, "every monitor's item belongs to a unit");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_tables_and_the_sample_are_sound() {
    let world = world().await;
    let summary = |counts: [u32; 7]| {
        let names = ["units", "monitors", "departments", "users", "permissions", "tokens", "other items"];
        let lines = names.iter().zip(counts).map(|(name, count)| format!("{name:<12} {count:>10}\n"));
        lines.collect::<String>() + "sound\n"
    };
    assert_eq!(world.ok(&["check"]), summary([0; 7]));

    unitctl::sample::put(&world.database).await.expect("the sample is written");
    world.put(json!({ "pk": "CALENDAR#1", "sk": "CALENDAR", "of": "another function" })).await;
    world.put(json!({ "pk": "UNIT#o5zNtKy7BcTMgyXtm", "sk": "BADGE", "of": "another function" })).await;
    let before = world.items().await;
    for options in [&["check"][..], &["check", "--repair"], &["check", "--segments", "1"]] {
        assert_eq!(world.ok(options), summary([4, 4, 108, 10, 5, 10, 2]));
    }
    assert_eq!(
        world.ok(&["check", "--output", "json"]),
        "{\"event\":\"summary\",\"items\":{\"units\":4,\"monitors\":4,\"departments\":108,\"users\":10,\
         \"permissions\":5,\"tokens\":10,\"other\":2},\"violations\":0,\"repaired\":0}\n"
    );
    assert_eq!(world.items().await, before, "a check writes nothing");
    world.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_violation_without_a_repair_is_reported_and_nothing_is_changed() {
    let world = world().await;
    world
        .put_all([
            with(unit("u1", &[], &[]), json!({ "visibility": "secret", "name": 5 })),
            with(unit("u2", &["nobody"], &[]), json!({ "version": "7" })),
            with(unit("u3", &["nobody"], &[]), json!({ "ancestors": "top" })),
            without(department("d1", None), "name"),
            with(department("d2", None), json!({ "parentId": 5 })),
            json!({ "pk": "USER#a", "sk": "USER", "username": 5, "roles": "admin", "active": true }),
            json!({ "pk": "USER#", "sk": "USER" }),
            json!({ "pk": "PERMISSION#p", "sk": "PERMISSION", "roles": "admin" }),
            json!({ "hashedToken": "no hash", "userId": "a", "expiresAt": "soon" }),
        ])
        .await;
    let before = world.items().await;
    let expected = "\
no hash: invalid attributes: hashedToken, expiresAt
PERMISSION#p PERMISSION: invalid attributes: roles
USER# USER: its key has an id that is empty or longer than 512 bytes
USER#a USER: invalid attributes: username, roles
UNIT#u1 UNIT: its name is missing or invalid; an update through the endpoint sets it
UNIT#u1 UNIT: its visibility is missing or invalid; an update through the endpoint sets it
UNIT#u2 UNIT: its version can't be read, so the rest of the unit was not checked
UNIT#u3 UNIT: its ancestors can't be read, so the rest of the unit was not checked
DEPARTMENT#d1 DEPARTMENT: its name is missing or invalid
DEPARTMENT#d2 DEPARTMENT: its parentId can't be read
";
    for options in [&["check"][..], &["check", "--repair"]] {
        let run = world.run(options);
        let mut lines: Vec<&str> = findings(&run.stdout).lines().collect();
        lines.retain(|line| *line != "  no repair: the data does not show what is right");
        // Users and permissions come in the order of the scan.
        lines[1..4].sort_unstable();
        assert_eq!(lines, expected.lines().collect::<Vec<_>>());
        assert!(run.stdout.ends_with("not sound: 10 violations, 0 repaired\n"), "{}", run.stdout);
        assert_eq!(run.code, 3);
    }
    assert_eq!(world.items().await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_one_transaction_can_hold_is_repaired_in_several() {
    let world = world().await;
    let ids: Vec<String> = (0..250).map(|n| format!("d{n:03}")).collect();
    world.put(unit("u", &[], &[])).await;
    for id in &ids {
        world.put(department(id, Some("u"))).await;
        world.put(monitor("u", id)).await;
    }
    let run = world.run(&["check", "--repair"]);
    assert!(run.stdout.ends_with("sound now: 500 violations, all repaired\n"), "{}", run.stdout);
    world.assert_sound().await;
    let unit = &world.items().await["UNIT#u UNIT"];
    assert_eq!((&unit["version"], &unit["numDepartments"]), (&json!(7 + 6), &json!(250)));
}

#[tokio::test(flavor = "multi_thread")]
async fn random_items_are_sound_after_repair() {
    let world = world().await;
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    const UNITS: usize = 40;
    let pick = |random: &mut fastrand::Rng, ids: &[&str]| -> Vec<String> {
        ids.iter().filter(|_| random.bool()).map(|id| id.to_string()).collect()
    };
    let mut items = Vec::new();
    for n in 0..UNITS {
        let id = format!("u{n}");
        let [map, with_item] = [(); 2].map(|()| pick(&mut random, &["m1", "m2", "m3"]));
        let others =
            [format!("u{}x0", (n + 1) % UNITS), format!("u{n}x0"), format!("u{n}x1"), format!("u{n}x2")];
        let listed = pick(&mut random, &others.each_ref().map(String::as_str));
        let [map, listed] = [&map, &listed].map(|ids| ids.iter().map(String::as_str).collect::<Vec<_>>());
        let mut unit = unit(&id, &map, &listed);
        for (name, value) in [
            ("numMonitors", json!(random.u8(..4))),
            ("numDepartments", json!("2")),
            ("ancestors", json!(["top"])),
            ("monitors", json!(null)),
            ("departmentIds", json!([])),
            ("version", json!(0)),
        ] {
            if random.u8(..5) == 0 {
                unit[name] = value;
            } else if random.u8(..8) == 0 && unit.get(name).is_some() {
                unit = without(unit, name);
            }
        }
        if random.u8(..6) > 0 {
            items.push(unit);
        }
        items.extend(with_item.iter().map(|monitor_id| {
            let name =
                ["renamed".to_owned(), format!("name.of.{monitor_id}")][usize::from(random.bool())].clone();
            with(monitor(&id, monitor_id), json!({ "username": name }))
        }));
        for place in 0..3 {
            let parent = [Some(id.clone()), Some(format!("u{}", random.usize(..UNITS + 3))), None];
            let parent = &parent[random.usize(..3)];
            let mut department = department(&format!("{id}x{place}"), parent.as_deref());
            if random.u8(..4) == 0 {
                department["ancestors"] = json!(["wrong"]);
            }
            if random.u8(..6) > 0 {
                items.push(department);
            }
        }
    }
    world.put_all(items).await;
    let was_sound = world.run(&["check"]).code;
    let run = world.run(&["check", "--repair"]);
    assert_eq!((was_sound, run.code), (3, 0), "{run:?}");
    world.assert_sound().await;
    assert_eq!(world.run(&["check"]).code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_of_missing_tables_is_an_error() {
    let world = world().await;
    for (option, table) in [("--tokens-table", "no-tokens"), ("--livechat-table", "no-livechat")] {
        let run = world.run(&["check", option, table]);
        let error = format!("error: there is no table {table} in this region and account\n");
        assert_eq!((run.code, run.stdout.as_str(), run.stderr), (1, "", error));
    }
}

/// The part of the output before the counts.
fn findings(stdout: &str) -> &str {
    stdout.find("units ").map_or(stdout, |end| &stdout[..end])
}
