//! Makes the SDK return the replies to BatchGetItem unparsed.
//!
//! The SDK's parser makes a map with owned names of each item. In an update that lists a thousand members, that and the
//! conversion of these maps took half of the CPU time (docs/performance.md, "What the results mean"). The SDK still does
//! all the rest: it signs and sends the request, and it parses the errors.

use std::collections::HashMap;

use aws_sdk_dynamodb::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use aws_smithy_runtime_api::client::interceptors::context::{Error, Output};
use aws_smithy_runtime_api::client::orchestrator::{HttpResponse, Metadata, OrchestratorError};
use aws_smithy_runtime_api::client::ser_de::{DeserializeResponse, SharedResponseDeserializer};

/// Puts [`KeepBody`] in the place of the SDK's parser, if a BatchGetItem succeeds.
#[derive(Debug)]
pub(super) struct UnparsedReads;

/// Returns the body of a reply as it is.
#[derive(Debug)]
struct KeepBody;

impl Intercept for UnparsedReads {
    fn name(&self) -> &'static str {
        "UnparsedReads"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let is_read = config.load::<Metadata>().is_some_and(|operation| operation.name() == "BatchGetItem");
        if is_read && context.response().status().as_u16() == 200 {
            config.interceptor_state().store_put(SharedResponseDeserializer::new(KeepBody));
        }
        Ok(())
    }
}

impl DeserializeResponse for KeepBody {
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        _: &ConfigBag,
    ) -> Result<Output, OrchestratorError<Error>> {
        // The SDK accepts only its own type of output. So the body is the only attribute of its only item.
        let body = AttributeValue::B(Blob::new(response.body().bytes().unwrap_or_default()));
        let item = HashMap::from([(String::new(), body)]);
        Ok(Output::erase(BatchGetItemOutput::builder().responses("", vec![item]).build()))
    }
}

/// The body of an unparsed reply. It is empty if the reply had none.
pub(super) fn body(output: BatchGetItemOutput) -> Vec<u8> {
    let mut attributes = output.responses.into_iter().flatten().flat_map(|(_, items)| items).flatten();
    match attributes.next() {
        Some((_, AttributeValue::B(body))) => body.into_inner(),
        _ => Vec::new(),
    }
}
