//! Rocket.Chat's users and their login tokens, as far as they are imported.

use std::collections::{BTreeMap, BTreeSet};

use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::id::UserId;
use livechat_units::item::{Item, Key, MONITOR_ROLE};
use serde_json::Value;
use time::{Duration, OffsetDateTime};

use super::document::Document;
use super::extended_json::{date, is_null};
use super::fields::{BAD_ID, take, take_id, take_text, take_texts, wrong};
use super::item_size::{check_bytes, check_size, item_bytes};
use super::records::{REV_BYTES, insert_set};
use crate::arguments::is_hash;
use crate::timestamp::{self, rfc3339};

/// A document of `users`.
#[derive(Debug)]
pub struct User {
    /// Its `_id`.
    pub id: UserId,
    /// The line of its document. The first line is 1.
    pub line: u64,
    /// The user's item.
    pub item: Item,
    /// The login tokens that can be used, by their hashes.
    pub tokens: BTreeMap<String, LoginToken>,
    /// The hashes of login tokens that can't be used. The stored tokens with these hashes stay.
    pub unusable_hashes: BTreeSet<String>,
    /// What is wrong with the tokens that can't be used.
    pub unusable: Vec<String>,
    /// Fields of login tokens that were left out.
    pub changes: Vec<String>,
    /// The facts that are needed when the user is a unit's monitor.
    pub monitor: MonitorUser,
}

/// A login token, without its user's id.
#[derive(Debug)]
pub struct LoginToken {
    /// The item.
    pub item: Item,
    /// True if it expires, but the document does not say when it was created. The time of the first import that stores the
    /// token counts instead.
    pub lacks_when: bool,
}

/// The facts of a user that a unit's monitors need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonitorUser {
    /// The username. A monitor must have one.
    pub username: Option<String>,
    /// Whether the user has the role `livechat-monitor`. Whether the user is active does not matter.
    pub has_role: bool,
}

impl User {
    /// Reads a user and their login tokens. The tokens expire `lifetime` after they were made.
    ///
    /// # Errors
    /// What is wrong with the document.
    pub fn parse(mut document: Document, lifetime: Duration) -> Result<Self, String> {
        let id = UserId::parse(take_id(&mut document)?).ok_or(BAD_ID)?;
        let username = take_text(&mut document, "username")?;
        let roles: BTreeSet<String> = take_texts(&mut document, "roles")?.into_iter().collect();
        let active = match take(&mut document, "active") {
            None => None,
            Some(Value::Bool(active)) => Some(active),
            Some(other) => return Err(wrong("active", &other, "true or false")),
        };
        let monitor = MonitorUser { username: username.clone(), has_role: roles.contains(MONITOR_ROLE) };
        let mut item = Key::User(id.clone()).attributes();
        if let Some(username) = username {
            item.insert("username".into(), AttributeValue::S(username));
        }
        if let Some(active) = active {
            item.insert("active".into(), AttributeValue::Bool(active));
        }
        insert_set(&mut item, "roles", roles);
        check_size(&item)?;

        let mut user = Self {
            id,
            line: 0,
            item,
            tokens: BTreeMap::new(),
            unusable_hashes: BTreeSet::new(),
            unusable: Vec::new(),
            changes: Vec::new(),
            monitor,
        };
        for (place, token) in login_tokens(&mut document)?.iter().enumerate() {
            if !is_null(token) {
                user.add_token(place, token, lifetime);
            }
        }
        check_bytes(user.bytes_of_hashes())
            .map_err(|reason| format!("the list of its login tokens has {reason}"))?;
        Ok(user)
    }

    /// The size of the item that lists the user's hashes.
    fn bytes_of_hashes(&self) -> usize {
        let key = item_bytes(&Key::User(self.id.clone()).attributes());
        key + REV_BYTES + "hashes".len() + self.hashes().map(str::len).sum::<usize>()
    }

    /// The hashes of all login tokens that the document has.
    pub fn hashes(&self) -> impl Iterator<Item = &str> {
        self.tokens.keys().chain(&self.unusable_hashes).map(String::as_str)
    }

    fn add_token(&mut self, place: usize, token: &Value, lifetime: Duration) {
        let about_token = |text: String| format!("login token {place}: {text}");
        let hash = match parse_hash(token) {
            Ok(hash) => hash,
            Err(reason) => return self.unusable.push(about_token(reason)),
        };
        let parsed = ParsedToken::parse(token, hash, &self.id, lifetime);
        let token = parsed.and_then(|ParsedToken { token, changes }| {
            self.changes.extend(changes.into_iter().map(about_token));
            token.check_size()?;
            Ok(token)
        });
        match token {
            Ok(token) => {
                self.unusable_hashes.remove(hash);
                self.tokens.insert(hash.to_owned(), token);
            }
            Err(reason) => {
                self.unusable.push(about_token(reason));
                if !self.tokens.contains_key(hash) {
                    self.unusable_hashes.insert(hash.to_owned());
                }
            }
        }
    }
}

/// The elements of `services.resume.loginTokens`.
fn login_tokens(document: &mut Document) -> Result<Vec<Value>, String> {
    let mut fields = std::mem::take(document);
    let mut path = String::new();
    for name in ["services", "resume"] {
        path = if path.is_empty() { name.into() } else { format!("{path}.{name}") };
        fields = match take(&mut fields, name) {
            None => return Ok(Vec::new()),
            Some(Value::Object(fields)) => fields,
            // Some tools write an empty document as an array.
            Some(Value::Array(values)) if values.is_empty() => return Ok(Vec::new()),
            Some(other) => return Err(wrong(&path, &other, "an object")),
        };
    }
    match take(&mut fields, "loginTokens") {
        None => Ok(Vec::new()),
        Some(Value::Array(tokens)) => Ok(tokens),
        Some(other) => Err(wrong("services.resume.loginTokens", &other, "an array")),
    }
}

/// The hashes that the login tokens of a document have, usable or not. `None` if there is something else where the tokens
/// should be, which Rocket.Chat may understand.
#[cfg(feature = "sync")]
pub(crate) fn visible_hashes(document: &Document) -> Option<BTreeSet<String>> {
    let mut fields = document;
    for name in ["services", "resume"] {
        fields = match fields.get(name).filter(|value| !is_null(value)) {
            None => return Some(BTreeSet::new()),
            Some(value) => value.as_object()?,
        };
    }
    let Some(tokens) = fields.get("loginTokens").filter(|value| !is_null(value)) else {
        return Some(BTreeSet::new());
    };
    let hashes = tokens.as_array()?.iter().filter_map(|token| token.get("hashedToken")?.as_str());
    Some(hashes.map(str::to_owned).collect())
}

/// The hash of a login token.
fn parse_hash(token: &Value) -> Result<&str, String> {
    let Value::Object(fields) = token else { return Err(wrong("it", token, "an object")) };
    let hash = fields.get("hashedToken").and_then(Value::as_str).ok_or("no hashedToken")?;
    if is_hash(hash) { Ok(hash) } else { Err("hashedToken is no SHA-256 in base64".into()) }
}

/// A login token as it was read. It may be too large for an item.
struct ParsedToken {
    token: LoginToken,
    /// Fields that were left out.
    changes: Vec<String>,
}

impl ParsedToken {
    fn parse(token: &Value, hash: &str, user: &UserId, lifetime: Duration) -> Result<Self, String> {
        let mut changes = Vec::new();
        let field = |name: &str| token.get(name).filter(|value| !is_null(value));
        let kind = match field("type") {
            None => None,
            Some(Value::String(kind)) => Some(kind.clone()),
            // Nothing says whether it expires.
            Some(other) => return Err(wrong("type", other, "a string")),
        };
        let is_personal = kind.as_deref() == Some("personalAccessToken");
        let when = match field("when").map(date) {
            Some(Err(reason)) if is_personal => {
                changes.push(format!("left out when: {reason}"));
                None
            }
            other => other.transpose().map_err(|reason| format!("when: {reason}"))?,
        };
        let mut item = Key::Token(hash.into()).attributes();
        item.insert("userId".into(), AttributeValue::S(user.to_string()));
        if !is_personal && let Some(when) = when {
            item.insert("expiresAt".into(), expiry(when, lifetime)?);
        }
        let lacks_when = !is_personal && when.is_none();
        let created = match (when, field("createdAt").map(date)) {
            _ if lacks_when => None,
            (Some(when), _) => Some(when),
            (None, Some(Ok(created))) => Some(created),
            (None, Some(Err(reason))) => {
                changes.push(format!("left out createdAt: {reason}"));
                None
            }
            (None, None) => None,
        };
        let name = field("name").and_then(|name| match name {
            Value::String(name) => Some(name.clone()),
            other => {
                changes.push(format!("left out name: {}", wrong("it", other, "a string")));
                None
            }
        });
        for (attribute, value) in [("createdAt", created.map(rfc3339)), ("type", kind), ("name", name)] {
            if let Some(value) = value {
                item.insert(attribute.into(), AttributeValue::S(value));
            }
        }
        Ok(Self { token: LoginToken { item, lacks_when }, changes })
    }
}

impl LoginToken {
    /// # Errors
    /// The token's item is larger than DynamoDB stores.
    fn check_size(&self) -> Result<(), String> {
        // A token that lacks `when` gets two attributes more.
        let reserve = if self.lacks_when { 64 } else { 0 };
        check_bytes(item_bytes(&self.item) + reserve)
    }

    /// The item of a token that lacks `when` and is stored as this, or is not stored yet. Its lifetime begins with the
    /// import that brought it first. If that is this import, it begins `now`.
    pub fn item_since_first_import(
        &self,
        stored: Option<&Item>,
        lifetime: Duration,
        now: OffsetDateTime,
    ) -> Result<Item, String> {
        let first = stored
            .filter(|stored| stored.get("userId") == self.item.get("userId"))
            .and_then(|stored| timestamp::parse(stored.get("createdAt")?.as_s().ok()?));
        let first = first.unwrap_or(now);
        let mut item = self.item.clone();
        item.insert("createdAt".into(), AttributeValue::S(rfc3339(first)));
        item.insert("expiresAt".into(), expiry(first, lifetime)?);
        Ok(item)
    }
}

fn expiry(made: OffsetDateTime, lifetime: Duration) -> Result<AttributeValue, String> {
    let end = made.checked_add(lifetime).ok_or("it expires too late")?;
    Ok(AttributeValue::N(end.unix_timestamp().to_string()))
}
