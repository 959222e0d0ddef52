//! Updates that fight: each is answered, the invariants hold, and versions count the commits.

use futures_util::future::join_all;

use crate::world::{BUSY, body, event, world};

#[tokio::test]
async fn sixteen_updates_of_one_unit_at_once() {
    world(async |world| {
        world.unit("U", &["m0"], &["d0"]).await;
        let departments: Vec<String> = (1..16).map(|n| format!("d{n}")).collect();
        let monitors: Vec<String> = (1..16).map(|n| format!("m{n}")).collect();
        world.departments(&departments.iter().map(String::as_str).collect::<Vec<_>>()).await;
        world.monitors(&monitors.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let events: Vec<_> = (0..16)
            .map(|n: usize| {
                let (monitor, department) = (format!("m{n}"), format!("d{n}"));
                let next = format!("d{}", (n + 1) % 16);
                event("U", &body(&[&monitor], &[&department, &next]))
            })
            .collect();
        let responses = join_all(events.iter().map(|event| world.invoke(event))).await;
        let committed = responses.iter().filter(|response| response.status_code == 200).count();
        for response in &responses {
            assert!(response.status_code == 200 || response.body == BUSY, "{}", response.body);
        }
        assert!(committed > 0, "nobody got through");
        assert_eq!(world.unit_of("U").await["version"], 7 + committed);
    })
    .await;
}

#[tokio::test]
async fn sixteen_units_that_fight_over_the_same_departments() {
    world(async |world| {
        let departments: Vec<String> = (0..6).map(|n| format!("d{n}")).collect();
        let departments: Vec<&str> = departments.iter().map(String::as_str).collect();
        world.unit("U0", &[], &departments).await;
        for n in 1..16 {
            world.unit(&format!("U{n}"), &[], &[]).await;
        }
        let events: Vec<_> = (0..16).map(|n| event(&format!("U{n}"), &body(&[], &departments))).collect();
        let responses = join_all(events.iter().map(|event| world.invoke(event))).await;
        let mut commits = 0;
        for (n, response) in responses.iter().enumerate() {
            assert!(response.status_code == 200 || response.body == BUSY, "{}", response.body);
            let version = world.unit_of(&format!("U{n}")).await["version"].as_u64().expect("a count") - 7;
            // Its own commit, and one for each time that it lost departments.
            assert!(version >= u64::from(response.status_code == 200));
            commits += version;
        }
        let committed = responses.iter().filter(|response| response.status_code == 200).count() as u64;
        assert!(committed > 0, "nobody got through");
        // Whoever takes all of them takes them from one other unit; U0's own may find them at home.
        assert!(commits == 2 * committed || commits == 2 * committed - 1, "{commits} of {committed}");
    })
    .await;
}
