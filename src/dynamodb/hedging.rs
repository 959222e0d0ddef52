//! When a request without a reply is sent a second time ("hedged requests", Dean and Barroso, "The Tail at Scale").

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use tokio::time::Instant;

/// The shortest wait for a reply before the second request. A normal reply takes a small part of this time. With a
/// shorter wait, a small Lambda function would send second requests whenever it computes for a moment.
const MIN_WAIT: Duration = Duration::from_millis(100);

/// The longest wait for a reply before the second request, however slow DynamoDB is.
const MAX_WAIT: Duration = Duration::from_millis(500);

/// The tokens of a new execution environment. Each second request takes one token. One update rarely needs three.
const FIRST_TOKENS: f64 = 3.0;

/// The maximum number of tokens. It is also the maximum number of second requests in a row.
const MAX_TOKENS: f64 = 5.0;

/// The tokens that are added for each first request.
const TOKENS_OF_A_REQUEST: f64 = 0.03;

/// The tokens that are added for each second that passes: two a minute. An execution environment with few requests is
/// often frozen, and needs tokens after each freeze. Two requests a minute are no load for DynamoDB.
const TOKENS_OF_A_SECOND: f64 = 1.0 / 30.0;

/// What an execution environment remembers for its second requests: how long replies take, and how many second requests
/// it may still send.
pub(super) struct Hedging(Mutex<State>);

struct State {
    /// `None` before the first reply.
    reply_times: Option<ReplyTimes>,
    tokens: f64,
    /// When `tokens` was last changed.
    since: Instant,
}

/// How long recent replies took, in seconds.
#[derive(Clone, Copy)]
struct ReplyTimes {
    mean: f64,
    /// The mean deviation from the mean.
    deviation: f64,
}

impl Default for Hedging {
    fn default() -> Self {
        Self(Mutex::new(State { reply_times: None, tokens: FIRST_TOKENS, since: Instant::now() }))
    }
}

impl Hedging {
    /// Counts a first request, and returns how long to wait for its reply before the second one: the mean time of
    /// recent replies and four times their mean deviation, within bounds. This is TCP's retransmission timeout (RFC
    /// 6298). If DynamoDB is slow for everyone, the wait becomes longer, too, so second requests do not add to
    /// DynamoDB's load.
    pub(super) fn wait_before_second_request(&self) -> Duration {
        self.with(|state| {
            let now = Instant::now();
            let passed = (now - std::mem::replace(&mut state.since, now)).as_secs_f64();
            let new = TOKENS_OF_A_REQUEST + TOKENS_OF_A_SECOND * passed;
            state.tokens = (state.tokens + new).min(MAX_TOKENS);
            let seconds = state.reply_times.map_or(0.0, |times| times.mean + 4.0 * times.deviation);
            Duration::from_secs_f64(seconds).clamp(MIN_WAIT, MAX_WAIT)
        })
    }

    /// Takes a token for a second request. Returns false if there is none.
    pub(super) fn take_hedging_token(&self) -> bool {
        self.with(|state| {
            let has_token = state.tokens >= 1.0;
            state.tokens -= f64::from(u8::from(has_token));
            has_token
        })
    }

    /// Waits for the reply to a call and notes how long it took.
    pub(super) async fn timed<T, E>(
        &self,
        call: impl Future<Output = Result<T, SdkError<E>>>,
    ) -> Result<T, SdkError<E>> {
        let sent = Instant::now();
        let reply = call.await;
        if matches!(reply, Ok(_) | Err(SdkError::ServiceError(_))) {
            self.record_reply(sent.elapsed());
        }
        reply
    }

    fn record_reply(&self, took: Duration) {
        let took = took.as_secs_f64();
        self.with(|state| {
            state.reply_times = Some(match state.reply_times {
                None => ReplyTimes { mean: took, deviation: took / 2.0 },
                Some(ReplyTimes { mean, deviation }) => ReplyTimes {
                    mean: mean + (took - mean) / 8.0,
                    deviation: deviation + ((took - mean).abs() - deviation) / 4.0,
                },
            });
        });
    }

    fn with<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn the_wait_follows_the_replies_within_its_bounds() {
        let hedging = Hedging::default();
        assert_eq!(hedging.wait_before_second_request(), MIN_WAIT);
        for _ in 0..100 {
            hedging.record_reply(ms(5));
        }
        assert_eq!(hedging.wait_before_second_request(), MIN_WAIT);
        for _ in 0..100 {
            hedging.record_reply(ms(300));
        }
        assert!(
            (ms(300)..ms(310)).contains(&hedging.wait_before_second_request()),
            "{:?}",
            hedging.wait_before_second_request()
        );
        for _ in 0..100 {
            hedging.record_reply(ms(900));
        }
        assert_eq!(hedging.wait_before_second_request(), MAX_WAIT);
    }

    #[test]
    fn second_requests_are_a_few_percent_of_all() {
        let hedging = Hedging::default();
        let second = (0..1000).filter(|_| {
            hedging.wait_before_second_request();
            hedging.take_hedging_token()
        });
        assert!((32..35).contains(&second.count()));
        let quiet = Hedging::default();
        for _ in 0..1000 {
            quiet.wait_before_second_request();
        }
        assert_eq!((0..10).filter(|_| quiet.take_hedging_token()).count(), 5);
    }
}
