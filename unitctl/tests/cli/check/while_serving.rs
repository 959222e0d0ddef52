//! Repair while clients update units through the function.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

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
