//! The response as API Gateway takes it from a proxy integration.

use std::collections::BTreeMap;

use serde::Serialize;

/// A response for either kind of API: HTTP APIs' payload format 2.0 and REST APIs' 1.0 share these fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// HTTP status.
    pub status_code: u16,
    /// Names in lower case.
    pub headers: BTreeMap<&'static str, &'static str>,
    /// Compact JSON.
    pub body: String,
    /// Always false: the body is text.
    pub is_base64_encoded: bool,
}

impl Response {
    /// A response with the headers that every answer carries.
    pub(crate) fn json(status_code: u16, body: &impl Serialize) -> Self {
        Self {
            status_code,
            headers: BTreeMap::from([
                ("content-type", "application/json"),
                ("cache-control", "no-store"),
                ("pragma", "no-cache"),
                ("x-content-type-options", "nosniff"),
            ]),
            // Only this crate's own structs of strings, numbers and lists come here.
            body: serde_json::to_string(body).expect("plain fields serialise"),
            is_base64_encoded: false,
        }
    }

    /// The same with one more header.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(name, value);
        self
    }
}
