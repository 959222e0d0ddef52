//! Both sides, their clients, the stored bases, and what the last common values really are.

use std::collections::BTreeSet;

use crate::timestamp::rfc3339;
use aws_sdk_dynamodb::types::TransactWriteItem;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::Item;
use livechat_units::request::Visibility;
use proptest::prelude::*;
use time::{Duration, OffsetDateTime};

use crate::sync::base::{DepartmentBase, UnitBase, UnitDelta};
use crate::sync::merge::{Fact, Overwritten};
use crate::sync::model::{Place, PlaceView, Side, UnitFacts, UnitView};

/// What a side has.
#[derive(Clone, PartialEq)]
pub struct SideState {
    pub unit: UnitView,
    pub department: PlaceView,
}

pub struct World {
    pub mongodb: SideState,
    pub dynamodb: SideState,
    unit_base: Option<Item>,
    department_base: Option<Item>,
    /// The users who can't be monitors in DynamoDB now.
    pub cannot_monitor: BTreeSet<UserId>,
    /// The last common values. No process knows them.
    common: (UnitFacts, Place),
    /// What the processes have named, until the fact is written.
    overwritten: Vec<Overwritten>,
    /// True once anything happened that a process can't know about.
    pub is_disturbed: bool,
    /// How often a process has written anything.
    pub writes: usize,
    now: i64,
    /// How far DynamoDB's clock is ahead.
    skew_ms: i64,
}

/// A change that a client makes.
#[derive(Clone, Debug)]
pub enum Clients {
    /// Saves a unit. `None` keeps a value.
    Save(Side, Option<String>, Option<Visibility>, Option<BTreeSet<UserId>>),
    /// Removes or adds a monitor's row in MongoDB, which leaves the unit's document alone.
    ToggleRow(UserId),
    /// Moves the department.
    Move(Side, Place),
    /// Changes whether a user can be a monitor in DynamoDB.
    ToggleRole(UserId),
}

pub fn unit() -> UnitId {
    UnitId::parse("unit").expect("an id")
}

pub fn department() -> DepartmentId {
    DepartmentId::parse("department").expect("an id")
}

fn user(index: usize) -> UserId {
    UserId::parse(format!("user{index}")).expect("an id")
}

pub fn clients() -> impl Strategy<Value = Clients> {
    let side = || prop::sample::select(vec![Side::MongoDb, Side::DynamoDb]);
    let users = || (0..3_usize).prop_map(user);
    let name = prop::option::of(prop::sample::select(vec!["A".to_owned(), "B".into(), "C".into()]));
    let visibility = prop::option::of(prop::sample::select(vec![Visibility::Public, Visibility::Private]));
    let monitors = prop::option::of(prop::collection::btree_set(users(), 0..3));
    let units = (0..2).prop_map(|index| UnitId::parse(format!("unit{index}")).expect("an id"));
    prop_oneof![
        6 => (side(), name, visibility, monitors).prop_map(|(side, name, visibility, monitors)| {
            Clients::Save(side, name, visibility, monitors)
        }),
        2 => users().prop_map(Clients::ToggleRow),
        4 => (side(), prop::option::of(units)).prop_map(|(side, place)| Clients::Move(side, place)),
        1 => users().prop_map(Clients::ToggleRole),
    ]
}

impl World {
    /// Both sides are equal, and there is no base.
    pub fn new(skew_ms: i64) -> Self {
        let facts =
            UnitFacts { name: "A".into(), visibility: Visibility::Public, monitors: [user(0)].into() };
        let mut world = Self {
            mongodb: SideState {
                unit: UnitView { facts: facts.clone(), updated_at: String::new() },
                department: PlaceView { place: None, updated_at: String::new() },
            },
            dynamodb: SideState {
                unit: UnitView { facts: facts.clone(), updated_at: String::new() },
                department: PlaceView { place: None, updated_at: String::new() },
            },
            unit_base: None,
            department_base: None,
            cannot_monitor: BTreeSet::new(),
            common: (facts, None),
            overwritten: Vec::new(),
            is_disturbed: false,
            writes: 0,
            now: 0,
            skew_ms,
        };
        for side in [Side::MongoDb, Side::DynamoDb] {
            let time = world.time(side);
            let state = world.side(side);
            state.unit.updated_at.clone_from(&time);
            state.department.updated_at = time;
        }
        world
    }

    pub fn side(&mut self, side: Side) -> &mut SideState {
        match side {
            Side::MongoDb => &mut self.mongodb,
            Side::DynamoDb => &mut self.dynamodb,
        }
    }

    /// The next time by a side's clock. No two times are equal, so that a test of one value can't depend on it.
    fn time(&mut self, side: Side) -> String {
        self.now += 1000;
        let skew = if side == Side::DynamoDb { self.skew_ms + 500 } else { 0 };
        rfc3339(OffsetDateTime::UNIX_EPOCH + Duration::days(20_000) + Duration::milliseconds(self.now + skew))
    }

    pub fn change(&mut self, change: Clients) {
        match change {
            Clients::Save(side, name, visibility, mut monitors) => {
                let time = self.time(side);
                // The function leaves out users who can't be monitors, also those of the stored unit.
                let cannot =
                    if side == Side::DynamoDb { self.cannot_monitor.clone() } else { BTreeSet::new() };
                let unit = &mut self.side(side).unit;
                let monitors = monitors.get_or_insert_with(|| unit.facts.monitors.clone());
                unit.facts.monitors = &*monitors - &cannot;
                unit.facts.visibility = visibility.unwrap_or(unit.facts.visibility);
                unit.facts.name = name.unwrap_or_else(|| unit.facts.name.clone());
                unit.updated_at = time;
            }
            Clients::ToggleRow(user) => toggle(&mut self.mongodb.unit.facts.monitors, user),
            Clients::Move(side, place) => {
                let updated_at = self.time(side);
                self.side(side).department = PlaceView { place, updated_at };
            }
            Clients::ToggleRole(user) => toggle(&mut self.cannot_monitor, user),
        }
    }

    pub fn lose_bases(&mut self) {
        self.unit_base = None;
        self.department_base = None;
    }

    pub fn unit_base(&self) -> Option<UnitBase> {
        self.unit_base.clone().map(|item| UnitBase::parse(unit(), item).expect("the item can be read"))
    }

    pub fn department_base(&self) -> Option<DepartmentBase> {
        self.department_base
            .clone()
            .map(|item| DepartmentBase::parse(department(), item).expect("the item can be read"))
    }

    /// A process names what it is about to overwrite. Without disturbances both sides have changed each such value.
    pub fn name_overwritten(&mut self, overwritten: &[Overwritten]) {
        for change in overwritten {
            let common = self.common_value(&change.overwritten);
            let both_changed = change.overwritten != common && change.kept != common;
            assert!(self.is_disturbed || both_changed, "{change}, but the last common value is {common:?}");
        }
        self.overwritten.extend_from_slice(overwritten);
    }

    /// True if these bases can be stored: nobody has stored others since they were read.
    pub fn can_put(&self, unit: Option<&UnitBase>, department: Option<&DepartmentBase>) -> bool {
        unit.is_none_or(|base| base.rev == self.unit_base().map_or(0, |stored| stored.rev))
            && department.is_none_or(|base| base.rev == self.department_base().map_or(0, |stored| stored.rev))
    }

    /// Stores bases. `observed` are values that this look found on both sides, or has declared open or overwritten: they
    /// are the common ones now. Every other value of the base must be the common one already.
    pub fn put(
        &mut self,
        unit: Option<&mut UnitBase>,
        department: Option<&mut DepartmentBase>,
        observed: &[Fact],
    ) {
        self.writes += 1;
        for fact in observed {
            self.set_common(fact.clone());
        }
        if let Some(base) = unit {
            assert_eq!(base.facts, self.common.0, "the base of the unit is not what was common");
            self.unit_base = Some(item(base.put("table").expect("the action is complete")));
            base.rev += 1;
        }
        if let Some(base) = department {
            assert_eq!(base.place, self.common.1, "the base of the department is not what was common");
            self.department_base = Some(item(base.put("table").expect("the action is complete")));
            base.rev += 1;
        }
    }

    /// A process commits a change to a side.
    pub fn write(&mut self, side: Side, delta: &UnitDelta, place: Option<&PlaceView>) {
        self.writes += 1;
        let old = self.side(side).unit.facts.clone();
        let new = old.with(delta);
        let mut changes = Vec::new();
        changes.extend(delta.name.as_ref().map(|_| (Fact::Name(old.name), Fact::Name(new.name.clone()))));
        changes.extend(
            delta
                .visibility
                .map(|visibility| (Fact::Visibility(old.visibility), Fact::Visibility(visibility))),
        );
        for (users, is_monitor) in [(&delta.join, true), (&delta.leave, false)] {
            for user in users {
                assert_eq!(old.monitors.contains(user), !is_monitor, "{user} is written without a change");
                let fact = |is_monitor| Fact::Monitor(user.clone(), is_monitor);
                changes.push((fact(!is_monitor), fact(is_monitor)));
            }
        }
        let old_place = self.side(side).department.place.clone();
        changes.extend(place.map(|place| (Fact::Place(old_place), Fact::Place(place.place.clone()))));

        for (old, new) in changes {
            let is_change = old != self.common_value(&old);
            let is_named =
                self.overwritten.iter().any(|change| change.side == side && change.overwritten == old);
            assert!(
                !is_change || is_named,
                "{side} had {old}; this was overwritten with {new} without a word"
            );
            self.overwritten.retain(|change| !is_same_fact(&change.overwritten, &old));
            self.set_common(new);
        }
        let state = self.side(side);
        if !delta.is_empty() {
            state.unit = UnitView { facts: new, updated_at: delta.updated_at.clone() };
        }
        if let Some(place) = place {
            state.department = place.clone();
        }
    }

    /// A process's write to DynamoDB also removes users who can't be monitors any more.
    pub fn leave_out(&mut self, users: &BTreeSet<UserId>) {
        for user in users {
            self.dynamodb.unit.facts.monitors.remove(user);
            self.set_common(Fact::Monitor(user.clone(), false));
        }
    }

    fn common_value(&self, fact: &Fact) -> Fact {
        let (unit, place) = &self.common;
        match fact {
            Fact::Name(_) => Fact::Name(unit.name.clone()),
            Fact::Visibility(_) => Fact::Visibility(unit.visibility),
            Fact::Monitor(user, _) => Fact::Monitor(user.clone(), unit.monitors.contains(user)),
            Fact::Place(_) => Fact::Place(place.clone()),
        }
    }

    fn set_common(&mut self, fact: Fact) {
        let (unit, place) = &mut self.common;
        match fact {
            Fact::Name(name) => unit.name = name,
            Fact::Visibility(visibility) => unit.visibility = visibility,
            Fact::Monitor(user, true) => _ = unit.monitors.insert(user),
            Fact::Monitor(user, false) => _ = unit.monitors.remove(&user),
            Fact::Place(new) => *place = new,
        }
    }

    /// At rest both sides are equal, except for open facts, and so is the base.
    pub fn assert_equal(&self) {
        let (mongodb, dynamodb) = (&self.mongodb.unit.facts, &self.dynamodb.unit.facts);
        let can = |user: &&UserId| !self.cannot_monitor.contains(*user) || dynamodb.monitors.contains(*user);
        let carried =
            UnitFacts { monitors: mongodb.monitors.iter().filter(can).cloned().collect(), ..mongodb.clone() };
        assert_eq!(&carried, dynamodb);
        assert_eq!(self.mongodb.department.place, self.dynamodb.department.place);
        let unit = self.unit_base().expect("no base of the unit");
        let department = self.department_base().expect("no base of the department");
        assert_eq!((&unit.facts, unit.intent), (dynamodb, None));
        assert_eq!((&department.place, department.intent), (&self.dynamodb.department.place, None));
        assert!(!department.rooms, "rooms are still to do");
    }
}

fn toggle(users: &mut BTreeSet<UserId>, user: UserId) {
    if !users.remove(&user) {
        users.insert(user);
    }
}

fn is_same_fact(one: &Fact, other: &Fact) -> bool {
    match (one, other) {
        (Fact::Monitor(one, _), Fact::Monitor(other, _)) => one == other,
        _ => std::mem::discriminant(one) == std::mem::discriminant(other),
    }
}

fn item(action: TransactWriteItem) -> Item {
    action.put.expect("it is a put").item
}
