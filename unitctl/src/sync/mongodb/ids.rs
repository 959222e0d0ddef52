//! Ids and documents between BSON and the import's extended JSON. Rocket.Chat's ids are strings. Some documents of old
//! or restored workspaces have object ids, which the import stores as their 24 digits.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as BASE64;
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Bson, Document as BsonDocument, doc};
use serde_json::Value;

use crate::import::document::Document;

/// An `_id` as text. `None` if it is neither a string nor an object id.
pub fn id_text(id: &Bson) -> Option<String> {
    match id {
        Bson::String(text) => Some(text.clone()),
        Bson::ObjectId(id) => Some(id.to_hex()),
        _ => None,
    }
}

/// The condition on an `_id`, which may be stored as a string or as an object id.
pub fn with_id(id: &str) -> BsonDocument {
    with_ids([id])
}

/// The condition that the `_id` is one of these.
pub fn with_ids<'a>(ids: impl IntoIterator<Item = &'a str>) -> BsonDocument {
    let mut forms: Vec<Bson> = ids.into_iter().flat_map(forms).collect();
    match forms.len() {
        1 => doc! { "_id": forms.remove(0) },
        _ => doc! { "_id": { "$in": forms } },
    }
}

fn forms(id: &str) -> Vec<Bson> {
    let object_id = ObjectId::parse_str(id).ok().filter(|parsed| parsed.to_hex() == id);
    std::iter::once(Bson::String(id.to_owned())).chain(object_id.map(Bson::ObjectId)).collect()
}

/// A new `_id` of the form in which Rocket.Chat makes them: the digits of an object id, as a string.
pub fn new_id() -> String {
    ObjectId::new().to_hex()
}

/// The document in the form that the import parses.
pub fn extended_json(document: BsonDocument) -> Document {
    match serde_json::to_value(as_extended_json(Bson::Document(document))) {
        Ok(Value::Object(fields)) => fields,
        // A document is always an object.
        _ => Document::new(),
    }
}

/// Turns values that would be lost in JSON into the objects that stand for them. BSON's serializer does it for all
/// other types.
fn as_extended_json(value: Bson) -> Bson {
    match value {
        Bson::Double(number) if !number.is_finite() => {
            let text = match number {
                f64::INFINITY => "Infinity",
                f64::NEG_INFINITY => "-Infinity",
                _ => "NaN",
            };
            Bson::Document(doc! { "$numberDouble": text })
        }
        Bson::Binary(binary) => Bson::Document(doc! { "$binary": {
            "base64": BASE64.encode(&binary.bytes),
            "subType": format!("{:02x}", u8::from(binary.subtype)),
        } }),
        Bson::Array(values) => Bson::Array(values.into_iter().map(as_extended_json).collect()),
        Bson::Document(fields) => {
            Bson::Document(fields.into_iter().map(|(name, value)| (name, as_extended_json(value))).collect())
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_looked_up_in_each_form_that_it_may_have() {
        assert_eq!(with_id("GT67Tv6x5p5y5xZWN"), doc! { "_id": "GT67Tv6x5p5y5xZWN" });
        let digits = "5fd7a0b6c2d3e4f5a6b7c8d9";
        let object_id = ObjectId::parse_str(digits).expect("it is one");
        assert_eq!(with_id(digits), doc! { "_id": { "$in": [digits, object_id] } });
        assert_eq!(id_text(&Bson::ObjectId(object_id)).as_deref(), Some(digits));
        // In capitals it is another string, and no object id that the import would have stored like this.
        let capitals = digits.to_uppercase();
        assert_eq!(with_id(&capitals), doc! { "_id": capitals.as_str() });
        assert_eq!(id_text(&Bson::Int32(1)), None);
    }

    #[test]
    fn the_import_reads_a_document_as_if_mongoexport_had_written_it() {
        let at = mongodb::bson::DateTime::parse_rfc3339_str("2021-12-06T14:40:59.478Z").expect("a time");
        let id = ObjectId::parse_str("5fd7a0b6c2d3e4f5a6b7c8d9").expect("an id");
        let binary =
            mongodb::bson::Binary { subtype: mongodb::bson::spec::BinarySubtype::Generic, bytes: vec![1, 2] };
        let json = extended_json(doc! {
            "binary": binary,
            "_id": "a", "n": 1_i32, "long": i64::MAX, "half": 0.5, "nan": f64::NAN, "list": [-f64::INFINITY], "at": at, "id": id,
        });
        let crate::import::extended_json::Attributes { item: fields, changes } =
            crate::import::extended_json::attributes(&json);
        let text = |name: &str| fields[name].as_s().expect("a string").clone();
        let number = |name: &str| fields[name].as_n().expect("a number").clone();
        assert_eq!(
            [text("_id"), text("nan"), text("at"), text("id")],
            ["a", "NaN", "2021-12-06T14:40:59.478Z", "5fd7a0b6c2d3e4f5a6b7c8d9"]
        );
        assert_eq!([number("n"), number("long"), number("half")], ["1", "9223372036854775807", "0.5"]);
        assert_eq!(fields["list"].as_l().expect("a list")[0].as_s().expect("a string"), "-Infinity");
        assert_eq!(fields["binary"].as_b().expect("bytes").as_ref(), [1, 2]);
        assert_eq!(changes.len(), 2, "{changes:?}");
    }
}
