//! Documents that are too large for an item.

use unitctl::limits::MAX_ITEM_BYTES;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_document_that_is_too_large_is_a_broken_line() {
    // Below the limit by itself, and over it with what the item gets besides: key, place, `rev`, `version`.
    let mut outcomes = std::collections::BTreeSet::new();
    for missing in [0, 150, 200, 220, 240, 250, 260, 270, 280, 290, 300, 320, 400, 500] {
        let [users, permissions, mut departments, monitors] = base();
        departments[3]["notes"] = "x".repeat(MAX_ITEM_BYTES - missing).into();
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
    let mut length = MAX_ITEM_BYTES;
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
