//! Plans, on models that bytes make.

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{Result, Unstructured};
use aws_sdk_dynamodb::types::AttributeValue;

use crate::action::Plan;
use crate::auth::Caller;
use crate::error::Error;
use crate::id::{UnitId, UserId};
use crate::item::Key;
use crate::limits::MAX_TRANSACTION_ACTIONS as MAX_ACTIONS;
use crate::plan::model::{Model, UnitModel, assert_is_as_asked, commit, load, run};
use crate::request::{ListedDepartment, Update, Visibility};

/// Plans and commits an update on a model that these bytes make. Returns a name of what became of it.
///
/// # Panics
/// Something does not hold.
pub fn plan(data: &[u8]) -> &'static str {
    Case::new(&mut Unstructured::new(data)).map_or("no-case", Case::run)
}

/// Units that there may be; the first is updated.
const UNITS: usize = 4;

/// An update and what it comes upon.
struct Case {
    model: Model,
    caller: Caller,
    update: Update,
    /// Nobody has changed departments behind the units' backs.
    is_sound: bool,
    /// Updates of others before this one, between whose commits its items are read.
    earlier: Vec<Update>,
    /// Updates of others before each try.
    between: Vec<Update>,
    /// For each item that is read, after how many of the earlier ones.
    moments: Vec<u8>,
    /// The number of an item that is read with an attribute of no known type.
    corrupt: Option<usize>,
}

/// A few bytes that many things take in turn, so that short inputs make large models.
struct Turns(Vec<u8>);

impl Turns {
    fn new(choices: &mut Unstructured) -> Result<Self> {
        let count = choices.int_in_range(1..=12)?;
        (0..count).map(|_| choices.arbitrary()).collect::<Result<_>>().map(Self)
    }

    fn of(&self, n: usize) -> u8 {
        self.0[n % self.0.len()]
    }
}

fn bit(byte: u8, place: u8) -> bool {
    byte >> place & 1 == 1
}

fn ids<Id>(prefix: &str, count: usize, turns: &Turns, place: u8, parse: fn(String) -> Option<Id>) -> Vec<Id> {
    (0..count).filter(|n| bit(turns.of(*n), place)).filter_map(|n| parse(format!("{prefix}{n}"))).collect()
}

impl Case {
    fn new(choices: &mut Unstructured) -> Result<Self> {
        let flags: u8 = choices.arbitrary()?;
        let is_sound = bit(flags, 0);
        let (earlier, between) = (flags >> 2 & 3, flags >> 4 & 3);
        // More than a transaction holds, or a few that many updates change in the same time.
        let most = if earlier + between == 0 { 120 } else { 12 };
        let users = choices.int_in_range(0..=most)?;
        let departments = choices.int_in_range(0..=most)?;
        let (of_units, of_users, of_departments) =
            (Turns::new(choices)?, Turns::new(choices)?, Turns::new(choices)?);

        let mut model = Model::default();
        for n in 0..users {
            let byte = of_users.of(n);
            let username = if bit(byte, 0) { format!("renamed{n}") } else { format!("name{n}") };
            if !bit(byte, 1) {
                model.users.insert(format!("m{n}"), (username, !bit(byte, 2), bit(byte, 3)));
            }
        }
        for n in 0..UNITS {
            let byte = of_units.of(n);
            let monitors = (0..users).filter(|m| n < 2 && bit(of_users.of(*m), 4 + n as u8));
            let monitors: BTreeMap<_, _> = monitors.map(|m| (format!("m{m}"), format!("name{m}"))).collect();
            let unit = UnitModel {
                version: bit(byte, 0).then_some(7),
                ancestors: if bit(byte, 1) { vec!["above".into()] } else { Vec::new() },
                num_monitors: monitors.len(),
                rows: monitors.clone(),
                monitors,
                ..UnitModel::default()
            };
            // The third stands for any that is gone.
            if n != 2 && !(bit(byte, 2) && bit(byte, 3)) {
                model.units.insert(format!("u{n}"), unit);
            }
        }
        for n in 0..departments {
            let byte = of_departments.of(n);
            let (id, at) = (format!("d{n}"), byte & 7);
            let parent = (at < 5).then(|| format!("u{}", at % 4));
            let parent = parent.filter(|parent| !is_sound || model.units.contains_key(parent));
            let is_strange = !is_sound && bit(byte, 3);
            let unit = parent.as_ref().and_then(|parent| model.units.get_mut(parent));
            let mut ancestors = None;
            if let Some(unit) = unit {
                ancestors = Some([vec![format!("u{}", at % 4)], unit.ancestors.clone()].concat());
                if !is_strange || bit(byte, 4) {
                    unit.departments.insert(id.clone());
                    unit.num_departments += 1;
                }
            }
            if is_strange && bit(byte, 5) {
                ancestors = ancestors.map_or(Some(Vec::new()), |_| None);
            }
            if at != 7 && !(is_strange && bit(byte, 6)) {
                model.departments.insert(id, (parent, ancestors));
            }
        }

        let name = if bit(flags, 1) { "x".repeat(400 * 1024 + 1) } else { "name".into() };
        let mut updates = |unit: usize, name: String| -> Result<Update> {
            let lists = Turns::new(choices)?;
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
        let strange: u8 = choices.arbitrary()?;
        if bit(strange, 0) {
            update.departments.push(ListedDepartment::from(""));
        }
        let id = UserId::parse(if bit(strange, 1) { "m0" } else { "caller" }).expect("an id");
        let item = model.item(&Key::User(id.clone())).unwrap_or_default();
        let caller = Caller { id, is_restricted: bit(strange, 2), item };
        let corrupt = bit(strange, 3).then_some(usize::from(strange >> 4));
        let moments = Turns::new(choices)?.0;
        Ok(Self { model, caller, update, is_sound, earlier, between, moments, corrupt })
    }

    fn run(self) -> &'static str {
        let Self { model, caller, update, is_sound, earlier, between, moments, corrupt } = self;
        let is_quiet = earlier.is_empty() && between.is_empty();
        let mut history = vec![model];
        for other in &earlier {
            let mut next = history.last().expect("it starts with one").clone();
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
        let before = history.pop().expect("it starts with one");
        let mut after = before.clone();
        let result = run(&caller, &mut after, loaded, &between);

        if is_sound {
            after.assert_invariants();
        }
        if result.is_ok() {
            assert_is_as_asked(&after, &update);
            let unit = &after.units[update.unit.as_str()];
            assert_eq!(unit.num_departments, unit.departments.len());
        } else if between.is_empty() {
            assert!(after == before, "{result:?} changed something");
        }
        if result.is_ok() && is_quiet {
            for id in update.possible_departments() {
                let others = after.units.iter().filter(|(unit, _)| *unit != update.unit.as_str());
                let (from, _) = &before.departments[id.as_str()];
                let mut still = others.filter(|(_, other)| other.departments.contains(id.as_str()));
                assert!(still.all(|(other, _)| Some(other) != from.as_ref()), "{id} was left in {from:?}");
            }
        }
        if corrupt.is_none() && is_quiet {
            assert_is_expected(&result, &before, &caller, &update, is_sound);
        } else if let Err(error) = &result {
            assert!(corrupt.is_some() || !matches!(error, Error::Internal(_)), "{error:?}");
        }
        result.map_or_else(|error| error.outcome(), |_| "write")
    }
}

/// The rows of the contract, from what is stored and not from a plan.
fn assert_is_expected(
    result: &std::result::Result<Plan, Error>,
    model: &Model,
    caller: &Caller,
    update: &Update,
    is_sound: bool,
) {
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

    let eligible = update.monitors.iter().filter_map(|id| {
        let (username, active, is_monitor) = model.users.get(id.as_str())?;
        (*active && *is_monitor).then(|| (id.to_string(), username.clone()))
    });
    let eligible: BTreeMap<String, String> = eligible.collect();
    let all: BTreeSet<&String> = eligible.keys().chain(unit.rows.keys()).collect();
    let monitors = all.iter().filter(|id| eligible.get(**id) != unit.rows.get(**id)).count();
    let here = (Some(update.unit.to_string()), Some(model.ancestors_within(update.unit.as_str())));
    let joining: Vec<&String> = listed.iter().filter(|id| model.departments[*id] != here).collect();
    let leaving = unit.departments.iter().filter(|id| {
        !listed.contains(id) && model.departments.get(*id).is_some_and(|(parent, _)| *parent == here.0)
    });
    let losing: BTreeSet<&String> = joining
        .iter()
        .filter_map(|id| model.departments[*id].0.as_ref().filter(|parent| Some(*parent) != here.0.as_ref()))
        .filter(|parent| {
            model.units.get(*parent).is_some_and(|unit| {
                joining.iter().any(|id| {
                    unit.departments.contains(*id) && model.departments[*id].0.as_ref() == Some(*parent)
                })
            })
        })
        .collect();
    let changes = 1 + monitors + joining.len() + leaving.count() + losing.len();
    match result {
        Ok(plan) => {
            assert!(changes <= MAX_ACTIONS, "{changes} changes were planned");
            // Beside the changes there may be checks, if the lists were not sound.
            assert!(plan.actions.len() == changes || (!is_sound && plan.actions.len() > changes));
            assert!(update.name.len() <= 400 * 1024);
        }
        Err(Error::TooManyChanges(told)) => {
            // A check that a plan would be wrong without counts as well.
            assert!(*told > MAX_ACTIONS && (*told == changes || (!is_sound && *told > changes)), "{changes}");
        }
        Err(Error::UnitTooLarge) => assert!(update.name.len() > 400 * 1024 && changes <= MAX_ACTIONS),
        Err(error) => panic!("{error:?}"),
    }
}
