//! What must hold for any input, as the fuzz targets and the replay of their corpus below check it. No part of the
//! function: it is compiled for those two only.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Deserialize as _;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::auth::hashed_token;
use crate::error::Error;
use crate::id::{UnitId, UserId};
use crate::item::Key;
use crate::limits::MAX_BODY_BYTES;
use crate::request::{ApiRequest as Call, Body, Update, json};

mod plan;

pub use plan::plan;

/// Reads an event of these bytes, with its body. Returns a name of what became of it.
///
/// # Panics
/// Something does not hold.
pub fn event(data: &[u8]) -> &'static str {
    // Lambda's runtime hands over nothing but JSON.
    let Ok(event) = serde_json::from_slice::<&RawValue>(data) else { return "not-json" };
    let call = match Call::parse(event) {
        Ok(call) => call,
        Err(error) => {
            if let Error::Internal(cause) = &error {
                // Where, and nothing that the event holds.
                let cause = cause.to_string();
                let place = cause.strip_prefix("not an API Gateway event: ").expect("its one cause");
                let place = place.strip_prefix("line ").map(|place| place.replacen(" column ", "", 1));
                let is_place = |place: String| place.bytes().all(|byte| byte.is_ascii_digit());
                assert!(cause.ends_with(": not a JSON object") || place.is_some_and(is_place), "{cause}");
            } else {
                assert!(matches!(error, Error::UnknownEndpoint | Error::MethodNotAllowed), "{error:?}");
            }
            return error.outcome();
        }
    };
    // What is not read may be what the parser refuses, a lone surrogate for instance.
    if let Ok(event) = serde_json::from_slice(data) {
        assert_is_the_events(&call, &event);
    }
    let is_anybodys = call.credentials.is_some();
    match Update::parse(call.unit, call.body) {
        _ if !is_anybodys => Error::NotLoggedIn.outcome(),
        Ok(_) => "update",
        Err(error) => error.outcome(),
    }
}

/// A call is what its event says.
fn assert_is_the_events(call: &Call, event: &Value) {
    let path = ["rawPath", "path"].into_iter().find_map(|name| event[name].as_str()).expect("it has a path");
    assert!(path.contains("/api/v1/livechat/units/"), "{path}");
    let context = &event["requestContext"];
    // A list's fields are read in their order.
    let is_list = context.is_array() || context["http"].is_array();
    let method = context["http"]["method"].as_str().or(event["httpMethod"].as_str());
    assert!(is_list || method == Some("POST"), "{method:?}");
    if let Some(credentials) = &call.credentials {
        let (token, user) = (sole_header(event, "x-auth-token"), sole_header(event, "x-user-id"));
        assert_eq!(credentials.keys()[0], Key::Token(hashed_token(&token)));
        assert_eq!(credentials.claimed_user().as_str(), user);
    }
}

/// The value of a header that the event has just one of.
fn sole_header(event: &Value, name: &str) -> String {
    let of = |field: &str| -> BTreeMap<String, Value> {
        let headers = event[field].as_object().into_iter().flatten();
        let headers = headers.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        headers.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    let many = of("multiValueHeaders").into_values().filter_map(|values| values.as_array().cloned());
    let mut values: Vec<Value> = many.flatten().filter(|value| !value.is_null()).collect();
    if values.is_empty() {
        values = of("headers").into_values().filter(|value| !value.is_null()).collect();
    }
    let [Value::String(value)] = &values[..] else { panic!("{name} is {values:?}") };
    assert!(value.bytes().all(|byte| byte.is_ascii() && byte != b',') && !value.is_empty(), "{value:?}");
    value.clone()
}

/// Checks a body of these bytes. Returns a name of what became of it.
///
/// # Panics
/// Something does not hold.
pub fn body(data: &[u8]) -> &'static str {
    let unit = || UnitId::parse("unit");
    let encoded = || Body { text: BASE64.encode(data), is_base64: true };
    let result = Update::parse(unit(), encoded());
    let told = |result: &Result<Update, Error>| match result {
        Ok(update) => Ok(update.clone()),
        Err(error) => Err(error.response()),
    };
    assert_eq!(told(&Update::parse(unit(), encoded())), told(&result), "judged twice, it differs");
    if let Ok(text) = String::from_utf8(data.to_vec()) {
        let plain = Update::parse(unit(), Body { text, is_base64: false });
        assert_eq!(told(&plain), told(&result), "base64 makes a difference");
    }

    // The parser is serde_json's own, but for its limit.
    let value = json::parse(data);
    match (without_limit(data), &value) {
        (Ok(theirs), Ok(ours)) => {
            assert!(levels(&theirs) <= 128);
            assert_eq!(theirs.to_string(), ours.to_string());
        }
        (Ok(theirs), Err(error)) => assert!(levels(&theirs) > 128, "{error}"),
        (Err(error), Ok(ours)) => panic!("{error} in {ours}"),
        (Err(_), Err(_)) => {}
    }

    match (&result, value) {
        (Err(Error::BodyTooLarge), _) => assert!(data.len() > MAX_BODY_BYTES),
        (Err(Error::InvalidJson(_)), value) => assert!(value.is_err()),
        (Err(Error::Mismatch(what)), Ok(value)) => {
            let starts = ["Expected ", "Missing key '", "Unknown key"];
            assert!(starts.iter().any(|start| what.starts_with(start)), "{what}");
            assert!(!is_as_contracted(&value), "refused: {value}");
        }
        (Ok(update), Ok(value)) => {
            assert!(is_as_contracted(&value), "accepted: {value}");
            assert_eq!(update.name, value["unitData"]["name"]);
            assert_eq!(update.visibility.as_str(), value["unitData"]["visibility"]);
            let monitors = listed(&value["unitMonitors"], "monitorId");
            let can_be = |id: &&String| (1..=512).contains(&id.len());
            assert_eq!(update.listed_monitors, monitors.len());
            assert!(update.monitors.iter().map(UserId::as_str).eq(monitors.iter().filter(can_be)));
            let departments = listed(&value["unitDepartments"], "departmentId");
            assert_eq!(update.departments.len(), departments.len());
            for (id, listed) in update.departments.iter().zip(&departments) {
                assert_eq!(id.possible().is_some(), can_be(&listed), "{listed}");
                assert_eq!(id.as_str(), listed);
            }
        }
        (result, value) => panic!("{result:?} of {value:?}"),
    }
    // What the body is is told before what the unit is not.
    match (told(&Update::parse(None, encoded())), told(&result)) {
        (Err(answer), Ok(_)) => assert_eq!(answer, Error::UnitNotFound.response()),
        (answer, result) => assert_eq!(answer, result),
    }
    result.map_or_else(|error| error.outcome(), |_| "update")
}

fn without_limit(data: &[u8]) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(data);
    deserializer.disable_recursion_limit();
    let value = Value::deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

fn levels(value: &Value) -> usize {
    let of = |inner: Option<usize>| inner.unwrap_or_default() + 1;
    match value {
        Value::Array(items) => of(items.iter().map(levels).max()),
        Value::Object(object) => of(object.values().map(levels).max()),
        _ => 0,
    }
}

/// Row 8 of the contract, from the other end: not what is told first, but whether anything is.
fn is_as_contracted(value: &Value) -> bool {
    let is_string = |value: &Value| value.is_string();
    let unit_data = value["unitData"].as_object().is_some_and(|object| {
        object
            .get("name")
            .and_then(Value::as_str)
            .is_some_and(|name| name.chars().any(|c| !c.is_whitespace()))
            && ["public", "private"].into_iter().any(|known| object.get("visibility") == Some(&known.into()))
            && object.iter().all(|(key, value)| match key.as_str() {
                "name" | "visibility" | "description" | "email" => value.is_string(),
                "enabled" | "showOnOfflineForm" => value.is_boolean(),
                _ => false,
            })
    });
    let all = |list: &Value, keys: &[&str]| {
        list.as_array().is_some_and(|list| {
            list.iter().all(|item| keys.iter().all(|key| item.is_object() && is_string(&item[*key])))
        })
    };
    unit_data
        && all(&value["unitMonitors"], &["monitorId", "username"])
        && all(&value["unitDepartments"], &["departmentId"])
}

/// The distinct ids in their order.
fn listed(list: &Value, key: &str) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for item in list.as_array().expect("it is a list") {
        let id = item[key].as_str().expect("it has an id").to_owned();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// What becomes of a target's corpus, file by file.
    fn replay(name: &str, target: fn(&[u8]) -> &'static str) -> BTreeSet<&'static str> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let files = fs::read_dir(folder).expect("the corpus is there");
        files.map(|file| target(&fs::read(file.expect("readable").path()).expect("readable"))).collect()
    }

    #[test]
    fn the_corpus_of_events_holds() {
        let outcomes = BTreeSet::from([
            "not-json",
            "internal",
            "unknown-endpoint",
            "method-not-allowed",
            "not-logged-in",
            "invalid-json",
            "match-error",
            "unit-not-found",
            "update",
        ]);
        assert_eq!(replay("event", event), outcomes);
    }

    #[test]
    fn the_corpus_of_bodies_holds() {
        assert_eq!(replay("body", body), BTreeSet::from(["invalid-json", "match-error", "update"]));
        assert_eq!(body(&vec![b' '; MAX_BODY_BYTES + 1]), "payload-too-large");
    }

    #[test]
    fn the_corpus_of_plans_holds() {
        let outcomes = BTreeSet::from([
            "write",
            "unit-not-found",
            "department-not-found",
            "too-many-changes",
            "unit-too-large",
            "internal",
        ]);
        assert_eq!(replay("plan", plan), outcomes);
    }
}
