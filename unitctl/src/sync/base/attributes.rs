//! The attributes of base items, read and written.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::id::{UnitId, UserId};
use livechat_units::item::Item;
use livechat_units::request::Visibility;

use super::delta::UnitDelta;
use crate::sync::model::{Place, UnitFacts};

/// An item, or a map in it, that is being read.
pub struct Attributes(pub Item);

impl Attributes {
    /// A string.
    pub fn string(&mut self, name: &str) -> Result<Option<String>> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(AttributeValue::S(text)) => Ok(Some(text)),
            Some(_) => bail!("{name} is no string"),
        }
    }

    /// A map.
    pub fn map(&mut self, name: &str) -> Result<Option<Item>> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(AttributeValue::M(map)) => Ok(Some(map)),
            Some(_) => bail!("{name} is no map"),
        }
    }

    /// A boolean.
    pub fn boolean(&mut self, name: &str) -> Result<Option<bool>> {
        match self.0.remove(name) {
            None => Ok(None),
            Some(AttributeValue::Bool(value)) => Ok(Some(value)),
            Some(_) => bail!("{name} is no boolean"),
        }
    }

    /// A set of users; empty if it is absent.
    pub fn users(&mut self, name: &str) -> Result<BTreeSet<UserId>> {
        match self.0.remove(name) {
            None => Ok(BTreeSet::new()),
            Some(AttributeValue::Ss(ids)) => {
                let ids = ids.into_iter().map(UserId::parse).collect::<Option<_>>();
                ids.with_context(|| format!("{name} has an invalid id"))
            }
            Some(_) => bail!("{name} is no set of strings"),
        }
    }

    /// A visibility.
    pub fn visibility(&mut self, name: &str) -> Result<Option<Visibility>> {
        match self.string(name)?.as_deref() {
            None => Ok(None),
            Some("public") => Ok(Some(Visibility::Public)),
            Some("private") => Ok(Some(Visibility::Private)),
            Some(_) => bail!("{name} is neither public nor private"),
        }
    }

    /// A department's unit.
    pub fn place(&mut self, name: &str) -> Result<Place> {
        let Some(id) = self.string(name)? else { return Ok(None) };
        Ok(Some(UnitId::parse(id).with_context(|| format!("{name} is an invalid id"))?))
    }

    /// How often the item was written.
    pub fn rev(&mut self) -> Result<u64> {
        let rev = match self.0.remove("rev") {
            Some(AttributeValue::N(rev)) => rev.parse().ok().filter(|rev| *rev > 0),
            _ => None,
        };
        rev.context("no valid rev")
    }
}

/// Adds a unit's facts.
pub fn set_unit(item: &mut Item, facts: &UnitFacts) {
    item.insert("name".into(), AttributeValue::S(facts.name.clone()));
    item.insert("visibility".into(), AttributeValue::S(facts.visibility.as_str().into()));
    set_users(item, "monitors", &facts.monitors);
}

/// Adds a change of a unit, without its time.
pub fn set_delta(item: &mut Item, delta: &UnitDelta) {
    if let Some(name) = &delta.name {
        item.insert("name".into(), AttributeValue::S(name.clone()));
    }
    if let Some(visibility) = delta.visibility {
        item.insert("visibility".into(), AttributeValue::S(visibility.as_str().into()));
    }
    set_users(item, "join", &delta.join);
    set_users(item, "leave", &delta.leave);
}

/// Adds a department's place.
pub fn set_place(item: &mut Item, place: &Place) {
    if let Some(unit) = place {
        item.insert("parentId".into(), AttributeValue::S(unit.to_string()));
    }
}

/// DynamoDB has no empty sets.
fn set_users(item: &mut Item, name: &str, users: &BTreeSet<UserId>) {
    if !users.is_empty() {
        let ids = users.iter().map(UserId::to_string).collect();
        item.insert(name.into(), AttributeValue::Ss(ids));
    }
}
