//! API Gateway's event, either payload format, parsed into the [`Call`] that it makes.
//!
//! `lambda_http` has types and a conversion for these events; they are not used, because they turn what
//! a client can send into a crash or a rejected event before any handler runs: broken base64, a raw path
//! with spaces, a malformed Host header. Here every event gets an answer.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::auth::Credentials;
use crate::error::{Error, MAX_BODY_BYTES};
use crate::id::UnitId;

/// The endpoint's path up to the unit's id.
const PATH: &str = "/api/v1/livechat/units/";

/// A POST to the endpoint.
pub struct Call {
    /// `None` when the path has an id that names nothing.
    pub unit: Option<UnitId>,
    /// `None` when the headers can't be anybody's.
    pub credentials: Option<Credentials>,
    /// The body as it came.
    pub body: Body,
}

/// A body that is not decoded yet: a caller must be known before we spend time on it.
pub struct Body {
    pub(crate) text: String,
    pub(crate) is_base64: bool,
}

/// What is read of an event. Every field may be absent or null: an odd event gets an answer too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    /// Format 2.0 only. With a named stage it starts with the stage; it may come percent-decoded.
    raw_path: Option<String>,
    /// Format 1.0 only, without the stage.
    path: Option<String>,
    http_method: Option<String>,
    headers: Option<HashMap<String, Option<String>>>,
    /// Format 1.0 only: all values of a repeated header, of which `headers` has just the last.
    multi_value_headers: Option<HashMap<String, Option<Vec<String>>>>,
    path_parameters: Option<HashMap<String, Option<String>>>,
    request_context: Option<RequestContext>,
    body: Option<String>,
    is_base64_encoded: Option<bool>,
}

#[derive(Deserialize)]
struct RequestContext {
    stage: Option<String>,
    http: Option<Http>,
}

#[derive(Deserialize)]
struct Http {
    method: Option<String>,
}

impl Call {
    /// Reads an event.
    ///
    /// # Errors
    /// The path is not the endpoint's, the method is not POST, or the event is not API Gateway's.
    pub fn parse(event: &RawValue) -> Result<Self, Error> {
        // Of a list, the fields would be read in the order in which they are declared.
        if !event.get().starts_with('{') {
            return Err(Error::Internal("not an API Gateway event: no object".into()));
        }
        let event: Event = serde_json::from_str(event.get()).map_err(|error| {
            // Not the error itself: it may quote the event, which holds a token.
            let (line, column) = (error.line(), error.column());
            Error::Internal(format!("not an API Gateway event: line {line} column {column}").into())
        })?;
        let unit = event.unit_id().ok_or(Error::UnknownEndpoint)?;
        if event.method() != Some("POST") {
            return Err(Error::MethodNotAllowed);
        }
        let credentials = match (event.header("x-auth-token"), event.header("x-user-id")) {
            (Some(token), Some(user)) => Credentials::parse(token, user),
            _ => None,
        };
        Ok(Self {
            unit: UnitId::parse(unit),
            credentials,
            body: Body {
                text: event.body.unwrap_or_default(),
                is_base64: event.is_base64_encoded.unwrap_or(false),
            },
        })
    }
}

impl Event {
    /// The id in the path, decoded once in all; `None` when the path is not the endpoint's.
    fn unit_id(&self) -> Option<String> {
        let sent = match &self.raw_path {
            Some(path) => path.strip_prefix(PATH).or_else(|| {
                let stage = self.request_context.as_ref()?.stage.as_deref()?;
                path.strip_prefix('/')?.strip_prefix(stage)?.strip_prefix(PATH)
            })?,
            None => self.path.as_deref()?.strip_prefix(PATH)?,
        };
        let parameter = self.path_parameters.as_ref().and_then(|all| all.get("id")?.as_deref());
        let id = match parameter {
            // HTTP APIs decode their parameters, REST APIs don't.
            Some(id) if self.raw_path.is_some() => id.to_owned(),
            Some(id) => percent_decoded(id),
            None => percent_decoded(sent),
        };
        // A slash is the id's own only if it came encoded; the path may show it decoded.
        let is_one_segment =
            !sent.contains('/') || (parameter.is_some() && (sent == id || percent_decoded(sent) == id));
        (is_one_segment && !id.is_empty()).then_some(id)
    }

    fn method(&self) -> Option<&str> {
        let context = self.request_context.as_ref();
        context.and_then(|context| context.http.as_ref()?.method.as_deref()).or(self.http_method.as_deref())
    }

    /// The header's value if it has just one: HTTP APIs join repeated ones by a comma, which neither a
    /// token nor an id contains.
    fn header(&self, name: &str) -> Option<&str> {
        let many = self.multi_value_headers.iter().flatten();
        let mut values: Vec<&str> = many
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .flat_map(|(_, values)| values.iter().flatten().map(String::as_str))
            .collect();
        if values.is_empty() {
            let single = self.headers.iter().flatten();
            values = single
                .filter(|(key, _)| key.eq_ignore_ascii_case(name))
                .filter_map(|(_, value)| value.as_deref())
                .collect();
        }
        match values[..] {
            [value] if !value.is_empty() && value.is_ascii() && !value.contains(',') => Some(value),
            _ => None,
        }
    }
}

impl Body {
    /// The body's bytes.
    ///
    /// # Errors
    /// It is too large, or what should be base64 is not.
    pub fn into_bytes(self) -> Result<Vec<u8>, Error> {
        let bytes = if self.is_base64 {
            // Told from the length, so that what is too large is not decoded first.
            let padding = self.text.bytes().rev().take(2).filter(|byte| *byte == b'=').count();
            if self.text.len() / 4 * 3 > MAX_BODY_BYTES + padding {
                return Err(Error::BodyTooLarge);
            }
            BASE64.decode(self.text).map_err(|error| Error::InvalidJson(error.to_string()))?
        } else {
            self.text.into_bytes()
        };
        if bytes.len() > MAX_BODY_BYTES {
            return Err(Error::BodyTooLarge);
        }
        Ok(bytes)
    }
}

/// Percent-decoded once, or as it was sent if that gives no valid UTF-8.
fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), Into::into)
}
