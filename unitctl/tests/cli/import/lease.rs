//! An import and a sync of the same tables.

use unitctl::lease::Candidate;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_import_refuses_to_write_while_another_process_does() {
    let world = world().await;
    let [users, permissions, departments, monitors] = base();
    let folder = export(&users, &permissions, &departments, &monitors);
    let mut candidate = Candidate::new(&world.database, "unitctl sync");
    let lease = candidate.acquire_or_refuse(|_| ()).await.expect("it is free");
    let held = world.item("SYNC#STATE", "LEASE").await;
    let holder = format!(
        "the process {} on the host {} (unitctl sync, since {})",
        std::process::id(),
        held["host"].as_str().expect("a text"),
        held["since"].as_str().expect("a text"),
    );
    let stderr = format!(
        "Waiting to see whether {holder} is still running.\n\
         error: {holder} is writing to these tables, so nothing was written; end it first, or wait until it has ended\n"
    );
    assert_eq!(world.import(folder.path(), &[]), Run { code: 1, stdout: String::new(), stderr });
    assert_eq!(world.items().await.into_keys().collect::<Vec<_>>(), ["SYNC#STATE LEASE"]);
    // A dry run writes nothing, so it needs no lease.
    assert_eq!(world.import(folder.path(), &["--dry-run"]).code, 0);

    lease.release().await.expect("it is released");
    assert_eq!(world.import(folder.path(), &[]).code, 0);
    let items = world.items().await;
    assert!(items.contains_key("UNIT#desk UNIT") && !items.contains_key("SYNC#STATE LEASE"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_import_writes_has_no_common_state_any_more() {
    let world = world().await;
    let [users, permissions, mut departments, monitors] = base();
    let folder = export(&users, &permissions, &departments, &monitors);
    assert_eq!(world.import(folder.path(), &[]).code, 0);
    let bases = ["SYNC#UNIT#desk", "SYNC#UNIT#shop", "SYNC#DEPARTMENT#mail", "SYNC#DEPARTMENT#orders"];
    for pk in bases {
        world.put(json!({ "pk": pk, "sk": "BASE", "rev": 1 })).await;
    }
    let before = world.items().await;
    assert_eq!(world.import(folder.path(), &[]).code, 0);
    assert_eq!(world.items().await, before);

    for department in &mut departments {
        if ["desk", "mail"].contains(&department["_id"].as_str().expect("an id")) {
            department["name"] = "Renamed".into();
        }
    }
    let folder = export(&users, &permissions, &departments, &monitors);
    assert_eq!(world.import(folder.path(), &["--dry-run"]).code, 0);
    assert_eq!(world.items().await, before);
    assert_eq!(world.import(folder.path(), &[]).code, 0);
    let items = world.items().await;
    assert_eq!(items["UNIT#desk UNIT"]["name"], "Renamed");
    assert_eq!(items["DEPARTMENT#mail DEPARTMENT"]["name"], "Renamed");
    let left: Vec<&str> = bases.into_iter().filter(|pk| items.contains_key(&format!("{pk} BASE"))).collect();
    assert_eq!(left, ["SYNC#UNIT#shop", "SYNC#DEPARTMENT#orders"]);
}
