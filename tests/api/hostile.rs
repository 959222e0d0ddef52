//! Events that no client of good will sends: each gets an answer of the contract's, and writes only if that is 200.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use livechat_units::Response;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};
use unitctl::sample;

use crate::openapi::assert_documented;
use crate::world::{
    INTERNAL, NOT_LOGGED_IN, UNIT_NOT_FOUND, World, assert_refused, assert_success, body, documented_world,
    event, set_path, world,
};

fn samples() -> [Value; 2] {
    [include_str!("../../events/success.json"), include_str!("../../events/success-rest.json")]
        .map(|text| serde_json::from_str(text).expect("a sample is JSON"))
}

/// The pointers to everything within a value.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut go = |key: &str, inner: &Value| {
        let pointer = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        found.push(pointer.clone());
        pointers(inner, &pointer, found);
    };
    match value {
        Value::Object(object) => object.iter().for_each(|(key, inner)| go(key, inner)),
        Value::Array(items) => items.iter().enumerate().for_each(|(n, inner)| go(&n.to_string(), inner)),
        _ => {}
    }
}

fn remove(event: &mut Value, pointer: &str) {
    let (parent, key) = pointer.rsplit_once('/').expect("it is a pointer");
    match event.pointer_mut(parent).expect("it is there") {
        Value::Object(object) => drop(object.remove(key)),
        Value::Array(items) => drop(items.remove(key.parse().expect("a place"))),
        other => panic!("{other} holds nothing"),
    }
}

/// What becomes of a sample whose field at this pointer is absent or empty (`is_empty`), or of a wrong type.
fn expected(pointer: &str, is_rest: bool, is_empty: bool) -> &'static str {
    let header = pointer.strip_prefix(if is_rest { "/multiValueHeaders/" } else { "/headers/" });
    let when_empty = match (pointer, is_rest) {
        ("/rawPath" | "/path", _) => "UnknownEndpoint",
        ("/httpMethod", _) => "MethodNotAllowed",
        ("/requestContext" | "/requestContext/http" | "/requestContext/http/method", false) => {
            "MethodNotAllowed"
        }
        ("/headers" | "/headers/x-auth-token" | "/headers/x-user-id", false) => "NotLoggedIn",
        ("/body", _) => "InvalidJson",
        // A REST API's event has the headers twice, and any event the id twice.
        _ => "Unit",
    };
    let is_read = match pointer {
        "/requestContext/http" | "/requestContext/http/method" => !is_rest,
        "/requestContext/stage" | "/pathParameters/id" | "/isBase64Encoded" | "/pathParameters" => true,
        "/headers" | "/multiValueHeaders" | "/requestContext" => true,
        _ => when_empty != "Unit" || header.is_some() || pointer.starts_with("/headers/"),
    };
    if is_empty || !is_read { when_empty } else { "InternalServerError" }
}

/// Sends an event and says what the answer is, by the document's name for it.
async fn outcome(world: &World, event: &Value) -> &'static str {
    assert_documented(&world.send(event).await)
}

#[tokio::test]
async fn every_field_may_be_missing_or_of_another_type() {
    world(async |world| {
        world.unit(sample::UNIT, &["GT67Tv6x5p5y5xZWN"], &["CgM4vfNNtj8t4QEMd"]).await;
        for (sample, is_rest) in samples().into_iter().zip([false, true]) {
            let mut fields = Vec::new();
            pointers(&sample, "", &mut fields);
            assert!(fields.len() > 30, "the sample is gone");
            for pointer in fields {
                let mut event = sample.clone();
                remove(&mut event, &pointer);
                let name =
                    format!("{pointer} of {} is", if is_rest { "a REST event" } else { "an HTTP event" });
                assert_eq!(outcome(world, &event).await, expected(&pointer, is_rest, true), "{name} absent");
                for strange in [Value::Null, json!(5), json!({})] {
                    let mut event = sample.clone();
                    let value = event.pointer_mut(&pointer).expect("it is there");
                    // An empty object lacks whatever was in the one that it replaces.
                    let is_empty = strange.is_null() && !pointer.ends_with("/0")
                        || value.is_object() && strange.is_object();
                    value.clone_from(&strange);
                    assert_eq!(
                        outcome(world, &event).await,
                        expected(&pointer, is_rest, is_empty),
                        "{name} {strange}"
                    );
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_event_that_is_no_object_is_none() {
    documented_world(async |world| {
        let sample = &samples()[0];
        // Its fields, without their names.
        let list: Vec<Value> =
            ["rawPath", "path", "httpMethod", "headers", "multiValueHeaders", "pathParameters"]
                .into_iter()
                .chain(["requestContext", "body", "isBase64Encoded"])
                .map(|name| sample[name].clone())
                .collect();
        for event in [json!(list), json!([]), json!("{}"), json!(null), json!(true), json!(1e300)] {
            assert_refused(&world.send(&event).await, 500, INTERNAL);
        }
        // Far more of it than there is to read.
        let mut event = sample.clone();
        event["more"] = (0..10_000).map(|n| json!({ "n": n })).collect();
        assert_eq!(outcome(world, &event).await, "Unit");
    })
    .await;
}

/// The sample events with other values of a header; a REST event lists them, an HTTP event joins them.
fn with_header(name: &str, values: &[&str]) -> [Value; 2] {
    let [mut http, mut rest] = samples();
    http["headers"][name] = values.join(",").into();
    let rest_name =
        name.split('-').map(|part| part[..1].to_uppercase() + &part[1..]).collect::<Vec<_>>().join("-");
    rest["headers"][&rest_name] = values.last().copied().into();
    rest["multiValueHeaders"][&rest_name] = json!(values);
    [http, rest]
}

#[tokio::test]
async fn hostile_headers_are_nobodys() {
    let kilobytes = |n: usize| "x".repeat(n * 1024);
    let (of_8, of_1024) = (kilobytes(8), kilobytes(1024));
    let of_many: Vec<&str> = vec!["x"; 10_000];
    documented_world(async |world| {
        for (name, good) in [("x-auth-token", sample::TOKEN), ("x-user-id", sample::USER)] {
            for values in [
                &[good, good][..],
                &[good, ""],
                &["", good],
                &[&of_8],
                &[&of_1024],
                &of_many,
                &["pässwörd"],
                &["部門"],
                &["\u{fffd}\u{fffd}"],
                &["\0"],
                &["a\r\nx-user-id: b"],
                &[" "],
                &[","],
                &["%00%2f"],
                &["\u{7f}\u{1b}[2J"],
                &["' OR 1=1 --"],
                &["USER#", "TOKEN#"],
            ] {
                for event in with_header(name, values) {
                    assert_refused(&world.send(&event).await, 401, NOT_LOGGED_IN);
                }
            }
        }
        // Whatever the others hold, they are not read.
        for values in [&[&*of_8][..], &[&of_1024], &of_many, &["pässwörd \u{0}"]] {
            for event in with_header("user-agent", values) {
                assert_eq!(outcome(world, &event).await, "Unit");
            }
        }
        let [mut http, mut rest] = samples();
        let many = (0..10_000).map(|n| (format!("x-{n}"), json!("x"))).collect::<Map<_, _>>();
        for event in [&mut http, &mut rest] {
            event["headers"].as_object_mut().expect("a map").extend(many.clone());
            assert_eq!(outcome(world, event).await, "Unit");
            // The same name in two spellings is the header given twice.
            let key = if event["multiValueHeaders"].is_null() { "headers" } else { "multiValueHeaders" };
            let value = if key == "headers" { json!(sample::TOKEN) } else { json!([sample::TOKEN]) };
            event[key]["X-AUTH-TOKEN"] = value;
            assert_refused(&world.send(event).await, 401, NOT_LOGGED_IN);
        }
        for gone in [Value::Null, json!({}), json!({ "x-auth-token": null, "x-user-id": null })] {
            for mut event in samples() {
                event["headers"] = gone.clone();
                if event.get("multiValueHeaders").is_some() {
                    event["multiValueHeaders"] = gone.clone();
                }
                assert_refused(&world.send(&event).await, 401, NOT_LOGGED_IN);
                event.as_object_mut().expect("an object").remove("headers");
                assert_refused(&world.send(&event).await, 401, NOT_LOGGED_IN);
            }
        }
    })
    .await;
}

/// Sends the id as either kind of API shows it: the HTTP API's parameter decoded, the path as it was sent.
async fn send_id(world: &World, sent: &str, decoded: &str) -> [Response; 2] {
    let [mut http, mut rest] = samples();
    let path = format!("/api/v1/livechat/units/{sent}");
    let body = body(&[], &[]);
    set_path(&mut http, &path);
    http["pathParameters"] = json!({ "id": decoded });
    rest["path"] = path.into();
    rest["pathParameters"] = json!({ "id": sent });
    (http["body"], rest["body"]) = (body.clone().into(), body.into());
    [world.send(&http).await, world.send(&rest).await]
}

#[tokio::test]
async fn hostile_ids_name_their_unit_or_none() {
    // Sent, and decoded once.
    let ids = [
        ("a%2Fb", "a/b"),
        ("%2F", "/"),
        ("%2F%2F", "//"),
        ("..%2F..%2Fetc%2Fpasswd", "../../etc/passwd"),
        ("%2E%2E", ".."),
        (".", "."),
        ("UNIT%23x", "UNIT#x"),
        ("a%23b", "a#b"),
        ("%00", "\0"),
        ("a%00b", "a\0b"),
        ("%0D%0Ax-a:%20b", "\r\nx-a: b"),
        ("%252F", "%2F"),
        ("%FF%FE", "%FF%FE"),
        ("%C3%28", "%C3%28"),
        ("%ED%A0%80", "%ED%A0%80"),
        ("%", "%"),
        ("%2", "%2"),
        ("%GG", "%GG"),
        ("%F0%9F%A6%80", "🦀"),
        ("a%20%20b+c", "a  b+c"),
        ("%E2%80%AE", "\u{202e}"),
        ("__proto__", "__proto__"),
        ("%7B%22S%22%3A%22x%22%7D", "{\"S\":\"x\"}"),
    ];
    world(async |world| {
        for (sent, decoded) in ids {
            for response in send_id(world, sent, decoded).await {
                assert_refused(&response, 400, UNIT_NOT_FOUND);
            }
            world.unit(decoded, &[], &[]).await;
            for response in send_id(world, sent, decoded).await {
                assert_success(&response, decoded, 0, 0);
            }
        }
        for (text, length) in
            [("x", 2000), ("x", 513), ("é", 257), ("\0", 513), ("/", 1000), ("🦀", 2000), ("x", 100_000)]
        {
            let decoded = text.repeat(length);
            let sent = utf8_percent_encode(&decoded, NON_ALPHANUMERIC).to_string();
            for response in send_id(world, &sent, &decoded).await {
                assert_refused(&response, 400, UNIT_NOT_FOUND);
            }
        }
        let fits = "%00".repeat(512);
        for response in send_id(world, &fits, &"\0".repeat(512)).await {
            assert_refused(&response, 400, UNIT_NOT_FOUND);
        }
    })
    .await;
}

#[tokio::test]
async fn hostile_ids_in_the_body_name_nothing() {
    let long = "x".repeat(2000);
    let ids = [
        "",
        "\0",
        "a/b",
        "../..",
        "DEPARTMENT#d",
        "#",
        &long,
        "🦀",
        "\u{202e}",
        "' OR 1=1",
        "{\"S\":\"d\"}",
        "%00",
    ];
    world(async |world| {
        world.unit("U", &[], &["d"]).await;
        // Users who can't be are left out; departments who can't be are told, each once and as it was sent.
        assert_success(&world.update("U", &ids, &["d"]).await, "U", 0, 1);
        let twice: Vec<&str> = ids.iter().chain(&["d"]).chain(&ids).copied().collect();
        let expected = json!({
            "success": false,
            "error": format!("Department not found: {} [error-department-not-found]", ids.join(", ")),
            "errorType": "error-department-not-found",
            "details": { "method": "livechat:saveUnit", "departmentIds": ids },
        });
        assert_refused(&world.update("U", &[], &twice).await, 400, &expected.to_string());
    })
    .await;
}

#[tokio::test]
async fn what_is_no_base64_is_no_json() {
    let good = BASE64.encode(sample::BODY);
    let url_safe = BASE64.encode("\u{3f}\u{3e}~~?>").replace('+', "-").replace('/', "_");
    documented_world(async |world| {
        for mut event in samples() {
            event["isBase64Encoded"] = true.into();
            event["body"] = good.clone().into();
            assert_eq!(outcome(world, &event).await, "Unit");
            for broken in [
                sample::BODY,
                "=",
                "====",
                "A",
                "AA",
                "AAA",
                "AAAA=",
                "AB==",
                "e30\n",
                "e30=e30=",
                "e3\u{0}0",
                "ëëëë",
                "\u{feff}e30=",
                &url_safe,
                &good[1..],
                &"=".repeat(100_000),
                &"é".repeat(500_000),
            ] {
                event["body"] = broken.into();
                assert_eq!(
                    outcome(world, &event).await,
                    "InvalidJson",
                    "{}",
                    &broken[..broken.len().min(20)]
                );
            }
            // Told from its length, whatever it holds.
            for huge in ["!".repeat(6_000_000), "=".repeat(6_000_000), "A".repeat(6_000_000)] {
                event["body"] = huge.into();
                assert_eq!(outcome(world, &event).await, "PayloadTooLarge");
            }
            event["body"] = "".into();
            assert_eq!(outcome(world, &event).await, "InvalidJson");
            event["body"] = BASE64.encode(b"\x00\xff\xfe").into();
            assert_eq!(outcome(world, &event).await, "InvalidJson");
        }
    })
    .await;
}

#[tokio::test]
async fn bodies_that_grow_in_memory_are_answered() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        let size = 1024 * 1024 - 200;
        let with = |key: &str, value: &str| {
            let mut all = Map::new();
            all.insert("unitData".into(), json!({ "name": "new name", "visibility": "private" }));
            all.insert("unitMonitors".into(), json!([]));
            all.insert("unitDepartments".into(), json!([]));
            let mut text = Value::Object(all).to_string();
            text.replace_range(text.len() - 1.., &format!(",{}:{value}}}", json!(key)));
            text
        };
        let nulls = format!("[{}0]", "0,".repeat(size / 2));
        let objects = format!("[{}{{}}]", "{},".repeat(size / 3));
        let keys: Vec<String> = (0..size / 12).map(|n| format!("\"{n:07}\":0")).collect();
        let keys = format!("{{{}}}", keys.join(","));
        let long_key = "k".repeat(size);
        for body in [with("more", &nulls), with("more", &objects), with("more", &keys), with(&long_key, "1")]
        {
            assert!(body.len() <= 1024 * 1024);
            assert_success(&world.send(&event("U", &body)).await, "U", 0, 0);
        }
        // What is refused is echoed, whatever its length.
        let echoed = with("unitMonitors", &objects);
        let response = world.send(&event("U", &echoed)).await;
        assert_eq!((response.status_code, assert_documented(&response)), (400, "MatchError"));
        let echoed = with("unitMonitors", &format!("{{\"{long_key}\":1}}"));
        let response = world.send(&event("U", &echoed)).await;
        assert_eq!((response.status_code, assert_documented(&response)), (400, "MatchError"));
        assert!(response.body.len() > size);
    })
    .await;
}
