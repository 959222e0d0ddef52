//! Logs: one JSON object per line on standard output, at the level that the environment sets.

use std::env;
use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Logs to standard output, at the level of `RUST_LOG` or else `info`. Lambda's own variable `AWS_LAMBDA_LOG_LEVEL` is
/// not read. If it is set, Lambda itself drops all lines below that level. Above INFO, it also drops the lines of the
/// metrics.
pub fn init() {
    let level = env::var("RUST_LOG").ok().and_then(|text| level(&text)).unwrap_or(LevelFilter::INFO);
    subscriber(level, io::stdout).init();
    std::panic::set_hook(Box::new(|panic| {
        // The location is logged and the message is not, because a message may quote input.
        let location = panic.location().map(ToString::to_string);
        tracing::error!(location, "panicked");
    }));
}

/// The subscriber that [`init`] installs. `level` applies to this crate. Libraries log only warnings and errors,
/// whatever the level, because below WARN they print events, headers and requests, which contain tokens.
pub fn subscriber<W>(
    level: LevelFilter,
    writer: W,
) -> impl tracing::Subscriber + Send + Sync + SubscriberInitExt
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let libraries = level.min(LevelFilter::WARN);
    let filter = Targets::new().with_default(libraries).with_target("livechat_units", level);
    let json = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(writer);
    tracing_subscriber::registry().with(json).with(filter)
}

/// Parses a level such as `trace`, `INFO` or `livechat_units=debug`.
fn level(text: &str) -> Option<LevelFilter> {
    let wanted: Targets = text.parse().ok()?;
    let levels = [
        tracing::Level::TRACE,
        tracing::Level::DEBUG,
        tracing::Level::INFO,
        tracing::Level::WARN,
        tracing::Level::ERROR,
    ];
    let lowest = levels.into_iter().find(|level| wanted.would_enable("livechat_units", level));
    Some(lowest.map_or(LevelFilter::OFF, LevelFilter::from_level))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_those_of_this_crate() {
        for (text, expected) in [
            ("info", LevelFilter::INFO),
            ("TRACE", LevelFilter::TRACE),
            ("off", LevelFilter::OFF),
            ("warn,livechat_units=debug", LevelFilter::DEBUG),
            ("hyper=trace", LevelFilter::OFF),
        ] {
            assert_eq!(level(text), Some(expected), "{text}");
        }
        assert_eq!(level("a=b=c"), None);
    }
}
