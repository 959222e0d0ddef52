//! A process that syncs the unit and the department, one step after the other, as the shell does.

use livechat_units::id::UserId;

use super::world::{SideState, World, department, unit};
use crate::sync::base::{DepartmentBase, PlaceIntent, UnitBase, UnitDelta, UnitIntent};
use crate::sync::merge::{Fact, NoBase, PlaceMerge, UnitInput, UnitMerge, merge_place, merge_unit};
use crate::sync::model::{PlaceView, Side};

/// How many monitors one transaction changes, so that some changes need several.
const MOST: usize = 1;

#[derive(Clone, Default)]
pub struct Process {
    next: Next,
    unit_base: Option<UnitBase>,
    department_base: Option<DepartmentBase>,
    dynamodb: Option<SideState>,
    mongodb: Option<SideState>,
    merges: Option<(UnitMerge, PlaceMerge)>,
    /// The values that this look may declare common.
    observed: Vec<Fact>,
    /// The part of the change of MongoDB's unit that is being written.
    delta: UnitDelta,
    pub is_next_write_refused: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Next {
    #[default]
    ReadBases,
    ReadDynamoDb,
    ReadMongoDb,
    Fence,
    DropIntents,
    WriteDynamoDb,
    PutIntents,
    WriteMongoDb,
    WriteRooms,
    Rest,
}

impl Process {
    pub fn is_at_rest(&self) -> bool {
        self.next == Next::Rest
    }

    /// True if the next step is a write whose answer can get lost.
    pub fn is_writing(&self) -> bool {
        matches!(self.next, Next::WriteDynamoDb | Next::WriteMongoDb | Next::PutIntents | Next::Fence)
    }

    pub fn step(&mut self, world: &mut World) {
        self.next = match self.next {
            Next::ReadBases | Next::Rest => {
                let is_next_write_refused = self.is_next_write_refused;
                *self = Self { is_next_write_refused, ..Self::default() };
                self.unit_base = world.unit_base();
                self.department_base = world.department_base();
                Next::ReadDynamoDb
            }
            Next::ReadDynamoDb => {
                self.dynamodb = Some(world.dynamodb.clone());
                Next::ReadMongoDb
            }
            Next::ReadMongoDb => self.look(world),
            Next::Fence => self.fence(world),
            Next::DropIntents => {
                if world.can_put(self.unit_base.as_ref(), self.department_base.as_ref()) {
                    world.put(self.unit_base.as_mut(), self.department_base.as_mut(), &self.observed);
                }
                Next::ReadBases
            }
            Next::WriteDynamoDb => self.write_dynamodb(world),
            Next::PutIntents => self.put_intents(world),
            Next::WriteMongoDb => self.write_mongodb(world),
            Next::WriteRooms => {
                let base = self.department_base.as_mut().expect("an earlier step has set it");
                base.rooms = false;
                if world.can_put(None, Some(base)) {
                    world.put(None, Some(base), &[]);
                }
                Next::ReadBases
            }
        };
    }

    fn look(&mut self, world: &mut World) -> Next {
        let mongodb = self.mongodb.insert(world.mongodb.clone());
        let dynamodb = self.dynamodb.as_ref().expect("an earlier step has set it");
        let unit_fence = self.unit_base.as_ref().and_then(|base| base.fence(&mongodb.unit));
        let place_fence = self.department_base.as_ref().and_then(|base| base.fence(&mongodb.department));
        if unit_fence.is_some() || place_fence.is_some() {
            return Next::Fence;
        }
        let input = UnitInput {
            base: self.unit_base.as_ref(),
            mongodb: &mongodb.unit,
            dynamodb: &dynamodb.unit,
            no_base: NoBase::Later,
            cannot_monitor: &world.cannot_monitor,
        };
        let of_unit = merge_unit(&unit(), &input);
        let of_place = merge_place(
            &department(),
            self.department_base.as_ref(),
            &mongodb.department,
            &dynamodb.department,
            NoBase::Later,
        );
        for user in &of_unit.to_mongodb.leave {
            assert!(!world.cannot_monitor.contains(user), "{user} could not be carried, which is no removal");
        }
        self.observed = observed(mongodb, dynamodb, &of_unit, &of_place);
        world.name_overwritten(&of_unit.overwritten);
        world.name_overwritten(of_place.overwritten.as_slice());

        self.unit_base = Some(UnitBase {
            rev: self.unit_base.as_ref().map_or(0, |base| base.rev),
            ..UnitBase::new(unit(), of_unit.before.clone())
        });
        let rooms = self.department_base.as_ref().is_some_and(|base| base.rooms);
        self.department_base = Some(DepartmentBase {
            rev: self.department_base.as_ref().map_or(0, |base| base.rev),
            rooms,
            ..DepartmentBase::new(department(), of_place.before.clone())
        });
        let is_unit_stored = world.unit_base() == self.unit_base;
        let is_department_stored = world.department_base() == self.department_base;
        let next = if !of_unit.to_dynamodb.is_empty() || of_place.write_to == Some(Side::DynamoDb) {
            Next::WriteDynamoDb
        } else if !of_unit.to_mongodb.is_empty() || of_place.write_to == Some(Side::MongoDb) {
            Next::PutIntents
        } else if !is_unit_stored || !is_department_stored {
            Next::DropIntents
        } else if rooms {
            Next::WriteRooms
        } else {
            Next::Rest
        };
        self.merges = Some((of_unit, of_place));
        next
    }

    /// Fences each document whose intent may still be committed.
    fn fence(&mut self, world: &mut World) -> Next {
        let mongodb = self.mongodb.as_ref().expect("an earlier step has set it");
        let mut is_set = false;
        if let Some(base) = &mut self.unit_base
            && let Some(time) = base.fence(&mongodb.unit)
            && world.mongodb.unit.updated_at == mongodb.unit.updated_at
        {
            world.mongodb.unit.updated_at = time;
            base.intent = None;
            is_set = true;
        }
        if let Some(base) = &mut self.department_base
            && let Some(time) = base.fence(&mongodb.department)
            && world.mongodb.department.updated_at == mongodb.department.updated_at
        {
            world.mongodb.department.updated_at = time;
            base.intent = None;
            is_set = true;
        }
        if is_set { Next::DropIntents } else { Next::ReadBases }
    }

    fn write_dynamodb(&mut self, world: &mut World) -> Next {
        let (of_unit, of_place) = self.merges.as_ref().expect("an earlier step has set it");
        let mut delta = of_unit.to_dynamodb.first(MOST);
        let place = place_for(Side::DynamoDb, of_place);
        let is_as_read = self.dynamodb.as_ref() == Some(&world.dynamodb);
        let is_refused = std::mem::take(&mut self.is_next_write_refused);
        let (unit_base, department_base) = (
            self.unit_base.as_mut().expect("an earlier step has set it"),
            self.department_base.as_mut().expect("an earlier step has set it"),
        );
        if is_refused || !is_as_read || !world.can_put(Some(unit_base), Some(department_base)) {
            return Next::ReadBases;
        }
        // The function's plan leaves out users who can't be monitors now.
        let left_out = &world.dynamodb.unit.facts.with(&delta).monitors & &world.cannot_monitor;
        unit_base.facts = of_unit.after_dynamodb(&delta, &left_out);
        delta.join = &delta.join - &left_out;
        world.leave_out(&left_out);
        world.write(Side::DynamoDb, &delta, place.as_ref());
        let is_untouched = |fact: &Fact| match fact {
            Fact::Monitor(user, _) => {
                ![&delta.join, &delta.leave, &left_out].iter().any(|users| users.contains(user))
            }
            Fact::Name(_) => delta.name.is_none(),
            Fact::Visibility(_) => delta.visibility.is_none(),
            Fact::Place(_) => place.is_none(),
        };
        self.observed.retain(is_untouched);
        if let Some(place) = &place {
            department_base.place.clone_from(&place.place);
        }
        world.put(Some(unit_base), Some(department_base), &self.observed);
        if !left_out.is_empty() || of_unit.to_mongodb.is_empty() && of_place.write_to != Some(Side::MongoDb) {
            Next::ReadBases
        } else {
            Next::PutIntents
        }
    }

    fn put_intents(&mut self, world: &mut World) -> Next {
        let (of_unit, of_place) = self.merges.as_ref().expect("an earlier step has set it");
        let mongodb = self.mongodb.as_ref().expect("an earlier step has set it");
        let (unit_base, department_base) = (
            self.unit_base.as_mut().expect("an earlier step has set it"),
            self.department_base.as_mut().expect("an earlier step has set it"),
        );
        self.delta = of_unit.to_mongodb.first(MOST);
        unit_base.intent = (!self.delta.is_empty()).then(|| UnitIntent::new(&self.delta, &mongodb.unit));
        if let Some(place) = place_for(Side::MongoDb, of_place) {
            department_base.intent =
                Some(PlaceIntent::new(&place.place, &place.updated_at, &mongodb.department));
            department_base.rooms = true;
        }
        let is_refused = std::mem::take(&mut self.is_next_write_refused);
        if is_refused || !world.can_put(Some(unit_base), Some(department_base)) {
            return Next::ReadBases;
        }
        world.put(Some(unit_base), Some(department_base), &self.observed);
        self.observed.clear();
        Next::WriteMongoDb
    }

    fn write_mongodb(&mut self, world: &mut World) -> Next {
        let (unit_base, department_base) = (
            self.unit_base.as_mut().expect("an earlier step has set it"),
            self.department_base.as_mut().expect("an earlier step has set it"),
        );
        let is_refused = std::mem::take(&mut self.is_next_write_refused);
        let is_as_read = self.mongodb.as_ref() == Some(&world.mongodb);
        let (unit_intent, place_intent) = (unit_base.intent.take(), department_base.intent.take());
        if !is_refused && is_as_read {
            let place =
                place_intent.map(|intent| PlaceView { place: intent.place, updated_at: intent.updated_at });
            world.write(Side::MongoDb, &self.delta, place.as_ref());
            unit_base.facts =
                unit_base.facts.with(&unit_intent.map(|intent| intent.delta).unwrap_or_default());
            if let Some(place) = place {
                department_base.place = place.place;
            }
        }
        Next::DropIntents
    }
}

fn place_for(side: Side, merge: &PlaceMerge) -> Option<PlaceView> {
    (merge.write_to == Some(side))
        .then(|| PlaceView { place: merge.target.clone(), updated_at: merge.updated_at.clone() })
}

/// The values that count as common once they are stored: what both sides have, what is open as DynamoDB has it, and what
/// was declared overwritten.
fn observed(
    mongodb: &SideState,
    dynamodb: &SideState,
    of_unit: &UnitMerge,
    of_place: &PlaceMerge,
) -> Vec<Fact> {
    let (one, other) = (&mongodb.unit.facts, &dynamodb.unit.facts);
    let mut facts = Vec::new();
    facts.extend((one.name == other.name).then(|| Fact::Name(one.name.clone())));
    facts.extend((one.visibility == other.visibility).then_some(Fact::Visibility(one.visibility)));
    for index in 0..3 {
        let user = UserId::parse(format!("user{index}")).expect("an id");
        let is_monitor = other.monitors.contains(&user);
        let is_open = of_unit.open.iter().any(|open| open.fact == Fact::Monitor(user.clone(), true));
        if is_open || one.monitors.contains(&user) == is_monitor {
            facts.push(Fact::Monitor(user, is_monitor));
        }
    }
    let is_equal = mongodb.department.place == dynamodb.department.place;
    facts.extend(is_equal.then(|| Fact::Place(mongodb.department.place.clone())));
    facts.extend(
        of_unit.overwritten.iter().chain(&of_place.overwritten).map(|change| change.overwritten.clone()),
    );
    facts
}
