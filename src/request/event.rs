//! API Gateway's event, in either payload format, parsed into an [`ApiRequest`].
//!
//! `lambda_http` has types and a conversion for these events. They are not used, because they panic or reject the event
//! before any handler runs when a client sends broken base64, a raw path with spaces or a malformed Host header. Here
//! every event gets an answer.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::auth::Credentials;
use crate::error::Error;
use crate::id::UnitId;
use crate::limits::MAX_BODY_BYTES;

/// The endpoint's path up to the unit's id.
const PATH_PREFIX: &str = "/api/v1/livechat/units/";

/// A POST to the endpoint.
pub struct ApiRequest {
    /// `None` when the path has an id that no unit can have, because it is too long.
    pub unit: Option<UnitId>,
    /// `None` when a header is missing, repeated or malformed.
    pub credentials: Option<Credentials>,
    /// The body as API Gateway sent it.
    pub body: Body,
}

/// A body that is not decoded yet. The caller is authenticated before time is spent on the body.
pub struct Body {
    /// The `body` of the event.
    pub text: String,
    /// True if `text` is base64 (standard, padded) of the body's bytes.
    pub is_base64: bool,
}

/// The fields of an event that are read. Each may be absent or null, because an odd event gets an answer, too.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    /// "2.0" or "1.0" in events of HTTP APIs, absent in events of REST APIs.
    version: Option<String>,
    /// Only in format 2.0: the route that API Gateway matched, such as `POST /a/{id}`, `ANY /{proxy+}` or `$default`.
    route_key: Option<String>,
    /// Only in format 1.0: the path of the route that API Gateway matched.
    resource: Option<String>,
    /// Only in format 2.0. It starts with the name of the stage and with a custom domain's mapping key, if there are
    /// any. It may be percent-decoded already.
    raw_path: Option<String>,
    /// Only in format 1.0. It starts with a custom domain's base path, if there is one, and on HTTP APIs with the
    /// stage.
    path: Option<String>,
    http_method: Option<String>,
    headers: Option<HashMap<String, Option<String>>>,
    /// Only in format 1.0. It has all values of a repeated header, and `headers` has only the last value.
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

/// The path parameter at the end of a route: `/units/{id}` is `/units/` and `id`, and `/{proxy+}` is `/` and `proxy+`.
struct RouteParameter<'a> {
    before: &'a str,
    name: &'a str,
}

impl ApiRequest {
    /// Parses an event.
    ///
    /// # Errors
    /// The path is not the endpoint's, the method is not POST, or the event does not come from API Gateway.
    pub fn parse(event: &RawValue) -> Result<Self, Error> {
        // serde would also accept a JSON array and take its elements as the struct's fields, in their order.
        if !event.get().starts_with('{') {
            return Err(Error::Internal("not an API Gateway event: not a JSON object".into()));
        }
        let event: Event = serde_json::from_str(event.get()).map_err(|error| {
            // The error's own text may quote the event, and the event contains a token.
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
    /// The unit id in the path, percent-decoded exactly once. `None` when the path is not the endpoint's.
    ///
    /// The route that API Gateway matched says where the endpoint's path begins, because a stage, a base path or a
    /// mapping key may stand before it. docs/contract.md has the rule under "Which requests are the endpoint's".
    fn unit_id(&self) -> Option<String> {
        let path = self.raw_path.as_deref().or(self.path.as_deref())?;
        match self.matched_parameter() {
            Some(RouteParameter { before, name })
                if before.ends_with(PATH_PREFIX) && !name.ends_with('+') =>
            {
                let id = match self.path_parameter(name) {
                    Some(id) => self.decoded(id),
                    None => percent_decoded(path.rsplit_once(PATH_PREFIX)?.1),
                };
                // The path may have more than the parameter, for instance a trailing slash.
                let ends_with_id = |path: &str, id: &str| {
                    path.strip_suffix(id).is_some_and(|before| before.ends_with(PATH_PREFIX))
                };
                let parameter = self.path_parameter(name).unwrap_or(&id);
                let is_endpoint = ends_with_id(path, parameter) || ends_with_id(&percent_decoded(path), &id);
                (is_endpoint && !id.is_empty()).then_some(id)
            }
            Some(RouteParameter { before, name }) if name.ends_with('+') => {
                let rest = self.path_parameter(name.trim_end_matches('+'))?;
                let requested = format!("{before}{rest}");
                let sent = requested.strip_prefix(PATH_PREFIX)?;
                let id = self.decoded(sent);
                // HTTP APIs decode the parameter, so only the raw path shows whether a slash was encoded.
                let is_one_segment = !sent.contains('/')
                    || path
                        .rsplit_once(PATH_PREFIX)
                        .is_some_and(|(_, raw)| !raw.contains('/') && percent_decoded(raw) == id);
                // The parameter may lack the trailing slash that the path has.
                let is_trailing_slash = path.ends_with('/') && !id.ends_with('/');
                (is_one_segment && !is_trailing_slash && !id.is_empty()).then_some(id)
            }
            _ => self.unit_id_without_route(path),
        }
    }

    /// The unit id, when the event does not say which route was matched, or the route is `$default`.
    fn unit_id_without_route(&self, path: &str) -> Option<String> {
        let sent = path.strip_prefix(PATH_PREFIX).or_else(|| {
            let stage = self.request_context.as_ref()?.stage.as_deref()?;
            path.strip_prefix('/')?.strip_prefix(stage)?.strip_prefix(PATH_PREFIX)
        })?;
        let parameter = self.path_parameter("id");
        let id = parameter.map_or_else(|| percent_decoded(sent), |id| self.decoded(id));
        // A slash belongs to the id only if the client sent it encoded. `rawPath` may show it decoded all the same.
        let is_one_segment =
            !sent.contains('/') || (parameter.is_some() && (sent == id || percent_decoded(sent) == id));
        (is_one_segment && !id.is_empty()).then_some(id)
    }

    /// The path parameter at the end of the matched route. `None` if no route was matched, or if the route does not end with a parameter.
    fn matched_parameter(&self) -> Option<RouteParameter<'_>> {
        let route = match (&self.route_key, &self.resource) {
            (Some(key), _) => key.split_once(' ')?.1,
            (None, Some(resource)) => resource,
            (None, None) => return None,
        };
        let (before, name) = route.strip_suffix('}')?.rsplit_once('{')?;
        Some(RouteParameter { before, name })
    }

    fn path_parameter(&self, name: &str) -> Option<&str> {
        self.path_parameters.as_ref()?.get(name)?.as_deref()
    }

    /// A path parameter's value. HTTP APIs decode path parameters. REST APIs don't.
    fn decoded(&self, parameter: &str) -> String {
        let is_http_api = self.raw_path.is_some() || self.version.is_some();
        if is_http_api { parameter.to_owned() } else { percent_decoded(parameter) }
    }

    fn method(&self) -> Option<&str> {
        let context = self.request_context.as_ref();
        context.and_then(|context| context.http.as_ref()?.method.as_deref()).or(self.http_method.as_deref())
    }

    /// The header's value, if the client sent exactly one. HTTP APIs join the values of a repeated header with commas.
    /// Neither a token nor a user id contains a comma.
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
    /// The body is too large, or it is not the base64 that the event says it is.
    pub fn into_bytes(self) -> Result<Vec<u8>, Error> {
        let bytes = if self.is_base64 {
            // The size is computed from the length of the text, so that a body that is too large is never decoded.
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

/// The text percent-decoded once. A text that does not decode to valid UTF-8 is returned unchanged.
fn percent_decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8().map_or_else(|_| text.to_owned(), Into::into)
}
