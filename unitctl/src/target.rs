//! Where the data is: which tables, at which DynamoDB.

use std::collections::HashMap;
use std::env;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::AttributeValue;
use clap::Args;
use livechat_units::Tables;
use livechat_units::id::UnitId;
use livechat_units::item::{Item, Key};

use crate::{engine, requests};

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

/// The two tables, and a client that reaches them.
#[derive(Clone, Debug)]
pub struct Data {
    /// Of the DynamoDB that has the tables.
    pub client: Client,
    /// Their names.
    pub tables: Tables,
}

impl Data {
    /// What to tell an operator of a refused request to this table.
    pub fn failed<E>(table: &str, error: SdkError<E>) -> anyhow::Error
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        if error.code() == Some("ResourceNotFoundException") {
            return anyhow!("there is no table {table} in this region and account");
        }
        answer_or_cause(error).context(format!("table {table}"))
    }

    /// An item, read strongly consistent, if there is one.
    ///
    /// # Errors
    /// DynamoDB refuses.
    pub async fn get(&self, key: &Key) -> Result<Option<Item>> {
        let table = self.table(key);
        let request = self.client.get_item().table_name(table).consistent_read(true);
        let output = request.set_key(Some(key.attributes())).send().await;
        Ok(output.map_err(|error| Self::failed(table, error))?.item)
    }

    /// The livechat items of these keys that there are, read strongly consistent.
    ///
    /// # Errors
    /// DynamoDB refuses.
    pub async fn get_all(&self, keys: Vec<Item>) -> Result<Vec<Item>> {
        requests::read(&self.client, HashMap::from([(self.tables.livechat.clone(), keys)])).await
    }

    /// A unit's whole partition, its item and its monitors', read strongly consistent.
    ///
    /// # Errors
    /// DynamoDB refuses.
    pub async fn unit_partition(&self, id: &UnitId) -> Result<Vec<Item>> {
        let table = &self.tables.livechat;
        let query = self.client.query().table_name(table).consistent_read(true);
        let query = query.key_condition_expression("pk = :pk");
        let partition = AttributeValue::S(Key::Unit(id.clone()).partition());
        let pages = query.expression_attribute_values(":pk", partition).into_paginator();
        pages.items().send().try_collect().await.map_err(|error| Self::failed(table, error))
    }

    /// The table that holds items of this kind.
    pub fn table(&self, key: &Key) -> &str {
        if matches!(key, Key::Token(_)) { &self.tables.tokens } else { &self.tables.livechat }
    }
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
    pub async fn data(&self) -> Result<Data> {
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
        Ok(Data { client: Client::from_conf(config.build()), tables })
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

/// What AWS answered, or why there is no answer.
fn answer_or_cause<E>(error: SdkError<E>) -> anyhow::Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    match (error.code(), error.message()) {
        (Some(code), Some(message)) => anyhow!("{code}: {message}"),
        (Some(code), None) => anyhow!("{code}"),
        (None, _) => error.into(),
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
        output.map_err(|error| answer_or_cause(error).context(format!("looking for the stack {stack}")))?;
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
