//! `unitctl check`: every kind of violation is found, reported, and repaired if the data shows what is right.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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

/// A unit for each kind of violation. Each has a monitor and a department without a violation.
fn violations() -> Vec<Value> {
    let mut items = Vec::new();
    let mut sound = |id: &str| {
        let (m, d) = (format!("m-{id}"), format!("d-{id}"));
        items.extend([monitor(id, &m), department(&d, Some(id))]);
        unit(id, &[&m], &[&d])
    };
    let units = [
        with(sound("a1"), json!({ "numMonitors": 3 })),
        without(sound("a2"), "numMonitors"),
        with(sound("a3"), json!({ "numDepartments": 0 })),
        with(sound("a4"), json!({ "numDepartments": "1" })),
        with(sound("b1"), json!({ "monitors": { "m-b1": "name.of.m-b1", "m2": "x" }, "numMonitors": 2 })),
        sound("b2"),
        with(sound("b3"), json!({ "monitors": { "m-b3": "renamed" } })),
        without(sound("b4"), "monitors"),
        with(sound("b5"), json!({ "monitors": "m-b5" })),
        with(sound("c1"), json!({ "departmentIds": { "set": ["d-c1", "gone"] }, "numDepartments": 2 })),
        with(
            sound("c2"),
            json!({ "departmentIds": { "set": ["d-a1", "d-c2", "free"] }, "numDepartments": 3 }),
        ),
        without(sound("c3"), "departmentIds"),
        with(sound("c4"), json!({ "departmentIds": "d-c4" })),
        with(sound("d1"), json!({ "ancestors": ["top"] })),
        with(sound("e1"), json!({ "type": "x" })),
        with(sound("e2"), json!({ "_updatedAt": "yesterday" })),
        without(without(sound("e3"), "version"), "type"),
    ];
    items.extend(units);
    items.extend([
        monitor("b2", "stray"),
        with(monitor("b3", "m-b3"), json!({ "unitId": "other" })),
        department("free", None),
        monitor("f1", "orphan"),
        department("lost", Some("f1")),
        with(department("loose", None), json!({ "ancestors": ["a1"] })),
        with(department("odd", None), json!({ "parentId": "" })),
        without(department("timeless", Some("a1")), "_updatedAt"),
    ]);
    items
}

const FOUND: &str = "\
UNIT#a1 UNIT: its numMonitors is 3, but the count is 1
  {set} set numMonitors to the count
UNIT#a1 UNIT, DEPARTMENT#timeless DEPARTMENT: department timeless is in the unit, but the unit does not list it
  {set} add department timeless to the list
DEPARTMENT#timeless DEPARTMENT: its _updatedAt is not a time with three decimals
  {set} set _updatedAt to now
UNIT#a2 UNIT: its numMonitors is absent, but the count is 1
  {set} set numMonitors to the count
UNIT#a3 UNIT: its numDepartments is 0, but the count is 1
  {set} set numDepartments to the count
UNIT#a4 UNIT: its numDepartments is not a count, but the count is 1
  {set} set numDepartments to the count
UNIT#b1 UNIT, UNIT#b1 MONITOR#m2: the item of monitor m2 is missing
  {set} write the item of m2, x
UNIT#b2 UNIT, UNIT#b2 MONITOR#stray: there is an item for stray, who is not a monitor of the unit
  {set} delete the item of stray
UNIT#b3 UNIT, UNIT#b3 MONITOR#m-b3: the item of monitor m-b3 does not match the unit: unitId, username
  {set} write the item of m-b3, renamed
UNIT#b4 UNIT: its monitors are absent
  {set} set monitors to the monitors that have items: 1
UNIT#b5 UNIT: its monitors can't be read
  {set} set monitors to the monitors that have items: 1
UNIT#c1 UNIT, DEPARTMENT#gone DEPARTMENT: it lists department gone, which does not exist
  {set} remove department gone from the list
UNIT#c2 UNIT, DEPARTMENT#d-a1 DEPARTMENT: it lists department d-a1, which is in unit a1
  {set} remove department d-a1 from the list
UNIT#c2 UNIT, DEPARTMENT#free DEPARTMENT: it lists department free, which is in no unit
  {set} remove department free from the list
UNIT#c3 UNIT: its numDepartments is 1, but the count is 0
  {set} set numDepartments to the count
UNIT#c3 UNIT, DEPARTMENT#d-c3 DEPARTMENT: department d-c3 is in the unit, but the unit does not list it
  {set} add department d-c3 to the list
UNIT#c4 UNIT: its departmentIds can't be read
  {set} set departmentIds to the departments in the unit
UNIT#c4 UNIT: its numDepartments is 1, but the count is 0
  {set} set numDepartments to the count
UNIT#c4 UNIT, DEPARTMENT#d-c4 DEPARTMENT: department d-c4 is in the unit, but the unit does not list it
  {set} add department d-c4 to the list
UNIT#d1 UNIT, DEPARTMENT#d-d1 DEPARTMENT: the ancestors of department d-d1 are not its unit and the unit's ancestors
  {set} set ancestors to d1, top
UNIT#e1 UNIT: its type is not u
  {set} set type to u
UNIT#e2 UNIT: its _updatedAt is not a time with three decimals
  {set} set _updatedAt to now
UNIT#e3 UNIT: its type is not u
  {set} set type to u
UNIT#f1 MONITOR#orphan: it is a monitor of unit f1, which does not exist
  {set} delete the item of orphan
DEPARTMENT#lost DEPARTMENT: it is in unit f1, which does not exist
  {set} remove parentId and ancestors
DEPARTMENT#loose DEPARTMENT: it has ancestors, but is in no unit
  {set} remove parentId and ancestors
DEPARTMENT#odd DEPARTMENT: its parentId is empty or longer than 512 bytes
  {set} remove parentId and ancestors
";

/// The part of the output before the counts.
fn findings(stdout: &str) -> &str {
    stdout.find("units ").map_or(stdout, |end| &stdout[..end])
}

#[tokio::test(flavor = "multi_thread")]
async fn every_violation_is_reported_and_repaired() {
    let world = world().await;
    world.put_all(violations()).await;
    let before = world.items().await;

    let run = world.run(&["check"]);
    assert_eq!(findings(&run.stdout), FOUND.replace("{set}", "repair would"));
    assert!(run.stdout.ends_with("\nnot sound: 27 violations, 0 repaired\n"), "{}", run.stdout);
    assert_eq!((run.code, run.stderr.as_str()), (3, ""));
    assert_eq!(world.items().await, before, "a check writes nothing");

    let run = world.run(&["check", "--output", "json"]);
    let events: Vec<Value> =
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("a JSON value a line")).collect();
    assert_eq!(
        (run.code, events.len(), &events[0]),
        (
            3,
            28,
            &json!({
                "event": "violation", "rule": "monitors", "items": ["UNIT#a1 UNIT"],
                "violation": "its numMonitors is 3, but the count is 1", "repair": "set numMonitors to the count",
                "outcome": "found",
            })
        )
    );

    let run = world.run(&["check", "--repair"]);
    // A repair starts with the unit's own attributes, so the order differs.
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(sorted(findings(&run.stdout)), sorted(&FOUND.replace("{set}", "repaired:")));
    assert!(run.stdout.ends_with("\nsound now: 27 violations, all repaired\n"), "{}", run.stdout);
    assert_eq!((run.code, run.stderr.as_str()), (0, ""));
    world.assert_sound().await;
    assert_eq!(world.run(&["check"]).code, 0);

    let items = world.items().await;
    let now = &items["UNIT#c2 UNIT"]["_updatedAt"];
    assert_eq!(
        items["UNIT#c2 UNIT"],
        with(unit("c2", &["m-c2"], &["d-c2"]), json!({ "version": 8, "_updatedAt": now }))
    );
    let now = &items["UNIT#e3 UNIT"]["_updatedAt"];
    assert_eq!(
        items["UNIT#e3 UNIT"],
        with(unit("e3", &["m-e3"], &["d-e3"]), json!({ "version": 1, "_updatedAt": now }))
    );
    let now = &items["DEPARTMENT#lost DEPARTMENT"]["_updatedAt"];
    assert_ne!(now, THEN);
    assert_eq!(
        items["DEPARTMENT#lost DEPARTMENT"],
        with(department("lost", None), json!({ "_updatedAt": now }))
    );
    assert_eq!(
        items["DEPARTMENT#free DEPARTMENT"], before["DEPARTMENT#free DEPARTMENT"],
        "it has no violation"
    );
    assert_eq!(items["UNIT#b3 MONITOR#m-b3"]["unitId"], "b3");
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

/// Four clients update a unit each through the function. Meanwhile counters are broken and stray items are written, and
/// repair runs again and again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn repair_keeps_every_update_that_the_function_confirmed() {
    let world = Arc::new(world().await);
    unitctl::sample::put(&world.database).await.expect("the sample is written");
    let token = unitctl::sample::TOKEN;
    let units = ["r1", "r2", "r3", "r4"];
    for id in units {
        world.put(unit(id, &[], &[])).await;
        for n in 0..4 {
            world.put(department(&format!("{id}-{n}"), None)).await;
        }
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let repair = tokio::task::spawn_blocking({
        let (world, is_over) = (world.clone(), is_over.clone());
        move || {
            let mut repaired = 0;
            while !is_over.load(Ordering::Relaxed) {
                let run = world.run(&["check", "--repair", "--output", "json"]);
                assert_eq!(run.stderr, "");
                let summary: Value =
                    serde_json::from_str(run.stdout.lines().last().expect("a summary")).expect("JSON");
                repaired += summary["repaired"].as_u64().expect("a count");
            }
            repaired
        }
    });
    let clients = units.map(|id| {
        let world = world.clone();
        tokio::spawn(async move {
            let mut answered = 0_u64;
            for n in 0..60_u64 {
                let departments: Vec<String> =
                    (0..4).filter(|bit| n >> bit & 1 == 1).map(|bit| format!("{id}-{bit}")).collect();
                let monitors = if n % 3 == 0 { &[][..] } else { &["GT67Tv6x5p5y5xZWN"] };
                let listed: Vec<&str> = departments.iter().map(String::as_str).collect();
                if n % 5 == 0 {
                    // These writes do not go through the function, so they do not increment the version.
                    world.put(monitor(id, "stray")).await;
                    world.set_number(&format!("UNIT#{id}"), "UNIT", "numMonitors", "9").await;
                }
                let response = world.update(id, unitctl::sample::USER, token, &body(monitors, &listed)).await;
                if response.status_code != 200 {
                    assert_eq!(response.status_code, 503, "{}", response.body);
                    continue;
                }
                answered += 1;
                // No other client updates this unit, so it must be as this client's update left it.
                let unit = world.item(&format!("UNIT#{id}"), "UNIT").await;
                let stored = unit.get("departmentIds").map_or(json!([]), |set| set["set"].clone());
                assert_eq!(stored, json!(departments), "{id}, update {n}");
                let names: Vec<&String> = unit["monitors"].as_object().expect("M").keys().collect();
                assert_eq!(names, monitors, "{id}, update {n}");
                assert!(unit["version"].as_u64() >= Some(7 + answered), "{id}, update {n}");
            }
            answered
        })
    });
    let mut answered = 0;
    for client in clients {
        answered += client.await.expect("the client ends without a failure");
    }
    is_over.store(true, Ordering::Relaxed);
    let repaired = repair.await.expect("repair runs");
    assert!(answered > 200 && repaired > 0, "{answered} answered, {repaired} repaired");
    assert_eq!(world.run(&["check", "--repair"]).code, 0);
    world.assert_sound().await;
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
