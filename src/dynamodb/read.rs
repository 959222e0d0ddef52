//! Reads items in batches, with retries.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::batch_get_item::{BatchGetItemError, BatchGetItemOutput};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::batch_reply::BatchReply;
use super::batch_request::batch_request;
use super::connections::{Connection, OnNewConnection};
use super::copies::Copies;
use super::failure::{failure, internal};
use super::store::Store;
use super::unparsed;
use crate::budget::{Budget, Retry};
use crate::error::Error;
use crate::item::{Items, Key};
use crate::limits::MAX_BATCH_GET_KEYS;

/// The maximum number of BatchGetItems at the same time. A body can list tens of thousands of ids.
const MAX_CONCURRENT_READS: usize = 16;

impl Store {
    /// Reads the items with these distinct keys, with strong consistency.
    ///
    /// # Errors
    /// DynamoDB is unavailable until the time budget ends, or it refuses the request.
    pub(crate) async fn read(
        &self,
        keys: impl IntoIterator<Item = Key>,
        budget: &Budget,
    ) -> Result<Items, Error> {
        let mut keys = keys.into_iter().peekable();
        let mut batches = Vec::new();
        while keys.peek().is_some() {
            batches.push(self.read_batch(keys.by_ref().take(MAX_BATCH_GET_KEYS).collect(), budget));
        }
        let batches = stream::iter(batches).buffer_unordered(MAX_CONCURRENT_READS);
        let add = |mut items: Items, batch| async {
            items.extend(batch);
            Ok(items)
        };
        batches.try_fold(Items::default(), add).await
    }

    async fn read_batch(&self, mut unread: Vec<Key>, budget: &Budget) -> Result<Items, Error> {
        let mut retry = Retry::new(budget);
        let mut items = Items::default();
        let mut connection = Connection::Pooled;
        while !unread.is_empty() {
            let body = batch_request(&self.tables, &unread).map_err(internal)?;
            let reply = retry.run(self.reply_to_read(body, connection, budget)).await?;
            connection = Connection::after_silence(matches!(reply, Err(SdkError::TimeoutError(_))));
            let body;
            let reply = match reply.map_err(failure) {
                Ok(output) => {
                    body = unparsed::body(output);
                    BatchReply::parse(&body)
                }
                Err(error) => Err(error),
            };
            match reply {
                Ok(mut reply) => {
                    let capacity = reply.capacity_units();
                    budget.record(|usage| usage.read_capacity += capacity);
                    let asked = unread.len();
                    unread = reply.take_unprocessed_keys();
                    for (key, item) in reply.into_items() {
                        items.add(key, item);
                    }
                    // DynamoDB returns at most 16 MB at a time and leaves the other keys of a large batch unprocessed.
                    // If it leaves all keys, it throttles.
                    if unread.len() >= asked {
                        budget.record(|usage| usage.failures += 1);
                        retry.pause(Error::Unavailable("DynamoDB left all keys unprocessed".into())).await?;
                    }
                }
                Err(error @ Error::Unavailable(_)) => {
                    budget.record(|usage| usage.failures += 1);
                    retry.pause(error).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(items)
    }

    /// Sends a BatchGetItem with this body. If no reply comes, sends it a second time on a new connection. Returns the
    /// first success, or the last error if both fail.
    async fn reply_to_read(
        &self,
        body: String,
        connection: Connection,
        budget: &Budget,
    ) -> Result<BatchGetItemOutput, SdkError<BatchGetItemError>> {
        let send = |connection| {
            let body = body.clone();
            // The SDK signs the request after this change.
            let call = self.client.batch_get_item().customize().mutate_request(move |request| {
                request.headers_mut().insert("content-length", body.len().to_string());
                *request.body_mut() = body.clone().into();
                if connection == Connection::New {
                    request.add_extension(OnNewConnection);
                }
            });
            budget.record(|usage| usage.calls += 1);
            self.hedging.timed(call.send())
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
}
