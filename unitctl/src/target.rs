//! Where the data is: which tables, at which DynamoDB.

use std::env;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use clap::Args;
use livechat_units::Tables;

use crate::database::{Database, code_and_message};
use crate::engine;

/// The outputs of the deployed template that name the tables.
const TOKENS_OUTPUT: &str = "TokensTableName";
const LIVECHAT_OUTPUT: &str = "LivechatTableName";

/// Longest pause between two tries of a request.
const LONGEST_BACKOFF: Duration = Duration::from_secs(2);

/// Where the data is.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Where the data is")]
pub struct Target {
    /// CloudFormation stack whose outputs name the tables
    #[arg(long, global = true, value_name = "NAME")]
    stack: Option<String>,
    /// Table of login tokens; else the environment's TOKENS_TABLE
    #[arg(long, global = true, value_name = "TABLE")]
    tokens_table: Option<String>,
    /// Table of everything else; else the environment's LIVECHAT_TABLE
    #[arg(long, global = true, value_name = "TABLE")]
    livechat_table: Option<String>,
    /// Another DynamoDB than AWS's, such as http://127.0.0.1:8000 of `unitctl local`
    #[arg(long, global = true, value_name = "URL")]
    endpoint: Option<String>,
}

impl Target {
    /// Whether the tables are given twice, by a stack and by their names. clap can't tell, since the options may
    /// stand on both sides of a subcommand.
    pub fn is_ambiguous(&self) -> bool {
        self.stack.is_some() && (self.tokens_table.is_some() || self.livechat_table.is_some())
    }

    /// Finds the tables' names. It does not look whether the tables are there.
    ///
    /// # Errors
    /// The names are not given in any way, or the stack is not there or has no such outputs.
    pub async fn database(&self) -> Result<Database> {
        let sdk = self.sdk_config().await;
        let tables = match &self.stack {
            Some(stack) => tables_of_stack(&sdk, stack).await?,
            None => Tables {
                tokens: named(self.tokens_table.as_deref(), "--tokens-table", "TOKENS_TABLE")?,
                livechat: named(self.livechat_table.as_deref(), "--livechat-table", "LIVECHAT_TABLE")?,
            },
        };
        // An operator rather waits than starts again, but not long for a DynamoDB that is not there.
        let retries = RetryConfig::standard().with_max_attempts(10).with_max_backoff(LONGEST_BACKOFF);
        let mut config = aws_sdk_dynamodb::config::Builder::from(&sdk).retry_config(retries);
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Ok(Database { client: Client::from_conf(config.build()), tables })
    }

    async fn sdk_config(&self) -> SdkConfig {
        // A local engine wants some credentials and region, and cares for neither: nobody should have to
        // make them up. An engine that does care gets those of the environment.
        let is_local = self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let has_own = ["AWS_ACCESS_KEY_ID", "AWS_PROFILE"].iter().any(|name| env::var_os(name).is_some());
        match &self.endpoint {
            Some(endpoint) if is_local && !has_own => engine::sdk_config(endpoint),
            _ => {
                let sdk = aws_config::load_defaults(BehaviorVersion::latest()).await;
                let region = sdk.region().cloned();
                let default = || is_local.then(|| Region::from_static("us-east-1"));
                sdk.into_builder().region(region.or_else(default)).build()
            }
        }
    }
}

/// The option's value, else the environment's.
fn named(option: Option<&str>, option_name: &str, variable: &str) -> Result<String> {
    let value = option.map(str::to_owned).or_else(|| env::var(variable).ok());
    value.filter(|value| !value.is_empty()).with_context(|| {
        format!("which tables? Give --stack, or {option_name}, or set {variable} in the environment")
    })
}

async fn tables_of_stack(sdk: &SdkConfig, stack: &str) -> Result<Tables> {
    let client = aws_sdk_cloudformation::Client::new(sdk);
    let output = client.describe_stacks().stack_name(stack).send().await;
    let output =
        output.map_err(|error| code_and_message(error).context(format!("looking for the stack {stack}")))?;
    let Some(stack_found) = output.stacks().first() else { bail!("there is no stack {stack}") };
    let value = |name| {
        let output = stack_found.outputs().iter().find(|output| output.output_key() == Some(name));
        let value = output.and_then(|output| output.output_value()).map(str::to_owned);
        value.with_context(|| {
            format!("the stack {stack} has no output {name}: is it a stack of livechat-units?")
        })
    };
    Ok(Tables { tokens: value(TOKENS_OUTPUT)?, livechat: value(LIVECHAT_OUTPUT)? })
}
