//! The Lambda function's process: wires the environment to [`Function`] and polls for invocations.

use std::convert::Infallible;
use std::env;

use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::meta::region::ProvideRegion;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::config::{SharedCredentialsProvider, SharedHttpClient};
use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;
use aws_smithy_http_client::{Builder, ConnectorBuilder};
use aws_smithy_runtime_api::client::http::{HttpClient, http_client_fn};
use lambda_http::lambda_runtime;
use lambda_http::{Error, service_fn};
use livechat_units::{Function, Tables, telemetry};

// One thread: a Lambda function has one invocation at a time, and less than two CPUs below 3 GB.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let tables = Tables::from_env()?;
    let function = Function::new(&sdk_config().await, tables);
    // Lambda sets the name; the runtime below does not start without it.
    let function = &function.with_metrics(env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default());
    function.connect().await;
    let handler = async |event| Ok::<_, Infallible>(function.handle(event).await);
    lambda_runtime::run(service_fn(handler)).await
}

/// Region, credentials and endpoint from where Lambda puts them, its environment variables, and from nowhere
/// else. `aws_config::load_from_env` can look into files, other services and the instance's metadata as well, and all
/// of that would be in the artifact and part of it in every init.
async fn sdk_config() -> SdkConfig {
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()))
        .region(EnvironmentVariableRegionProvider::new().region().await)
        .http_client(http_client());
    config.set_endpoint_url(env::var("AWS_ENDPOINT_URL_DYNAMODB").ok().filter(|url| !url.is_empty()));
    config.build()
}

/// The SDK's default HTTP client but for one thing: that one makes a connector, the system's trust roots parsed for it, when
/// a DynamoDB client is made, to see that it can; drops it; and makes another for the first request.
fn http_client() -> SharedHttpClient {
    let client = Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector = ConnectorBuilder::default().tls_provider(Provider::Rustls(CryptoMode::AwsLc));
        connector.set_connector_settings(settings.cloned());
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.set_proxy_config(Some(ProxyConfig::from_env()));
        connector.build()
    });
    http_client_fn(move |settings, components| client.http_connector(settings, components))
}
