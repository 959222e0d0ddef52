//! The answers of the contract, byte for byte.

use livechat_units::Response;
use serde_json::Value;

use super::text;

/// The body of a 200 with these counts.
fn success(unit: &str, monitors: usize, departments: usize, response: &Response) -> String {
    format!(
        r#"{{"name":"new name","visibility":"private","type":"u","numMonitors":{monitors},"numDepartments":{departments},"_updatedAt":"{}","_id":{},"success":true}}"#,
        updated_at(response),
        Value::from(unit),
    )
}

pub fn assert_success(response: &Response, unit: &str, monitors: usize, departments: usize) {
    assert_eq!(response.status_code, 200, "{}", response.body);
    assert_eq!(response.body, success(unit, monitors, departments, response));
}

/// Checks status and body, byte for byte.
pub fn assert_refused(response: &Response, status: u16, body: &str) {
    assert_eq!((response.status_code, response.body.as_str()), (status, body));
}

pub const NOT_LOGGED_IN: &str = r#"{"status":"error","message":"You must be logged in to do this."}"#;

pub const DEACTIVATED: &str = r#"{"success":false,"error":"unauthorized"}"#;

pub const NOT_PERMITTED: &str = r#"{"success":false,"error":"User does not have the permissions required for this action [error-unauthorized]"}"#;

pub const UNKNOWN_ENDPOINT: &str = r#"{"status":"error","message":"API endpoint does not exist"}"#;

pub const METHOD_NOT_ALLOWED: &str = r#"{"success":false,"error":"Method not allowed"}"#;

pub const BODY_TOO_LARGE: &str = r#"{"success":false,"error":"The request body exceeds 1048576 bytes [error-payload-too-large]","errorType":"error-payload-too-large"}"#;

pub const UNIT_NOT_FOUND: &str = r#"{"success":false,"error":"Unit not found [error-unit-not-found]","errorType":"error-unit-not-found","details":{"method":"livechat:saveUnit"}}"#;

pub const UNIT_TOO_LARGE: &str = r#"{"success":false,"error":"The unit would be larger than one item can be, 409600 bytes [error-unit-too-large]","errorType":"error-unit-too-large"}"#;

pub const INTERNAL_ERROR: &str = r#"{"success":false,"error":"Internal server error"}"#;

pub const UNAVAILABLE: &str = r#"{"success":false,"error":"Service Unavailable"}"#;

pub const BUSY: &str = r#"{"success":false,"error":"The unit is being changed by others, try again [error-unit-busy]","errorType":"error-unit-busy"}"#;

/// The response's `_updatedAt`, which must be RFC 3339 in UTC with three decimals.
pub fn updated_at(response: &Response) -> String {
    let body: Value = serde_json::from_str(&response.body).expect("a body is JSON");
    let time = text(&body, "_updatedAt");
    let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    assert_eq!(shape, "0000-00-00T00:00:00.000Z", "{time}");
    time
}
