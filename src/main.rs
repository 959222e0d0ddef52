//! The Lambda function's process: configures [`Function`] from the environment and polls for invocations.

use std::convert::Infallible;
use std::env;

use aws_config::environment::{EnvironmentVariableCredentialsProvider, EnvironmentVariableRegionProvider};
use aws_config::meta::region::ProvideRegion;
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_dynamodb::config::SharedCredentialsProvider;
use lambda_http::lambda_runtime;
use lambda_http::{Error, service_fn};
use livechat_units::{Function, Tables, http_client, telemetry};

// One thread is enough: an execution environment has one invocation at a time, and less than two CPUs below 3 GB.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let tables = Tables::from_env()?;
    let function = Function::new(&sdk_config().await, tables);
    // Lambda sets the name. The runtime below does not start without it.
    let function = &function.with_metrics(env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default());
    function.connect().await;
    let handler = async |event| Ok::<_, Infallible>(function.handle(event).await);
    lambda_runtime::run(service_fn(handler)).await
}

/// Region, credentials and endpoint from the environment variables that Lambda sets. `aws_config::load_from_env` would
/// also look into files, other services and the instance's metadata. Its code would make the artifact larger and every
/// init slower.
async fn sdk_config() -> SdkConfig {
    let mut config = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(EnvironmentVariableCredentialsProvider::new()))
        .region(EnvironmentVariableRegionProvider::new().region().await)
        .http_client(http_client());
    config.set_endpoint_url(env::var("AWS_ENDPOINT_URL_DYNAMODB").ok().filter(|url| !url.is_empty()));
    config.build()
}
