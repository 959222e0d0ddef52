//! The two tables and the client that reaches them. Reads items in batches, with retries.

use std::collections::HashMap;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::StalledStreamProtectionConfig;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::batch_get_item::{BatchGetItemError, BatchGetItemOutput};
use aws_sdk_dynamodb::types::{AttributeValue, ConsumedCapacity, KeysAndAttributes, ReturnConsumedCapacity};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::connections::{Connection, OnNewConnection};
use super::copies::Copies;
use super::failure::{failure, internal};
use super::hedging::Hedging;
use super::tables::Tables;
use super::tls;
use crate::budget::{Budget, Retry};
use crate::error::Error;
use crate::item::{Item, Items, Key};
use crate::limits::MAX_BATCH_GET_KEYS;

/// The maximum number of BatchGetItems at the same time. A body can list tens of thousands of ids.
const MAX_CONCURRENT_READS: usize = 16;

/// The longest wait for the first connection. If DynamoDB is reachable, it takes some ten milliseconds.
const MAX_CONNECT_TIME: Duration = Duration::from_millis(300);

/// The attributes that are read from the livechat table, for all kinds of items together. Departments may have many
/// more attributes, which this function does not need.
const ATTRIBUTES: [&str; 11] = [
    "pk",
    "active",
    "ancestors",
    "departmentIds",
    "monitors",
    "name",
    "parentId",
    "roles",
    "username",
    "version",
    "visibility",
];

/// The two tables and the client that reaches them.
pub(crate) struct Store {
    pub(super) client: Client,
    pub(super) tables: Tables,
    pub(super) hedging: Hedging,
}

impl Store {
    /// A store with the region, credentials and endpoint of `sdk`.
    ///
    /// The SDK's own retries are off, because they know neither cancelled transactions nor Lambda's deadline. [`Retry`]
    /// repeats all requests instead.
    pub(crate) fn new(sdk: &SdkConfig, tables: Tables) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_millis(800))
            .operation_attempt_timeout(Duration::from_secs(1))
            // An operation is one attempt and the loading of the credentials.
            .operation_timeout(Duration::from_millis(1500))
            .build();
        let config = aws_sdk_dynamodb::config::Builder::from(sdk)
            .retry_config(RetryConfig::disabled())
            // The attempt's timeout ends a stalled body after a second. The SDK's stalled stream protection would need
            // five seconds, and it costs a timer and a lock for every call.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts)
            .build();
        Self { client: Client::from_conf(config), tables, hedging: Hedging::default() }
    }

    /// Sends a first request, so that the first update finds the credentials loaded and a connection open. The request
    /// reads a token hash that can't exist. This costs half a read capacity unit, and no request that the function's
    /// role allows costs less.
    ///
    /// The request may fail. Updates send their own requests with their own retries in any case.
    pub(crate) async fn connect(&self) {
        // No hash is this short.
        let key = HashMap::from([("hashedToken".to_owned(), AttributeValue::S("-".to_owned()))]);
        let Ok(keys) = KeysAndAttributes::builder().keys(key).build() else { return };
        let call = self.client.batch_get_item().request_items(&self.tables.tokens, keys);
        let connected = tokio::time::timeout(MAX_CONNECT_TIME, async {
            match call.clone().send().await {
                // After this error the client trusts the system's roots, so a second try may succeed.
                Err(error) if tls::is_untrusted(&error) => call.send().await,
                first => first,
            }
        });
        let failure = match connected.await {
            Ok(Ok(_)) => return,
            Ok(Err(error)) => failure(error),
            Err(elapsed) => internal(elapsed),
        };
        tracing::warn!(cause = failure.cause_chain(), "no connection to DynamoDB during the init");
    }

    /// Reads the items with these distinct keys, with strong consistency.
    ///
    /// # Errors
    /// DynamoDB is unavailable until the time budget ends, or it refuses the request.
    pub(crate) async fn read(
        &self,
        keys: impl IntoIterator<Item = Key>,
        budget: &Budget,
    ) -> Result<Items, Error> {
        let keys: Vec<Key> = keys.into_iter().collect();
        let mut batches = Vec::new();
        for batch in keys.chunks(MAX_BATCH_GET_KEYS) {
            batches.push(self.read_batch(batch, budget));
        }
        let items: Vec<Vec<(String, Item)>> =
            stream::iter(batches).buffer_unordered(MAX_CONCURRENT_READS).try_collect().await?;
        Ok(items.into_iter().flatten().collect::<HashMap<_, _>>().into())
    }

    async fn read_batch(&self, keys: &[Key], budget: &Budget) -> Result<Vec<(String, Item)>, Error> {
        let mut retry = Retry::new(budget);
        let mut found = Vec::with_capacity(keys.len());
        let mut request = Some(self.batch_request(keys)?);
        let mut connection = Connection::Pooled;
        while let Some(unread) = request.take() {
            let reply = retry.run(self.reply_to_read(&unread, connection, budget)).await?;
            connection = Connection::after_silence(matches!(reply, Err(SdkError::TimeoutError(_))));
            match reply.map_err(failure).and_then(require_body) {
                Ok(output) => {
                    let capacity = capacity_units(output.consumed_capacity());
                    budget.record(|usage| usage.read_capacity += capacity);
                    for (table, items) in output.responses.unwrap_or_default() {
                        let key = if table == self.tables.tokens { "hashedToken" } else { "pk" };
                        found.extend(items.into_iter().filter_map(|item| {
                            let partition = item.get(key)?.as_s().ok()?.clone();
                            Some((partition, item))
                        }));
                    }
                    request = output.unprocessed_keys.filter(|left| !left.is_empty());
                    // DynamoDB returns at most 16 MB at a time and leaves the other keys of a large batch unprocessed.
                    // If it leaves all keys, it throttles.
                    if request.as_ref().is_some_and(|left| count(left) >= count(&unread)) {
                        budget.record(|usage| usage.failures += 1);
                        retry.pause(Error::Unavailable("DynamoDB left all keys unprocessed".into())).await?;
                    }
                }
                Err(error @ Error::Unavailable(_)) => {
                    budget.record(|usage| usage.failures += 1);
                    retry.pause(error).await?;
                    request = Some(unread);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Sends a BatchGetItem. If no reply comes, sends it a second time on a new connection. Returns the first success,
    /// or the last error if both fail.
    async fn reply_to_read(
        &self,
        request: &HashMap<String, KeysAndAttributes>,
        connection: Connection,
        budget: &Budget,
    ) -> Result<BatchGetItemOutput, SdkError<BatchGetItemError>> {
        let send = |connection| {
            let call = self
                .client
                .batch_get_item()
                .set_request_items(Some(request.clone()))
                .return_consumed_capacity(ReturnConsumedCapacity::Total);
            budget.record(|usage| usage.calls += 1);
            async move {
                match connection {
                    Connection::Pooled => self.hedging.timed(call.send()).await,
                    Connection::New => {
                        let call =
                            call.customize().mutate_request(|request| request.add_extension(OnNewConnection));
                        self.hedging.timed(call.send()).await
                    }
                }
            }
        };
        let mut copies = Copies::default();
        copies.push(send(connection));
        match tokio::time::timeout(self.hedging.wait_before_second_request(), copies.next()).await {
            Ok(reply) => return reply,
            Err(_) if !budget.is_over() && self.hedging.take_hedging_token() => {
                budget.record(|usage| usage.hedged += 1);
                copies.push(send(Connection::New));
            }
            Err(_) => {}
        }
        loop {
            let reply = copies.next().await;
            if reply.is_ok() || copies.is_empty() {
                return reply;
            }
        }
    }

    /// A batch's keys by table, in the form that BatchGetItem takes.
    fn batch_request(&self, keys: &[Key]) -> Result<HashMap<String, KeysAndAttributes>, Error> {
        let (tokens, others): (Vec<&Key>, Vec<&Key>) =
            keys.iter().partition(|key| matches!(key, Key::Token(_)));
        let names: Vec<String> = (0..ATTRIBUTES.len()).map(|n| format!("#a{n}")).collect();
        let mut request = HashMap::new();
        if !tokens.is_empty() {
            let keys = KeysAndAttributes::builder()
                .set_keys(Some(tokens.into_iter().map(Key::attributes).collect()))
                .consistent_read(true);
            request.insert(self.tables.tokens.clone(), keys.build().map_err(internal)?);
        }
        if !others.is_empty() {
            let keys = KeysAndAttributes::builder()
                .set_keys(Some(others.into_iter().map(Key::attributes).collect()))
                .consistent_read(true)
                .projection_expression(names.join(","))
                .set_expression_attribute_names(Some(
                    names.into_iter().zip(ATTRIBUTES.map(String::from)).collect(),
                ));
            request.insert(self.tables.livechat.clone(), keys.build().map_err(internal)?);
        }
        Ok(request)
    }
}

/// Refuses a reply that lost its body. The SDK parses such a reply as an empty one, and then no item would seem to
/// exist.
fn require_body(output: BatchGetItemOutput) -> Result<BatchGetItemOutput, Error> {
    match (&output.responses, &output.unprocessed_keys) {
        (None, None) => Err(Error::Unavailable("a reply without a body".into())),
        _ => Ok(output),
    }
}

fn count(request: &HashMap<String, KeysAndAttributes>) -> usize {
    request.values().map(|table| table.keys().len()).sum()
}

pub(super) fn capacity_units(capacity: &[ConsumedCapacity]) -> f64 {
    capacity.iter().filter_map(ConsumedCapacity::capacity_units).sum()
}
