//! DynamoDB: reads in batches, and commits plans.

use std::collections::HashMap;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::StalledStreamProtectionConfig;
use aws_sdk_dynamodb::operation::batch_get_item::BatchGetItemOutput;
use aws_sdk_dynamodb::types::{AttributeValue, ConsumedCapacity, KeysAndAttributes, ReturnConsumedCapacity};
use futures_util::{StreamExt, TryStreamExt, stream};
use uuid::Uuid;

use crate::budget::{Budget, Tries};
use crate::error::Error;
use crate::failure::{Verdict, failure, internal, verdict};
use crate::item::{Item, Key};
use crate::plan::Plan;
use crate::tls;
use crate::transaction;

/// Most keys of one BatchGetItem.
pub(crate) const MAX_KEYS: usize = 100;

/// Most BatchGetItems at once: a body can list tens of thousands of ids.
const MAX_READS_AT_ONCE: usize = 16;

/// Longest wait for the first connection. It takes some ten ms, unless DynamoDB is away.
const LONGEST_CONNECT: Duration = Duration::from_millis(300);

/// The attributes that are read of the livechat table's items, of whatever kind. Departments may carry
/// much that this function does not know and need not fetch.
const ATTRIBUTES: [&str; 9] =
    ["pk", "active", "ancestors", "departmentIds", "monitors", "parentId", "roles", "username", "version"];

/// The two tables' names.
#[derive(Clone, Debug)]
pub struct Tables {
    /// Login tokens.
    pub tokens: String,
    /// Everything else.
    pub livechat: String,
}

/// The tables behind a client.
pub struct Store {
    client: Client,
    tables: Tables,
}

/// The items that were found, by partition key.
pub struct Items(HashMap<String, Item>);

/// How a transaction that did not fail has ended.
pub(crate) enum Commit {
    /// It is stored.
    Done,
    /// Conditions failed and nothing is stored: for each action whose condition failed, by its place,
    /// the item as it is, or `None` if there is none.
    Refused(Vec<(usize, Option<Item>)>),
}

impl From<HashMap<String, Item>> for Items {
    fn from(by_partition: HashMap<String, Item>) -> Self {
        Self(by_partition)
    }
}

impl Items {
    pub(crate) fn take(&mut self, key: &Key) -> Option<Item> {
        self.0.remove(&key.partition())
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }
}

impl Store {
    /// A store on DynamoDB as `sdk` says: region, credentials, endpoint.
    ///
    /// The SDK's own retries are off. They know neither a cancelled transaction nor Lambda's deadline, so
    /// [`Tries`] does it for everything in one place.
    pub fn new(sdk: &SdkConfig, tables: Tables) -> Self {
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_millis(800))
            .operation_attempt_timeout(Duration::from_secs(1))
            // An operation is one attempt; this adds loading the credentials.
            .operation_timeout(Duration::from_millis(1500))
            .build();
        let config = aws_sdk_dynamodb::config::Builder::from(sdk)
            .retry_config(RetryConfig::disabled())
            // A body that stalls is cut off with its attempt, after a second; the SDK's own watch over its
            // throughput would need five, and takes a timer and a lock for every call.
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
            .timeout_config(timeouts)
            .build();
        Self { client: Client::from_conf(config), tables }
    }

    /// Sends a first request, so that what it takes once, credentials, a connection and its TLS handshake, is
    /// there when the first update comes. The request reads a token that can't be: the cheapest that the
    /// function's role allows, half a read unit.
    ///
    /// Whether it succeeds does not matter: the updates send theirs anyway, with their own tries.
    pub(crate) async fn connect(&self) {
        // Too short for a hash.
        let key = HashMap::from([("hashedToken".to_owned(), AttributeValue::S("-".to_owned()))]);
        let Ok(keys) = KeysAndAttributes::builder().keys(key).build() else { return };
        let call = self.client.batch_get_item().request_items(&self.tables.tokens, keys);
        let connected = tokio::time::timeout(LONGEST_CONNECT, async {
            match call.clone().send().await {
                // The next one trusts other roots.
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

    /// Reads the items of these distinct keys, strongly consistent.
    ///
    /// # Errors
    /// DynamoDB is unavailable until the time is over, or refuses for good.
    pub(crate) async fn read(
        &self,
        keys: impl IntoIterator<Item = Key>,
        budget: &Budget,
    ) -> Result<Items, Error> {
        let keys: Vec<Key> = keys.into_iter().collect();
        let mut batches = Vec::new();
        for batch in keys.chunks(MAX_KEYS) {
            batches.push(self.read_batch(batch, budget));
        }
        let items: Vec<Vec<(String, Item)>> =
            stream::iter(batches).buffer_unordered(MAX_READS_AT_ONCE).try_collect().await?;
        Ok(items.into_iter().flatten().collect::<HashMap<_, _>>().into())
    }

    async fn read_batch(&self, keys: &[Key], budget: &Budget) -> Result<Vec<(String, Item)>, Error> {
        let mut tries = Tries::new(budget);
        let mut found = Vec::with_capacity(keys.len());
        let mut request = Some(self.batch(keys)?);
        while let Some(unread) = request.take() {
            let call = self
                .client
                .batch_get_item()
                .set_request_items(Some(unread.clone()))
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send();
            budget.spend(|spent| spent.round_trips += 1);
            match tries.run(call).await?.map_err(failure).and_then(replied) {
                Ok(output) => {
                    let units = units(output.consumed_capacity());
                    budget.spend(|spent| spent.read_units += units);
                    for (table, items) in output.responses.unwrap_or_default() {
                        let key = if table == self.tables.tokens { "hashedToken" } else { "pk" };
                        found.extend(items.into_iter().filter_map(|item| {
                            let partition = item.get(key)?.as_s().ok()?.clone();
                            Some((partition, item))
                        }));
                    }
                    request = output.unprocessed_keys.filter(|left| !left.is_empty());
                    // Some keys left is how a large batch is read, 16 MB at a time. All of them is a refusal.
                    if request.as_ref().is_some_and(|left| count(left) >= count(&unread)) {
                        budget.spend(|spent| spent.failures += 1);
                        tries.pause(Error::Unavailable("DynamoDB left all keys unprocessed".into())).await?;
                    }
                }
                Err(error @ Error::Unavailable(_)) => {
                    budget.spend(|spent| spent.failures += 1);
                    tries.pause(error).await?;
                    request = Some(unread);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// The request for a batch: by table, as BatchGetItem wants it.
    fn batch(&self, keys: &[Key]) -> Result<HashMap<String, KeysAndAttributes>, Error> {
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

    /// Commits a plan, the same one until it is stored, refused or the time is over.
    ///
    /// # Errors
    /// Others are in the way, or DynamoDB unavailable, until the time is over; the unit is too large; or
    /// DynamoDB refuses for good.
    pub(crate) async fn commit(
        &self,
        plan: &Plan,
        updated_at: &str,
        budget: &Budget,
        tries: &mut Tries<'_>,
    ) -> Result<Commit, Error> {
        let items: Vec<_> = plan
            .actions
            .iter()
            .map(|action| transaction::item(action, &self.tables.livechat, updated_at))
            .collect::<Result<_, _>>()
            .map_err(internal)?;
        // The same for every send of this plan: if a reply is lost, DynamoDB answers the next send of a
        // transaction that it has committed with success.
        let token = Uuid::new_v4().to_string();
        loop {
            let call = self
                .client
                .transact_write_items()
                .set_transact_items(Some(items.clone()))
                .client_request_token(&token)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send();
            budget.spend(|spent| {
                spent.round_trips += 1;
                spent.attempts += 1;
            });
            let error = match tries.run(call).await? {
                Ok(output) => {
                    let units = units(output.consumed_capacity());
                    budget.spend(|spent| spent.write_units += units);
                    return Ok(Commit::Done);
                }
                Err(error) => error,
            };
            let again = match verdict(error) {
                Verdict::Refused(items) => {
                    budget.spend(|spent| spent.conflicts += 1);
                    return Ok(Commit::Refused(items));
                }
                Verdict::Failed(error) => error,
            };
            match again {
                Error::Busy => budget.spend(|spent| spent.conflicts += 1),
                Error::Unavailable(_) => budget.spend(|spent| spent.failures += 1),
                final_error => return Err(final_error),
            }
            tries.pause(again).await?;
        }
    }
}

/// The reply, unless its body was lost: the SDK takes that for an empty object, and then none of the items
/// would seem to exist.
fn replied(output: BatchGetItemOutput) -> Result<BatchGetItemOutput, Error> {
    match (&output.responses, &output.unprocessed_keys) {
        (None, None) => Err(Error::Unavailable("a reply without a body".into())),
        _ => Ok(output),
    }
}

fn count(request: &HashMap<String, KeysAndAttributes>) -> usize {
    request.values().map(|table| table.keys().len()).sum()
}

fn units(capacity: &[ConsumedCapacity]) -> f64 {
    capacity.iter().filter_map(ConsumedCapacity::capacity_units).sum()
}
