//! The check of made-up histories, so that it is known to fail when it should.

use super::*;
use crate::support::{department, unit_item, username};

/// The items of the units U and V with these versions, monitors and departments.
fn items(units: [(u64, &[&str], &[&str]); 2], name: &str, time: &str) -> Items {
    let mut items = Items::new();
    for (id, (version, monitors, departments)) in ["U", "V"].into_iter().zip(units) {
        let mut all = vec![unit_item(id, monitors, departments)];
        merge(&mut all[0], json!({ "version": version }));
        if id == "U" {
            merge(&mut all[0], json!({ "name": name, "_updatedAt": time }));
        }
        all.extend(departments.iter().map(|department_id| department(department_id, Some(id))));
        all.extend(monitors.iter().map(|monitor| {
            json!({
                "pk": format!("UNIT#{id}"), "sk": format!("MONITOR#{monitor}"), "unitId": id,
                "monitorId": monitor, "username": username(monitor),
            })
        }));
        items.extend(all.into_iter().map(|item| ((text(&item, "pk"), text(&item, "sk")), item)));
    }
    items
}

fn strings(ids: &[&str]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn unit_key() -> Key {
    ("UNIT#U".into(), "UNIT".into())
}

/// A large update, request 0, that is committed in two transactions, and one read during it. The update asks that U has
/// the monitor m and the departments b and c. At first U has the department a, and V has c.
fn history() -> History {
    let asked = Asked {
        name: "new".into(),
        visibility: "public",
        ..Asked::new("U", &strings(&["m"]), &strings(&["b", "c"]))
    };
    let middle = items([(8, &[], &["b"]), (7, &[LEAD], &["c"])], "old name", "now");
    let last = items([(9, &["m"], &["b", "c"]), (8, &[LEAD], &[])], "new", "now");
    let seen = Outcome::Seen(middle[&unit_key()].clone());
    let update = Request::Update { asked, is_by_lead: false };
    let event = |number, request, outcome| Event { number, request, outcome, started: 0, ended: 2 };
    History {
        before: items([(7, &[], &["a"]), (7, &[LEAD], &["c"])], "old name", "then"),
        commits: vec![Commit { request: 0, items: middle }, Commit { request: 0, items: last }],
        events: vec![
            event(0, update, Outcome::Updated("now".into())),
            event(1, Request::Read(unit_key()), seen),
        ],
    }
}

/// Checks the history above with one difference.
#[track_caller]
fn assert_wrong(change: impl FnOnce(&mut History), expected: &str) {
    let mut history = history();
    change(&mut history);
    let wrong = history.check().expect_err("the history is impossible");
    assert!(wrong.contains(expected), "{wrong}");
}

#[test]
fn a_possible_history_is_accepted() {
    assert_eq!(history().check(), Ok(()));
}

#[test]
fn an_answer_200_is_exactly_true_after_the_last_own_transaction() {
    assert_wrong(|history| drop(history.commits.pop()), "not as asked");
    assert_wrong(|history| history.commits.clear(), "nothing was committed");
    let answer = |history: &mut History, outcome| history.events[0].outcome = outcome;
    assert_wrong(|history| answer(history, Outcome::Updated("then".into())), "another time");
    assert_wrong(|history| history.events[0].ended = 1, "after the answer");
    assert_wrong(|history| history.events[0].started = 1, "before its request");
    // The unit has one department more than asked.
    let too_many = items([(9, &["m"], &["a", "b", "c"]), (8, &[LEAD], &[])], "new", "now");
    let first = items([(8, &[], &["a", "b"]), (7, &[LEAD], &["c"])], "old name", "now");
    let change = |history: &mut History| {
        history.events.pop();
        history.commits[0].items = first;
        history.commits[1].items = too_many;
    };
    assert_wrong(change, "not as asked");
}

#[test]
fn busy_and_not_found_promise_that_nothing_more_is_stored() {
    let answer = |history: &mut History, outcome| history.events[0].outcome = outcome;
    assert_wrong(|history| answer(history, Outcome::Busy), "the whole update was committed");
    assert_wrong(|history| answer(history, Outcome::NotFound), "a transaction was committed");
    let stored_later = |history: &mut History| {
        history.events[0].ended = 0;
        history.events[0].outcome = Outcome::Busy;
        history.commits.pop();
    };
    assert_wrong(stored_later, "after the answer");

    // Only the first of two transactions is committed.
    let mut partial = history();
    partial.commits.pop();
    partial.events[0].outcome = Outcome::Busy;
    partial.events[0].ended = 1;
    assert_eq!(partial.check(), Ok(()));
    // Both are committed, and another update has undone it.
    let mut undone = history();
    let again = items([(10, &[], &["c"]), (8, &[LEAD], &[])], "new", "later");
    undone.commits.push(Commit { request: 2, items: again });
    let asked = Asked { name: "new".into(), visibility: "public", ..Asked::new("U", &[], &strings(&["c"])) };
    let request = Request::Update { asked, is_by_lead: false };
    let outcome = Outcome::Updated("later".into());
    undone.events.push(Event { number: 2, request, outcome, started: 2, ended: 3 });
    undone.events[0].outcome = Outcome::Busy;
    assert!(undone.check().is_err_and(|wrong| wrong.contains("the whole update was committed")));
    undone.events[0].ended = 3;
    assert_eq!(undone.check(), Ok(()));
    // The update may be stored, whole and late.
    let mut late = history();
    late.events[0].outcome = Outcome::Unavailable;
    late.events[0].ended = 0;
    assert_eq!(late.check(), Ok(()));
}

#[test]
fn a_restricted_caller_is_refused_exactly_if_they_do_not_see_the_unit() {
    let by_lead = |history: &mut History| {
        let Request::Update { is_by_lead, .. } = &mut history.events[0].request else { panic!() };
        *is_by_lead = true;
    };
    assert_wrong(by_lead, "does not see the unit");
    let refuse = |history: &mut History| {
        history.commits.clear();
        history.events.pop();
        history.events[0].outcome = Outcome::NotFound;
    };
    assert_wrong(refuse, "saw the unit all the time");
    let mut refused = history();
    by_lead(&mut refused);
    refuse(&mut refused);
    assert_eq!(refused.check(), Ok(()));
}

#[test]
fn a_read_sees_a_state_of_its_time() {
    assert_wrong(|history| history.events[1].started = 2, "no state during the read");
    let seen = |history: &mut History, change| {
        let Outcome::Seen(item) = &mut history.events[1].outcome else { panic!("it is a read") };
        merge(item, change);
    };
    assert_wrong(|history| seen(history, json!({ "version": 9 })), "no state during the read");
    assert_wrong(|history| seen(history, json!({ "departmentIds": null })), "no state during the read");
}

#[test]
fn each_transaction_leaves_consistent_data_and_changes_only_what_is_asked() {
    // The department c is in two lists.
    let two_lists = items([(8, &[], &["b"]), (7, &[LEAD], &["c", "b"])], "old name", "now");
    assert_wrong(|history| history.commits[0].items = two_lists, "after transaction 0");
    let mut wrong_count = history().commits.pop().expect("two").items;
    merge(wrong_count.get_mut(&unit_key()).expect("a unit"), json!({ "numDepartments": 3 }));
    assert_wrong(|history| history.commits[1].items = wrong_count, "numDepartments");
    for (units, name) in [
        // The version of U stays, a monitor joins who is not listed, and one leaves another unit.
        ([(7, &[][..], &["b"][..]), (7, &[LEAD][..], &["c"][..])], "old name"),
        ([(8, &["n"], &["b"]), (7, &[LEAD], &["c"])], "old name"),
        ([(8, &[], &["b"]), (8, &[], &["c"])], "old name"),
        ([(8, &[], &["b"]), (7, &[LEAD], &["c"])], "a name of another update"),
    ] {
        let wrong = items(units, name, "now");
        assert_wrong(|history| history.commits[0].items = wrong, "after transaction 0");
    }
    assert_wrong(|history| history.commits[0].request = 1, "not an update");
}
