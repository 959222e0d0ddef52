//! Odd values: nulls, what DynamoDB does not store, deep nesting, and visibilities.

use super::*;

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
