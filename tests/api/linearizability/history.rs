//! What clients asked and saw, and the search for an order that explains it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::model::steps::{Caller, Id, Name, Step};

/// The search for an order takes some dozen states, and seldom thousands; here it has gone wrong.
const MOST_STATES: usize = 1_000_000;

/// What there is to see of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Unit {
    pub version: u64,
    pub monitors: BTreeSet<String>,
    pub departments: BTreeSet<String>,
    /// `None` if the update that has written it last did not get to tell its time.
    pub updated_at: Option<String>,
}

/// All units by id; a department's parent is the unit that lists it.
pub type Units = BTreeMap<String, Unit>;

#[derive(Clone, Debug)]
pub enum Request {
    Update(Step),
    ReadUnit(&'static str),
    ReadDepartment(&'static str),
    /// Once nothing else goes on.
    ReadAll,
}

#[derive(Clone, Debug)]
pub enum Outcome {
    /// At this time.
    Updated(String),
    NotFound,
    /// Nothing is stored.
    Busy,
    /// The update may be stored, now or later.
    Unavailable,
    Unit(Unit),
    Parent(Option<String>),
    All(Units),
}

/// A request and what came of it, between two moments of one clock for all.
#[derive(Clone, Debug)]
pub struct Event {
    pub request: Request,
    pub outcome: Outcome,
    pub started: u64,
    pub ended: u64,
}

impl Outcome {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Updated(_) => "updated",
            Self::NotFound => "not found",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Unit(_) | Self::Parent(_) | Self::All(_) => "read",
        }
    }
}

impl Unit {
    fn is(&self, seen: &Self) -> bool {
        (self.version, &self.monitors, &self.departments) == (seen.version, &seen.monitors, &seen.departments)
            && (self.updated_at.is_none() || self.updated_at == seen.updated_at)
    }
}

impl Event {
    /// What the units may be after this, if it can happen to these units.
    fn happen(&self, units: &Units) -> Vec<Units> {
        let is = |may: bool| if may { vec![units.clone()] } else { Vec::new() };
        match (&self.request, &self.outcome) {
            (Request::Update(step), outcome) => {
                let time = if let Outcome::Updated(time) = outcome { Some(time) } else { None };
                let updated = updated(units, step, time);
                match outcome {
                    Outcome::Updated(_) => updated.into_iter().collect(),
                    Outcome::NotFound => is(updated.is_none()),
                    Outcome::Busy => is(true),
                    Outcome::Unavailable => updated.into_iter().chain([units.clone()]).collect(),
                    _ => Vec::new(),
                }
            }
            (Request::ReadUnit(id), Outcome::Unit(seen)) => is(units[*id].is(seen)),
            (Request::ReadDepartment(id), Outcome::Parent(seen)) => {
                let parent = units.iter().find(|(_, unit)| unit.departments.contains(*id));
                is(parent.map(|(id, _)| id) == seen.as_ref())
            }
            (Request::ReadAll, Outcome::All(seen)) => is(seen.iter().all(|(id, seen)| units[id].is(seen))),
            _ => Vec::new(),
        }
    }

    /// Whether this has seen what can't be any more: versions only grow, and each is of one state.
    fn is_too_late(&self, units: &Units) -> bool {
        let is_over = |id: &str, seen: &Unit| {
            let unit = &units[id];
            seen.version < unit.version || (seen.version == unit.version && !unit.is(seen))
        };
        match (&self.request, &self.outcome) {
            (Request::ReadUnit(id), Outcome::Unit(seen)) => is_over(id, seen),
            (Request::ReadAll, Outcome::All(seen)) => seen.iter().any(|(id, seen)| is_over(id, seen)),
            _ => false,
        }
    }
}

/// The sequential specification: the units after the update, or `None` if the caller does not see the unit.
fn updated(units: &Units, step: &Step, time: Option<&String>) -> Option<Units> {
    let Step::Update { by, unit: Id(id), monitors, departments, .. } = step else { return None };
    if by.user == LEAD.user && !units[*id].monitors.contains(LEAD.user.0) {
        return None;
    }
    let departments: BTreeSet<String> = departments.iter().map(|id| id.0.to_owned()).collect();
    let mut units = units.clone();
    for (other, unit) in &mut units {
        let had = unit.departments.len();
        unit.departments.retain(|department| other == id || !departments.contains(department));
        if unit.departments.len() < had {
            unit.version += 1;
            unit.updated_at = time.cloned();
        }
    }
    let unit = units.get_mut(*id)?;
    unit.version += 1;
    unit.monitors = monitors.iter().map(|id| id.0.to_owned()).collect();
    unit.departments = departments;
    unit.updated_at = time.cloned();
    Some(units)
}

/// Whether the events can be put in an order in which each happens between its start and its end.
///
/// The search is Wing and Gong's ("Testing and Verifying Concurrent Objects", 1993) with Lowe's memory of the
/// states that it has been in ("Testing for Linearizability", 2016).
pub fn is_linearizable(units: &Units, events: &[Event]) -> bool {
    assert!((1..=64).contains(&events.len()), "one bit for each");
    let all = u64::MAX >> (64 - events.len());
    let mut events: Vec<&Event> = events.iter().collect();
    // The likely order first: of those that can be next, the last of this order is tried first.
    events.sort_by_key(|event| std::cmp::Reverse(event.ended));
    let mut been = HashSet::new();
    let mut next = vec![(0_u64, units.clone())];
    while let Some((happened, units)) = next.pop() {
        if happened == all {
            return true;
        }
        let left = || events.iter().enumerate().filter(|(n, _)| happened & 1 << n == 0);
        if left().any(|(_, event)| event.is_too_late(&units)) || !been.insert((happened, units.clone())) {
            continue;
        }
        assert!(been.len() < MOST_STATES, "no answer after {MOST_STATES} states");
        let first_end = left().map(|(_, event)| event.ended).min().expect("some are left");
        for (n, event) in left().filter(|(_, event)| event.started <= first_end) {
            next.extend(event.happen(&units).into_iter().map(|units| (happened | 1 << n, units)));
        }
    }
    false
}

/// The events for people, one a line.
pub fn list(events: &[Event]) -> String {
    events.iter().map(|event| format!("\n{event:?}")).collect()
}

pub const ADMIN: Caller = Caller { user: Id("Admin"), token: Id("Admin") };
/// Sees only the units that they monitor.
pub const LEAD: Caller = Caller { user: Id("Lead"), token: Id("Lead") };

#[test]
fn the_checker_knows_the_order_of_time() {
    let unit = |departments: &[&str]| Unit {
        departments: departments.iter().map(ToString::to_string).collect(),
        ..Unit::default()
    };
    let at_first = [("U0", unit(&["D0", "D1"])), ("U1", unit(&["D2"])), ("U2", unit(&[]))];
    let at_first: Units = at_first.into_iter().map(|(id, unit)| (id.to_owned(), unit)).collect();
    let update = |departments: &[&'static str]| {
        let departments = departments.iter().map(|id| Id(id)).collect();
        Request::Update(Step::Update {
            by: ADMIN,
            unit: Id("U2"),
            name: Name::N0,
            monitors: vec![],
            departments,
        })
    };
    let event = |request, outcome, started, ended| Event { request, outcome, started, ended };
    let seen = |version, departments: &[&str]| {
        let departments = departments.iter().map(ToString::to_string).collect();
        let updated_at = (version > 0).then(|| "now".to_owned());
        Outcome::Unit(Unit { version, monitors: BTreeSet::new(), departments, updated_at })
    };
    let read = || Request::ReadUnit("U2");
    let updated = Outcome::Updated("now".to_owned());

    // A read meanwhile may see either, one after it only the update.
    for (version, departments) in [(0, &[][..]), (1, &["D3"])] {
        let events =
            [event(update(&["D3"]), updated.clone(), 0, 3), event(read(), seen(version, departments), 1, 2)];
        assert!(is_linearizable(&at_first, &events));
        let events =
            [event(update(&["D3"]), updated.clone(), 0, 1), event(read(), seen(version, departments), 2, 3)];
        assert_eq!(is_linearizable(&at_first, &events), version == 1);
    }
    // Two reads that disagree on the order.
    let events = [
        event(update(&["D3"]), updated.clone(), 0, 9),
        event(update(&[]), updated.clone(), 1, 8),
        event(read(), seen(1, &["D3"]), 2, 3),
        event(read(), seen(1, &[]), 4, 5),
    ];
    assert!(!is_linearizable(&at_first, &events));
    // A lost update, and a stored one that is said to be refused.
    let twice = |outcome: Outcome| {
        [
            event(update(&["D3"]), updated.clone(), 0, 1),
            event(update(&["D2"]), outcome, 2, 3),
            event(read(), seen(1, &["D2"]), 4, 5),
        ]
    };
    for outcome in [updated.clone(), Outcome::Busy, Outcome::NotFound] {
        assert!(!is_linearizable(&at_first, &twice(outcome)));
    }
    // What may be stored may be seen late, and not at all.
    for departments in [&["D3"][..], &[]] {
        let version = departments.len() as u64;
        let events = [
            event(update(&["D3"]), Outcome::Unavailable, 0, u64::MAX),
            event(read(), seen(0, &[]), 1, 2),
            event(read(), seen(version, departments), 3, 4),
        ];
        assert!(is_linearizable(&at_first, &events));
    }
    // A department is in one unit at a time, and the other unit's version tells that it lost it.
    let events = [
        event(update(&["D0"]), updated.clone(), 0, 1),
        event(Request::ReadDepartment("D0"), Outcome::Parent(Some("U0".into())), 2, 3),
    ];
    assert!(!is_linearizable(&at_first, &events));
}
