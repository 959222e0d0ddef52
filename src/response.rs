//! The response in the form that API Gateway takes from a proxy integration.

use std::collections::BTreeMap;

use serde::Serialize;

/// A response for both kinds of API. HTTP APIs with payload format 2.0 and REST APIs with 1.0 share these fields.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Response {
    /// HTTP status.
    pub status_code: u16,
    /// Names in lower case.
    pub headers: BTreeMap<&'static str, &'static str>,
    /// Compact JSON.
    pub body: String,
    /// Always false, because the body is text.
    pub is_base64_encoded: bool,
}

/// The body of a 200. The keys stand in the order of Rocket.Chat's documentation.
#[derive(Serialize)]
pub(crate) struct UpdatedUnit<'a> {
    pub(crate) name: &'a str,
    pub(crate) visibility: &'static str,
    pub(crate) r#type: &'static str,
    #[serde(rename = "numMonitors")]
    pub(crate) num_monitors: usize,
    #[serde(rename = "numDepartments")]
    pub(crate) num_departments: usize,
    #[serde(rename = "_updatedAt")]
    pub(crate) updated_at: &'a str,
    #[serde(rename = "_id")]
    pub(crate) id: &'a str,
    pub(crate) success: bool,
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
            // Every caller passes one of this crate's own structs of strings, numbers and lists.
            body: serde_json::to_string(body).expect("plain fields serialise"),
            is_base64_encoded: false,
        }
    }

    /// The same response with one more header.
    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.insert(name, value);
        self
    }
}
