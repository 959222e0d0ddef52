//! The checks hold for every stored input in `fuzz/corpus/`, and the inputs have every outcome.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use checks::{body, event, plan};
use livechat_units::limits::MAX_BODY_BYTES;

/// Runs a check on each stored input of its target, and returns the outcomes.
fn replay(target: &str, check: fn(&[u8]) -> &'static str) -> BTreeSet<&'static str> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../corpus").join(target);
    let files = fs::read_dir(folder).expect("the corpus is there");
    files.map(|file| check(&fs::read(file.expect("readable").path()).expect("readable"))).collect()
}

#[test]
fn the_stored_events_pass() {
    let outcomes = BTreeSet::from([
        "not-json",
        "internal",
        "unknown-endpoint",
        "method-not-allowed",
        "not-logged-in",
        "invalid-json",
        "match-error",
        "unit-not-found",
        "update",
    ]);
    assert_eq!(replay("event", event), outcomes);
}

#[test]
fn the_stored_bodies_pass() {
    assert_eq!(replay("body", body), BTreeSet::from(["invalid-json", "match-error", "update"]));
    assert_eq!(body(&vec![b' '; MAX_BODY_BYTES + 1]), "payload-too-large");
}

#[test]
fn the_stored_plans_pass() {
    let outcomes = BTreeSet::from([
        "one-transaction",
        "several-transactions",
        "unit-not-found",
        "department-not-found",
        "unit-too-large",
        "internal",
    ]);
    assert_eq!(replay("plan", plan), outcomes);
}
