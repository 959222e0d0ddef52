//! Each alarm is raised in the situations that it is there for, and in no other.

use std::collections::BTreeSet;

use crate::alarm::{Alarm, Behaviour, Samples};

const HOUR: i64 = 60;
const HALF_AN_HOUR: i64 = 30;

/// What a request does to the metrics. The default is a fast 200 that needed no second try.
#[derive(Clone, Copy)]
struct Request {
    status: u16,
    ms: f64,
    /// False for a request that fails in API Gateway, or when Lambda can't be invoked.
    reaches_function: bool,
    /// False when the invocation ends without an answer: a timeout, or a process that dies.
    is_answered: bool,
    is_throttled: bool,
    is_given_up: bool,
    conflicts: u32,
    failures: u32,
}

const GOOD: Request = Request {
    status: 200,
    ms: 20.0,
    reaches_function: true,
    is_answered: true,
    is_throttled: false,
    is_given_up: false,
    conflicts: 0,
    failures: 0,
};
const FAILED: Request = Request { status: 500, ..GOOD };
const SLOW: Request = Request { ms: 4000.0, ..GOOD };
const BEFORE_FUNCTION: Request = Request { status: 500, reaches_function: false, ..GOOD };
const THROTTLED: Request = Request { status: 503, reaches_function: false, is_throttled: true, ..GOOD };
const UNANSWERED: Request = Request { status: 500, is_answered: false, ..GOOD };
const GIVEN_UP: Request = Request { status: 503, is_given_up: true, conflicts: 5, ..GOOD };

/// Requests with the minute in which they come.
type Traffic = Vec<(i64, Request)>;

/// `a_minute` requests each minute. One in `one_in` is `other`, and the others are good.
fn steady(minutes: i64, a_minute: usize, one_in: usize, other: Request) -> Traffic {
    let requests = (0..minutes).flat_map(|minute| (0..a_minute).map(move |_| minute));
    let requests = requests.enumerate();
    requests.map(|(n, minute)| (minute, if n % one_in == one_in - 1 { other } else { GOOD })).collect()
}

/// `count` requests of one kind, one every `minutes` minutes.
fn every(minutes: i64, count: i64, request: Request) -> Traffic {
    (0..count).map(|n| (n * minutes, request)).collect()
}

/// One good request each minute for an hour, and these at minute 30.
fn at_once(requests: impl IntoIterator<Item = Request>) -> Traffic {
    let mut traffic = every(1, HOUR, GOOD);
    traffic.extend(requests.into_iter().map(|request| (30, request)));
    traffic
}

/// The metrics that the function, Lambda and API Gateway make of requests. Whether API Gateway writes a zero for a request
/// without an error is not documented, so both are tried.
fn samples(traffic: &Traffic, api_writes_zeros: bool) -> Samples {
    let mut samples = Samples::new();
    let mut add = |minute: i64, namespace: &str, name: &str, value: f64| {
        let metric = samples.entry((namespace.to_owned(), name.to_owned())).or_default();
        metric.entry(minute).or_default().push(value);
    };
    for (minute, request) in traffic {
        let is_5xx = request.status >= 500;
        add(*minute, "AWS/ApiGateway", "Count", 1.0);
        if is_5xx || api_writes_zeros {
            add(*minute, "AWS/ApiGateway", "5xx", f64::from(u8::from(is_5xx)));
        }
        if request.is_throttled {
            add(*minute, "AWS/Lambda", "Throttles", 1.0);
        }
        if !request.reaches_function {
            continue;
        }
        add(*minute, "AWS/Lambda", "Errors", f64::from(u8::from(!request.is_answered)));
        if !request.is_answered {
            continue;
        }
        for (name, value) in [
            ("Requests", 1.0),
            ("ServerErrors", f64::from(u8::from(is_5xx))),
            ("GivenUp", f64::from(u8::from(request.is_given_up))),
            ("Duration", request.ms),
            ("Conflicts", f64::from(request.conflicts)),
            ("Failures", f64::from(request.failures)),
        ] {
            add(*minute, "LivechatUnits", name, value);
        }
    }
    samples
}

/// A name, the traffic, and the alarms that it raises. Every other alarm stays silent.
fn scenarios() -> Vec<(&'static str, Traffic, &'static [&'static str])> {
    let conflicting = Request { conflicts: 5, ..GOOD };
    let repeated = Request { failures: 2, ..GOOD };
    vec![
        ("a quiet night", Traffic::new(), &[]),
        ("one good request in the night", every(1, 1, GOOD), &[]),
        ("five good requests an hour", every(12, 15, GOOD), &[]),
        ("1,000 good requests a minute", steady(HALF_AN_HOUR, 1000, 1000, GOOD), &[]),
        ("five requests an hour, all failing in the function", every(12, 15, FAILED), &["api-errors-hour"]),
        (
            "five requests an hour, all failing before it",
            every(12, 15, BEFORE_FUNCTION),
            &["api-errors-hour"],
        ),
        ("1,000 a minute, 0.5 % failing", steady(HALF_AN_HOUR, 1000, 200, FAILED), &[]),
        (
            "1,000 a minute, 5 % failing",
            steady(HALF_AN_HOUR, 1000, 20, FAILED),
            &["server-errors", "api-errors", "api-errors-hour"],
        ),
        (
            "1,000 a minute, 5 % failing before the function",
            steady(HALF_AN_HOUR, 1000, 20, BEFORE_FUNCTION),
            &["api-errors", "api-errors-hour"],
        ),
        ("two failures among few requests", at_once([FAILED, FAILED]), &[]),
        ("20 requests in five minutes, one slow", steady(HOUR, 4, 20, SLOW), &[]),
        ("20 requests in five minutes, two slow", steady(HOUR, 4, 10, SLOW), &["latency"]),
        ("1,000 a minute, 4 % slow", steady(HALF_AN_HOUR, 1000, 25, SLOW), &[]),
        (
            "1,000 a minute, a tenth slow, as with a slow new version",
            steady(HALF_AN_HOUR, 1000, 10, SLOW),
            &["latency"],
        ),
        ("all of few requests slow", every(5, 20, SLOW), &[]),
        ("one invocation without an answer", at_once([UNANSWERED]), &["errors"]),
        (
            "a new version that does not start, with a request every two seconds",
            steady(2 * HOUR, 30, 10, UNANSWERED),
            &["errors", "api-errors", "api-errors-hour"],
        ),
        ("one throttled invocation", at_once([THROTTLED]), &["throttles"]),
        ("one update given up", at_once([GIVEN_UP]), &[]),
        ("three updates given up among 1,000 a minute", three_given_up(), &["given-up"]),
        ("a minute with many conflicts", at_once([conflicting; 20]), &[]),
        (
            "a client that updates one unit in a loop",
            steady(HOUR, 100, 5, conflicting),
            &["dynamodb-conflicts"],
        ),
        ("a minute with many repeated calls", at_once([repeated; 20]), &[]),
        (
            "DynamoDB throttles, and the repeated calls succeed",
            steady(HOUR, 100, 5, repeated),
            &["dynamodb-failures"],
        ),
    ]
}

fn three_given_up() -> Traffic {
    let mut traffic = steady(HALF_AN_HOUR, 1000, 1000, GOOD);
    traffic.extend([(10, GIVEN_UP), (11, GIVEN_UP), (11, GIVEN_UP)]);
    // Wherever the periods of five minutes begin, one period has all three of these requests, or all three of the next
    // ones.
    traffic.extend([(13, GIVEN_UP), (13, GIVEN_UP), (13, GIVEN_UP)]);
    traffic
}

#[test]
fn each_alarm_is_raised_when_it_should_be_and_not_otherwise() {
    let alarms = Alarm::all();
    let mut were_raised = BTreeSet::new();
    for (scenario, traffic, expected) in scenarios() {
        for api_writes_zeros in [true, false] {
            let samples = samples(&traffic, api_writes_zeros);
            for alarm in &alarms {
                let should_be_raised = expected.contains(&alarm.name.as_str());
                let behaviour = if should_be_raised { Behaviour::Raised } else { Behaviour::Silent };
                assert_eq!(alarm.behaviour(&samples), behaviour, "{} with {scenario}", alarm.name);
            }
        }
        let names: BTreeSet<&str> = alarms.iter().map(|alarm| alarm.name.as_str()).collect();
        assert!(
            expected.iter().all(|name| names.contains(name)),
            "{scenario} names an alarm that does not exist"
        );
        were_raised.extend(expected.iter().copied());
    }
    for alarm in &alarms {
        assert!(were_raised.contains(alarm.name.as_str()), "no scenario raises {}", alarm.name);
    }
}
