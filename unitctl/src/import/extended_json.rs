//! MongoDB's extended JSON, canonical and relaxed ("MongoDB Extended JSON (v2)", MongoDB Manual), as
//! DynamoDB's types.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Map, Value};
use time::format_description::well_known::Iso8601;
use time::{Duration, OffsetDateTime, UtcOffset};

use crate::arguments::rfc3339;

/// DynamoDB's deepest nesting of lists and maps ("Constraints in Amazon DynamoDB").
const MAX_DEPTH: usize = 32;

/// The magnitudes of numbers that DynamoDB stores ("Supported data types and naming rules").
const MAGNITUDES: std::ops::Range<f64> = 1e-130..1e126;

/// A value as DynamoDB keeps it: dates as RFC 3339 text, object ids as their hexadecimal text.
///
/// # Errors
/// What is wrong with it: nested too deep, or a number beyond DynamoDB's range.
pub fn attribute(value: &Value) -> Result<AttributeValue, String> {
    at_depth(value, 0)
}

fn at_depth(value: &Value, depth: usize) -> Result<AttributeValue, String> {
    if depth > MAX_DEPTH {
        return Err(format!("nested over {MAX_DEPTH} levels"));
    }
    Ok(match value {
        Value::Null => AttributeValue::Null(true),
        Value::Bool(value) => AttributeValue::Bool(*value),
        Value::Number(value) => number(&value.to_string())?,
        Value::String(text) => AttributeValue::S(text.clone()),
        Value::Array(values) => {
            let values = values.iter().map(|value| at_depth(value, depth + 1));
            AttributeValue::L(values.collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => match typed(fields)? {
            Some(attribute) => attribute,
            None => {
                let fields =
                    fields.iter().map(|(name, value)| Ok((name.clone(), at_depth(value, depth + 1)?)));
                AttributeValue::M(fields.collect::<Result<_, String>>()?)
            }
        },
    })
}

/// An object that stands for a value of another type. Types that have no like in DynamoDB and no place in
/// Rocket.Chat's documents, such as regular expressions, stay the objects that they are written as.
fn typed(fields: &Map<String, Value>) -> Result<Option<AttributeValue>, String> {
    let mut entries = fields.iter();
    let (Some((name, value)), None) = (entries.next(), entries.next()) else { return Ok(None) };
    Ok(Some(match (name.as_str(), value) {
        ("$date", value) => AttributeValue::S(rfc3339(moment(value)?)),
        ("$oid" | "$uuid" | "$symbol", Value::String(text)) => AttributeValue::S(text.clone()),
        ("$numberInt" | "$numberLong" | "$numberDouble" | "$numberDecimal", Value::String(text)) => {
            number(text)?
        }
        ("$undefined", _) => AttributeValue::Null(true),
        ("$binary", Value::Object(binary)) => {
            let bytes =
                binary.get("base64").and_then(Value::as_str).and_then(|text| BASE64.decode(text).ok());
            AttributeValue::B(Blob::new(bytes.ok_or("$binary is not base64")?))
        }
        _ => return Ok(None),
    }))
}

fn number(text: &str) -> Result<AttributeValue, String> {
    let magnitude = text.parse::<f64>().map_err(|_| format!("{text:?} is no number"))?.abs();
    // NaN is in no range.
    if magnitude == 0.0 || MAGNITUDES.contains(&magnitude) {
        Ok(AttributeValue::N(text.into()))
    } else {
        Err(format!("the number {text} is beyond what DynamoDB stores"))
    }
}

/// The text of a string or of an object id, which is what ids are.
pub fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Object(fields) if fields.len() == 1 => fields.get("$oid")?.as_str(),
        _ => None,
    }
}

/// A whole number, whichever way it is written.
pub fn integer(value: &Value) -> Option<i64> {
    let text = match value {
        Value::Number(number) => return number.as_i64().or_else(|| whole(number.as_f64()?)),
        Value::Object(fields) if fields.len() == 1 => ["$numberInt", "$numberLong", "$numberDouble"]
            .iter()
            .find_map(|name| fields.get(*name))?
            .as_str()?,
        _ => return None,
    };
    text.parse().ok().or_else(|| whole(text.parse().ok()?))
}

fn whole(number: f64) -> Option<i64> {
    // Beyond 2^53 a double is no exact count of anything.
    (number.fract() == 0.0 && number.abs() < 9e15).then_some(number as i64)
}

/// The moment of a `{"$date": ...}`.
///
/// # Errors
/// What is wrong with it.
pub fn date(value: &Value) -> Result<OffsetDateTime, String> {
    match value {
        Value::Object(fields) if fields.len() == 1 && fields.contains_key("$date") => {
            moment(&fields["$date"])
        }
        _ => Err(format!("{value} is no date, which would be {{\"$date\": ...}}")),
    }
}

/// RFC 3339, or the milliseconds since 1970.
fn moment(value: &Value) -> Result<OffsetDateTime, String> {
    let moment = match value {
        Value::String(text) => OffsetDateTime::parse(text, &Iso8601::PARSING).ok(),
        _ => integer(value).and_then(|ms| OffsetDateTime::UNIX_EPOCH.checked_add(Duration::milliseconds(ms))),
    };
    moment
        .map(|moment| moment.to_offset(UtcOffset::UTC))
        .filter(|moment| (0..=9999).contains(&moment.year()))
        .ok_or_else(|| format!("{value} is no date between the years 0 and 9999"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn s(text: &str) -> Result<AttributeValue, String> {
        Ok(AttributeValue::S(text.into()))
    }

    fn n(text: &str) -> Result<AttributeValue, String> {
        Ok(AttributeValue::N(text.into()))
    }

    #[test]
    fn canonical_and_relaxed_are_the_same() {
        let date = s("2021-12-06T14:40:59.478Z");
        assert_eq!(attribute(&json!({ "$date": "2021-12-06T14:40:59.478Z" })), date);
        assert_eq!(attribute(&json!({ "$date": "2021-12-06T15:40:59.478+01:00" })), date);
        assert_eq!(attribute(&json!({ "$date": "2021-12-06T14:40:59.478+0000" })), date);
        assert_eq!(attribute(&json!({ "$date": { "$numberLong": "1638801659478" } })), date);
        assert_eq!(attribute(&json!({ "$date": 1638801659478_i64 })), date);
        assert_eq!(attribute(&json!({ "$date": "2021-12-06T14:40:59Z" })), s("2021-12-06T14:40:59.000Z"));
        assert_eq!(attribute(&json!({ "$date": { "$numberLong": "-1" } })), s("1969-12-31T23:59:59.999Z"));
        assert_eq!(attribute(&json!({ "$oid": "5fd7a0b6c2d3e4f5a6b7c8d9" })), s("5fd7a0b6c2d3e4f5a6b7c8d9"));
        assert_eq!(attribute(&json!({ "$numberInt": "5" })), n("5"));
        assert_eq!(attribute(&json!({ "$numberLong": "9007199254740993" })), n("9007199254740993"));
        assert_eq!(attribute(&json!({ "$numberDouble": "1.5" })), n("1.5"));
        assert_eq!(
            attribute(&json!({ "$numberDecimal": "1234567890.123456789012345678901234" })),
            n("1234567890.123456789012345678901234")
        );
        assert_eq!(attribute(&json!(1.5)), n("1.5"));
        assert_eq!(
            attribute(&json!({ "$binary": { "base64": "AQI=", "subType": "00" } })),
            Ok(AttributeValue::B(Blob::new([1, 2])))
        );
        for (value, whole) in [
            (json!(3), 3),
            (json!(3.0), 3),
            (json!({ "$numberInt": "3" }), 3),
            (json!({ "$numberLong": "3" }), 3),
            (json!({ "$numberDouble": "3.0" }), 3),
        ] {
            assert_eq!(integer(&value), Some(whole), "{value}");
        }
        assert_eq!(integer(&json!(3.5)), None);
    }

    #[test]
    fn what_is_no_type_stays_an_object() {
        let regex = json!({ "$regularExpression": { "pattern": "a", "options": "" } });
        assert!(matches!(attribute(&regex), Ok(AttributeValue::M(_))));
        assert!(matches!(attribute(&json!({ "$oid": "a", "b": 1 })), Ok(AttributeValue::M(_))));
    }

    #[test]
    fn what_dynamodb_does_not_store_is_told() {
        for (value, reason) in [
            (json!({ "$numberDouble": "NaN" }), "the number NaN is beyond what DynamoDB stores"),
            (json!({ "$numberDouble": "-Infinity" }), "the number -Infinity is beyond what DynamoDB stores"),
            (json!([1e126]), "the number 1e+126 is beyond what DynamoDB stores"),
            (json!({ "a": 1e-131 }), "the number 1e-131 is beyond what DynamoDB stores"),
            (json!({ "$numberInt": "five" }), "\"five\" is no number"),
            (json!({ "$date": "yesterday" }), "\"yesterday\" is no date between the years 0 and 9999"),
            (
                json!({ "$date": { "$numberLong": "999999999999999999" } }),
                "{\"$numberLong\":\"999999999999999999\"} is no date between the years 0 and 9999",
            ),
            (json!({ "$binary": { "base64": "?" } }), "$binary is not base64"),
        ] {
            assert_eq!(attribute(&value), Err(reason.into()));
        }
        let deep = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        assert!(attribute(&deep(32)).is_ok());
        assert_eq!(attribute(&deep(33)), Err("nested over 32 levels".into()));
    }
}
