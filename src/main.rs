//! The Lambda function's process: wires the environment to [`Function`] and polls for invocations.

use std::convert::Infallible;
use std::env;

use lambda_http::lambda_runtime;
use lambda_http::{Error, service_fn};
use livechat_units::{Function, Tables, telemetry};

// One thread: a Lambda function has one invocation at a time, and less than two CPUs below 3 GB.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    telemetry::init();
    let tables = Tables::from_env()?;
    let function = Function::new(&aws_config::load_from_env().await, tables);
    // Lambda sets the name; the runtime below does not start without it.
    let function = &function.with_metrics(env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default());
    function.connect().await;
    let handler = async |event| Ok::<_, Infallible>(function.handle(event).await);
    lambda_runtime::run(service_fn(handler)).await
}
