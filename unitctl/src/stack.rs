//! Finds the tables of a CloudFormation stack: one DescribeStacks request in the AWS Query protocol.
//!
//! The SDK's own client for CloudFormation has 159,000 lines of generated code. Compiling it takes a tenth of a first
//! build's time. So this module writes the request and reads the answer without that client. The SDK's runtime does the
//! rest: credentials, signature, connection, timeouts and retries.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_runtime::auth::SigV4OperationSigningConfig;
use aws_runtime::auth::sigv4::{SCHEME_ID, SigV4AuthScheme};
use aws_runtime::retries::classifiers::AwsErrorCodeClassifier;
use aws_sdk_dynamodb::config::endpoint::{DefaultResolver, Params, ResolveEndpoint};
use aws_smithy_runtime::client::orchestrator::operation::Operation;
use aws_smithy_runtime::client::retries::classifiers::{HttpStatusCodeClassifier, TransientErrorClassifier};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::auth::AuthSchemeOptionResolverParams;
use aws_smithy_runtime_api::client::auth::static_resolver::StaticAuthSchemeOptionResolver;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse, OrchestratorError};
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponentsBuilder;
use aws_smithy_runtime_api::client::runtime_plugin::StaticRuntimePlugin;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::config_bag::Layer;
use aws_smithy_types::error::ErrorMetadata;
use aws_smithy_types::retry::RetryConfig;
use aws_smithy_types::timeout::TimeoutConfig;
use aws_types::SigningName;
use aws_types::region::SigningRegion;
use aws_types::service_config::ServiceConfigKey;
use livechat_units::Tables;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use roxmltree::{Document, Node};

use crate::database::code_and_message;

/// The outputs of the deployed template that name the tables.
const TOKENS_OUTPUT: &str = "TokensTableName";
const LIVECHAT_OUTPUT: &str = "LivechatTableName";

/// The version of CloudFormation's API ("AWS CloudFormation API Reference").
const API_VERSION: &str = "2010-05-15";

/// The characters that a value in the request is encoded for (RFC 3986, "Unreserved Characters").
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The tables that the outputs of this stack name.
///
/// # Errors
/// There is no such stack, it has no such outputs, or CloudFormation refuses the request or can't be reached.
pub async fn tables(sdk: &SdkConfig, stack: &str) -> Result<Tables> {
    let mut outputs =
        describe_stack(sdk, stack).await.with_context(|| format!("looking for the stack {stack}"))?;
    let mut output = |name: &str| {
        outputs.remove(name).with_context(|| {
            format!("the stack {stack} has no output {name}: is it a stack of livechat-units?")
        })
    };
    Ok(Tables { tokens: output(TOKENS_OUTPUT)?, livechat: output(LIVECHAT_OUTPUT)? })
}

/// The outputs of a stack: values by key.
async fn describe_stack(sdk: &SdkConfig, stack: &str) -> Result<HashMap<String, String>> {
    let region = sdk.region().context("no region is configured")?.clone();
    let credentials = sdk.credentials_provider().context("no credentials are configured")?;

    let mut signing = Layer::new("signing");
    signing.store_put(AuthSchemeOptionResolverParams::new(()));
    signing.store_put(SigV4OperationSigningConfig {
        region: Some(SigningRegion::from(region.clone())),
        name: Some(SigningName::from_static("cloudformation")),
        ..SigV4OperationSigningConfig::default()
    });
    let components = RuntimeComponentsBuilder::new("sdk")
        .with_auth_scheme(SigV4AuthScheme::new())
        .with_auth_scheme_option_resolver(Some(StaticAuthSchemeOptionResolver::new(vec![SCHEME_ID])))
        .with_identity_resolver(SCHEME_ID, credentials)
        .with_retry_classifier(HttpStatusCodeClassifier::default())
        .with_retry_classifier(TransientErrorClassifier::<ErrorMetadata>::new())
        .with_retry_classifier(AwsErrorCodeClassifier::<ErrorMetadata>::new());
    let mut operation = Operation::builder()
        .service_name("CloudFormation")
        .operation_name("DescribeStacks")
        .behavior_version(BehaviorVersion::latest())
        .endpoint_url(&endpoint(sdk, &region).await?)
        .standard_retry(&sdk.retry_config().cloned().unwrap_or_else(RetryConfig::standard))
        .timeout_config(sdk.timeout_config().cloned().unwrap_or_else(TimeoutConfig::disabled))
        .runtime_plugin(
            StaticRuntimePlugin::new().with_config(signing.freeze()).with_runtime_components(components),
        );
    if let Some(client) = sdk.http_client() {
        operation = operation.http_client(client);
    }
    let operation = operation.serializer(|stack: String| request(&stack)).deserializer(read_response).build();
    operation.invoke(stack.to_owned()).await.map_err(code_and_message)
}

fn request(stack: &str) -> Result<HttpRequest, BoxError> {
    let stack = utf8_percent_encode(stack, RESERVED);
    let body = format!("Action=DescribeStacks&Version={API_VERSION}&StackName={stack}");
    let mut request = HttpRequest::new(SdkBody::from(body));
    request.set_method("POST")?;
    request.set_uri("/")?;
    request.headers_mut().insert("content-type", "application/x-www-form-urlencoded");
    request.headers_mut().insert("user-agent", concat!("unitctl/", env!("CARGO_PKG_VERSION")));
    Ok(request)
}

/// Reads an answer: the outputs of the first stack in it, or CloudFormation's error code and message.
fn read_response(
    response: &HttpResponse,
) -> Result<HashMap<String, String>, OrchestratorError<ErrorMetadata>> {
    let text = std::str::from_utf8(response.body().bytes().unwrap_or_default());
    if !response.status().is_success() {
        let error = text.ok().and_then(read_error);
        let status =
            || ErrorMetadata::builder().code(format!("HTTP status {}", response.status().as_u16())).build();
        return Err(OrchestratorError::operation(error.unwrap_or_else(status)));
    }
    let document = text.map_err(BoxError::from).and_then(|text| Ok(Document::parse(text)?));
    let document = document.map_err(OrchestratorError::response)?;
    let stack = child(document.root_element(), "DescribeStacksResult")
        .and_then(|result| child(result, "Stacks"))
        .and_then(|stacks| child(stacks, "member"));
    let outputs =
        stack.and_then(|stack| child(stack, "Outputs")).into_iter().flat_map(|outputs| outputs.children());
    let entry = |output| Some((text_of(output, "OutputKey")?, text_of(output, "OutputValue")?));
    Ok(outputs.filter_map(entry).collect())
}

fn read_error(text: &str) -> Option<ErrorMetadata> {
    let document = Document::parse(text).ok()?;
    let error = child(document.root_element(), "Error")?;
    let code = text_of(error, "Code")?;
    Some(ErrorMetadata::builder().code(code).message(text_of(error, "Message").unwrap_or_default()).build())
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|child| child.tag_name().name() == name)
}

fn text_of(node: Node, name: &str) -> Option<String> {
    Some(child(node, name)?.text().unwrap_or_default().to_owned())
}

/// The URL of CloudFormation. If the SDK's configuration has one, it is used. Otherwise it is the URL of the region.
async fn endpoint(sdk: &SdkConfig, region: &Region) -> Result<String> {
    let key = ServiceConfigKey::builder()
        .service_id("CloudFormation")
        .env("AWS_ENDPOINT_URL")
        .profile("endpoint_url")
        .build()?;
    let configured = sdk.service_config().and_then(|config| config.load_config(key));
    if let Some(url) = configured.or_else(|| sdk.endpoint_url().map(str::to_owned)) {
        return Ok(url);
    }
    regional_endpoint(region, sdk.use_fips(), sdk.use_dual_stack()).await
}

/// DynamoDB's client knows the domain of every region, also for FIPS and dual stack. CloudFormation's host name differs
/// from DynamoDB's in the first word only.
async fn regional_endpoint(region: &Region, fips: Option<bool>, dual_stack: Option<bool>) -> Result<String> {
    let params = Params::builder().region(region.as_ref()).set_use_fips(fips).set_use_dual_stack(dual_stack);
    let endpoint = DefaultResolver::new().resolve_endpoint(&params.build()?).await;
    let endpoint = endpoint.map_err(|error| anyhow::anyhow!("the region {region}: {error}"))?;
    match endpoint.url().strip_prefix("https://dynamodb") {
        Some(rest) => Ok(format!("https://cloudformation{rest}")),
        None => bail!("the region {region} has an unknown endpoint of DynamoDB: {}", endpoint.url()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The expected URLs are those of the SDK's own client for CloudFormation.
    #[tokio::test]
    async fn every_kind_of_region_has_its_endpoint() {
        for (region, fips, dual_stack, expected) in [
            ("eu-west-1", false, false, "https://cloudformation.eu-west-1.amazonaws.com"),
            ("us-east-1", true, false, "https://cloudformation-fips.us-east-1.amazonaws.com"),
            ("us-east-1", false, true, "https://cloudformation.us-east-1.api.aws"),
            ("us-east-1", true, true, "https://cloudformation-fips.us-east-1.api.aws"),
            ("cn-north-1", false, false, "https://cloudformation.cn-north-1.amazonaws.com.cn"),
            ("us-gov-east-1", true, false, "https://cloudformation.us-gov-east-1.amazonaws.com"),
            ("us-iso-east-1", false, false, "https://cloudformation.us-iso-east-1.c2s.ic.gov"),
        ] {
            let url = regional_endpoint(&Region::from_static(region), Some(fips), Some(dual_stack)).await;
            assert_eq!(url.expect("there is an endpoint"), expected);
        }
    }

    #[test]
    fn a_stack_name_can_add_no_parameter() {
        let request = request("a&Action=DeleteStack b").expect("a request");
        assert_eq!(
            request.body().bytes(),
            Some(&b"Action=DescribeStacks&Version=2010-05-15&StackName=a%26Action%3DDeleteStack%20b"[..])
        );
    }
}
