//! `unitctl user`: creates, changes and shows users. Their roles say who may call the endpoint and who may be a monitor.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Result, bail};
use aws_sdk_dynamodb::types::AttributeValue;
use clap::{Args, Subcommand};
use livechat_units::id::UserId;
use livechat_units::item::{self, Key, MONITOR_ROLE, PERMISSION};
use serde::Serialize;

use crate::arguments::{name, user_id};
use crate::database::Database;
use crate::origin::{tokens_key, warn_of_next_import};
use crate::output::Output;

/// Create, change and show users.
#[derive(Args, Debug)]
pub struct User {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Put(Put),
    Show(Show),
}

/// Create a user, or replace the username, roles and state of one.
#[derive(Args, Debug)]
#[command(after_help = "\
Username, roles and state are replaced: a role that the command does not name is removed. All other attributes of the
user stay. A unit that has the user for a monitor shows the new username after its next update. If the user came from
Rocket.Chat, the next import replaces them again.

Examples:
  unitctl user put rbAXPnMktTFbNpwtJ --username rocket.admin --role admin --role livechat-manager
  unitctl user put GT67Tv6x5p5y5xZWN --username testerio --role livechat-monitor --stack livechat-units
  unitctl user put GT67Tv6x5p5y5xZWN --username testerio --inactive")]
struct Put {
    /// _id of the user
    #[arg(value_parser = user_id)]
    id: UserId,
    /// Username
    #[arg(long, value_parser = name)]
    username: String,
    /// _id of a role; repeat the option for each role
    #[arg(long = "role", value_name = "ROLE", value_parser = name)]
    roles: Vec<String>,
    /// Deactivate the user, who then may not call the endpoint, but stays a monitor
    #[arg(long)]
    inactive: bool,
}

/// Show a user, and what the roles allow.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  unitctl user show rbAXPnMktTFbNpwtJ --stack livechat-units
  unitctl user show rbAXPnMktTFbNpwtJ --output json")]
struct Show {
    /// _id of the user
    #[arg(value_parser = user_id)]
    id: UserId,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(rename = "_id")]
    id: String,
    username: Option<String>,
    roles: BTreeSet<String>,
    active: bool,
    /// The user is active, and one of the roles holds `manage-livechat-units`.
    may_update_units: bool,
    /// The user has the role `livechat-monitor`. A deactivated user may be a monitor.
    may_be_monitor: bool,
}

impl User {
    /// Runs the command.
    ///
    /// # Errors
    /// The user does not exist, or DynamoDB refuses the request or can't be reached.
    pub async fn run(self, database: &Database, output: Output) -> Result<()> {
        let id = match self.command {
            Command::Put(put) => {
                put.run(database).await?;
                put.id
            }
            Command::Show(Show { id }) => id,
        };
        output.print(&show(database, id).await?)
    }
}

impl Put {
    async fn run(&self, database: &Database) -> Result<()> {
        let table = &database.tables.livechat;
        let update = database
            .client
            .update_item()
            .table_name(table)
            .set_key(Some(Key::User(self.id.clone()).attributes()))
            .expression_attribute_names("#username", "username")
            .expression_attribute_names("#active", "active")
            .expression_attribute_names("#roles", "roles")
            .expression_attribute_values(":username", AttributeValue::S(self.username.clone()))
            .expression_attribute_values(":active", AttributeValue::Bool(!self.inactive));
        let roles: BTreeSet<String> = self.roles.iter().cloned().collect();
        let update = if roles.is_empty() {
            update.update_expression("SET #username = :username, #active = :active REMOVE #roles")
        } else {
            update
                .update_expression("SET #username = :username, #active = :active, #roles = :roles")
                .expression_attribute_values(":roles", AttributeValue::Ss(roles.into_iter().collect()))
        };
        update.send().await.map_err(|error| Database::describe_error(table, error))?;
        if !database.get_all(vec![tokens_key(&self.id)]).await?.is_empty() {
            warn_of_next_import(format!("user {}", self.id));
        }
        Ok(())
    }
}

async fn show(database: &Database, id: UserId) -> Result<Shown> {
    let key = Key::User(id.clone());
    let Some(item) = database.get(&key).await? else {
        bail!("there is no user {id}; create it with `unitctl user put`")
    };
    let user = item::User::parse(&key, item)?;
    let key = Key::Permission(PERMISSION.into());
    let permission = database.get(&key).await?.map(|item| item::Permission::parse(&key, item)).transpose()?;
    let has_permission =
        permission.is_some_and(|permission| permission.roles.iter().any(|role| user.has_role(role)));
    Ok(Shown {
        id: id.to_string(),
        may_update_units: user.active && has_permission,
        may_be_monitor: user.has_role(MONITOR_ROLE),
        username: user.username.map(Into::into),
        roles: user.roles.into_iter().map(Into::into).collect(),
        active: user.active,
    })
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let yes_or_no = |is: bool| if is { "yes" } else { "no" };
        let roles: Vec<&str> = self.roles.iter().map(String::as_str).collect();
        writeln!(f, "_id               {}", self.id)?;
        writeln!(f, "username          {}", self.username.as_deref().unwrap_or("-"))?;
        writeln!(f, "roles             {}", if roles.is_empty() { "-".into() } else { roles.join(", ") })?;
        writeln!(f, "active            {}", yes_or_no(self.active))?;
        writeln!(f, "may update units  {}", yes_or_no(self.may_update_units))?;
        write!(f, "may be a monitor  {}", yes_or_no(self.may_be_monitor))
    }
}
