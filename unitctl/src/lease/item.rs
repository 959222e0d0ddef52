//! The item of the lease, and the process that it names.

use std::fmt;

use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::item::Item;
use time::OffsetDateTime;

use crate::origin::state_key;
use crate::timestamp::rfc3339;

/// The sort key of the lease.
pub const LEASE: &str = "LEASE";

/// The attributes that change whenever the holder or the counter does.
pub const STATE: [&str; 2] = ["holder", "counter"];

/// Another process that has the lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    purpose: String,
    host: String,
    process: String,
    since: String,
}

/// The item of a process that takes the lease now, for this command.
pub fn lease_item(holder: &str, purpose: &str) -> Item {
    let mut item = state_key(LEASE);
    let mut insert = |name: &str, value| item.insert(name.to_owned(), value);
    insert("holder", AttributeValue::S(holder.to_owned()));
    insert("counter", AttributeValue::N("0".into()));
    insert("purpose", AttributeValue::S(purpose.to_owned()));
    insert("host", AttributeValue::S(host()));
    insert("process", AttributeValue::N(std::process::id().to_string()));
    insert("since", AttributeValue::S(rfc3339(OffsetDateTime::now_utc())));
    item
}

impl Other {
    /// Reads who has the lease.
    pub fn read(item: &Item) -> Self {
        let or_unknown = |text: String| if text.is_empty() { "unknown".into() } else { text };
        let process = item.get("process").and_then(|value| value.as_n().ok()).cloned();
        Self {
            purpose: or_unknown(text(item, "purpose")),
            host: or_unknown(text(item, "host")),
            process: or_unknown(process.unwrap_or_default()),
            since: or_unknown(text(item, "since")),
        }
    }
}

impl fmt::Display for Other {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { purpose, host, process, since } = self;
        write!(f, "the process {process} on the host {host} ({purpose}, since {since})")
    }
}

/// A text of the item, or an empty one.
pub fn text(item: &Item, name: &str) -> String {
    item.get(name).and_then(|value| value.as_s().ok()).cloned().unwrap_or_default()
}

/// The name of this machine, or of this container.
fn host() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = kernel.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    match name.trim() {
        "" => "unknown".into(),
        name => name.to_owned(),
    }
}
