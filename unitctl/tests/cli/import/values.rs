//! Odd values: nulls, what DynamoDB does not store, what is too large, and visibilities.

use super::*;

/// Imports this folder twice, each time after a dry run that must say the same. Nothing changes the second time.
async fn import_twice(world: &World, folder: &TempDir, code: i32) -> Run {
    let events = |run: &Run| -> Vec<Value> {
        let events = run.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let mut events: Vec<Value> = events
            .filter(|event| !["write", "summary"].contains(&event["event"].as_str().expect("a text")))
            .collect();
        events.sort_by_key(Value::to_string);
        events
    };
    let dry = world.import(folder.path(), &["--dry-run", "--output", "json"]);
    let run = world.import(folder.path(), &["--output", "json"]);
    assert_eq!((dry.code, run.code), (code, code), "{run:?}");
    assert_eq!(events(&dry), events(&run));
    let items = world.items().await;
    let again = world.import(folder.path(), &[]);
    assert_eq!(again.code, code, "{again:?}");
    assert!(world.items().await == items, "the second import changed something");
    assert_eq!(world.run(&["check"]).code, 0);
    again
}

#[tokio::test(flavor = "multi_thread")]
async fn nulls_are_absent_in_every_array_and_field_that_is_read() {
    let undefined = json!({ "$undefined": true });
    let [mut users, mut permissions, mut departments, mut monitors] = base();
    users[0]["roles"] = json!(["admin", null, undefined]);
    users[0]["services"]["resume"]["loginTokens"].as_array_mut().expect("a list").insert(0, Value::Null);
    users[1]["active"] = Value::Null;
    users[1]["services"] = Value::Null;
    users[2]["services"] = json!({ "resume": null });
    let mut nameless = user("nameless", &[]);
    nameless["username"] = undefined.clone();
    nameless["roles"] = Value::Null;
    nameless["services"] = json!({ "resume": { "loginTokens": null } });
    users.push(nameless);
    permissions[0]["roles"] = json!([null, "admin"]);
    permissions.push(json!({ "_id": "nobody", "roles": [null] }));
    departments[0]["ancestors"] = json!([null]);
    departments[1]["ancestors"] = Value::Null;
    departments[2]["ancestors"] = json!([null, "desk", null]);
    departments[3]["unread"] = json!([null, { "a": null }]);
    departments[4]["parentId"] = undefined;
    departments[4]["ancestors"] = json!([null]);
    departments[4]["_updatedAt"] = Value::Null;
    departments[1]["numDepartments"] = 0.into();
    monitors[0]["username"] = Value::Null;
    monitors[1]["_updatedAt"] = Value::Null;

    let world = world().await;
    let run = import_twice(&world, &folder(&[users, permissions, departments, monitors]), 0).await;
    assert_eq!(lines(&run, &["repaired", "changed", "broken"]), [""; 0], "{run:?}");
    let items = world.items().await;
    assert_eq!(items[&format!("USER#{ADMIN} USER")]["roles"], json!({ "set": ["admin"] }));
    assert!(items.contains_key(&livechat_units::hashed_token(TOKEN)));
    assert_eq!(items["USER#nameless USER"], json!({ "pk": "USER#nameless", "sk": "USER", "active": true }));
    assert_eq!(items["PERMISSION#manage-livechat-units PERMISSION"]["roles"], json!({ "set": ["admin"] }));
    assert_eq!(items["PERMISSION#nobody PERMISSION"].get("roles"), None);
    assert_eq!(items["DEPARTMENT#phone DEPARTMENT"]["unread"], json!([null, { "a": null }]));
    assert_eq!(items["DEPARTMENT#orders DEPARTMENT"].get("parentId"), None);
    assert_eq!(world.update("desk", ADMIN, TOKEN, &body(&["ann"], &["mail"])).await.status_code, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_dynamodb_does_not_store_become_text_or_are_left_out() {
    let nan = json!({ "$numberDouble": "NaN" });
    let year_10000 = json!({ "$date": { "$numberLong": "253402300800000" } });
    let deep = (0..32).fold(json!(1), |inner, _| json!({ "a": inner }));
    let [users, permissions, mut departments, monitors] = base();
    departments[0]["average"] = nan.clone();
    departments[0]["custom"] = json!({ "list": [1, nan], "": 1 });
    departments[1]["opened"] = year_10000;
    departments[2]["tiny"] = json!({ "$numberDecimal": "1E-6143" });
    departments[2]["huge"] = json!({ "$numberDouble": "-Infinity" });
    departments[2]["long"] = json!({ "$numberDecimal": "9".repeat(39) });
    departments[3]["custom"] = json!({ "": 1, "kept": 2 });
    departments[3]["deep"] = deep;
    departments[4].as_object_mut().expect("an object").insert("n".repeat(65_536), 1.into());
    departments[4]["pk"] = "x".into();
    departments[4]["rev"] = 7.into();

    let world = world().await;
    let run = import_twice(&world, &folder(&[users, permissions, departments, monitors]), 0).await;
    let text = "stored as text, because";
    let number = "is not a number that DynamoDB stores";
    let file = "changed: rocketchat_livechat_department.json, line";
    let deep_path = format!("deep{}", ".a".repeat(31));
    assert_eq!(
        lines(&run, &["changed", "2 more"]),
        [
            "2 more fields of rocketchat_livechat_department.json were stored as text or left out; --output json lists all of them".to_owned(),
            format!("{file} 1: average: {text} NaN {number}"),
            format!("{file} 1: custom.list[1]: {text} NaN {number}"),
            format!("{file} 1: custom: left out a field without a name"),
            format!(
                "{file} 2: opened: {text} {{\"$numberLong\":\"253402300800000\"}} is no date between the years 0 and 9999"
            ),
            format!("{file} 3: huge: {text} -Infinity {number}"),
            format!("{file} 3: long: {text} {} {number}", "9".repeat(39)),
            format!("{file} 3: tiny: {text} 1E-6143 {number}"),
            format!("{file} 4: custom: left out a field without a name"),
            format!("{file} 4: {deep_path}: {text} DynamoDB stores no more than 32 levels"),
            format!("{file} 5: left out a field pk: the item has an attribute of this name for itself"),
        ]
    );
    let items = world.items().await;
    let unit = &items["UNIT#desk UNIT"];
    assert_eq!((&unit["average"], &unit["custom"]), (&json!("NaN"), &json!({ "list": [1, "NaN"] })));
    assert_eq!(unit["departmentIds"], json!({ "set": ["mail", "phone"] }));
    assert_eq!(items["UNIT#shop UNIT"]["opened"], "253402300800000");
    let mail = &items["DEPARTMENT#mail DEPARTMENT"];
    assert_eq!((&mail["tiny"], &mail["huge"]), (&json!("1E-6143"), &json!("-Infinity")));
    assert_eq!(items["DEPARTMENT#phone DEPARTMENT"]["custom"], json!({ "kept": 2 }));
    let orders = &items["DEPARTMENT#orders DEPARTMENT"];
    assert_eq!((&orders["pk"], &orders["rev"]), (&json!("DEPARTMENT#orders"), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_with_the_names_of_keys_do_not_confuse_departments() {
    let [users, permissions, mut departments, monitors] = base();
    // All of them have the same `hashedToken`, which is the key of another table.
    for document in &mut departments {
        document["hashedToken"] = "x".into();
    }
    let world = world().await;
    import_twice(
        &world,
        &folder(&[users.clone(), permissions.clone(), departments.clone(), monitors.clone()]),
        0,
    )
    .await;
    let mail = world.item("DEPARTMENT#mail", "DEPARTMENT").await;
    assert_eq!((&mail["hashedToken"], &mail["rev"]), (&json!("x"), &json!(1)));

    // A write deletes the base of the department that it writes, and no other.
    for pk in ["SYNC#DEPARTMENT#mail", "SYNC#DEPARTMENT#orders"] {
        world.put(json!({ "pk": pk, "sk": "BASE", "rev": 1 })).await;
    }
    departments[2]["name"] = "Renamed".into();
    let renamed = folder(&[users, permissions, departments, monitors]);
    assert_eq!(world.import(renamed.path(), &[]).code, 0);
    assert_eq!(world.item("DEPARTMENT#mail", "DEPARTMENT").await["rev"], 2);
    assert_eq!(world.item("DEPARTMENT#orders", "DEPARTMENT").await["rev"], 1);
    assert_eq!(starting("SYNC#", &world.items().await), ["SYNC#DEPARTMENT#orders BASE"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_odd_value_in_a_field_that_is_read_is_a_broken_line() {
    let year_10000 = json!({ "$date": { "$numberLong": "253402300800000" } });
    let [users, permissions, mut departments, monitors] = base();
    departments[4]["_updatedAt"] = year_10000.clone();
    departments.push(json!({ "_id": "other", "name": { "$numberDouble": "NaN" } }));
    let world = world().await;
    let folder = folder(&[users, permissions, departments, monitors]);
    let run = import_twice(&world, &folder, 3).await;
    assert_eq!(
        lines(&run, &["broken"]),
        [
            "broken: rocketchat_livechat_department.json, line 5: _updatedAt: {\"$numberLong\":\"253402300800000\"} is no date between the years 0 and 9999",
            "broken: rocketchat_livechat_department.json, line 6: no name",
        ]
    );
    assert_eq!(starting("DEPARTMENT", &world.items().await).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn any_depth_that_mongodb_stores_is_read() {
    let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
    for (levels, is_read) in [(127, true), (128, true), (400, true), (600, false), (100_000, false)] {
        let folder = folder(&base());
        for (file, documents) in FILES.into_iter().zip(base()) {
            let lines = documents.iter().enumerate().map(|(number, document)| {
                let document = document.to_string();
                let start = document.strip_suffix('}').expect("an object");
                // The last document of each file.
                let deep = if number + 1 == documents.len() { nested(levels) } else { "1".into() };
                format!("{start},\"odd\":{deep}}}\n")
            });
            write(&folder, file, lines.collect::<String>());
        }
        let world = world().await;
        let run = import_twice(&world, &folder, if is_read { 0 } else { 3 }).await;
        let items = world.items().await;
        let hash = livechat_units::hashed_token("clerk");
        assert_eq!(items.contains_key("USER#clerk USER") && items.contains_key(&hash), is_read, "{levels}");
        let department = items.get("DEPARTMENT#orders DEPARTMENT");
        assert_eq!(department.is_some(), is_read, "{levels}");
        if let Some(department) = department {
            let change = format!("odd{}: stored as text, because DynamoDB stores", "[0]".repeat(31));
            assert!(run.stdout.contains(&change), "{run:?}");
            assert!(department["odd"].to_string().contains(&format!("\"{}\"", nested(levels - 31))));
        } else {
            let broken = lines(&run, &["broken"]);
            assert_eq!(broken.len(), 4, "{broken:?}");
            assert!(broken.iter().all(|line| line.ends_with(": more than 500 levels of arrays and objects")));
        }
    }
}

/// The text of a value as versions of mongoexport before extended JSON v2 write it, and the value in version 2.
const OLD_WORDS: [(&str, &str); 5] = [
    ("NaN", r#"{"$numberDouble":"NaN"}"#),
    ("Infinity", r#"{"$numberDouble":"Infinity"}"#),
    ("+Infinity", r#"{"$numberDouble":"Infinity"}"#),
    ("-Infinity", r#"{"$numberDouble":"-Infinity"}"#),
    ("undefined", r#"{"$undefined":true}"#),
];

#[tokio::test(flavor = "multi_thread")]
async fn words_of_old_versions_in_fields_that_are_not_read_are_values() {
    // In the first document of each file, on one line, and over several lines.
    let with_field = |value: &str| {
        let folder = folder(&base());
        for (file, documents) in FILES.into_iter().zip(base()) {
            let lines = documents.iter().enumerate().map(|(number, document)| {
                let document = document.to_string();
                let start = document.strip_suffix('}').expect("an object");
                match number {
                    0 => format!("{start},\"odd\":[{value}, {{\"a\": {value} }}]}}\n"),
                    1 => format!("{{\n\t\"odd\" : {value},\n\t{}\n}}\n", &start[1..]),
                    _ => format!("{document}\n"),
                }
            });
            write(&folder, file, lines.collect::<String>());
        }
        folder
    };
    for (word, value) in OLD_WORDS {
        let (world, expected) = (world().await, world().await);
        let run = import_twice(&world, &with_field(word), 0).await;
        let same = import_twice(&expected, &with_field(value), 0).await;
        assert_eq!(run.stdout, same.stdout, "{word}");
        assert!(world.items().await == expected.items().await, "{word}");
        let changed = if word == "undefined" { 0 } else { 3 };
        assert_eq!(lines(&run, &["changed"]).len(), changed, "{run:?}");
        assert_eq!(starting("USER#", &world.items().await).len(), 8, "{word}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn words_of_old_versions_in_fields_that_are_read_are_what_version_2_has_there() {
    // In a field of each collection that is read: the line is broken.
    let with_field = |value: &str| {
        let folder = folder(&base());
        for (file, line) in FILES.into_iter().zip([
            format!(r#"{{"_id":"x","username":{value}}}"#),
            format!(r#"{{"_id":"x","roles":{value}}}"#),
            format!(r#"{{"_id":"x","type":"u","name":{value}}}"#),
            format!(r#"{{"_id":"x","unitId":"desk","monitorId":{value}}}"#),
        ]) {
            let index = FILES.iter().position(|other| *other == file).expect("it is one of them");
            let lines: String = base()[index].iter().map(|document| format!("{document}\n")).collect();
            write(&folder, file, format!("{lines}{line}\n"));
        }
        folder
    };
    for (word, value) in OLD_WORDS {
        let (world, expected) = (world().await, world().await);
        let run = import_twice(&world, &with_field(word), 3).await;
        let same = import_twice(&expected, &with_field(value), 3).await;
        assert_eq!(run.stdout, same.stdout, "{word}");
        assert!(world.items().await == expected.items().await, "{word}");
        let broken = lines(&run, &["broken"]);
        if word == "undefined" {
            let reasons = ["line 6: no name", "line 3: no monitorId"];
            assert!(broken.len() == 2 && broken.iter().zip(reasons).all(|(line, end)| line.ends_with(end)));
        } else {
            assert_eq!(
                broken,
                [
                    "broken: rocketchat_livechat_department.json, line 6: name is an object and not a string",
                    "broken: rocketchat_livechat_unit_monitors.json, line 3: monitorId is an object and not a string",
                    "broken: rocketchat_permissions.json, line 2: roles is an object and not an array of strings",
                    "broken: users.json, line 5: username is an object and not a string",
                ]
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_too_large_is_a_broken_line() {
    // Below the limit by itself, and over it with what the item gets besides: key, place, `rev`, `version`.
    let mut outcomes = std::collections::BTreeSet::new();
    for missing in [0, 150, 200, 220, 240, 250, 260, 270, 280, 290, 300, 320, 400, 500] {
        let [users, permissions, mut departments, monitors] = base();
        departments[3]["notes"] = "x".repeat(409_600 - missing).into();
        let world = world().await;
        let folder = folder(&[users, permissions, departments, monitors]);
        let dry = world.import(folder.path(), &["--dry-run"]);
        let run = world.import(folder.path(), &[]);
        assert_eq!(dry.code, run.code, "{missing}");
        let is_broken = !lines(&run, &["broken: rocketchat_livechat_department.json, line 4: "]).is_empty();
        assert_eq!(run.code, if is_broken { 3 } else { 0 }, "{missing}: {run:?}");
        let items = world.items().await;
        assert_eq!(items.contains_key("DEPARTMENT#phone DEPARTMENT"), !is_broken, "{missing}");
        assert!(
            items.contains_key("DEPARTMENT#mail DEPARTMENT")
                && items.contains_key("DEPARTMENT#orders DEPARTMENT")
        );
        assert_eq!(items["UNIT#desk UNIT"]["numDepartments"], if is_broken { 1 } else { 2 });
        assert_eq!(world.run(&["check"]).code, 0);
        outcomes.insert(run.code);
    }
    assert_eq!(outcomes.len(), 2, "the sizes are on both sides of the limit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unit_that_becomes_too_large_stays_as_it_is_stored() {
    let [users, permissions, departments, monitors] = base();
    let with_notes = |length: usize| {
        let mut departments = departments.clone();
        departments[0]["notes"] = "x".repeat(length).into();
        folder(&[users.clone(), permissions.clone(), departments, monitors.clone()])
    };
    // The largest unit that a first import stores.
    let mut length = 409_600;
    let world = loop {
        let world = world().await;
        let run = world.import(with_notes(length).path(), &[]);
        if run.code == 0 {
            break world;
        }
        assert!(run.stdout.contains("broken: rocketchat_livechat_department.json, line 1: "), "{run:?}");
        // Nothing else is lost: the departments are in no unit.
        assert_eq!(starting("DEPARTMENT", &world.items().await).len(), 3);
        length -= 25;
    };
    let before = world.items().await;
    assert!(before.contains_key("UNIT#desk UNIT"));
    assert_eq!(world.import(with_notes(length).path(), &[]).code, 0, "nothing changes");
    // A second import would add `version` and `importedVersion`.
    let mut changed = departments.clone();
    changed[0]["notes"] = format!("y{}", "x".repeat(length - 1)).into();
    let second = folder(&[users.clone(), permissions.clone(), changed, monitors.clone()]);
    let dry = world.import(second.path(), &["--dry-run"]);
    let run = world.import(second.path(), &[]);
    assert_eq!((dry.code, run.code), (3, 3), "{}", run.stdout.len());
    assert!(run.stdout.contains("broken: rocketchat_livechat_department.json, line 1: "));
    assert!(world.items().await == before, "it stays as it is stored");
    assert_eq!(world.run(&["check"]).code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_monitor_that_is_too_large_for_its_item_is_a_broken_line_of_its_unit() {
    let long_unit = "U".repeat(400);
    let mut reasons = std::collections::BTreeSet::new();
    for length in [407_700, 407_900, 408_000, 408_300, 408_600, 408_900] {
        let [mut users, permissions, mut departments, mut monitors] = base();
        let mut named = user(&"m".repeat(400), &["livechat-monitor"]);
        named["username"] = "x".repeat(length).into();
        monitors.push(monitor(&long_unit, named["_id"].as_str().expect("a text")));
        users.push(named);
        departments.push(unit(&long_unit, 1, 0));
        let world = world().await;
        let folder = folder(&[users, permissions, departments, monitors]);
        let dry = world.import(folder.path(), &["--dry-run"]);
        let run = world.import(folder.path(), &[]);
        assert_eq!((dry.code, dry.stderr.as_str()), (run.code, run.stderr.as_str()), "{length}");
        let broken = lines(&run, &["broken"]);
        assert_eq!(lines(&dry, &["broken"]), broken);
        let reason = match broken[..] {
            [] => "",
            [line] if line.contains(": the item of monitor mmm") => "monitor",
            [line] => line,
            _ => panic!("{broken:?}"),
        };
        assert_eq!(run.code, if reason.is_empty() { 0 } else { 3 }, "{length}: {broken:?}");
        let is_stored = world.items().await.contains_key(&format!("UNIT#{long_unit} UNIT"));
        assert_eq!(is_stored, reason.is_empty(), "{length}");
        assert_eq!(world.run(&["check"]).code, 0, "{length}");
        reasons.insert(reason.to_owned());
    }
    assert!(reasons.contains("") && reasons.contains("monitor"), "{reasons:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_or_permission_that_is_too_large_is_a_broken_line() {
    let [mut users, mut permissions, departments, monitors] = base();
    let mut many_tokens = user("many", &[]);
    let tokens: Vec<Value> = (0..9400).map(|n| login(&n.to_string(), "2098-01-02T03:04:05.006Z")).collect();
    many_tokens["services"] = json!({ "resume": { "loginTokens": tokens } });
    users.push(many_tokens);
    let mut named = user("named", &[]);
    named["username"] = "x".repeat(409_590).into();
    users.push(named);
    permissions.push(json!({ "_id": "many", "roles": ["x".repeat(409_590)] }));
    let world = world().await;
    let run = import_twice(&world, &folder(&[users, permissions, departments, monitors]), 3).await;
    let broken = lines(&run, &["broken"]);
    assert_eq!(broken.len(), 3, "{broken:?}");
    assert!(broken[0].starts_with("broken: rocketchat_permissions.json, line 2: "), "{broken:?}");
    assert!(
        broken[1].starts_with("broken: users.json, line 5: the list of its login tokens has "),
        "{broken:?}"
    );
    assert!(broken[2].starts_with("broken: users.json, line 6: "), "{broken:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visibility_that_is_neither_public_nor_private_becomes_private() {
    let cases = [
        (json!("public"), "public", None),
        (json!("Public"), "public", None),
        (json!("PRIVATE"), "private", None),
        (json!("Private"), "private", None),
        (json!("team"), "private", Some("neither public nor private")),
        (json!(" public"), "private", Some("neither public nor private")),
        (json!(""), "private", Some("empty")),
        (Value::Null, "private", Some("absent")),
        (json!(1), "private", Some("not a string")),
        (json!(["public"]), "private", Some("not a string")),
    ];
    let units = cases.iter().enumerate().map(|(number, (visibility, ..))| {
        let mut unit = unit(&format!("u{number}"), 0, 0);
        unit["visibility"] = visibility.clone();
        unit
    });
    let mut absent = unit("u99", 0, 0);
    absent.as_object_mut().expect("an object").remove("visibility");
    let units: Vec<Value> = units.chain([absent]).collect();
    let [users, permissions, _, monitors] = base();
    let world = world().await;
    let folder = folder(&[users, permissions, units, monitors]);
    let run = import_twice(&world, &folder, 0).await;
    let items = world.items().await;
    for (number, (_, visibility, was)) in cases.iter().enumerate() {
        assert_eq!(items[&format!("UNIT#u{number} UNIT")]["visibility"], *visibility, "{number}");
        let repairs = lines(&run, &[&format!("repaired: unit u{number}: ")]);
        let expected =
            was.map(|was| format!("repaired: unit u{number}: visibility is now private: it was {was}"));
        assert_eq!(repairs, expected.iter().map(String::as_str).collect::<Vec<_>>());
    }
    assert_eq!(items["UNIT#u99 UNIT"]["visibility"], "private");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_repairs_and_kept_units_the_first_are_listed() {
    let [users, permissions, _, _] = base();
    let units: Vec<Value> = (0..25)
        .map(|number| {
            let mut unit = unit(&format!("u{number}"), 0, usize::from(number < 11));
            unit["visibility"] = if number < 13 { "team".into() } else { "public".into() };
            unit
        })
        .collect();
    let monitors = [monitor("u0", "ann")];
    let folder = export(&users, &permissions, &units, &monitors);
    let world = world().await;
    let run = world.import(folder.path(), &[]);
    assert_eq!(run.code, 0, "{run:?}");
    assert_eq!(lines(&run, &["repaired"]).len(), 10 + 10 + 1, "{run:?}");
    assert_eq!(
        lines(&run, &["1 more", "3 more"]),
        [
            "1 more repair of this kind: the number of departments; --output json lists all of them",
            "3 more repairs of this kind: visibility is now private; --output json lists all of them",
        ]
    );
    assert!(run.stdout.ends_with("\n0 units kept, 25 repairs, 0 broken lines\n"), "{run:?}");
    let json = world.import(folder.path(), &["--output", "json"]);
    assert_eq!(json.stdout.matches("{\"event\":\"repair\"").count(), 25, "{json:?}");
    assert!(!json.stdout.contains("\"kind\""), "{json:?}");

    // All of them are updated.
    for number in 0..25 {
        world.set_number(&format!("UNIT#u{number}"), "UNIT", "version", "1").await;
    }
    let run = world.import(folder.path(), &[]);
    assert_eq!(lines(&run, &["kept"]).len(), 10, "{run:?}");
    let more =
        "15 more units were kept, because of an update since the import; --output json lists all of them";
    assert_eq!(lines(&run, &["15 more"]), [more]);
    let json = world.import(folder.path(), &["--output", "json"]);
    assert_eq!(json.stdout.matches("{\"event\":\"kept\"").count(), 25, "{json:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn control_characters_are_printed_escaped() {
    let [mut users, permissions, mut departments, mut monitors] = base();
    let id = "a\u{1b}[31m\r\n\u{9b}b\u{7f}";
    departments.push(unit(id, 5, 0));
    departments[2]["\u{1b}field"] = json!([{ "$numberDouble": "NaN" }]);
    monitors.push(monitor(id, "ann"));
    monitors.push(monitor(id, "no\u{7}body"));
    users[1]["username"] = "an\u{8}n".into();
    users.push(json!({ "_id": "x", "services": { "resume": { "loginTokens": [{
        "hashedToken": livechat_units::hashed_token("x"), "when": "\u{9b}31m",
    }] } } }));
    let world = world().await;
    let folder = folder(&[users, permissions, departments, monitors]);
    let is_plain = |text: &str| text.chars().all(|char| char == '\n' || !char.is_control());
    let dry = world.import(folder.path(), &["--dry-run"]);
    let run = world.import(folder.path(), &[]);
    assert_eq!((dry.code, run.code), (3, 3), "{run:?}");
    assert!(is_plain(&dry.stdout) && is_plain(&run.stdout), "{run:?}");
    let printed = r"unit a\u{1b}[31m\r\n\u{9b}b\u{7f}: ";
    assert!(run.stdout.contains(&format!(r"repaired: {printed}left out monitor no\u{{7}}body: ")), "{run:?}");
    assert!(run.stdout.contains(r"monitor ann is now called an\u{8}n"), "{run:?}");
    assert!(run.stdout.contains(r", line 3: \u{1b}field[0]: stored as text"), "{run:?}");
    let strict = world.import(folder.path(), &["--strict"]);
    assert!(strict.code == 1 && is_plain(&strict.stderr) && is_plain(&strict.stdout), "{strict:?}");
    // JSON has the ids themselves.
    let json = world.import(folder.path(), &["--output", "json"]);
    let mut events = json.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    assert!(events.any(|event| event["item"] == format!("unit {id}")), "{json:?}");
    world.set_number(&format!("UNIT#{id}"), "UNIT", "version", "1").await;
    let kept = world.import(folder.path(), &[]);
    assert!(kept.stdout.contains(&format!("kept: {}", printed.replace(": ", " "))), "{kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deactivated_user_stays_a_monitor() {
    let [mut users, permissions, departments, monitors] = base();
    users[2]["active"] = false.into();
    let world = world().await;
    let run = import_twice(&world, &folder(&[users, permissions, departments, monitors]), 0).await;
    assert_eq!(lines(&run, &["repaired"]), [""; 0], "{run:?}");
    let items = world.items().await;
    assert_eq!(items["UNIT#desk UNIT"]["numMonitors"], 2);
    let repair = world.run(&["check", "--repair"]);
    assert_eq!(repair.code, 0, "{repair:?}");
    assert!(world.items().await == items, "check --repair changed something");
}
