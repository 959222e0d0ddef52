//! What the tests of the function share.

pub mod app;
pub mod asked;
pub mod fault_proxy;
pub mod faulty_client;
pub mod in_flight;
pub mod interceptor;
pub mod invariants;
pub mod items;
pub mod lag;
pub mod logs;
pub mod observer;
pub mod openapi;
pub mod requests;
pub mod responses;
pub mod silent_proxy;
pub mod update_case;

pub use app::{ADMIN, Items, TOKEN, TestApp, with_app, with_app_through, with_sample_app};
pub use items::{department, merge, set, text, unit_item, username};
pub use requests::{as_strs, body, event, event_of, ids, invoke, outcome, rest_event, samples};
pub use responses::{assert_refused, assert_success, updated_at};

/// How many random cases a test tries: the value of this environment variable, or what a normal run has time for.
pub fn case_count(variable: &str, default: u32) -> u32 {
    std::env::var(variable).map_or(default, |cases| cases.parse().expect("it is a number"))
}
