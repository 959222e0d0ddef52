//! What the logs tell, and what they never tell.

use std::io;
use std::sync::{Arc, Mutex};

use livechat_units::telemetry;
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;
use tracing::subscriber::set_default;

use crate::world::{ADMIN, TOKEN, World, assert_success, body, event, invoke, world};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no writer panics").write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no writer panics").clone()).expect("logs are UTF-8")
    }

    fn requests(&self) -> Vec<Value> {
        let text = self.text();
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("a line is JSON"));
        lines.filter(|line: &Value| line["message"] == "request").collect()
    }
}

fn capture(level: LevelFilter) -> (Lines, tracing::subscriber::DefaultGuard) {
    let lines = Lines::default();
    let writer = lines.clone();
    let guard = set_default(telemetry::subscriber(level, move || writer.clone()));
    (lines, guard)
}

async fn provoke_everything(world: &World) {
    world.unit("U", &[], &[]).await;
    for body in [body(&["x"], &[]), body(&[], &["unknown"]), "{".into(), "{}".into()] {
        world.invoke(&event("U", &body)).await;
    }
    let mut swapped = event("U", "");
    swapped["headers"]["x-auth-token"] = ADMIN.into();
    swapped["headers"]["x-user-id"] = TOKEN.into();
    world.invoke(&swapped).await;
    let mut repeated = event("U", "");
    repeated["headers"]["x-auth-token"] = format!("{TOKEN},{TOKEN}").into();
    world.invoke(&repeated).await;
    world.invoke(&json!({ "headers": { "x-auth-token": [TOKEN] } })).await;
    world.invoke(&json!(TOKEN)).await;
    let mut gone = world.tables.clone();
    gone.tokens.push_str("-gone");
    invoke(&livechat_units::Function::new(&world.sdk, gone), &event("U", ""), None).await;
}

#[tokio::test]
async fn a_token_is_in_no_log_line_at_any_level() {
    world(async |world| {
        let (lines, guard) = capture(LevelFilter::TRACE);
        provoke_everything(world).await;
        drop(guard);
        assert_eq!(lines.requests().len(), 9, "{}", lines.text());
        assert!(!lines.text().contains(TOKEN), "{}", lines.text());
        assert!(!lines.text().contains(&TOKEN[..20]), "{}", lines.text());
    })
    .await;
}

#[tokio::test]
async fn a_request_is_one_line() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        world.monitors(&["m"]).await;
        let (lines, guard) = capture(LevelFilter::INFO);
        assert_success(&world.invoke(&event("U", &body(&["m", "nobody"], &[]))).await, "U", 1, 0);
        drop(guard);
        let [line] = &lines.requests()[..] else { panic!("{}", lines.text()) };
        for (name, value) in [
            ("level", json!("INFO")),
            ("request_id", json!("request-id")),
            ("user_id", json!(ADMIN)),
            ("unit_id", json!("U")),
            ("status", json!(200)),
            ("outcome", json!("updated")),
            ("round_trips", json!(3)),
            ("attempts", json!(1)),
            ("conflicts", json!(0)),
            ("left_out_monitors", json!(1)),
        ] {
            assert_eq!(line[name], value, "{name} in {line}");
        }
        assert!(line["ms"].as_f64().is_some_and(|ms| ms > 0.0), "{line}");
        assert!(lines.text().contains(r#"some":"[\"nobody\"]""#), "{}", lines.text());
    })
    .await;
}

#[tokio::test]
async fn the_cause_of_a_500_is_logged_with_the_request_id_and_never_sent() {
    world(async |world| {
        let mut gone = world.tables.clone();
        gone.livechat.push_str("-gone");
        let (lines, guard) = capture(LevelFilter::ERROR);
        let function = livechat_units::Function::new(&world.sdk, gone);
        let response = invoke(&function, &event("U", ""), None).await;
        drop(guard);
        crate::world::assert_refused(&response, 500, crate::world::INTERNAL);
        let line: Value = serde_json::from_str(&lines.text()).expect("one line of JSON");
        assert_eq!((&line["level"], &line["request_id"]), (&json!("ERROR"), &json!("request-id")));
        let cause = line["cause"].as_str().expect("a cause");
        assert!(cause.contains("ResourceNotFoundException"), "{cause}");
    })
    .await;
}
