//! Large updates that compete for the same unit, or for each other's departments.

use futures_util::future::join_all;

use crate::support::asked::Asked;
use crate::support::observer::Observer;
use crate::support::responses::{BUSY, UNAVAILABLE};
use crate::support::{TestApp, as_strs, case_count, ids, invoke, with_app};

const NAMES: [&str; 3] = ["A", "B", "C"];

/// How often each competition takes place, unless `COMPETITIONS` says otherwise.
const COMPETITIONS: u32 = 3;

/// Sends these updates at the same time, and then repeats those that had to give way, one after the other.
async fn compete(app: &TestApp, updates: &[Asked]) {
    let observer = Observer::new(app);
    let functions: Vec<_> = NAMES.iter().map(|name| observer.function(name)).collect();
    let sent = updates.iter().zip(&functions).map(async |(asked, function)| {
        // The first transactions come in another order each time.
        tokio::time::sleep(std::time::Duration::from_millis(fastrand::u64(0..30))).await;
        invoke(function, &asked.event(), None).await
    });
    let responses = join_all(sent).await;
    observer.assert_always_consistent();
    let mut successes = 0;
    for ((asked, response), name) in updates.iter().zip(&responses).zip(NAMES) {
        if response.status_code == 200 {
            successes += 1;
            let last = observer.committed_by(name).pop().expect("it has committed");
            assert!(
                asked.is_fulfilled(&last.items),
                "{name} was answered 200 and its unit is not as it asked"
            );
        } else {
            // On a busy machine the engine may answer too late.
            assert!([BUSY, UNAVAILABLE].contains(&response.body.as_str()), "{name}: {}", response.body);
        }
    }
    let is_late = responses.iter().any(|response| response.body == UNAVAILABLE);
    assert!(successes > 0 || is_late, "every update had to give way");
    // A transaction without a reply may still be on its way.
    observer.all_executed().await;
    for (asked, _) in updates.iter().zip(&responses).filter(|(_, response)| response.status_code != 200) {
        let again = app.send(&asked.event()).await;
        assert_eq!(again.status_code, 200, "{}", again.body);
        assert!(asked.is_fulfilled(&app.stored_items().await));
    }
}

#[tokio::test]
async fn large_updates_of_one_unit_end_with_200_or_give_way() {
    for competitors in [2, 3] {
        for _ in 0..case_count("COMPETITIONS", COMPETITIONS) {
            with_app(async |app| {
                app.put_unit("U", &[], &[]).await;
                let mut updates = Vec::new();
                for name in &NAMES[..competitors] {
                    let (monitors, departments) =
                        (ids(&format!("m{name}"), 110), ids(&format!("d{name}"), 110));
                    app.put_monitors(&as_strs(&monitors)).await;
                    app.put_departments(&as_strs(&departments)).await;
                    let asked = Asked::new("U", &monitors, &departments);
                    updates.push(Asked { name: format!("as {name} asks"), ..asked });
                }
                compete(app, &updates).await;
            })
            .await;
        }
    }
}

#[tokio::test]
async fn large_updates_that_take_each_others_departments_end_with_200_or_give_way() {
    for competitors in [2, 3] {
        for _ in 0..case_count("COMPETITIONS", COMPETITIONS) {
            with_app(async |app| {
                let mut all = Vec::new();
                for name in &NAMES[..competitors] {
                    let departments = ids(&format!("d{name}"), 240 / competitors);
                    app.put_unit(name, &[], &as_strs(&departments)).await;
                    all.extend(departments);
                }
                let monitors = ids("m", 80);
                app.put_monitors(&as_strs(&monitors)).await;
                // Each update lists all departments, each in another order.
                let updates: Vec<Asked> = (0..competitors)
                    .map(|n| {
                        let mut departments = all.clone();
                        departments.rotate_left(n * all.len() / competitors);
                        Asked::new(NAMES[n], &monitors, &departments)
                    })
                    .collect();
                compete(app, &updates).await;
            })
            .await;
        }
    }
}
