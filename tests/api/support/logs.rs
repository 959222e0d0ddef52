//! Watches the log of the whole test run for tokens, and captures the log lines of one test.

use std::cell::RefCell;
use std::io;
use std::sync::{Mutex, Once};

use livechat_units::telemetry;
use serde_json::{Value, json};
use testing::events::set_path;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::util::SubscriberInitExt;

use super::{ADMIN, TOKEN, body, event};

/// Every token that a test of this run has used.
static TOKENS: Mutex<Vec<String>> = Mutex::new(Vec::new());

thread_local! {
    /// The log lines of the test on this thread, if it captures them.
    static LINES: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The log of the whole test run: each line is searched for tokens and not printed.
struct WatchedLog;

impl io::Write for WatchedLog {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).expect("logs are UTF-8");
        if contains_a_token(text) {
            // A panic would go unnoticed, because the function catches panics.
            eprintln!("a log line contains a token: {text}");
            std::process::abort();
        }
        LINES.with_borrow_mut(|lines| lines.iter_mut().for_each(|lines| lines.push_str(text)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Begins to watch the log at the lowest level, for all tests of this process.
///
/// All tests share one subscriber. If each thread had its own subscriber, lines would be missed: `tracing` remembers for the whole
/// process whether a line is wanted, and may ask while another thread's subscriber is being set or removed.
pub fn watch() {
    static WATCHING: Once = Once::new();
    WATCHING.call_once(|| {
        watch_token(TOKEN);
        telemetry::subscriber(LevelFilter::TRACE, || WatchedLog).init();
    });
}

/// From now on, no log line and no answer may contain this token.
pub fn watch_token(token: &str) {
    /// Shorter tokens are words that a line may contain for another reason.
    const MIN_BYTES: usize = 16;
    let mut tokens = TOKENS.lock().expect("no test panics with it");
    if token.len() >= MIN_BYTES && !tokens.iter().any(|known| known == token) {
        tokens.push(token.to_owned());
    }
}

/// Whether the text contains a token that a test used, or the first half of one.
pub fn contains_a_token(text: &str) -> bool {
    let tokens = TOKENS.lock().expect("no test panics with it");
    tokens.iter().any(|token| text.contains(token.get(..token.len() / 2).unwrap_or(token)))
}

/// Returns the lines of this level and above that this thread logs during `work`.
pub async fn capture(level: LevelFilter, work: impl Future<Output = ()>) -> Vec<Value> {
    LINES.set(Some(String::new()));
    work.await;
    let lines = LINES.take().expect("set above");
    let lines = lines.lines().map(|line| serde_json::from_str(line).expect("a line is JSON"));
    let is_wanted = |line: &Value| {
        let of_line = line["level"].as_str().expect("a line has a level").parse::<LevelFilter>();
        of_line.expect("a level") <= level
    };
    lines.filter(is_wanted).collect()
}

/// Events that have a token where it does not belong, and others that are refused. `unit` is a unit that exists.
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
    // The token as the unit's id, sent by the administrator and by a stranger.
    let as_unit = event(TOKEN, &body(&[], &[]));
    let mut by_a_stranger = as_unit.clone();
    by_a_stranger["headers"]["x-auth-token"] = "unknown".into();
    let mut in_the_path = event(unit, "");
    set_path(&mut in_the_path, &format!("/api/v1/{TOKEN}"));
    events.extend([as_user, repeated, as_unit, by_a_stranger, in_the_path]);
    events.extend([json!({ "headers": { "x-auth-token": [TOKEN] } }), json!(TOKEN)]);
    events
}
