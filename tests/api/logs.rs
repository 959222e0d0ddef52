//! What the logs tell, and what they never tell.

use std::cell::RefCell;
use std::io;
use std::sync::{Mutex, Once};

use livechat_units::{hashed_token, telemetry};
use serde_json::{Value, json};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::world::{ADMIN, TOKEN, World, assert_success, body, event, invoke, world};

/// Every token that a test of this run has used.
static TOKENS: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    /// The log lines of the test on this thread, while it captures them.
    static LINES: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Where the logs of the whole test run go: nowhere, past a look for tokens.
struct Watched;

impl io::Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).expect("logs are UTF-8");
        if tells_a_token(text) {
            // Not a panic, which the function would catch.
            eprintln!("A token is in a log line: {text}");
            std::process::abort();
        }
        LINES.with_borrow_mut(|lines| lines.iter_mut().for_each(|lines| lines.push_str(text)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Watches the logs of every test from here on, at the lowest level.
///
/// One subscriber for all, because scoped ones on many threads miss lines: whether a line is wanted is
/// remembered for the process, and may be asked while another thread's subscriber comes or goes.
pub fn watch() {
    static WATCHED: Once = Once::new();
    WATCHED.call_once(|| {
        secret(TOKEN);
        telemetry::subscriber(LevelFilter::TRACE, || Watched).init();
    });
}

/// From here on, no log line and no answer may tell this.
pub fn secret(token: &str) {
    // Shorter ones are words that a line may well have.
    const SHORTEST: usize = 16;
    let mut tokens = TOKENS.lock().expect("nobody panics with it");
    if token.len() >= SHORTEST && !tokens.iter().any(|known| known == token) {
        tokens.push(token.to_owned());
    }
}

/// Whether the text has a token that a test used, or the first half of one.
pub fn tells_a_token(text: &str) -> bool {
    let tokens = TOKENS.lock().expect("nobody panics with it");
    tokens.iter().any(|token| text.contains(token.get(..token.len() / 2).unwrap_or(token)))
}

/// What is logged on this thread meanwhile, from this level up.
pub async fn logged(level: LevelFilter, provoke: impl Future<Output = ()>) -> Vec<Value> {
    LINES.set(Some(String::new()));
    provoke.await;
    let lines = LINES.take().expect("set above");
    let lines = lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON"));
    let of_level = |line: &Value| {
        let told = line["level"].as_str().expect("a line has a level").parse::<LevelFilter>();
        told.expect("a level") <= level
    };
    lines.filter(of_level).collect()
}

fn requests(lines: &[Value]) -> Vec<&Value> {
    lines.iter().filter(|line| line["message"] == "request").collect()
}

/// Requests that show a token where there should be none, and others that are refused. The unit exists.
pub fn revealing_events(unit: &str) -> Vec<Value> {
    let mut events: Vec<Value> = [body(&[TOKEN], &[]), body(&[], &["unknown"]), "{".into(), TOKEN.into()]
        .iter()
        .map(|body| event(unit, body))
        .collect();
    let mut as_user = event(unit, "");
    as_user["headers"]["x-auth-token"] = ADMIN.into();
    as_user["headers"]["x-user-id"] = TOKEN.into();
    let mut repeated = event(unit, "");
    repeated["headers"]["x-auth-token"] = format!("{TOKEN},{TOKEN}").into();
    // As the unit, by who may update units and by a stranger.
    let as_unit = event(TOKEN, &body(&[], &[]));
    let mut by_a_stranger = as_unit.clone();
    by_a_stranger["headers"]["x-auth-token"] = "unknown".into();
    let mut in_the_path = event(unit, "");
    crate::world::set_path(&mut in_the_path, &format!("/api/v1/{TOKEN}"));
    events.extend([as_user, repeated, as_unit, by_a_stranger, in_the_path]);
    events.extend([json!({ "headers": { "x-auth-token": [TOKEN] } }), json!(TOKEN)]);
    events
}

async fn provoke_everything(world: &World) {
    world.unit("U", &[], &[]).await;
    for event in revealing_events("U") {
        world.invoke(&event).await;
    }
    let mut gone = world.tables.clone();
    gone.tokens.push_str("-gone");
    invoke(&livechat_units::Function::new(&world.sdk, gone), &event("U", ""), None).await;
}

#[tokio::test]
async fn a_token_is_in_no_log_line_at_any_level() {
    world(async |world| {
        let lines = logged(LevelFilter::TRACE, provoke_everything(world)).await;
        assert_eq!(requests(&lines).len(), revealing_events("U").len() + 1, "{lines:?}");
        // Each line was looked at when it was written, as those of all tests are. It would have been found:
        assert!(tells_a_token(&format!("a line with {TOKEN}")));
        assert!(tells_a_token(&format!("a line with {}", &TOKEN[..TOKEN.len() / 2])));
        assert!(!tells_a_token(&format!("a line with {}", hashed_token(TOKEN))));
    })
    .await;
}

#[tokio::test]
async fn a_request_is_one_line() {
    world(async |world| {
        world.unit("U", &[], &[]).await;
        world.monitors(&["m"]).await;
        world.user("agent", &["livechat-agent"]).await;
        let lines = logged(LevelFilter::INFO, async {
            assert_success(
                &world.invoke(&event("U", &body(&["m", "agent", "nobody"], &[]))).await,
                "U",
                1,
                0,
            );
        })
        .await;
        let [line] = requests(&lines)[..] else { panic!("{lines:?}") };
        for (name, value) in [
            ("level", json!("INFO")),
            ("request_id", json!("request-id")),
            ("user_id", json!(ADMIN)),
            ("unit_id", json!("U")),
            ("status", json!(200)),
            ("outcome", json!("updated")),
            ("calls", json!(3)),
            ("transactions", json!(1)),
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
async fn the_cause_of_a_500_is_logged_with_the_request_id_and_never_sent() {
    world(async |world| {
        let mut gone = world.tables.clone();
        gone.livechat.push_str("-gone");
        let function = livechat_units::Function::new(&world.sdk, gone);
        let lines = logged(LevelFilter::ERROR, async {
            let response = invoke(&function, &event("U", ""), None).await;
            crate::world::assert_refused(&response, 500, crate::world::INTERNAL);
        })
        .await;
        let [line] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!((&line["level"], &line["request_id"]), (&json!("ERROR"), &json!("request-id")));
        let cause = line["cause"].as_str().expect("a cause");
        assert!(cause.contains("ResourceNotFoundException"), "{cause}");
    })
    .await;
}
