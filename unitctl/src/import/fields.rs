//! Reads those fields of a document that the import needs, and checks their types.

use livechat_units::id::MAX_ID_BYTES;
use serde_json::Value;

use super::document::Document;
use super::extended_json::{date, is_null, text};
use crate::timestamp::rfc3339;

/// What is wrong with an `_id` of the right type.
pub const BAD_ID: &str = "_id is empty or over 512 bytes";

/// The document's `_id`.
///
/// # Errors
/// It has none, or it is no string.
pub fn take_id(document: &mut Document) -> Result<String, String> {
    let id = document.remove("_id").filter(|id| !is_null(id)).ok_or("no _id")?;
    let id = text(&id).ok_or_else(|| wrong("_id", &id, "a string"))?;
    if id.is_empty() || id.len() > MAX_ID_BYTES { Err(BAD_ID.into()) } else { Ok(id.to_owned()) }
}

/// A string. `None` when it is absent or null, which mean the same to Rocket.Chat, too.
///
/// # Errors
/// It is something else.
pub fn take_text(document: &mut Document, name: &str) -> Result<Option<String>, String> {
    match take(document, name) {
        None => Ok(None),
        Some(value) => match text(&value) {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(wrong(name, &value, "a string")),
        },
    }
}

/// An array of strings, without its null elements. Empty when absent or null.
///
/// # Errors
/// It is something else.
pub fn take_texts(document: &mut Document, name: &str) -> Result<Vec<String>, String> {
    let Some(value) = take(document, name) else { return Ok(Vec::new()) };
    let texts = value.as_array().and_then(|values| {
        let values = values.iter().filter(|value| !is_null(value));
        values.map(|value| text(value).map(str::to_owned)).collect::<Option<Vec<_>>>()
    });
    texts.ok_or_else(|| wrong(name, &value, "an array of strings"))
}

/// A date as RFC 3339. `None` when absent or null.
///
/// # Errors
/// It is something else.
pub fn take_date(document: &mut Document, name: &str) -> Result<Option<String>, String> {
    match take(document, name) {
        None => Ok(None),
        Some(value) => match date(&value) {
            Ok(moment) => Ok(Some(rfc3339(moment))),
            Err(reason) => Err(format!("{name}: {reason}")),
        },
    }
}

/// A field, unless it is absent or null.
pub fn take(document: &mut Document, name: &str) -> Option<Value> {
    document.remove(name).filter(|value| !is_null(value))
}

/// The kind of a value, for a message. The value itself is not shown, because it may be anything, even a token.
pub fn wrong(name: &str, value: &Value, expected: &str) -> String {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    format!("{name} is {kind} and not {expected}")
}
