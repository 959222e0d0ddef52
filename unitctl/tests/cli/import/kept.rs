//! What an import does not change: units that were updated since, and what is not Rocket.Chat's.

use super::*;

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
        let (mut fits, mut does_not) = (400_000, unitctl::limits::MAX_ITEM_BYTES);
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
