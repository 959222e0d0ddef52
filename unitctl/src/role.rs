//! `unitctl grant` and `unitctl revoke`: gives a permission to a role, or takes it away.

use std::fmt;

use anyhow::Result;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use clap::Args;
use livechat_units::item::{Key, PERMISSION};
use serde::Serialize;

use crate::arguments::id;
use crate::database::Database;
use crate::origin::{REV, warn_of_next_import};
use crate::output::Output;

/// Give a permission to a role.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  unitctl grant livechat-manager --permission manage-livechat-units --stack livechat-units
  unitctl grant unit-editor")]
pub struct Grant {
    #[command(flatten)]
    role_permission: RolePermission,
}

/// Take a permission away from a role.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  unitctl revoke livechat-manager --permission manage-livechat-units --stack livechat-units
  unitctl revoke unit-editor")]
pub struct Revoke {
    #[command(flatten)]
    role_permission: RolePermission,
}

#[derive(Args, Debug)]
struct RolePermission {
    /// _id of the role, such as livechat-manager
    #[arg(value_parser = id)]
    role: String,
    /// _id of the permission
    #[arg(long, value_name = "ID", default_value = PERMISSION, value_parser = id)]
    permission: String,
}

/// What a command does with a role's permission.
#[derive(Clone, Copy)]
enum Change {
    Grant,
    Revoke,
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
    /// DynamoDB refuses the request or can't be reached.
    pub async fn run(self, database: &Database, output: Output) -> Result<()> {
        self.role_permission.change(Change::Grant, database, output).await
    }
}

impl Revoke {
    /// Runs the command.
    ///
    /// # Errors
    /// DynamoDB refuses the request or can't be reached.
    pub async fn run(self, database: &Database, output: Output) -> Result<()> {
        self.role_permission.change(Change::Revoke, database, output).await
    }
}

impl RolePermission {
    /// Changes the set of roles in one atomic request, so that two operators can't undo each other's changes.
    async fn change(self, change: Change, database: &Database, output: Output) -> Result<()> {
        let Self { role, permission } = self;
        let table = &database.tables.livechat;
        let key = Key::Permission(permission.clone()).attributes();
        // DELETE of the last member removes the attribute. No role holds a permission without the attribute.
        let expression = match change {
            Change::Grant => "ADD #roles :role",
            Change::Revoke => "DELETE #roles :role",
        };
        let update = database
            .client
            .update_item()
            .table_name(table)
            .set_key(Some(key))
            .update_expression(expression)
            .expression_attribute_names("#roles", "roles")
            .expression_attribute_values(":role", AttributeValue::Ss(vec![role.clone()]))
            .return_values(ReturnValue::AllOld);
        let old = update.send().await.map_err(|error| Database::describe_error(table, error))?.attributes;
        if old.as_ref().is_some_and(|item| item.contains_key(REV)) {
            warn_of_next_import(format!("permission {permission}"));
        }
        let roles = old.as_ref().and_then(|item| item.get("roles")?.as_ss().ok());
        let was_held = roles.is_some_and(|roles| roles.contains(&role));
        let is_held = matches!(change, Change::Grant);
        output.print(&Changed { role, permission, is_held, changed: was_held != is_held })
    }
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { role, permission, is_held, changed } = self;
        let now = if *changed { "now" } else { "already" };
        match (is_held, changed) {
            (true, _) => write!(f, "{role} {now} holds {permission}"),
            (false, true) => write!(f, "{role} no longer holds {permission}"),
            (false, false) => write!(f, "{role} did not hold {permission}"),
        }
    }
}
