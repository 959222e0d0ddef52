//! Each rule of the merge, by example.

mod intents;
mod no_base;
mod places;
mod units;

use std::collections::BTreeSet;

use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::request::Visibility;
use proptest::prelude::ProptestConfig;

use super::*;
use crate::sync::base::{DepartmentBase, PlaceIntent, UnitBase, UnitDelta, UnitIntent};
use crate::sync::model::{Place, PlaceView, Side, Subject, UnitFacts, UnitView};

/// This number of cases for a `PROPTEST_CASES` of 256, which is the default.
pub fn config(cases: u32) -> ProptestConfig {
    let cases = ProptestConfig::default().cases * cases / 256;
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

const EARLY: &str = "2026-01-01T10:00:00.000Z";
const LATE: &str = "2026-01-01T11:00:00.000Z";
/// What a write to MongoDB sets if the winner's time is not later than the one that MongoDB has.
const JUST_AFTER_LATE: &str = "2026-01-01T11:00:00.002Z";

fn user(id: &str) -> UserId {
    UserId::parse(id).expect("an id")
}

fn users(ids: &[&str]) -> BTreeSet<UserId> {
    ids.iter().map(|id| user(id)).collect()
}

fn unit_id() -> UnitId {
    UnitId::parse("u1").expect("an id")
}

fn unit_in(id: &str) -> Place {
    Some(UnitId::parse(id).expect("an id"))
}

fn facts(name: &str, monitors: &[&str]) -> UnitFacts {
    UnitFacts { name: name.into(), visibility: Visibility::Public, monitors: users(monitors) }
}

fn private(name: &str, monitors: &[&str]) -> UnitFacts {
    UnitFacts { visibility: Visibility::Private, ..facts(name, monitors) }
}

fn view(facts: UnitFacts, updated_at: &str) -> UnitView {
    UnitView { facts, updated_at: updated_at.into() }
}

fn base(facts: UnitFacts) -> UnitBase {
    UnitBase { rev: 3, ..UnitBase::new(unit_id(), facts) }
}

fn merge_with(
    base: Option<&UnitBase>,
    mongodb: &UnitView,
    dynamodb: &UnitView,
    no_base: NoBase,
) -> UnitMerge {
    let cannot_monitor = &users(&["guest"]);
    merge_unit(&unit_id(), &UnitInput { base, mongodb, dynamodb, no_base, cannot_monitor })
}

fn merge(base: &UnitBase, mongodb: &UnitView, dynamodb: &UnitView) -> UnitMerge {
    merge_with(Some(base), mongodb, dynamodb, NoBase::Later)
}

fn sentences(overwritten: &[Overwritten]) -> Vec<String> {
    overwritten.iter().map(Overwritten::to_string).collect()
}
