//! The merge of a unit's name, visibility and monitors.

use livechat_units::id::{UnitId, UserId};

use super::decide::{Decision, decide, winner};
use super::model::{Fact, NoBase, Obstacle, OpenFact, Overwritten, UnitInput, UnitMerge};
use crate::sync::base::{IntentState, UnitBase, UnitDelta};
use crate::sync::model::{Side, Subject, UnitFacts, UnitView};
use crate::sync::stamp;

/// Merges a unit. If the base has an intent that still needs a fence ([`UnitBase::fence`]), the result must not be
/// written.
pub fn merge_unit(id: &UnitId, input: &UnitInput) -> UnitMerge {
    let UnitInput { mongodb, dynamodb, .. } = input;
    let mut merge = Merge {
        subject: Subject::Unit(id.clone()),
        input,
        base: Base::of(input),
        winner: winner(
            input.base.is_none().then_some(input.no_base),
            &mongodb.updated_at,
            &dynamodb.updated_at,
        ),
        to_mongodb: UnitDelta {
            updated_at: stamp::for_mongodb(&dynamodb.updated_at, &mongodb.updated_at),
            ..UnitDelta::default()
        },
        to_dynamodb: UnitDelta {
            updated_at: stamp::for_dynamodb(&mongodb.updated_at, &dynamodb.updated_at),
            ..UnitDelta::default()
        },
        // If a fact is equal on both sides, that is its base. The base of each fact that differs is set below.
        before: mongodb.facts.clone(),
        overwritten: Vec::new(),
        open: Vec::new(),
    };
    merge.name();
    merge.visibility();
    for user in mongodb.facts.monitors.symmetric_difference(&dynamodb.facts.monitors) {
        merge.monitor(user);
    }
    UnitMerge {
        target: mongodb.facts.with(&merge.to_mongodb),
        to_mongodb: merge.to_mongodb,
        to_dynamodb: merge.to_dynamodb,
        before: merge.before,
        overwritten: merge.overwritten,
        open: merge.open,
    }
}

/// The base of each fact, as far as it is known.
struct Base<'a> {
    /// The values, unless none is known.
    facts: Option<UnitFacts>,
    /// The facts whose base is unknown although others are known.
    unknown: Option<&'a UnitDelta>,
}

impl<'a> Base<'a> {
    fn of(input: &UnitInput<'a>) -> Self {
        let Some(base) = input.base else {
            let facts = (input.no_base == NoBase::AsImported).then(|| input.dynamodb.facts.clone());
            return Self { facts, unknown: None };
        };
        base.settle(input.mongodb)
    }

    fn is_unknown(&self, is_concerned: impl FnOnce(&UnitDelta) -> bool) -> bool {
        self.facts.is_none() || self.unknown.is_some_and(is_concerned)
    }
}

impl UnitBase {
    /// The facts of the base, with the intended change if it was committed. If it is unknown whether it was committed,
    /// the base of the facts that it changes is unknown.
    fn settle(&self, mongodb: &UnitView) -> Base<'_> {
        let as_stored = Base { facts: Some(self.facts.clone()), unknown: None };
        let Some(intent) = &self.intent else { return as_stored };
        match intent.state(mongodb) {
            IntentState::Committed => Base { facts: Some(self.facts.with(&intent.delta)), unknown: None },
            IntentState::Pending | IntentState::Void => as_stored,
            IntentState::Unknown => Base { unknown: Some(&intent.delta), ..as_stored },
        }
    }
}

struct Merge<'a> {
    subject: Subject,
    input: &'a UnitInput<'a>,
    base: Base<'a>,
    winner: Side,
    to_mongodb: UnitDelta,
    to_dynamodb: UnitDelta,
    before: UnitFacts,
    overwritten: Vec<Overwritten>,
    open: Vec<OpenFact>,
}

impl Merge<'_> {
    fn name(&mut self) {
        let is_unknown = self.base.is_unknown(|delta| delta.name.is_some());
        let base = self.base.facts.as_ref().filter(|_| !is_unknown).map(|facts| facts.name.as_str());
        let UnitInput { mongodb, dynamodb, .. } = self.input;
        let (mongodb, dynamodb) = (&mongodb.facts.name, &dynamodb.facts.name);
        let decision = decide(base, mongodb.as_str(), dynamodb, self.winner);
        let Decision::Write { to, is_loss } = decision else { return };
        let Values { overwritten, kept } = Values::new(to, mongodb, dynamodb);
        self.delta(to).name = Some(kept.clone());
        self.before.name.clone_from(overwritten);
        if is_loss {
            self.lose(to, Fact::Name(overwritten.clone()), Fact::Name(kept.clone()));
        }
    }

    fn visibility(&mut self) {
        let is_unknown = self.base.is_unknown(|delta| delta.visibility.is_some());
        let base = self.base.facts.as_ref().filter(|_| !is_unknown).map(|facts| &facts.visibility);
        let UnitInput { mongodb, dynamodb, .. } = self.input;
        let (mongodb, dynamodb) = (mongodb.facts.visibility, dynamodb.facts.visibility);
        let Decision::Write { to, is_loss } = decide(base, &mongodb, &dynamodb, self.winner) else { return };
        let Values { overwritten, kept } = Values::new(to, mongodb, dynamodb);
        self.delta(to).visibility = Some(kept);
        self.before.visibility = overwritten;
        if is_loss {
            self.lose(to, Fact::Visibility(overwritten), Fact::Visibility(kept));
        }
    }

    /// Decides about a monitor whom only one side has.
    fn monitor(&mut self, user: &UserId) {
        let is_in_mongodb = self.input.mongodb.facts.monitors.contains(user);
        if is_in_mongodb && self.input.cannot_monitor.contains(user) {
            self.before.monitors.remove(user);
            self.open.push(OpenFact {
                subject: self.subject.clone(),
                fact: Fact::Monitor(user.clone(), true),
                reason: Obstacle::NotAMonitor,
            });
            return;
        }
        let is_unknown =
            self.base.is_unknown(|delta| delta.join.contains(user) || delta.leave.contains(user));
        let base =
            self.base.facts.as_ref().filter(|_| !is_unknown).map(|facts| facts.monitors.contains(user));
        let decision = decide(base.as_ref(), &is_in_mongodb, &!is_in_mongodb, self.winner);
        let Decision::Write { to, is_loss } = decision else { return };
        let Values { overwritten, kept } = Values::new(to, is_in_mongodb, !is_in_mongodb);
        if kept {
            self.delta(to).join.insert(user.clone());
            self.before.monitors.remove(user);
        } else {
            self.delta(to).leave.insert(user.clone());
            self.before.monitors.insert(user.clone());
        }
        if is_loss {
            self.lose(to, Fact::Monitor(user.clone(), overwritten), Fact::Monitor(user.clone(), kept));
        }
    }

    fn delta(&mut self, side: Side) -> &mut UnitDelta {
        match side {
            Side::MongoDb => &mut self.to_mongodb,
            Side::DynamoDb => &mut self.to_dynamodb,
        }
    }

    /// Remembers a value that is overwritten although it was changed since the base.
    fn lose(&mut self, side: Side, overwritten: Fact, kept: Fact) {
        self.overwritten.push(Overwritten { subject: self.subject.clone(), side, overwritten, kept });
    }
}

/// The values of a fact that differs.
struct Values<T> {
    /// The value of the side that is written to.
    overwritten: T,
    /// The value of the other side.
    kept: T,
}

impl<T> Values<T> {
    fn new(to: Side, mongodb: T, dynamodb: T) -> Self {
        match to {
            Side::MongoDb => Self { overwritten: mongodb, kept: dynamodb },
            Side::DynamoDb => Self { overwritten: dynamodb, kept: mongodb },
        }
    }
}
