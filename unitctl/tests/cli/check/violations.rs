//! A violation of each kind.

use super::*;

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
