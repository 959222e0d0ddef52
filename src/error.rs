//! The reasons why a request is not answered with 200, and the response to each.

use std::borrow::Cow;
use std::error::Error as StdError;

use serde::Serialize;

use crate::id::DepartmentId;
use crate::item::Corrupt;
use crate::limits::{MAX_BODY_BYTES, MAX_ITEM_BYTES};
use crate::response::Response;

/// The reason for a 5xx. It goes to the log and never to the client.
pub type Cause = Box<dyn StdError + Send + Sync>;

/// Why a request is not answered with 200. The variants stand in the order of the rows of docs/contract.md.
#[derive(Debug)]
pub enum Error {
    /// The path is not the endpoint's.
    UnknownEndpoint,
    /// The path is the endpoint's, and the method is not POST.
    MethodNotAllowed,
    /// There is no valid pair of token and user.
    NotLoggedIn,
    /// The user's `active` is false.
    Deactivated,
    /// None of the user's roles holds the permission `manage-livechat-units`.
    NotPermitted,
    /// The body has more than [`MAX_BODY_BYTES`].
    BodyTooLarge,
    /// The body is not JSON. The text is the message of the parser.
    InvalidJson(String),
    /// The body is JSON of another shape. The text is that of Meteor's `check`.
    Mismatch(String),
    /// There is no such unit, or the caller may not see it.
    UnitNotFound,
    /// These listed departments do not exist. They stand in the order of the body.
    DepartmentsNotFound(Vec<String>),
    /// The unit would be larger than [`MAX_ITEM_BYTES`].
    UnitTooLarge,
    /// This department would be larger than [`MAX_ITEM_BYTES`].
    DepartmentTooLarge(DepartmentId),
    /// Other updates changed the unit again and again until the time budget ended. Nothing is stored.
    Busy,
    /// DynamoDB throttled, failed or did not answer until the time budget ended. The update may be stored.
    Unavailable(Cause),
    /// A fault of the function or of the stored data.
    Internal(Cause),
}

impl From<Corrupt> for Error {
    fn from(corrupt: Corrupt) -> Self {
        Self::Internal(corrupt.into())
    }
}

/// The Meteor method behind the endpoint. Rocket.Chat's errors name it.
const METHOD: &str = "livechat:saveUnit";

/// The header of answers that say: repeat the same request later, and it may succeed.
const RETRY_AFTER: Option<(&str, &str)> = Some(("retry-after", "1"));

/// How one variant is answered: a row of docs/contract.md.
struct Row<'a> {
    status: u16,
    /// A short constant name for logs and metrics.
    outcome: &'static str,
    body: Body<'a>,
    header: Option<(&'static str, &'static str)>,
}

/// Rocket.Chat's REST API has two shapes of errors.
enum Body<'a> {
    /// Its router and its login check answer in this shape.
    Router(&'static str),
    /// The code of an endpoint answers in this shape.
    Endpoint { message: Cow<'a, str>, code: Option<&'static str>, details: Option<Details<'a>> },
}

#[derive(Serialize)]
struct RouterError {
    status: &'static str,
    message: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointError<'a> {
    success: bool,
    error: Cow<'a, str>,
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
}

impl<'a> Row<'a> {
    fn new(status: u16, outcome: &'static str, body: Body<'a>) -> Self {
        Self { status, outcome, body, header: None }
    }

    fn with_header(self, header: Option<(&'static str, &'static str)>) -> Self {
        Self { header, ..self }
    }
}

/// A body without an error code.
fn plain<'a>(message: impl Into<Cow<'a, str>>) -> Body<'a> {
    Body::Endpoint { message: message.into(), code: None, details: None }
}

/// A body with an error code, which the message repeats.
fn coded<'a>(code: &'static str, message: impl std::fmt::Display, details: Option<Details<'a>>) -> Body<'a> {
    Body::Endpoint { message: format!("{message} [{code}]").into(), code: Some(code), details }
}

impl Error {
    fn row(&self) -> Row<'_> {
        match self {
            Self::UnknownEndpoint => {
                Row::new(404, "unknown-endpoint", Body::Router("API endpoint does not exist"))
            }
            Self::MethodNotAllowed => Row::new(405, "method-not-allowed", plain("Method not allowed"))
                .with_header(Some(("allow", "POST"))),
            Self::NotLoggedIn => {
                Row::new(401, "not-logged-in", Body::Router("You must be logged in to do this."))
            }
            Self::Deactivated => Row::new(403, "deactivated", plain("unauthorized")),
            Self::NotPermitted => {
                let message =
                    "User does not have the permissions required for this action [error-unauthorized]";
                Row::new(403, "not-permitted", plain(message))
            }
            Self::BodyTooLarge => {
                let message = format!("The request body exceeds {MAX_BODY_BYTES} bytes");
                Row::new(413, "payload-too-large", coded("error-payload-too-large", message, None))
            }
            Self::InvalidJson(fault) => {
                let message = format!("Invalid JSON: {fault}");
                Row::new(400, "invalid-json", coded("error-invalid-json", message, None))
            }
            Self::Mismatch(mismatch) => {
                Row::new(400, "match-error", plain(format!("Match error: {mismatch}")))
            }
            Self::UnitNotFound => {
                let details = Details::Method { method: METHOD };
                Row::new(
                    400,
                    "unit-not-found",
                    coded("error-unit-not-found", "Unit not found", Some(details)),
                )
            }
            Self::DepartmentsNotFound(ids) => {
                let message = format!("Department not found: {}", ids.join(", "));
                let details = Details::Departments { method: METHOD, department_ids: ids };
                let body = coded("error-department-not-found", message, Some(details));
                Row::new(400, "department-not-found", body)
            }
            Self::UnitTooLarge => {
                let message =
                    format!("The unit would be larger than one item can be, {MAX_ITEM_BYTES} bytes");
                Row::new(400, "unit-too-large", coded("error-unit-too-large", message, None))
            }
            Self::DepartmentTooLarge(id) => {
                let message = format!(
                    "The department {id} would be larger than one item can be, {MAX_ITEM_BYTES} bytes"
                );
                Row::new(400, "department-too-large", coded("error-department-too-large", message, None))
            }
            Self::Busy => {
                let message = "The unit is being changed by others, try again";
                Row::new(503, "unit-busy", coded("error-unit-busy", message, None)).with_header(RETRY_AFTER)
            }
            Self::Unavailable(_) => {
                Row::new(503, "unavailable", plain("Service Unavailable")).with_header(RETRY_AFTER)
            }
            Self::Internal(_) => Row::new(500, "internal", plain("Internal server error")),
        }
    }

    /// A short constant name for logs and metrics.
    pub fn outcome(&self) -> &'static str {
        self.row().outcome
    }

    /// The answer to the client. It says what the client did wrong. It never says why the function failed.
    pub fn response(&self) -> Response {
        let row = self.row();
        let response = match row.body {
            Body::Router(message) => Response::json(row.status, &RouterError { status: "error", message }),
            Body::Endpoint { message, code, details } => {
                let body = EndpointError { success: false, error: message, error_type: code, details };
                Response::json(row.status, &body)
            }
        };
        match row.header {
            Some((name, value)) => response.with(name, value),
            None => response,
        }
    }

    /// The cause of a 5xx and its sources, outermost first, for the log. `None` for the client's errors.
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
