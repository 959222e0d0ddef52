//! Parses the body of a reply to BatchGetItem (Amazon DynamoDB API Reference, "BatchGetItem").

use std::collections::HashMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::error::Error;
use crate::item::{Attributes, Key, Text, Value};

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
pub(super) struct BatchReply<'a> {
    /// The items that were found, by table. Items that do not exist are not among them.
    #[serde(borrow)]
    responses: Option<HashMap<String, Vec<ReplyItem<'a>>>>,
    #[serde(borrow)]
    unprocessed_keys: Option<HashMap<String, UnprocessedKeys<'a>>>,
    #[serde(default)]
    consumed_capacity: Vec<ConsumedCapacity>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UnprocessedKeys<'a> {
    #[serde(borrow)]
    keys: Vec<ReplyItem<'a>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConsumedCapacity {
    capacity_units: Option<f64>,
}

/// An item of a reply, as far as the function needs it.
pub(super) struct ReplyItem<'a> {
    /// `None` if the partition key has no form that is known here.
    key: Option<Key>,
    /// The other attributes. An item has a handful of them, so a list takes less time than a map.
    attributes: Vec<(&'static str, Value<'a>)>,
}

impl<'a> BatchReply<'a> {
    /// Parses a reply's body.
    ///
    /// # Errors
    /// The body is missing or is cut off, so the items are not known.
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Error> {
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
    pub(super) fn into_items(self) -> impl Iterator<Item = (Key, ReplyItem<'a>)> {
        let items = self.responses.into_iter().flatten().flat_map(|(_, items)| items);
        items.filter_map(|mut item| Some((item.key.take()?, item)))
    }
}

impl Attributes for ReplyItem<'_> {
    fn take(&mut self, attribute: &str) -> Option<Value<'_>> {
        let place = self.attributes.iter().position(|(name, _)| *name == attribute)?;
        Some(self.attributes.swap_remove(place).1)
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for ReplyItem<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ReplyItemVisitor)
    }
}

struct ReplyItemVisitor;

impl<'de> Visitor<'de> for ReplyItemVisitor {
    type Value = ReplyItem<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an item")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<ReplyItem<'de>, A::Error> {
        let (mut key, mut attributes) = (None, Vec::new());
        while let Some(Text(name)) = entries.next_key()? {
            match known_attribute(&name) {
                Some("pk") => key = Key::of_partition(text(&entries.next_value()?)),
                Some("hashedToken") => key = Some(Key::Token(text(&entries.next_value()?).to_owned())),
                Some(name) => attributes.push((name, entries.next_value()?)),
                None => drop(entries.next_value::<IgnoredAny>()?),
            }
        }
        Ok(ReplyItem { key, attributes })
    }
}

/// `None` for attributes that the function does not need.
fn known_attribute(name: &str) -> Option<&'static str> {
    LIVECHAT_ATTRIBUTES.into_iter().chain(TOKEN_ATTRIBUTES).find(|known| *known == name)
}

/// The text of a key attribute. Keys are strings in both tables.
fn text<'a>(value: &'a Value) -> &'a str {
    if let Value::S(text) = value { text } else { "" }
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
        assert_eq!(department.ancestors.as_deref(), Some(&["U".into()][..]));
        let unit = items.unit.get().expect("it is sound").expect("it exists");
        assert_eq!((unit.version, unit.monitors.len(), unit.departments.len()), (Some(7), 1, 1));
        let token = items.token.get().expect("it is sound").expect("it exists");
        assert_eq!((token.user_id.as_deref(), token.expires_at.clone()), (Some("u1"), Ok(Some(12.5))));
    }

    #[test]
    fn an_attribute_of_another_type_makes_its_item_corrupt() {
        let others =
            [r#"{"S": "a"}"#, r#"{"NS": ["1"]}"#, r#"{"B": "AA=="}"#, r#"{"BS": []}"#, r#"{"NULL": true}"#];
        for value in others {
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
