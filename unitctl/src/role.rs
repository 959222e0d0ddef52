//! `unitctl grant` and `unitctl revoke`: which roles hold a permission.

use std::fmt;

use anyhow::Result;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use clap::Args;
use livechat_units::id::MAX_ID_BYTES;
use livechat_units::item::{Key, PERMISSION};
use serde::Serialize;

use crate::database::Database;
use crate::output::Output;

/// Let a role do something.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  unitctl grant livechat-manager --permission manage-livechat-units --stack livechat-units
  unitctl grant unit-editor")]
pub struct Grant {
    #[command(flatten)]
    held: Held,
}

/// Let a role not do something any more.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  unitctl revoke livechat-manager --permission manage-livechat-units --stack livechat-units
  unitctl revoke unit-editor")]
pub struct Revoke {
    #[command(flatten)]
    held: Held,
}

#[derive(Args, Debug)]
struct Held {
    /// The role's _id, such as livechat-manager
    #[arg(value_parser = id)]
    role: String,
    /// The permission's _id
    #[arg(long, value_name = "ID", default_value = PERMISSION, value_parser = id)]
    permission: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Changed {
    role: String,
    permission: String,
    is_held: bool,
    changed: bool,
}

impl Grant {
    /// Runs the command.
    ///
    /// # Errors
    /// DynamoDB refuses.
    pub async fn run(self, data: &Database, output: Output) -> Result<()> {
        self.held.change(true, data, output).await
    }
}

impl Revoke {
    /// Runs the command.
    ///
    /// # Errors
    /// DynamoDB refuses.
    pub async fn run(self, data: &Database, output: Output) -> Result<()> {
        self.held.change(false, data, output).await
    }
}

impl Held {
    /// One atomic change of the set, so that two operators at once don't undo each other.
    async fn change(self, is_held: bool, data: &Database, output: Output) -> Result<()> {
        let Self { role, permission } = self;
        let table = &data.tables.livechat;
        let key = Key::Permission(permission.clone()).attributes();
        // DELETE of a set's last member removes the attribute, and an absent set is what nobody holds.
        let change = if is_held { "ADD #roles :role" } else { "DELETE #roles :role" };
        let update = data
            .client
            .update_item()
            .table_name(table)
            .set_key(Some(key))
            .update_expression(change)
            .expression_attribute_names("#roles", "roles")
            .expression_attribute_values(":role", AttributeValue::Ss(vec![role.clone()]))
            .return_values(ReturnValue::AllOld);
        let old = update.send().await.map_err(|error| Database::describe_error(table, error))?.attributes;
        let roles = old.as_ref().and_then(|item| item.get("roles")?.as_ss().ok());
        let was_held = roles.is_some_and(|roles| roles.contains(&role));
        output.print(&Changed { role, permission, is_held, changed: was_held != is_held })
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, permission, is_held, changed } = self;
        let now = if *changed { "now" } else { "already" };
        match (is_held, changed) {
            (true, _) => write!(f, "{role} {now} holds {permission}"),
            (false, true) => write!(f, "{role} does not hold {permission} any more"),
            (false, false) => write!(f, "{role} did not hold {permission}"),
        }
    }
}

fn id(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > MAX_ID_BYTES {
        return Err(format!("an id has 1 to {MAX_ID_BYTES} bytes"));
    }
    Ok(text.to_owned())
}
