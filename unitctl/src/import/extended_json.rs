//! MongoDB's extended JSON, canonical and relaxed ("MongoDB Extended JSON (v2)", MongoDB Manual), as
//! DynamoDB's types.

use std::fmt;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use livechat_units::item::Item;
use serde_json::{Map, Value};
use time::format_description::well_known::Iso8601;
use time::{Duration, OffsetDateTime, UtcOffset};

use super::decimal::Decimal;
use crate::timestamp::rfc3339;

/// DynamoDB stores 32 levels, and the innermost value is one of them ("Quotas in Amazon DynamoDB"): a value
/// may be in at most 31 lists and maps.
const MAX_CONTAINERS: usize = 31;

/// DynamoDB's longest attribute name in bytes ("Quotas in Amazon DynamoDB": 64 KB).
const MAX_NAME_BYTES: usize = 64 * 1024 - 1;

/// Characters of a value that a message shows.
const MAX_SHOWN_CHARS: usize = 60;

/// The fields of a document as DynamoDB stores them.
#[derive(Debug, Default)]
pub struct Attributes {
    /// The attributes, by name.
    pub item: Item,
    /// A sentence about each field that was left out or is stored as text.
    pub changes: Vec<String>,
}

/// Converts the fields of a document that neither the function nor this tool reads: dates become RFC 3339 text, object
/// ids their hexadecimal text. A value that DynamoDB does not store becomes its text, and a field with a name that
/// DynamoDB does not store is left out.
pub fn attributes(fields: &Map<String, Value>) -> Attributes {
    let mut converter = Converter::default();
    let item = converter.fields(fields, &Path::Document);
    Attributes { item, changes: converter.changes }
}

/// Where a value is in its document.
enum Path<'a> {
    Document,
    Field(&'a Path<'a>, &'a str),
    Element(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document => f.write_str("the document"),
            Self::Field(Self::Document, name) => f.write_str(&shortened(name)),
            Self::Field(parent, name) => write!(f, "{parent}.{}", shortened(name)),
            Self::Element(parent, place) => write!(f, "{parent}[{place}]"),
        }
    }
}

impl Path<'_> {
    /// How many lists and maps the value is in.
    fn containers(&self) -> usize {
        match self {
            // An attribute of the item is in no list or map.
            Self::Document | Self::Field(Self::Document, _) => 0,
            Self::Field(parent, _) | Self::Element(parent, _) => parent.containers() + 1,
        }
    }
}

/// Notes what it leaves out or turns into text.
#[derive(Default)]
struct Converter {
    changes: Vec<String>,
}

impl Converter {
    fn fields(&mut self, fields: &Map<String, Value>, path: &Path<'_>) -> Item {
        let mut converted = Item::with_capacity(fields.len());
        for (name, value) in fields {
            if name.is_empty() {
                self.changes.push(format!("{path}: left out a field without a name"));
            } else if name.len() > MAX_NAME_BYTES {
                let bytes = name.len();
                self.changes.push(format!("{path}: left out a field whose name has {bytes} bytes"));
            } else {
                let value = self.value(value, &Path::Field(path, name));
                converted.insert(name.clone(), value);
            }
        }
        converted
    }

    fn value(&mut self, value: &Value, path: &Path<'_>) -> AttributeValue {
        match self.storable(value, path) {
            Ok(attribute) => attribute,
            Err(reason) => {
                self.changes.push(format!("{path}: stored as text, because {reason}"));
                AttributeValue::S(text_of(value))
            }
        }
    }

    /// # Errors
    /// Why DynamoDB does not store the value.
    fn storable(&mut self, value: &Value, path: &Path<'_>) -> Result<AttributeValue, String> {
        let is_too_deep = || path.containers() >= MAX_CONTAINERS;
        let too_deep = || Err("DynamoDB stores no more than 32 levels".into());
        Ok(match value {
            Value::Null => AttributeValue::Null(true),
            Value::Bool(value) => AttributeValue::Bool(*value),
            Value::Number(value) => number(&value.to_string())?,
            Value::String(text) => AttributeValue::S(text.clone()),
            Value::Array(_) if is_too_deep() => return too_deep(),
            Value::Array(values) => {
                let values = values.iter().enumerate();
                let values = values.map(|(place, value)| self.value(value, &Path::Element(path, place)));
                AttributeValue::L(values.collect())
            }
            Value::Object(fields) => match typed(fields)? {
                Some(attribute) => attribute,
                None if is_too_deep() => return too_deep(),
                None => AttributeValue::M(self.fields(fields, path)),
            },
        })
    }
}

/// An object that stands for a value of another type. Other types stay objects, such as regular expressions: DynamoDB
/// does not have them, and Rocket.Chat's documents do not use them.
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
            AttributeValue::B(Blob::new(bytes.ok_or("its $binary is not base64")?))
        }
        _ => return Ok(None),
    }))
}

fn number(text: &str) -> Result<AttributeValue, String> {
    match Decimal::parse(text) {
        Some(number) if number.is_zero() => Ok(AttributeValue::N("0".into())),
        Some(number) if number.is_storable() => {
            Ok(AttributeValue::N(text.strip_prefix('+').unwrap_or(text).into()))
        }
        _ => Err(format!("{} is not a number that DynamoDB stores", shortened(text))),
    }
}

/// What is stored in the place of a value that can't be stored.
fn text_of(value: &Value) -> String {
    let inner = match value {
        Value::Object(fields) if fields.len() == 1 => fields.iter().next(),
        _ => None,
    };
    match inner {
        Some((name, Value::String(text))) if name.starts_with("$number") || name == "$date" => text.clone(),
        Some((name, inner)) if name == "$date" => {
            integer(inner).map_or_else(|| inner.to_string(), |ms| ms.to_string())
        }
        _ => value.to_string(),
    }
}

/// The start of a text that may be of any length.
fn shortened(text: &str) -> String {
    let mut chars = text.chars();
    let mut start: String = chars.by_ref().take(MAX_SHOWN_CHARS).collect();
    if chars.next().is_some() {
        start.push_str("...");
    }
    start
}

/// Whether the value means the same as an absent one. `mongoexport` writes undefined values as objects.
pub fn is_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(fields) => fields.len() == 1 && fields.contains_key("$undefined"),
        _ => false,
    }
}

/// The text of a string or of an object id. Ids are one of these.
pub fn text(value: &Value) -> Option<&str> {
    match value {
        Value::String(text) => Some(text),
        Value::Object(fields) if fields.len() == 1 => fields.get("$oid")?.as_str(),
        _ => None,
    }
}

/// A whole number in any notation.
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
        _ => {
            let shown = shortened(&value.to_string());
            Err(format!("{shown} is no date, which would be {{\"$date\": ...}}"))
        }
    }
}

/// A text in ISO 8601, or the milliseconds since 1970. Old versions of mongoexport write offsets from UTC without a colon, which
/// RFC 3339 does not have.
fn moment(value: &Value) -> Result<OffsetDateTime, String> {
    let moment = match value {
        Value::String(text) => OffsetDateTime::parse(text, &Iso8601::PARSING).ok(),
        _ => integer(value).and_then(|ms| OffsetDateTime::UNIX_EPOCH.checked_add(Duration::milliseconds(ms))),
    };
    moment
        .and_then(|moment| moment.checked_to_offset(UtcOffset::UTC))
        .filter(|moment| (0..=9999).contains(&moment.year()))
        .ok_or_else(|| format!("{} is no date between the years 0 and 9999", shortened(&value.to_string())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// The attribute of a field called `f`, and the sentences about it.
    fn convert(value: Value) -> (AttributeValue, Vec<String>) {
        let document = json!({ "f": value });
        let Attributes { mut item, changes } = attributes(document.as_object().expect("an object"));
        (item.remove("f").expect("the field is there"), changes)
    }

    fn attribute(value: Value) -> AttributeValue {
        let (attribute, changes) = convert(value);
        assert_eq!(changes, [""; 0]);
        attribute
    }

    fn s(text: &str) -> AttributeValue {
        AttributeValue::S(text.into())
    }

    fn n(text: &str) -> AttributeValue {
        AttributeValue::N(text.into())
    }

    #[test]
    fn canonical_and_relaxed_are_the_same() {
        let date = s("2021-12-06T14:40:59.478Z");
        assert_eq!(attribute(json!({ "$date": "2021-12-06T14:40:59.478Z" })), date);
        assert_eq!(attribute(json!({ "$date": "2021-12-06T15:40:59.478+01:00" })), date);
        assert_eq!(attribute(json!({ "$date": "2021-12-06T14:40:59.478+0000" })), date);
        assert_eq!(attribute(json!({ "$date": { "$numberLong": "1638801659478" } })), date);
        assert_eq!(attribute(json!({ "$date": 1638801659478_i64 })), date);
        assert_eq!(attribute(json!({ "$date": "2021-12-06T14:40:59Z" })), s("2021-12-06T14:40:59.000Z"));
        assert_eq!(attribute(json!({ "$date": { "$numberLong": "-1" } })), s("1969-12-31T23:59:59.999Z"));
        assert_eq!(attribute(json!({ "$oid": "5fd7a0b6c2d3e4f5a6b7c8d9" })), s("5fd7a0b6c2d3e4f5a6b7c8d9"));
        assert_eq!(attribute(json!({ "$numberInt": "5" })), n("5"));
        assert_eq!(attribute(json!({ "$numberLong": "9007199254740993" })), n("9007199254740993"));
        assert_eq!(attribute(json!({ "$numberDouble": "1.5" })), n("1.5"));
        assert_eq!(attribute(json!({ "$numberDecimal": "0E-6176" })), n("0"));
        assert_eq!(
            attribute(json!({ "$numberDecimal": "1234567890.123456789012345678901234" })),
            n("1234567890.123456789012345678901234")
        );
        assert_eq!(attribute(json!(1.5)), n("1.5"));
        assert_eq!(
            attribute(json!({ "$binary": { "base64": "AQI=", "subType": "00" } })),
            AttributeValue::B(Blob::new([1, 2]))
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
        assert_eq!(integer(&json!({ "$numberDouble": "NaN" })), None);
    }

    #[test]
    fn an_object_that_is_no_type_stays_an_object() {
        let regex = json!({ "$regularExpression": { "pattern": "a", "options": "" } });
        assert!(matches!(attribute(regex), AttributeValue::M(_)));
        assert!(matches!(attribute(json!({ "$oid": "a", "b": 1 })), AttributeValue::M(_)));
    }

    #[test]
    fn values_that_dynamodb_does_not_store_become_text() {
        let year_10000 = json!({ "$date": { "$numberLong": "253402300800000" } });
        for (value, text, reason) in [
            (json!({ "$numberDouble": "NaN" }), "NaN", "NaN is not a number that DynamoDB stores"),
            (
                json!({ "$numberDouble": "-Infinity" }),
                "-Infinity",
                "-Infinity is not a number that DynamoDB stores",
            ),
            (
                json!({ "$numberDecimal": "1E-6143" }),
                "1E-6143",
                "1E-6143 is not a number that DynamoDB stores",
            ),
            (json!(1e126), "1e+126", "1e+126 is not a number that DynamoDB stores"),
            (json!({ "$numberInt": "five" }), "five", "five is not a number that DynamoDB stores"),
            (
                json!({ "$date": "yesterday" }),
                "yesterday",
                "\"yesterday\" is no date between the years 0 and 9999",
            ),
            (
                year_10000,
                "253402300800000",
                "{\"$numberLong\":\"253402300800000\"} is no date between the years 0 and 9999",
            ),
            (
                json!({ "$date": "0000-01-01T00:00:00+23:00" }),
                "0000-01-01T00:00:00+23:00",
                "\"0000-01-01T00:00:00+23:00\" is no date between the years 0 and 9999",
            ),
            (
                json!({ "$binary": { "base64": "?" } }),
                r#"{"$binary":{"base64":"?"}}"#,
                "its $binary is not base64",
            ),
        ] {
            let sentence = format!("stored as text, because {reason}");
            assert_eq!(convert(value.clone()), (s(text), vec![format!("f: {sentence}")]));
            let (inner, changes) = convert(json!([{ "a": value }]));
            let AttributeValue::L(inner) = inner else { panic!("a list") };
            assert_eq!(inner[0].as_m().expect("a map")["a"], s(text));
            assert_eq!(changes, [format!("f[0].a: {sentence}")]);
        }
    }

    #[test]
    fn a_long_value_is_shortened_in_the_message() {
        let (_, changes) = convert(json!({ "$numberLong": "9".repeat(1000) }));
        assert!(changes[0].len() < 200, "{changes:?}");
    }

    #[test]
    fn the_level_that_is_too_deep_becomes_text() {
        let nested = |levels| (0..levels).fold(json!(1), |inner, _| json!([inner]));
        attribute(nested(31));
        let (_, changes) = convert(nested(32));
        let path = format!("f{}", "[0]".repeat(31));
        assert_eq!(
            changes,
            [format!("{path}: stored as text, because DynamoDB stores no more than 32 levels")]
        );
        let objects = (0..40).fold(json!(1), |inner, _| json!({ "a": inner }));
        let (_, changes) = convert(objects);
        assert_eq!(changes.len(), 1);
    }

    #[test]
    fn fields_with_names_that_dynamodb_does_not_store_are_left_out() {
        let long = "n".repeat(65_536);
        let (value, changes) = convert(json!([{ "": 1, "b": 2, long: 3 }]));
        assert_eq!(value, AttributeValue::L(vec![AttributeValue::M([("b".into(), n("2"))].into())]));
        assert_eq!(
            changes,
            ["f[0]: left out a field without a name", "f[0]: left out a field whose name has 65536 bytes"]
        );
        let document = json!({ "": 1 });
        let Attributes { item, changes } = attributes(document.as_object().expect("an object"));
        assert!(item.is_empty());
        assert_eq!(changes, ["the document: left out a field without a name"]);
    }
}
