//! Reads `docs/openapi.yaml`, and checks that it describes a response.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use jsonschema::Validator;
use livechat_units::Response;
use serde_json::{Value, json};

/// The status of an answer that API Gateway gives itself, without the function.
pub const STATUS_OF_API_GATEWAY: u16 = 429;

/// The document.
pub static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    yaml_serde::from_str(include_str!("../../../docs/openapi.yaml")).expect("the document is YAML")
});

/// What the document says about each status.
pub static STATUSES: LazyLock<BTreeMap<u16, Status>> = LazyLock::new(|| {
    let responses = operation()["responses"].as_object().expect("there are responses");
    responses
        .iter()
        .map(|(status, response)| (status.parse().expect("a status"), Status::new(response)))
        .collect()
});

/// The responses with one status.
pub struct Status {
    headers: BTreeMap<String, Validator>,
    /// The schemas of the bodies, by the schemas' names.
    pub bodies: BTreeMap<String, Validator>,
}

impl Status {
    fn new(response: &'static Value) -> Self {
        let response = resolved(response);
        let headers = response.get("headers").and_then(Value::as_object);
        let headers = headers
            .into_iter()
            .flatten()
            .map(|(name, at)| (name.clone(), validator(&resolved(at)["schema"])));
        let content = response["content"].as_object().expect("every response has a body");
        assert_eq!(content.keys().collect::<Vec<_>>(), ["application/json"]);
        let schema = &content["application/json"]["schema"];
        let alternatives =
            schema.get("oneOf").and_then(Value::as_array).map_or(std::slice::from_ref(schema), Vec::as_slice);
        let bodies = alternatives.iter().map(|schema| {
            let name = schema["$ref"].as_str().expect("each body's schema has a name").rsplit('/').next();
            (name.expect("it is a path").to_owned(), validator(schema))
        });
        Self { headers: headers.collect(), bodies: bodies.collect() }
    }

    /// The name of the one schema that the body matches.
    ///
    /// # Errors
    /// The body matches no schema or several.
    pub fn schema_of(&self, body: &Value) -> Result<&str, String> {
        let matching = self.bodies.iter().filter(|(_, schema)| schema.is_valid(body));
        match matching.map(|(name, _)| name.as_str()).collect::<Vec<_>>()[..] {
            [one] => Ok(one),
            ref names => Err(format!("the body matches the schemas {names:?}")),
        }
    }
}

/// The one operation.
pub fn operation() -> &'static Value {
    &DOCUMENT["paths"]["/api/v1/livechat/units/{id}"]["post"]
}

/// The value itself, or what its `$ref` refers to.
pub fn resolved(value: &'static Value) -> &'static Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(path) => DOCUMENT.pointer(path.trim_start_matches('#')).expect("the reference is valid"),
        None => value,
    }
}

/// A validator for a schema of the document, with the document's other schemas for its references.
pub fn validator(schema: &Value) -> Validator {
    let mut schema = schema.clone();
    schema["components"] = json!({ "schemas": DOCUMENT["components"]["schemas"] });
    jsonschema::draft202012::new(&schema).expect("it is a schema")
}

/// The name of the schema that describes the body of a response.
///
/// # Errors
/// The document does not describe the response.
pub fn documented(response: &Response) -> Result<&'static str, String> {
    let status = STATUSES.get(&response.status_code).ok_or("the status is not documented")?;
    let mut headers = response.headers.clone();
    if headers.remove("content-type") != Some("application/json") {
        return Err("the content type is not JSON".into());
    }
    if !headers.keys().eq(status.headers.keys()) {
        return Err("the headers are not the documented ones".into());
    }
    if let Some(wrong) = headers.iter().find(|(name, value)| !status.headers[**name].is_valid(&json!(value)))
    {
        return Err(format!("the header {wrong:?} is not as documented"));
    }
    let body = serde_json::from_str(&response.body).map_err(|error| error.to_string())?;
    status.schema_of(&body)
}

/// Checks that the document describes a response, and returns the name of its body's schema. Every response that a test
/// gets is checked here.
pub fn assert_documented(response: &Response) -> &'static str {
    documented(response).unwrap_or_else(|what| panic!("{what}: {response:?}"))
}
