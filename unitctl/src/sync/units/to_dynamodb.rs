//! Writes what MongoDB has changed of a unit to DynamoDB: the function's own plan, and the bases in the same
//! transaction.

use std::collections::{BTreeSet, HashMap};

use anyhow::{Result, bail};
use aws_sdk_dynamodb::types::{AttributeValue, TransactWriteItem, Update as UpdateItem};
use livechat_units::action::{Action, Transaction};
use livechat_units::auth::Caller;
use livechat_units::dynamodb::to_transact_item;
use livechat_units::error::Error;
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::{self, Item, Key, User};
use livechat_units::limits::MAX_TRANSACTION_ACTIONS;
use livechat_units::load::Loaded;
use livechat_units::plan::plan;
use livechat_units::request::{ListedDepartment, Update};

use super::both_sides::{OnBothSides, Step};
use super::read::{Stored, view};
use super::report::{changes_in_words, move_in_words};
use crate::origin::REV;
use crate::requests::transact;
use crate::sync::base::{DepartmentBase, UnitBase, UnitDelta};
use crate::sync::model::{Place, Side, Subject};
use crate::sync::sides::Sides;

/// True if DynamoDB's unit would be too large for its item.
pub(super) fn is_too_large(both: &OnBothSides<'_>) -> Result<bool> {
    if !both.changes_dynamodb() {
        return Ok(false);
    }
    let update = target(both);
    let loaded = loaded(both.id, both.stored, &both.unit.item, &update);
    Ok(matches!(plan(&caller()?, &loaded), Err(Error::UnitTooLarge)))
}

/// Writes the first transaction of what is to be changed.
pub(super) async fn write(sides: &Sides, both: &OnBothSides<'_>) -> Result<Step> {
    let update = target(both);
    let caller = caller()?;
    let loaded = loaded(both.id, both.stored, &both.unit.item, &update);
    let mut sequence = match plan(&caller, &loaded) {
        Ok(sequence) => sequence,
        Err(error) => bail!("the unit can't be planned: {}", error.outcome()),
    };
    let table = &sides.database.tables.livechat;
    loop {
        let Some(transaction) = sequence.next_transaction(&loaded) else { return Ok(Step::Done) };
        let bases = bases(both, &transaction, table)?;
        if transaction.actions.len() + bases.len() > MAX_TRANSACTION_ACTIONS {
            if sequence.halve() {
                continue;
            }
            bail!("a transaction of a single change has more than {MAX_TRANSACTION_ACTIONS} actions");
        }
        let mut items = Vec::with_capacity(transaction.actions.len() + bases.len());
        for action in &transaction.actions {
            let item = to_transact_item(action, table, &updated_at(both, action))?;
            items.push(if matches!(action, Action::UpdateUnit(_)) { with_rev(item)? } else { item });
        }
        items.extend(bases);
        sides.check_lease()?;
        if !transact(&sides.database, items).await? {
            return Ok(Step::Refused);
        }
        say(sides, both, &transaction);
        sequence.pop();
        let is_last = sequence.next_transaction(&loaded).is_none();
        return Ok(if is_last && leaves_nothing(both, &transaction) { Step::Done } else { Step::Again });
    }
}

/// True if nothing is left to do after the last transaction, so that both sides need not be read again to find that out.
fn leaves_nothing(both: &OnBothSides<'_>, transaction: &Transaction) -> bool {
    let moved: BTreeSet<&DepartmentId> = transaction
        .actions
        .iter()
        .filter_map(|action| match action {
            Action::JoinDepartment { id, .. } | Action::LeaveDepartment { id, .. } => Some(id),
            _ => None,
        })
        .collect();
    let has_rooms = |id: &DepartmentId| both.stored.department_bases.get(id).is_some_and(|base| base.rooms);
    !both.changes_mongodb() && both.is_settled_except(|id| moved.contains(id) && !has_rooms(id))
}

/// The update after which DynamoDB's unit is as the merge has decided.
fn target(both: &OnBothSides<'_>) -> Update {
    let facts = view(both.unit).facts.with(&both.merge.to_dynamodb);
    let mut departments: BTreeSet<DepartmentId> =
        both.unit.departments.iter().filter_map(DepartmentId::parse).collect();
    // A department that no longer exists, or is in another unit by now, is removed from the list, as in any update.
    departments.retain(|id| {
        let found = both.stored.departments.get(id);
        found.is_some_and(|found| found.view.place.as_ref() == Some(both.id))
    });
    for (id, place) in both.moves(Side::DynamoDb) {
        if place.target.is_some() {
            departments.insert(id.clone());
        } else {
            departments.remove(id);
        }
    }
    Update {
        unit: both.id.clone(),
        name: facts.name,
        visibility: facts.visibility,
        listed_monitors: facts.monitors.len(),
        monitors: facts.monitors.into_iter().collect(),
        departments: departments.into_iter().map(ListedDepartment::Possible).collect(),
    }
}

/// The sync sees every unit, as an administrator does.
pub(super) fn caller() -> Result<Caller> {
    let Some(id) = UserId::parse("unitctl sync") else { bail!("the id of the caller is empty") };
    let user = User { username: None, roles: Vec::new(), active: true };
    Ok(Caller { id, is_restricted: false, user })
}

/// What was read, in the form in which the function plans.
pub(super) fn loaded<'a>(id: &UnitId, stored: &Stored, unit: &Item, update: &'a Update) -> Loaded<'a> {
    let parsed = |key: Key, item: &Item| item::Stored::parse(&key, Some(item.clone()), item::Unit::parse);
    let departments = stored.read.departments.iter().map(|id| {
        let key = Key::Department(id.clone());
        let item = stored.departments.get(id).map(|found| found.item.clone());
        (id.clone(), item::Stored::parse(&key, item, item::Department::parse))
    });
    let losing_units = stored.departments.values().filter_map(|found| found.view.place.clone());
    let losing_units = losing_units.filter(|place| place != id).map(|place| {
        let key = Key::Unit(place.clone());
        let item = stored.other_units.get(&place).map(|unit| unit.item.clone());
        (place, item::Stored::parse(&key, item, item::LosingUnit::parse))
    });
    Loaded {
        update,
        unit: parsed(Key::Unit(id.clone()), unit),
        users: stored.users.clone(),
        departments: departments.collect(),
        losing_units: losing_units.collect::<HashMap<_, _>>(),
    }
}

/// What a transaction changes of the unit's facts.
fn delta(both: &OnBothSides<'_>, transaction: &Transaction) -> UnitDelta {
    let now = view(both.unit).facts;
    let mut delta = UnitDelta::default();
    for action in &transaction.actions {
        match action {
            Action::UpdateUnit(change) => {
                delta.name = change.name.clone().filter(|name| *name != now.name);
                delta.visibility = change.visibility.filter(|visibility| *visibility != now.visibility);
            }
            Action::PutMonitor { monitor, .. } if !now.monitors.contains(monitor) => {
                delta.join.insert(monitor.clone());
            }
            Action::DeleteMonitor { monitor, .. } => {
                delta.leave.insert(monitor.clone());
            }
            _ => {}
        }
    }
    delta
}

/// The bases after a transaction, as far as they differ from what is stored.
fn bases(both: &OnBothSides<'_>, transaction: &Transaction, table: &str) -> Result<Vec<TransactWriteItem>> {
    let mut puts = Vec::new();
    let facts = both.merge.before.with(&delta(both, transaction));
    let stored = both.stored.base.as_ref();
    if stored.is_none_or(|base| base.facts != facts || base.intent.is_some()) {
        let rev = stored.map_or(0, |base| base.rev);
        puts.push(UnitBase { id: both.id.clone(), rev, facts, intent: None }.put(table)?);
    }
    for action in &transaction.actions {
        let (id, place): (_, Place) = match action {
            Action::JoinDepartment { id, unit, .. } => (id, Some(unit.clone())),
            Action::LeaveDepartment { id, .. } => (id, None),
            _ => continue,
        };
        let stored = both.stored.department_bases.get(id);
        if stored.is_none_or(|base| base.place != place || base.intent.is_some()) {
            let (rev, rooms) = stored.map_or((0, false), |base| (base.rev, base.rooms));
            puts.push(DepartmentBase { id: id.clone(), rev, place, intent: None, rooms }.put(table)?);
        }
    }
    Ok(puts)
}

/// The `_updatedAt` that an item gets: that of the change that counts, but never an earlier time than the item has.
fn updated_at(both: &OnBothSides<'_>, action: &Action) -> String {
    let own = view(both.unit).updated_at;
    let of_unit = if both.merge.to_dynamodb.is_empty() {
        String::new()
    } else {
        both.merge.to_dynamodb.updated_at.clone()
    };
    let of_places = || both.moves(Side::DynamoDb).map(|(_, place)| place.updated_at.clone()).max();
    match action {
        Action::JoinDepartment { id, .. } | Action::LeaveDepartment { id, .. } => match both.places.get(id) {
            Some(place) if place.write_to == Some(Side::DynamoDb) => place.updated_at.clone(),
            _ => own,
        },
        Action::ShrinkUnit { id, .. } => {
            let stored =
                both.stored.other_units.get(id).map(|unit| view(unit).updated_at).unwrap_or_default();
            stored.max(of_places().unwrap_or_default())
        }
        _ if of_unit.is_empty() => own.max(of_places().unwrap_or_default()),
        _ => own.max(of_unit),
    }
}

/// The same update, which also adds one to the unit's `rev`.
pub(super) fn with_rev(item: TransactWriteItem) -> Result<TransactWriteItem> {
    let Some(UpdateItem {
        key,
        update_expression,
        table_name,
        condition_expression,
        expression_attribute_names,
        expression_attribute_values,
        return_values_on_condition_check_failure,
        ..
    }) = item.update
    else {
        bail!("the unit's action is no update")
    };
    let expression = update_expression.replacen(
        "SET ",
        "SET #syncRev = if_not_exists(#syncRev, :syncZero) + :syncOne, ",
        1,
    );
    let mut names = expression_attribute_names.unwrap_or_default();
    names.insert("#syncRev".into(), REV.into());
    let mut values = expression_attribute_values.unwrap_or_default();
    values.insert(":syncZero".into(), AttributeValue::N("0".into()));
    values.insert(":syncOne".into(), AttributeValue::N("1".into()));
    let update = UpdateItem::builder()
        .set_key(Some(key))
        .update_expression(expression)
        .table_name(table_name)
        .set_condition_expression(condition_expression)
        .set_expression_attribute_names(Some(names))
        .set_expression_attribute_values(Some(values))
        .set_return_values_on_condition_check_failure(return_values_on_condition_check_failure)
        .build()?;
    Ok(TransactWriteItem::builder().update(update).build())
}

fn say(sides: &Sides, both: &OnBothSides<'_>, transaction: &Transaction) {
    let subject = both.subject();
    let delta = delta(both, transaction);
    for words in changes_in_words(&delta) {
        sides.reporter.change(&subject, Side::DynamoDb, words);
    }
    for action in &transaction.actions {
        if let Action::JoinDepartment { id, .. } | Action::LeaveDepartment { id, .. } = action
            && let Some(place) = both.places.get(id)
        {
            let subject = Subject::Department(id.clone());
            sides.reporter.change(&subject, Side::DynamoDb, move_in_words(id, place));
        }
    }
}
