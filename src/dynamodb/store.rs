//! The two tables and the client that reaches them.

use std::collections::HashMap;
use std::time::Duration;

use aws_config::SdkConfig;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::StalledStreamProtectionConfig;
use aws_sdk_dynamodb::types::{AttributeValue, KeysAndAttributes};

use super::failure::{failure, internal};
use super::hedging::Hedging;
use super::tables::Tables;
use super::tls;
use super::unparsed::UnparsedReads;

/// The longest wait for the first connection. If DynamoDB is reachable, it takes some ten milliseconds.
const MAX_CONNECT_TIME: Duration = Duration::from_millis(300);

/// The two tables and the client that reaches them.
pub(crate) struct Store {
    pub(super) client: Client,
    pub(super) tables: Tables,
    pub(super) hedging: Hedging,
}

impl Store {
    /// A store with the region, credentials and endpoint of `sdk`.
    ///
    /// The SDK's own retries are off, because they know neither cancelled transactions nor Lambda's deadline.
    /// [`Retry`](crate::budget::Retry) repeats all requests instead.
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
            .interceptor(UnparsedReads)
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
}
