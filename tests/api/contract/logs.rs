//! What the log says about a request, and that it never contains a token.

use livechat_units::{Function, hashed_token};
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;

use crate::support::lag::in_time;
use crate::support::logs::{capture, contains_a_token, revealing_events};
use crate::support::responses::INTERNAL_ERROR;
use crate::support::{ADMIN, TOKEN, TestApp, assert_refused, assert_success, body, event, invoke, with_app};

/// The lines that describe a request. Each request logs one.
fn request_lines(lines: &[Value]) -> Vec<&Value> {
    lines.iter().filter(|line| line["message"] == "request").collect()
}

/// Sends everything that could make the function or a library log a token.
async fn send_revealing_events(app: &TestApp) {
    app.put_unit("U", &[], &[]).await;
    for event in revealing_events("U") {
        app.send_unchecked(&event).await;
    }
    let mut gone = app.tables.clone();
    gone.tokens.push_str("-gone");
    invoke(&Function::new(&app.sdk, gone), &event("U", ""), None).await;
}

#[tokio::test]
async fn no_log_line_contains_a_token() {
    with_app(async |app| {
        let lines = capture(LevelFilter::TRACE, send_revealing_events(app)).await;
        assert_eq!(request_lines(&lines).len(), revealing_events("U").len() + 1, "{lines:?}");
        // In all tests, each line is searched for tokens when it is written. This shows that the search would find one.
        assert!(contains_a_token(&format!("a line with {TOKEN}")));
        assert!(contains_a_token(&format!("a line with {}", &TOKEN[..TOKEN.len() / 2])));
        assert!(!contains_a_token(&format!("a line with {}", hashed_token(TOKEN))));
    })
    .await;
}

#[tokio::test]
async fn a_request_logs_one_line() {
    with_app(async |app| {
        app.put_unit("U", &[], &[]).await;
        app.put_monitors(&["m"]).await;
        app.put_user("agent", &["livechat-agent"]).await;
        let lines = in_time(async |_| {
            let lines = capture(LevelFilter::INFO, async {
                let update = event("U", &body(&["m", "agent", "unknown"], &[]));
                assert_success(&app.send_unchecked(&update).await, "U", 1, 0);
            })
            .await;
            // A call is sent a second time if its reply is late.
            if request_lines(&lines)[0]["hedged"] == 0 { Ok(lines) } else { Err(format!("{lines:?}")) }
        })
        .await;
        let [line] = request_lines(&lines)[..] else { panic!("{lines:?}") };
        for (name, value) in [
            ("level", json!("INFO")),
            ("request_id", json!("request-id")),
            ("user_id", json!(ADMIN)),
            ("unit_id", json!("U")),
            ("status", json!(200)),
            ("outcome", json!("updated")),
            ("calls", json!(3)),
            ("transactions", json!(1)),
            ("hedged", json!(0)),
            ("conflicts", json!(0)),
            ("left_out_monitors", json!(2)),
        ] {
            assert_eq!(line[name], value, "{name} in {line}");
        }
        assert!(line["ms"].as_f64().is_some_and(|ms| ms > 0.0), "{line}");
        assert!(lines.iter().any(|line| line["user_ids"] == r#"["agent"]"#), "{lines:?}");
    })
    .await;
}

#[tokio::test]
async fn the_cause_of_a_500_is_logged_and_not_sent() {
    with_app(async |app| {
        let mut gone = app.tables.clone();
        gone.livechat.push_str("-gone");
        let function = Function::new(&app.sdk, gone);
        let lines = capture(LevelFilter::ERROR, async {
            let response = invoke(&function, &event("U", ""), None).await;
            assert_refused(&response, 500, INTERNAL_ERROR);
        })
        .await;
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&line["level"], &line["request_id"]), (&json!("ERROR"), &json!("request-id")));
        let cause = line["cause"].as_str().expect("a cause");
        assert!(cause.contains("ResourceNotFoundException"), "{cause}");
    })
    .await;
}
