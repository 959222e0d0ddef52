//! Rocket.Chat's "Update Unit" endpoint, `POST /api/v1/livechat/units/{id}`, on DynamoDB.
//!
//! [`Function::handle`] takes API Gateway's event and returns the response. A request goes through these modules:
//!
//! | step | module |
//! |---|---|
//! | parse | [`request`]: the event, then the body, become an [`Update`](request::Update) |
//! | authorize | [`auth`]: token, user and permission |
//! | load | [`load`]: the unit, the listed departments and users |
//! | plan | [`mod@plan`]: a pure function that turns what was loaded into [`action`]s with conditions |
//! | commit | [`dynamodb`]: one TransactWriteItems for each transaction of the plan |
//! | respond | [`error`] and [`Response`] |
//!
//! `function` connects the steps. `update` repeats the steps plan and commit when DynamoDB refuses a transaction. The
//! HTTP contract is docs/contract.md, and the stored items are docs/data-model.md.

pub mod action;
pub mod auth;
mod budget;
pub mod dynamodb;
pub mod error;
mod function;
pub mod id;
pub mod item;
pub mod limits;
pub mod load;
mod metrics;
pub mod plan;
mod race;
pub mod request;
mod response;
pub mod telemetry;
pub mod timestamp;
mod update;

pub use auth::hashed_token;
pub use dynamodb::Tables;
pub use dynamodb::tls::http_client;
pub use function::Function;
pub use metrics::NAMESPACE as METRICS_NAMESPACE;
pub use response::Response;
