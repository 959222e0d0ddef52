//! `docs/openapi.yaml`, held against every response that a test of this binary gets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use jsonschema::Validator;
use livechat_units::Response;
use serde_json::{Value, json};
use unitctl::sample;

use crate::faults::busy_and_unavailable;
use crate::world::{assert_refused, documented_world, event, world};

/// API Gateway's own answer, which no event shows.
const GATEWAYS: u16 = 429;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    yaml_serde::from_str(include_str!("../../docs/openapi.yaml")).expect("the document is YAML")
});

static STATUSES: LazyLock<BTreeMap<u16, Status>> = LazyLock::new(|| {
    let responses = operation()["responses"].as_object().expect("there are responses");
    responses.iter().map(|(status, at)| (status.parse().expect("a status"), Status::new(at))).collect()
});

/// What the document says of one status.
struct Status {
    headers: BTreeMap<String, Validator>,
    /// By the names of their schemas.
    bodies: BTreeMap<String, Validator>,
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

    /// The name of the schema that the body is of; none or several are wrong.
    fn body(&self, body: &Value) -> Result<&str, String> {
        let fitting = self.bodies.iter().filter(|(_, schema)| schema.is_valid(body));
        match fitting.map(|(name, _)| name.as_str()).collect::<Vec<_>>()[..] {
            [one] => Ok(one),
            ref names => Err(format!("of the schemas {names:?}")),
        }
    }
}

fn operation() -> &'static Value {
    &DOCUMENT["paths"]["/api/v1/livechat/units/{id}"]["post"]
}

/// A `$ref` into the document is what it leads to.
fn resolved(value: &'static Value) -> &'static Value {
    match value.get("$ref").and_then(Value::as_str) {
        Some(path) => DOCUMENT.pointer(path.trim_start_matches('#')).expect("it leads somewhere"),
        None => value,
    }
}

/// The schema, with the document's others beside it for its references.
fn validator(schema: &Value) -> Validator {
    let mut schema = schema.clone();
    schema["components"] = json!({ "schemas": DOCUMENT["components"]["schemas"] });
    jsonschema::draft202012::new(&schema).expect("it is a schema")
}

/// What the document says of a response, as the name of its body's schema.
fn documented(response: &Response) -> Result<&'static str, String> {
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
        return Err(format!("the header {wrong:?}"));
    }
    let body = serde_json::from_str(&response.body).map_err(|error| error.to_string())?;
    status.body(&body)
}

/// Every response that the function gives in this process comes by here. Returns the name of its body's schema.
pub fn assert_documented(response: &Response) -> &'static str {
    documented(response).unwrap_or_else(|what| panic!("not as documented, {what}: {response:?}"))
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("it is readable")).expect("it is JSON")
}

#[tokio::test]
async fn every_documented_answer_is_given() {
    let mut given = BTreeSet::new();
    let mut give = |response: &Response| given.insert((response.status_code, assert_documented(response)));

    documented_world(async |world| {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("events");
        for file in fs::read_dir(folder).expect("there are events") {
            let path = file.expect("it is readable").path();
            if !path.ends_with("env.json") {
                give(&world.invoke(&read(&path)).await);
            }
        }
        give(&world.invoke(&json!({ "headers": "not an object" })).await);
        let name = "x".repeat(400 * 1024 + 1);
        let body = json!({
            "unitData": { "name": name, "visibility": "private" }, "unitMonitors": [], "unitDepartments": [],
        });
        give(&world.invoke(&event(sample::UNIT, &body.to_string())).await);
        give(&world.invoke(&event(sample::UNIT, &" ".repeat(1024 * 1024 + 1))).await);
    })
    .await;
    for response in busy_and_unavailable().await {
        give(&response);
    }

    let documented =
        STATUSES.iter().flat_map(|(status, of)| of.bodies.keys().map(|name| (*status, name.as_str())));
    assert_eq!(given, documented.filter(|(status, _)| *status != GATEWAYS).collect());
}

#[tokio::test]
async fn a_response_that_is_not_documented_is_noticed() {
    world(async |world| {
        let good = world.update("none", &[], &[]).await;
        assert_eq!(documented(&good), Ok("UnitNotFound"));
        let bad = |spoil: &dyn Fn(&mut Response)| {
            let mut response = good.clone();
            spoil(&mut response);
            documented(&response).expect_err("it is spoilt")
        };
        bad(&|response| response.status_code = 404);
        bad(&|response| response.status_code = 418);
        bad(&|response| response.body = response.body.replace("Unit not", "Unit was not"));
        bad(&|response| response.body = response.body.replace('}', r#","more":1}"#));
        bad(&|response| response.body = response.body.replace(r#""success":false,"#, ""));
        bad(&|response| response.body.truncate(5));
        bad(&|response| _ = response.headers.remove("pragma"));
        bad(&|response| _ = response.headers.insert("pragma", "cache"));
        bad(&|response| _ = response.headers.insert("allow", "POST"));
        bad(&|response| _ = response.headers.insert("content-type", "text/plain"));
    })
    .await;
}

#[test]
fn the_examples_are_what_they_are_examples_of() {
    for (status, at) in operation()["responses"].as_object().expect("there are responses") {
        let status = &STATUSES[&status.parse::<u16>().expect("a status")];
        let examples = resolved(at)["content"]["application/json"]["examples"].as_object().expect("examples");
        let shown: BTreeSet<&str> =
            examples.values().map(|example| status.body(&example["value"]).expect("it is valid")).collect();
        assert_eq!(shown, status.bodies.keys().map(String::as_str).collect(), "each body has an example");
    }
    let content = &operation()["requestBody"]["content"]["application/json"];
    let request = validator(&content["schema"]);
    for example in content["examples"].as_object().expect("examples").values() {
        assert!(request.is_valid(&example["value"]), "{example}");
    }

    // Rocket.Chat's own example, in its bytes.
    assert_eq!(content["examples"]["documented"]["value"].to_string(), sample::BODY);
    let answer = &resolved(&operation()["responses"]["200"])["content"]["application/json"]["examples"];
    let readme = include_str!("../../README.md");
    assert!(readme.contains(&answer["documented"]["value"].to_string()));
    assert_eq!(operation()["parameters"][0]["example"], sample::UNIT);
}

/// The schema of a request says what the endpoint accepts: each of these is judged alike by both.
#[tokio::test]
async fn the_schema_of_a_request_accepts_what_the_endpoint_accepts() {
    let schema = validator(&operation()["requestBody"]["content"]["application/json"]["schema"]);
    let good: Value = serde_json::from_str(sample::BODY).expect("it is JSON");
    let spoilers = [
        (
            "/unitData/name",
            vec![json!(" x"), json!("\u{feff}"), json!("\u{1c}"), json!("\u{85}\u{3000} \n"), json!("")],
        ),
        ("/unitData/visibility", vec![json!("public"), json!("PUBLIC"), json!(null)]),
        (
            "/unitData",
            vec![
                json!({}),
                json!([]),
                json!(null),
                json!({ "name": "x", "visibility": "public", "type": "u" }),
            ],
        ),
        (
            "/unitMonitors",
            vec![json!([]), json!(null), json!({}), json!(["x"]), json!([{ "monitorId": "x" }])],
        ),
        ("/unitMonitors/0/monitorId", vec![json!(""), json!("x".repeat(600)), json!(5)]),
        ("/unitMonitors/0/username", vec![json!(""), json!("another"), json!(true)]),
        ("/unitDepartments", vec![json!([]), json!("x"), json!([[]]), json!([{ "id": "x" }])]),
        ("/unitDepartments/0/departmentId", vec![json!(""), json!("x".repeat(513)), json!({})]),
    ];
    documented_world(async |world| {
        for (pointer, values) in spoilers {
            for value in values {
                let mut body = good.clone();
                *body.pointer_mut(pointer).expect("it is there") = value;
                let response = world.invoke(&event(sample::UNIT, &body.to_string())).await;
                assert_eq!(response.status_code == 200, schema.is_valid(&body), "{body} got {response:?}");
            }
        }
        for (kind, value) in
            [("enabled", json!(true)), ("email", json!("x")), ("description", json!(5)), ("more", json!(1))]
        {
            let mut body = good.clone();
            body["unitData"][kind] = value;
            let response = world.invoke(&event(sample::UNIT, &body.to_string())).await;
            assert_eq!(response.status_code == 200, schema.is_valid(&body), "{body} got {response:?}");
        }
        for whole in ["[]", "null", "5", "{}"] {
            assert!(!schema.is_valid(&serde_json::from_str(whole).expect("it is JSON")));
            assert_refused(
                &world.invoke(&event(sample::UNIT, whole)).await,
                400,
                r#"{"success":false,"error":"Match error: Expected object, got undefined"}"#,
            );
        }
    })
    .await;
}

/// Both ways: what the code can say is documented, and what is documented the code can say.
#[test]
fn statuses_and_error_types_are_those_of_the_code() {
    let source = include_str!("../../src/error.rs");
    let rows = source.split("Row::new(").skip(1);
    let statuses = rows.map(|row| row.trim_start()[..3].parse::<u16>().expect("a status"));
    let statuses: BTreeSet<u16> = statuses.chain([200, GATEWAYS]).collect();
    assert_eq!(statuses, STATUSES.keys().copied().collect());

    let codes = source.split('"').skip(1).step_by(2).filter(|literal| literal.starts_with("error-"));
    let schemas = DOCUMENT["components"]["schemas"].as_object().expect("there are schemas");
    let documented =
        schemas.values().filter_map(|schema| schema.pointer("/properties/errorType/const")?.as_str());
    assert_eq!(codes.collect::<BTreeSet<_>>(), documented.collect());
}
