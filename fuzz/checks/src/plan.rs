//! Plans: a committed plan does what the request asks for, and a refused request has a reason in the contract.

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{Result, Unstructured};
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::auth::Caller;
use livechat_units::error::Error;
use livechat_units::id::{UnitId, UserId};
use livechat_units::item::{Key, User};
use livechat_units::limits::{MAX_ITEM_BYTES, MAX_TRANSACTION_ACTIONS};
use livechat_units::request::{ListedDepartment, Update, Visibility};

use crate::model::{
    DepartmentModel, Model, Run, UnitModel, UserModel, assert_is_as_asked, commit, eligible_monitors, load,
    run,
};

/// Plans and commits an update on a model. These bytes choose both. Returns a name for the outcome.
///
/// # Panics
/// A check fails.
pub fn plan(data: &[u8]) -> &'static str {
    Case::new(&mut Unstructured::new(data)).map_or("no-case", Case::run)
}

/// The number of units that may exist. The first is updated.
const UNITS: usize = 4;

/// An update, the state of the model, and the other updates that are committed in between.
struct Case {
    model: Model,
    caller: Caller,
    update: Update,
    /// True if units and departments agree at first.
    is_consistent: bool,
    /// Other updates that are committed while this one reads its items.
    earlier: Vec<Update>,
    /// Other updates, one of which is committed before each attempt.
    between: Vec<Update>,
    /// For each item that is read: the number of `earlier` updates before it.
    moments: Vec<u8>,
    /// The index of an item that is corrupt: its attributes have a wrong type.
    corrupt: Option<usize>,
    /// True if a transaction with more than a third of the allowed actions is refused as too large.
    is_dividing: bool,
}

/// A few bytes that are used again and again, so that a short input can make a large model.
struct Cycle(Vec<u8>);

impl Cycle {
    fn new(choices: &mut Unstructured) -> Result<Self> {
        let count = choices.int_in_range(1..=12)?;
        (0..count).map(|_| choices.arbitrary()).collect::<Result<_>>().map(Self)
    }

    fn get(&self, n: usize) -> u8 {
        self.0[n % self.0.len()]
    }
}

fn bit(byte: u8, index: u8) -> bool {
    byte >> index & 1 == 1
}

fn ids<Id>(prefix: &str, count: usize, cycle: &Cycle, index: u8, parse: fn(String) -> Option<Id>) -> Vec<Id> {
    (0..count).filter(|n| bit(cycle.get(*n), index)).filter_map(|n| parse(format!("{prefix}{n}"))).collect()
}

impl Case {
    fn new(choices: &mut Unstructured) -> Result<Self> {
        let flags: u8 = choices.arbitrary()?;
        let is_consistent = bit(flags, 0);
        let (earlier, between) = (flags >> 2 & 3, flags >> 4 & 3);
        // Either more items than a transaction can hold, or few items that several updates change, or both.
        let max = if earlier + between == 0 || bit(flags, 7) { 250 } else { 12 };
        let users = choices.int_in_range(0..=max)?;
        let departments = choices.int_in_range(0..=max)?;
        let (of_units, of_users, of_departments) =
            (Cycle::new(choices)?, Cycle::new(choices)?, Cycle::new(choices)?);

        let mut model = Model::default();
        for n in 0..users {
            let byte = of_users.get(n);
            let username = if bit(byte, 0) { format!("renamed{n}") } else { format!("name{n}") };
            if !bit(byte, 1) {
                let user = UserModel { username, is_active: !bit(byte, 2), is_monitor: bit(byte, 3) };
                model.users.insert(format!("m{n}"), user);
            }
        }
        for n in 0..UNITS {
            let byte = of_units.get(n);
            let monitors = (0..users).filter(|m| n < 2 && bit(of_users.get(*m), 4 + n as u8));
            let monitors: BTreeMap<_, _> = monitors.map(|m| (format!("m{m}"), format!("name{m}"))).collect();
            let unit = UnitModel {
                version: bit(byte, 0).then_some(7),
                ancestors: if bit(byte, 1) { vec!["above".into()] } else { Vec::new() },
                num_monitors: monitors.len(),
                monitor_items: monitors.clone(),
                monitors,
                ..UnitModel::default()
            };
            // The third unit does not exist.
            if n != 2 && !(bit(byte, 2) && bit(byte, 3)) {
                model.units.insert(format!("u{n}"), unit);
            }
        }
        for n in 0..departments {
            let byte = of_departments.get(n);
            let (id, at) = (format!("d{n}"), byte & 7);
            let parent = (at < 5).then(|| format!("u{}", at % 4));
            let parent = parent.filter(|parent| !is_consistent || model.units.contains_key(parent));
            let is_inconsistent = !is_consistent && bit(byte, 3);
            let unit = parent.as_ref().and_then(|parent| model.units.get_mut(parent));
            let mut ancestors = None;
            if let Some(unit) = unit {
                ancestors = Some([vec![format!("u{}", at % 4)], unit.ancestors.clone()].concat());
                if !is_inconsistent || bit(byte, 4) {
                    unit.departments.insert(id.clone());
                    unit.num_departments += 1;
                }
            }
            if is_inconsistent && bit(byte, 5) {
                ancestors = ancestors.map_or(Some(Vec::new()), |_| None);
            }
            if at != 7 && !(is_inconsistent && bit(byte, 6)) {
                model.departments.insert(id, DepartmentModel { parent, ancestors });
            }
        }

        let name = if bit(flags, 1) { "x".repeat(MAX_ITEM_BYTES + 1) } else { "name".into() };
        let mut updates = |unit: usize, name: String| -> Result<Update> {
            let lists = Cycle::new(choices)?;
            let monitors = ids("m", users, &lists, 0, UserId::parse);
            let departments =
                ids("d", departments, &lists, 1, |id| Some(ListedDepartment::from(id.as_str())));
            Ok(Update {
                unit: UnitId::parse(format!("u{unit}")).expect("an id"),
                name,
                visibility: Visibility::Private,
                listed_monitors: monitors.len(),
                monitors,
                departments,
            })
        };
        let mut update = updates(0, name)?;
        let many = |count: u8, updates: &mut dyn FnMut(usize, String) -> Result<Update>| {
            (0..count).map(|n| updates(usize::from(n) % UNITS, "other".into())).collect::<Result<Vec<_>>>()
        };
        let earlier = many(earlier, &mut updates)?;
        let between = many(between, &mut updates)?;
        if bit(flags, 6) {
            update.departments.retain(|id| model.departments.contains_key(id.as_str()));
        }
        let flags: u8 = choices.arbitrary()?;
        if bit(flags, 0) {
            update.departments.push(ListedDepartment::from(""));
        }
        let id = UserId::parse(if bit(flags, 1) { "m0" } else { "caller" }).expect("an id");
        let key = Key::User(id.clone());
        let item = model.item(&key).unwrap_or_default();
        let user = User::parse(&key, item).expect("the model's items are as they should be");
        let caller = Caller { id, is_restricted: bit(flags, 2), user };
        let corrupt = bit(flags, 3).then_some(usize::from(flags >> 4));
        let moments = Cycle::new(choices)?.0;
        // An input that is used up gives zeros.
        let is_dividing = choices.arbitrary::<u8>()? % 8 == 1;
        Ok(Self { model, caller, update, is_consistent, earlier, between, moments, corrupt, is_dividing })
    }

    fn run(self) -> &'static str {
        let Self { model, caller, update, is_consistent, earlier, between, moments, corrupt, is_dividing } =
            self;
        let is_quiet = earlier.is_empty() && between.is_empty();
        let mut history = vec![model];
        for other in &earlier {
            let mut next = history.last().expect("it has one model at least").clone();
            commit(&mut next, other);
            history.push(next);
        }
        let mut reads = 0;
        let loaded = load(&caller, &update, &mut |key| {
            let moment = usize::from(moments[reads % moments.len()]) % history.len();
            let mut item = history[moment].item(key)?;
            if Some(reads) == corrupt {
                item.values_mut().for_each(|value| *value = AttributeValue::Null(true));
            }
            reads += 1;
            Some(item)
        });
        let before = history.pop().expect("it has one model at least");
        let mut after = before.clone();
        let max_actions = if is_dividing { MAX_TRANSACTION_ACTIONS / 3 } else { MAX_TRANSACTION_ACTIONS };
        let run = run(&caller, &mut after, loaded, &between, max_actions);

        if is_consistent {
            run.states.iter().for_each(Model::assert_invariants);
            after.assert_invariants();
        }
        let result = &run.result;
        if result.is_ok() {
            assert_is_as_asked(&after, &update);
            let unit = &after.units[update.unit.as_str()];
            assert_eq!(unit.num_departments, unit.departments.len());
        } else if between.is_empty() && run.transactions.is_empty() {
            assert!(after == before, "{result:?} changed something");
        }
        if result.is_ok() && is_quiet {
            for id in update.possible_departments() {
                let others = after.units.iter().filter(|(unit, _)| *unit != update.unit.as_str());
                let from = &before.departments[id.as_str()].parent;
                let mut still = others.filter(|(_, other)| other.departments.contains(id.as_str()));
                assert!(
                    still.all(|(other, _)| Some(other) != from.as_ref()),
                    "{id} is still in the list of {from:?}"
                );
            }
        }
        if corrupt.is_none() && is_quiet {
            assert_is_expected(&run, &before, &caller, &update, is_consistent, max_actions);
        } else if let Err(error) = result {
            assert!(corrupt.is_some() || is_dividing || !matches!(error, Error::Internal(_)), "{error:?}");
        }
        match (result, run.transactions.len()) {
            (Ok(()), 1) => "one-transaction",
            (Ok(()), _) => "several-transactions",
            (Err(error), _) => error.outcome(),
        }
    }
}

/// Checks the result by rows 9 to 11 of the contract. The expected number of changes comes from the stored items.
fn assert_is_expected(
    run: &Run,
    model: &Model,
    caller: &Caller,
    update: &Update,
    is_consistent: bool,
    max_actions: usize,
) {
    let result = &run.result;
    let Some(unit) = model
        .units
        .get(update.unit.as_str())
        .filter(|unit| !caller.is_restricted || unit.monitors.contains_key(caller.id.as_str()))
    else {
        return assert!(matches!(result, Err(Error::UnitNotFound)), "{result:?}");
    };
    let listed: Vec<String> = update.departments.iter().map(|id| id.as_str().to_owned()).collect();
    let unknown: Vec<String> =
        listed.iter().filter(|id| !model.departments.contains_key(*id)).cloned().collect();
    if !unknown.is_empty() {
        return assert!(
            matches!(result, Err(Error::DepartmentsNotFound(ids)) if *ids == unknown),
            "{result:?} instead of {unknown:?}"
        );
    }

    let eligible = eligible_monitors(model, update);
    let all: BTreeSet<&String> = eligible.keys().chain(unit.monitor_items.keys()).collect();
    let monitors = all.iter().filter(|id| eligible.get(**id) != unit.monitor_items.get(**id)).count();
    let here = DepartmentModel {
        parent: Some(update.unit.to_string()),
        ancestors: Some(model.ancestors_within(update.unit.as_str())),
    };
    let joining: Vec<&String> = listed.iter().filter(|id| model.departments[*id] != here).collect();
    let leaving = unit.departments.iter().filter(|id| {
        !listed.contains(id)
            && model.departments.get(*id).is_some_and(|department| department.parent == here.parent)
    });
    let losing: BTreeSet<&String> = joining
        .iter()
        .filter_map(|id| {
            model.departments[*id].parent.as_ref().filter(|parent| Some(*parent) != here.parent.as_ref())
        })
        .filter(|parent| {
            model.units.get(*parent).is_some_and(|unit| {
                joining.iter().any(|id| {
                    unit.departments.contains(*id) && model.departments[*id].parent.as_ref() == Some(*parent)
                })
            })
        })
        .collect();
    let changes = 1 + monitors + joining.len() + leaving.count() + losing.len();
    match result {
        Ok(()) => {
            let actions = run.transactions.iter().map(|transaction| transaction.actions.len()).sum::<usize>();
            if changes <= max_actions && is_consistent {
                assert_eq!((run.transactions.len(), actions), (1, changes));
            }
            // Each transaction has the unit's action. If units and departments disagree, there may be checks besides the
            // changes. Departments that one unit loses may be divided among several of its actions.
            assert!(
                actions + 1 >= changes + run.transactions.len(),
                "{actions} actions for {changes} changes"
            );
            assert!(update.name.len() <= MAX_ITEM_BYTES);
        }
        Err(Error::UnitTooLarge) => {
            assert!(update.name.len() > MAX_ITEM_BYTES && run.transactions.is_empty())
        }
        Err(error) => panic!("{error:?}"),
    }
}
