//! Parses the body of a reply to BatchGetItem (Amazon DynamoDB API Reference, "BatchGetItem").

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::error::Error;
use crate::item::{Attributes, Key};

/// The attributes of the livechat table that are read, for all kinds of items together. Departments may have many more
/// attributes, which this function does not need.
pub(super) const LIVECHAT_ATTRIBUTES: [&str; 11] = [
    "pk",
    "active",
    "ancestors",
    "departmentIds",
    "monitors",
    "name",
    "parentId",
    "roles",
    "username",
    "version",
    "visibility",
];

/// The attributes of a login token that are parsed.
const TOKEN_ATTRIBUTES: [&str; 3] = ["hashedToken", "userId", "expiresAt"];

/// A reply to BatchGetItem.
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct BatchReply {
    /// The items that were found, by table. Items that do not exist are not among them.
    responses: Option<HashMap<String, Vec<ReplyItem>>>,
    unprocessed_keys: Option<HashMap<String, UnprocessedKeys>>,
    #[serde(default)]
    consumed_capacity: Vec<ConsumedCapacity>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UnprocessedKeys {
    keys: Vec<ReplyItem>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConsumedCapacity {
    capacity_units: Option<f64>,
}

/// An item of a reply, as far as the function needs it.
pub(super) struct ReplyItem {
    /// `None` if the partition key has no form that is known here.
    key: Option<Key>,
    /// The other attributes. An item has a handful of them, so a list takes less time than a map.
    attributes: Vec<(&'static str, AttributeValue)>,
}

impl BatchReply {
    /// Parses a reply's body.
    ///
    /// # Errors
    /// The body is missing or is cut off, so the items are not known.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Error> {
        // `serde_json::from_slice` would check each string of its own.
        let body =
            std::str::from_utf8(body).map_err(|_| Error::Unavailable("a reply that is not UTF-8".into()))?;
        let reply: Self = serde_json::from_str(body).map_err(|error| {
            // The error's own text may quote an item.
            let (line, column) = (error.line(), error.column());
            Error::Unavailable(format!("a malformed reply: line {line} column {column}").into())
        })?;
        // Without this check no item would seem to exist.
        if reply.responses.is_none() && reply.unprocessed_keys.is_none() {
            return Err(Error::Unavailable("a reply without items".into()));
        }
        Ok(reply)
    }

    /// The read capacity units of the read.
    pub(super) fn capacity_units(&self) -> f64 {
        self.consumed_capacity.iter().filter_map(|table| table.capacity_units).sum()
    }

    /// Takes out the keys that DynamoDB did not process.
    pub(super) fn take_unprocessed_keys(&mut self) -> Vec<Key> {
        let tables = self.unprocessed_keys.take().into_iter().flatten();
        tables.flat_map(|(_, table)| table.keys).filter_map(|item| item.key).collect()
    }

    /// The items that were found, with their keys.
    pub(super) fn into_items(self) -> impl Iterator<Item = (Key, ReplyItem)> {
        let items = self.responses.into_iter().flatten().flat_map(|(_, items)| items);
        items.filter_map(|mut item| Some((item.key.take()?, item)))
    }
}

impl Attributes for ReplyItem {
    fn take(&mut self, attribute: &str) -> Option<AttributeValue> {
        let place = self.attributes.iter().position(|(name, _)| *name == attribute)?;
        Some(self.attributes.swap_remove(place).1)
    }
}

impl<'de> Deserialize<'de> for ReplyItem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ReplyItemVisitor)
    }
}

struct ReplyItemVisitor;

impl<'de> Visitor<'de> for ReplyItemVisitor {
    type Value = ReplyItem;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<ReplyItem, A::Error> {
        let (mut key, mut attributes) = (None, Vec::new());
        while let Some(KnownAttribute(name)) = entries.next_key()? {
            match name {
                Some("pk") => key = Key::of_partition(&entries.next_value::<Text>()?.text),
                Some("hashedToken") => {
                    key = Some(Key::Token(entries.next_value::<Text>()?.text.into_owned()))
                }
                Some(name) => attributes.push((name, entries.next_value::<Value>()?.0)),
                None => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(ReplyItem { key, attributes })
    }
}

/// The value of a key attribute. Keys are strings in both tables.
#[derive(serde::Deserialize)]
struct Text<'a> {
    #[serde(rename = "S", borrow)]
    text: Cow<'a, str>,
}

/// The name of an attribute. `None` for attributes that the function does not need.
struct KnownAttribute(Option<&'static str>);

impl<'de> Deserialize<'de> for KnownAttribute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(KnownAttributeVisitor)
    }
}

struct KnownAttributeVisitor;

impl Visitor<'_> for KnownAttributeVisitor {
    type Value = KnownAttribute;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of an attribute")
    }

    fn visit_str<E>(self, name: &str) -> Result<KnownAttribute, E> {
        let known = LIVECHAT_ATTRIBUTES.into_iter().chain(TOKEN_ATTRIBUTES).find(|known| *known == name);
        Ok(KnownAttribute(known))
    }
}

/// An attribute's value.
struct Value(AttributeValue);

/// The type of a value.
#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "UPPERCASE")]
enum Type {
    S,
    N,
    Bool,
    Ss,
    L,
    M,
    /// A type that no attribute of docs/data-model.md has.
    #[serde(other)]
    Other,
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ValueVisitor)
    }
}

/// The entries of a map.
struct Members(HashMap<String, AttributeValue>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Members, A::Error> {
        let mut members = HashMap::new();
        while let Some((name, Value(value))) = entries.next_entry()? {
            members.insert(name, value);
        }
        Ok(Members(members))
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value with its type")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        // A value of a type that is not expected makes its attribute corrupt, whatever it is.
        let mut value = AttributeValue::Null(true);
        while let Some(kind) = entries.next_key()? {
            value = match kind {
                Type::S => AttributeValue::S(entries.next_value()?),
                Type::N => AttributeValue::N(entries.next_value()?),
                Type::Bool => AttributeValue::Bool(entries.next_value()?),
                Type::Ss => AttributeValue::Ss(entries.next_value()?),
                Type::L => {
                    let members: Vec<Value> = entries.next_value()?;
                    AttributeValue::L(members.into_iter().map(|Value(member)| member).collect())
                }
                Type::M => AttributeValue::M(entries.next_value::<Members>()?.0),
                Type::Other => {
                    entries.next_value::<IgnoredAny>()?;
                    AttributeValue::Null(true)
                }
            };
        }
        Ok(Value(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::UserId;
    use crate::item::{Items, Stored};

    fn items(body: &str) -> Items {
        let mut items = Items::default();
        for (key, item) in BatchReply::parse(body.as_bytes()).expect("it is a reply").into_items() {
            items.add(key, item);
        }
        items
    }

    #[test]
    fn items_are_parsed_in_any_order_of_their_attributes() {
        let items = items(
            r#"{"Responses": {
                "livechat": [
                    {"roles": {"SS": ["b", "a"]}, "username": {"S": "Jo\u00eb \"J\""}, "pk": {"S": "USER#u\u0031"}},
                    {"pk": {"S": "DEPARTMENT#d"}, "parentId": {"S": "U"}, "ancestors": {"L": [{"S": "U"}]}, "more": {"M": {"a": {"L": []}}}},
                    {"version": {"N": "7"}, "monitors": {"M": {"u1": {"S": "joe"}}}, "departmentIds": {"SS": ["d"]}, "pk": {"S": "UNIT#U"}},
                    {"pk": {"S": "SOMETHING#else"}, "name": {"S": "x"}}
                ],
                "tokens": [{"expiresAt": {"N": "12.5"}, "userId": {"S": "u1"}, "hashedToken": {"S": "hash"}}]
            }}"#,
        );
        let [(id, Stored::Present(user))] = &items.users[..] else { panic!("{items:?}") };
        assert_eq!((id.as_str(), user.username.as_deref()), ("u1", Some("Joë \"J\"")));
        assert!(user.active && user.roles == ["b", "a"]);
        let [(id, Stored::Present(department))] = &items.departments[..] else { panic!("{items:?}") };
        assert_eq!((id.as_str(), department.parent_id.as_deref()), ("d", Some("U")));
        assert_eq!(department.ancestors.as_deref(), Some(&["U".to_owned()][..]));
        let unit = items.unit.get().expect("it is sound").expect("it exists");
        assert_eq!((unit.version, unit.monitors.len(), unit.departments.len()), (Some(7), 1, 1));
        let token = items.token.get().expect("it is sound").expect("it exists");
        assert_eq!((token.user_id.as_deref(), token.expires_at.clone()), (Some("u1"), Ok(Some(12.5))));
    }

    #[test]
    fn an_attribute_of_another_type_makes_its_item_corrupt() {
        for value in [r#"{"NS": ["1"]}"#, r#"{"S": "a"}"#, r#"{"B": "AA=="}"#, r#"{"NULL": true}"#, "{}"] {
            let body =
                format!(r#"{{"Responses": {{"t": [{{"pk": {{"S": "USER#u"}}, "roles": {value}}}]}}}}"#);
            let items = items(&body);
            assert!(
                matches!(&items.users[..], [(_, Stored::Corrupt(corrupt))] if corrupt.attribute == "roles")
            );
        }
    }

    #[test]
    fn unprocessed_keys_and_the_capacity_of_all_tables_are_returned() {
        let mut reply = BatchReply::parse(
            br#"{"Responses": {}, "UnprocessedKeys": {
                "livechat": {"Keys": [{"sk": {"S": "USER"}, "pk": {"S": "USER#u"}}], "ConsistentRead": true},
                "tokens": {"Keys": [{"hashedToken": {"S": "hash"}}]}
            }, "ConsumedCapacity": [{"TableName": "tokens", "CapacityUnits": 1.5}, {"CapacityUnits": 2}]}"#,
        )
        .expect("it is a reply");
        assert_eq!(reply.capacity_units(), 3.5);
        let keys = reply.take_unprocessed_keys();
        assert_eq!(keys.len(), 2);
        assert!(keys.contains(&Key::Token("hash".into())));
        assert!(keys.contains(&Key::User(UserId::parse("u").expect("an id"))));
        assert_eq!(reply.into_items().count(), 0);
    }

    #[test]
    fn a_reply_that_is_not_whole_is_unavailable_and_its_items_are_not_quoted() {
        let bodies: [&[u8]; 6] = [
            b"",
            b"{}",
            b"[]",
            br#"{"Responses": {"t": [{"pk": {"S": "secret"#,
            br#"{"Responses": {"t": "secret"}}"#,
            b"\xff",
        ];
        for body in bodies {
            let Err(error @ Error::Unavailable(_)) = BatchReply::parse(body) else {
                panic!("{body:?} is accepted")
            };
            assert!(!error.cause_chain().unwrap_or_default().contains("secret"));
        }
    }
}
