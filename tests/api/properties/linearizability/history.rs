//! What clients asked and what they saw, and the search for an order of the requests that has these results.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::properties::model::steps::{Caller, Id, Name, Step};

/// The search takes some dozen states, and rarely thousands. Beyond this limit something is wrong with it.
const MAX_STATES: usize = 1_000_000;

/// The state of a unit, as far as clients see it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct UnitState {
    pub version: u64,
    pub monitors: BTreeSet<String>,
    pub departments: BTreeSet<String>,
    /// The `_updatedAt`. `None` if the unit was last written by an update whose answer was lost.
    pub updated_at: Option<String>,
}

/// All units by id. The parent of a department is the unit that lists it.
pub type UnitStates = BTreeMap<String, UnitState>;

#[derive(Clone, Debug)]
pub enum Request {
    Update(Step),
    ReadUnit(&'static str),
    ReadDepartment(&'static str),
    /// A read of all items after all other requests.
    ReadAll,
}

#[derive(Clone, Debug)]
pub enum Outcome {
    /// The update is stored with this `_updatedAt`.
    Updated(String),
    NotFound,
    /// The update is not stored.
    Busy,
    /// The update may be stored already, may be stored later, or never.
    Unavailable,
    Unit(UnitState),
    Parent(Option<String>),
    All(UnitStates),
}

/// A request with its outcome, its start and its end on the common clock.
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

impl UnitState {
    fn matches(&self, seen: &Self) -> bool {
        (self.version, &self.monitors, &self.departments) == (seen.version, &seen.monitors, &seen.departments)
            && (self.updated_at.is_none() || self.updated_at == seen.updated_at)
    }
}

impl Event {
    /// The possible states after this event; none if it cannot happen in this state.
    fn apply_to(&self, units: &UnitStates) -> Vec<UnitStates> {
        let unchanged_if = |possible: bool| if possible { vec![units.clone()] } else { Vec::new() };
        match (&self.request, &self.outcome) {
            (Request::Update(step), outcome) => {
                let time = if let Outcome::Updated(time) = outcome { Some(time) } else { None };
                let updated = updated(units, step, time);
                match outcome {
                    Outcome::Updated(_) => updated.into_iter().collect(),
                    Outcome::NotFound => unchanged_if(updated.is_none()),
                    Outcome::Busy => unchanged_if(true),
                    Outcome::Unavailable => updated.into_iter().chain([units.clone()]).collect(),
                    _ => Vec::new(),
                }
            }
            (Request::ReadUnit(id), Outcome::Unit(seen)) => unchanged_if(units[*id].matches(seen)),
            (Request::ReadDepartment(id), Outcome::Parent(seen)) => {
                let parent = units.iter().find(|(_, unit)| unit.departments.contains(*id));
                unchanged_if(parent.map(|(id, _)| id) == seen.as_ref())
            }
            (Request::ReadAll, Outcome::All(seen)) => {
                unchanged_if(seen.iter().all(|(id, seen)| units[id].matches(seen)))
            }
            _ => Vec::new(),
        }
    }

    /// Whether this event can never happen from this state on: versions only grow, and a version has one state.
    fn is_impossible_from(&self, units: &UnitStates) -> bool {
        let is_past = |id: &str, seen: &UnitState| {
            let unit = &units[id];
            seen.version < unit.version || (seen.version == unit.version && !unit.matches(seen))
        };
        match (&self.request, &self.outcome) {
            (Request::ReadUnit(id), Outcome::Unit(seen)) => is_past(id, seen),
            (Request::ReadAll, Outcome::All(seen)) => seen.iter().any(|(id, seen)| is_past(id, seen)),
            _ => false,
        }
    }
}

/// The sequential specification: the state after an update, or `None` if the caller does not see the unit.
fn updated(units: &UnitStates, step: &Step, time: Option<&String>) -> Option<UnitStates> {
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
/// The search is the one of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993). It remembers the states that
/// it has visited, as Lowe proposes ("Testing for Linearizability", 2016).
pub fn is_linearizable(units: &UnitStates, events: &[Event]) -> bool {
    assert!((1..=64).contains(&events.len()), "each event has one bit");
    let all = u64::MAX >> (64 - events.len());
    let mut events: Vec<&Event> = events.iter().collect();
    // Likely orders come first: the stack below tries the event that ends first before the others.
    events.sort_by_key(|event| std::cmp::Reverse(event.ended));
    let mut visited = HashSet::new();
    let mut next = vec![(0_u64, units.clone())];
    while let Some((happened, units)) = next.pop() {
        if happened == all {
            return true;
        }
        let left = || events.iter().enumerate().filter(|(n, _)| happened & 1 << n == 0);
        if left().any(|(_, event)| event.is_impossible_from(&units))
            || !visited.insert((happened, units.clone()))
        {
            continue;
        }
        assert!(visited.len() < MAX_STATES, "no result after {MAX_STATES} states");
        let first_end = left().map(|(_, event)| event.ended).min().expect("some events are left");
        for (n, event) in left().filter(|(_, event)| event.started <= first_end) {
            next.extend(event.apply_to(&units).into_iter().map(|units| (happened | 1 << n, units)));
        }
    }
    false
}

/// The events, one a line.
pub fn list(events: &[Event]) -> String {
    events.iter().map(|event| format!("\n{event:?}")).collect()
}

pub const ADMIN: Caller = Caller { user: Id("Admin"), token: Id("Admin") };

/// A caller who sees only the units that they monitor.
pub const LEAD: Caller = Caller { user: Id("Lead"), token: Id("Lead") };

#[test]
fn the_checker_accepts_only_possible_orders() {
    let unit = |departments: &[&str]| UnitState {
        departments: departments.iter().map(ToString::to_string).collect(),
        ..UnitState::default()
    };
    let at_first = [("U0", unit(&["D0", "D1"])), ("U1", unit(&["D2"])), ("U2", unit(&[]))];
    let at_first: UnitStates = at_first.into_iter().map(|(id, unit)| (id.to_owned(), unit)).collect();
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
        Outcome::Unit(UnitState { version, monitors: BTreeSet::new(), departments, updated_at })
    };
    let read = || Request::ReadUnit("U2");
    let updated = Outcome::Updated("now".to_owned());

    // A read during the update may see the old or the new state; a read after it sees the new state.
    for (version, departments) in [(0, &[][..]), (1, &["D3"])] {
        let events =
            [event(update(&["D3"]), updated.clone(), 0, 3), event(read(), seen(version, departments), 1, 2)];
        assert!(is_linearizable(&at_first, &events));
        let events =
            [event(update(&["D3"]), updated.clone(), 0, 1), event(read(), seen(version, departments), 2, 3)];
        assert_eq!(is_linearizable(&at_first, &events), version == 1);
    }
    // Two reads that contradict each other about the order.
    let events = [
        event(update(&["D3"]), updated.clone(), 0, 9),
        event(update(&[]), updated.clone(), 1, 8),
        event(read(), seen(1, &["D3"]), 2, 3),
        event(read(), seen(1, &[]), 4, 5),
    ];
    assert!(!is_linearizable(&at_first, &events));
    // An update that is lost, and two that are stored although the answer says that they are not.
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
    // An update that may be stored can be seen late, or not at all.
    for departments in [&["D3"][..], &[]] {
        let version = departments.len() as u64;
        let events = [
            event(update(&["D3"]), Outcome::Unavailable, 0, u64::MAX),
            event(read(), seen(0, &[]), 1, 2),
            event(read(), seen(version, departments), 3, 4),
        ];
        assert!(is_linearizable(&at_first, &events));
    }
    // A department is in one unit at a time.
    let events = [
        event(update(&["D0"]), updated.clone(), 0, 1),
        event(Request::ReadDepartment("D0"), Outcome::Parent(Some("U0".into())), 2, 3),
    ];
    assert!(!is_linearizable(&at_first, &events));
}
