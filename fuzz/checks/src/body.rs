//! Bodies: the function's answer agrees with serde_json and with row 8 of the contract.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use livechat_units::error::Error;
use livechat_units::id::{UnitId, UserId};
use livechat_units::limits::MAX_BODY_BYTES;
use livechat_units::request::{Body, Update, json};
use serde::Deserialize as _;
use serde_json::Value;

/// Checks a body with these bytes. Returns a name for the outcome.
///
/// # Panics
/// A check fails.
pub fn body(data: &[u8]) -> &'static str {
    let unit = || UnitId::parse("unit");
    let encoded = || Body { text: BASE64.encode(data), is_base64: true };
    let result = Update::parse(unit(), encoded());
    let comparable = |result: &Result<Update, Error>| match result {
        Ok(update) => Ok(update.clone()),
        Err(error) => Err(error.response()),
    };
    assert_eq!(
        comparable(&Update::parse(unit(), encoded())),
        comparable(&result),
        "the same body has two outcomes"
    );
    if let Ok(text) = String::from_utf8(data.to_vec()) {
        let plain = Update::parse(unit(), Body { text, is_base64: false });
        assert_eq!(comparable(&plain), comparable(&result), "the outcome depends on base64");
    }

    // The function's parser accepts what serde_json accepts, up to 128 levels, and returns the same value.
    let value = json::parse(data).map(|value| serde_json::to_value(&value).expect("it is JSON"));
    match (parse_without_limit(data), &value) {
        (Ok(expected), Ok(parsed)) => {
            assert!(levels(&expected) <= 128);
            assert_eq!(expected.to_string(), parsed.to_string());
        }
        (Ok(expected), Err(error)) => assert!(levels(&expected) > 128, "{error}"),
        (Err(error), Ok(parsed)) => panic!("{error} in {parsed}"),
        (Err(_), Err(_)) => {}
    }

    match (&result, value) {
        (Err(Error::BodyTooLarge), _) => assert!(data.len() > MAX_BODY_BYTES),
        (Err(Error::InvalidJson(_)), value) => assert!(value.is_err()),
        (Err(Error::Mismatch(text)), Ok(value)) => {
            let starts = ["Expected ", "Missing key '", "Unknown key"];
            assert!(starts.iter().any(|start| text.starts_with(start)), "{text}");
            assert!(!matches_contract(&value), "refused: {value}");
        }
        (Ok(update), Ok(value)) => {
            assert!(matches_contract(&value), "accepted: {value}");
            assert_eq!(update.name, value["unitData"]["name"]);
            assert_eq!(update.visibility.as_str(), value["unitData"]["visibility"]);
            let monitors = listed(&value["unitMonitors"], "monitorId");
            let is_possible = |id: &&String| (1..=512).contains(&id.len());
            assert_eq!(update.listed_monitors, monitors.len());
            assert!(update.monitors.iter().map(UserId::as_str).eq(monitors.iter().filter(is_possible)));
            let departments = listed(&value["unitDepartments"], "departmentId");
            assert_eq!(update.departments.len(), departments.len());
            for (id, listed) in update.departments.iter().zip(&departments) {
                assert_eq!(id.possible().is_some(), is_possible(&listed), "{listed}");
                assert_eq!(id.as_str(), listed);
            }
        }
        (result, value) => panic!("{result:?} for {value:?}"),
    }
    // The body is checked before the unit.
    match (comparable(&Update::parse(None, encoded())), comparable(&result)) {
        (Err(answer), Ok(_)) => assert_eq!(answer, Error::UnitNotFound.response()),
        (answer, result) => assert_eq!(answer, result),
    }
    result.map_or_else(|error| error.outcome(), |_| "update")
}

/// Parses JSON with any number of levels.
fn parse_without_limit(data: &[u8]) -> serde_json::Result<Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(data);
    deserializer.disable_recursion_limit();
    let value = Value::deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(value)
}

/// The levels of nested arrays and objects.
fn levels(value: &Value) -> usize {
    let one_more_than = |inner: Option<usize>| inner.unwrap_or_default() + 1;
    match value {
        Value::Array(items) => one_more_than(items.iter().map(levels).max()),
        Value::Object(object) => one_more_than(object.values().map(levels).max()),
        _ => 0,
    }
}

/// True if the body has no match error, which is row 8 of the contract. This check shares no code with the function.
fn matches_contract(value: &Value) -> bool {
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
    let all_have = |list: &Value, keys: &[&str]| {
        list.as_array().is_some_and(|list| {
            list.iter().all(|item| keys.iter().all(|key| item.is_object() && is_string(&item[*key])))
        })
    };
    unit_data
        && all_have(&value["unitMonitors"], &["monitorId", "username"])
        && all_have(&value["unitDepartments"], &["departmentId"])
}

/// The distinct ids of a list, in their order.
fn listed(list: &Value, key: &str) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    for item in list.as_array().expect("a list") {
        let id = item[key].as_str().expect("an id").to_owned();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}
