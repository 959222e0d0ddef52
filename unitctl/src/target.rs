//! The options that say which tables to work on, and at which DynamoDB.

use std::env;
use std::time::Duration;

use anyhow::{Context, Result};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use clap::Args;
use livechat_units::Tables;

use crate::database::Database;
use crate::{engine, stack};

/// The maximum number of tries of a request.
const MAX_TRIES: u32 = 10;

/// The maximum pause between two tries of a request.
const MAX_BACKOFF: Duration = Duration::from_secs(2);

/// The options that say which tables to work on.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Tables")]
pub struct Target {
    /// CloudFormation stack whose outputs name both tables
    #[arg(long, global = true, value_name = "NAME")]
    stack: Option<String>,
    /// Table of the login tokens [default: TOKENS_TABLE in the environment]
    #[arg(long, global = true, value_name = "TABLE")]
    tokens_table: Option<String>,
    /// Table of everything else [default: LIVECHAT_TABLE in the environment]
    #[arg(long, global = true, value_name = "TABLE")]
    livechat_table: Option<String>,
    /// Another DynamoDB than AWS's, such as http://127.0.0.1:8000 for `unitctl local`
    #[arg(long, global = true, value_name = "URL")]
    endpoint: Option<String>,
}

impl Target {
    /// True if both a stack and a table name are given, which is an error. clap can't check this, because these options may
    /// stand before and after a subcommand.
    pub fn is_ambiguous(&self) -> bool {
        self.stack.is_some() && (self.tokens_table.is_some() || self.livechat_table.is_some())
    }

    /// Finds the names of the tables, and makes a client. It does not check that the tables exist.
    ///
    /// # Errors
    /// No option and no environment variable names the tables, or the stack does not exist or does not name them.
    pub async fn database(&self) -> Result<Database> {
        let sdk = self.sdk_config().await;
        let tables = match &self.stack {
            Some(stack) => stack::tables(&sdk, stack).await?,
            None => Tables {
                tokens: table_name(self.tokens_table.as_deref(), "--tokens-table", "TOKENS_TABLE")?,
                livechat: table_name(self.livechat_table.as_deref(), "--livechat-table", "LIVECHAT_TABLE")?,
            },
        };
        // An operator would rather wait than start a command again. But if DynamoDB does not answer at all, the
        // operator wants to know it soon.
        let retries = RetryConfig::standard().with_max_attempts(MAX_TRIES).with_max_backoff(MAX_BACKOFF);
        let mut config = aws_sdk_dynamodb::config::Builder::from(&sdk).retry_config(retries);
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        Ok(Database { client: Client::from_conf(config.build()), tables })
    }

    /// A client of DynamoDB Streams, for the streams of the tables. It gives up sooner than the tables' client, because
    /// the sync tries again.
    #[cfg(feature = "sync")]
    pub async fn streams(&self) -> aws_sdk_dynamodbstreams::Client {
        let mut config = aws_sdk_dynamodbstreams::config::Builder::from(&self.sdk_config().await);
        if let Some(endpoint) = &self.endpoint {
            config = config.endpoint_url(endpoint);
        }
        aws_sdk_dynamodbstreams::Client::from_conf(config.build())
    }

    /// The SDK's configuration, as the AWS CLI would find it.
    ///
    /// A local engine requires a region and credentials, but checks neither. So for a plain HTTP endpoint, this function
    /// makes them up. If the environment has credentials, it uses those, because another engine may check them.
    async fn sdk_config(&self) -> SdkConfig {
        let is_local = self.endpoint.as_ref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        let has_credentials =
            ["AWS_ACCESS_KEY_ID", "AWS_PROFILE"].iter().any(|name| env::var_os(name).is_some());
        match &self.endpoint {
            Some(endpoint) if is_local && !has_credentials => engine::sdk_config(endpoint),
            _ => {
                let sdk = aws_config::load_defaults(BehaviorVersion::latest()).await;
                let region = sdk.region().cloned();
                let local_region = || is_local.then(|| Region::from_static("us-east-1"));
                sdk.into_builder().region(region.or_else(local_region)).build()
            }
        }
    }
}

/// A table's name: the value of the option, otherwise that of the environment variable.
fn table_name(option: Option<&str>, option_name: &str, variable: &str) -> Result<String> {
    let name = option.map(str::to_owned).or_else(|| env::var(variable).ok());
    name.filter(|name| !name.is_empty()).with_context(|| {
        format!("no table is given: use --stack or {option_name}, or set {variable} in the environment")
    })
}
