//! What an import prints: how many lines, and which characters.

use super::*;

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
