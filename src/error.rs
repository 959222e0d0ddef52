//! Everything that keeps an update from being answered with 200, and the response each becomes.

use std::error::Error as StdError;

use serde::Serialize;

use crate::response::Response;

/// Most bytes that a request's body may have, after base64.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// Most actions that one TransactWriteItems holds (DynamoDB Developer Guide, "Amazon DynamoDB
/// Transactions: How it works").
pub const MAX_ACTIONS: usize = 100;

/// What went wrong inside; for the log, never for the client.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// Why a request is not answered with 200. The variants stand in the order in which they are found.
#[derive(Debug)]
pub enum Error {
    /// Any path but the endpoint's.
    UnknownEndpoint,
    /// The endpoint's path with another method than POST.
    MethodNotAllowed,
    /// No valid pair of token and user.
    NotLoggedIn,
    /// The user's `active` is false.
    Deactivated,
    /// No role of the user's holds `manage-livechat-units`.
    NotPermitted,
    /// The body has more than [`MAX_BODY_BYTES`].
    BodyTooLarge,
    /// The body is not JSON: what the parser says.
    InvalidJson(String),
    /// The body is JSON of another shape: what Meteor's `check` says.
    Mismatch(String),
    /// No such unit, or none that the caller may see.
    UnitNotFound,
    /// These listed departments do not exist, in the order of the body.
    DepartmentsNotFound(Vec<String>),
    /// The update would write this many items, more than [`MAX_ACTIONS`].
    TooManyChanges(usize),
    /// The unit would outgrow DynamoDB's largest item.
    UnitTooLarge,
    /// Other updates were in the way until the time budget ended.
    Busy,
    /// DynamoDB did not do its work, in time or at all.
    Unavailable(Cause),
    /// A fault of ours or of the stored data.
    Internal(Cause),
}

/// Rocket.Chat's REST API has two shapes of error; this is the one of its router and its login check.
#[derive(Serialize)]
struct RouterError {
    status: &'static str,
    message: &'static str,
}

/// The other shape: what an endpoint's own code answers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointError<'a> {
    success: bool,
    error: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Details<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Details<'a> {
    Method {
        method: &'static str,
    },
    #[serde(rename_all = "camelCase")]
    Departments {
        method: &'static str,
        department_ids: &'a [String],
    },
    Changes {
        changes: usize,
        limit: usize,
    },
}

/// The Meteor method behind the endpoint; Rocket.Chat's errors name it.
const METHOD: &str = "livechat:saveUnit";

impl Error {
    /// The HTTP status of the answer.
    pub fn status(&self) -> u16 {
        match self {
            Self::UnknownEndpoint => 404,
            Self::MethodNotAllowed => 405,
            Self::NotLoggedIn => 401,
            Self::Deactivated | Self::NotPermitted => 403,
            Self::BodyTooLarge => 413,
            Self::InvalidJson(_)
            | Self::Mismatch(_)
            | Self::UnitNotFound
            | Self::DepartmentsNotFound(_)
            | Self::TooManyChanges(_)
            | Self::UnitTooLarge => 400,
            Self::Busy | Self::Unavailable(_) => 503,
            Self::Internal(_) => 500,
        }
    }

    /// A short constant name, for logs and metrics.
    pub fn outcome(&self) -> &'static str {
        match self {
            Self::UnknownEndpoint => "unknown-endpoint",
            Self::MethodNotAllowed => "method-not-allowed",
            Self::NotLoggedIn => "not-logged-in",
            Self::Deactivated => "deactivated",
            Self::NotPermitted => "not-permitted",
            Self::BodyTooLarge => "payload-too-large",
            Self::InvalidJson(_) => "invalid-json",
            Self::Mismatch(_) => "match-error",
            Self::UnitNotFound => "unit-not-found",
            Self::DepartmentsNotFound(_) => "department-not-found",
            Self::TooManyChanges(_) => "too-many-changes",
            Self::UnitTooLarge => "unit-too-large",
            Self::Busy => "unit-busy",
            Self::Unavailable(_) => "unavailable",
            Self::Internal(_) => "internal",
        }
    }

    /// The answer that the client gets: what it did wrong, nothing about our insides.
    pub fn response(&self) -> Response {
        let status = self.status();
        let coded = |error_type: &'static str, message: String, details| {
            Response::json(
                status,
                &EndpointError {
                    success: false,
                    error: format!("{message} [{error_type}]"),
                    error_type: Some(error_type),
                    details,
                },
            )
        };
        let plain = |error: String| {
            let body = EndpointError { success: false, error, error_type: None, details: None };
            Response::json(status, &body)
        };
        let router = |message| Response::json(status, &RouterError { status: "error", message });
        match self {
            Self::UnknownEndpoint => router("API endpoint does not exist"),
            Self::MethodNotAllowed => plain("Method not allowed".into()).with("allow", "POST"),
            Self::NotLoggedIn => router("You must be logged in to do this."),
            Self::Deactivated => plain("unauthorized".into()),
            Self::NotPermitted => plain(
                "User does not have the permissions required for this action [error-unauthorized]".into(),
            ),
            Self::BodyTooLarge => coded(
                "error-payload-too-large",
                format!("The request body exceeds {MAX_BODY_BYTES} bytes"),
                None,
            ),
            Self::InvalidJson(what) => coded("error-invalid-json", format!("Invalid JSON: {what}"), None),
            Self::Mismatch(what) => plain(format!("Match error: {what}")),
            Self::UnitNotFound => coded(
                "error-unit-not-found",
                "Unit not found".into(),
                Some(Details::Method { method: METHOD }),
            ),
            Self::DepartmentsNotFound(ids) => coded(
                "error-department-not-found",
                format!("Department not found: {}", ids.join(", ")),
                Some(Details::Departments { method: METHOD, department_ids: ids }),
            ),
            Self::TooManyChanges(changes) => coded(
                "error-too-many-changes",
                format!("The update would change {changes} items, and one transaction holds {MAX_ACTIONS}"),
                Some(Details::Changes { changes: *changes, limit: MAX_ACTIONS }),
            ),
            Self::UnitTooLarge => coded(
                "error-unit-too-large",
                "The unit would be larger than one item can be, 409600 bytes".into(),
                None,
            ),
            Self::Busy => {
                coded("error-unit-busy", "The unit is being changed by others, try again".into(), None)
                    .with("retry-after", "1")
            }
            Self::Unavailable(_) => plain("Service Unavailable".into()).with("retry-after", "1"),
            Self::Internal(_) => plain("Internal server error".into()),
        }
    }

    /// The cause inside and its sources, outermost first, for the log; `None` for the caller's errors.
    pub fn cause_chain(&self) -> Option<String> {
        let (Self::Unavailable(cause) | Self::Internal(cause)) = self else { return None };
        let mut chain = cause.to_string();
        let mut source = cause.source();
        while let Some(error) = source {
            chain.push_str(": ");
            chain.push_str(&error.to_string());
            source = error.source();
        }
        Some(chain)
    }
}
