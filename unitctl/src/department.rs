//! `unitctl department`: creates departments. The endpoint moves them into units.

use std::fmt;

use anyhow::{Result, bail};
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::AttributeValue;
use clap::{Args, Subcommand};
use livechat_units::id::DepartmentId;
use livechat_units::item::Key;
use serde::Serialize;
use time::OffsetDateTime;

use crate::arguments::{department_id, name};
use crate::database::Database;
use crate::output::Output;
use crate::random;
use crate::timestamp::rfc3339;

/// Create departments.
#[derive(Args, Debug)]
pub struct Department {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Create(Create),
}

/// Create a department that is in no unit.
#[derive(Args, Debug)]
#[command(after_help = "\
The endpoint moves it into a unit, when an update of the unit lists it: POST /api/v1/livechat/units/{id}.

Examples:
  unitctl department create --name Support --stack livechat-units
  unitctl department create --name Support --id CgM4vfNNtj8t4QEMd --output json")]
struct Create {
    /// Name of the department
    #[arg(long, value_parser = name)]
    name: String,
    /// _id of the department [default: a random one]
    #[arg(long, value_parser = department_id)]
    id: Option<DepartmentId>,
}

#[derive(Serialize)]
struct Created {
    #[serde(rename = "_id")]
    id: String,
    name: String,
    #[serde(rename = "_updatedAt")]
    updated_at: String,
}

impl Department {
    /// Runs the command.
    ///
    /// # Errors
    /// The department exists already, or DynamoDB refuses the request or can't be reached.
    pub async fn run(self, database: &Database, output: Output) -> Result<()> {
        let Command::Create(Create { name, id }) = self.command;
        let id = id.or_else(|| DepartmentId::parse(random::id())).expect("a random id is valid");
        let updated_at = rfc3339(OffsetDateTime::now_utc());
        let mut item = Key::Department(id.clone()).attributes();
        item.insert("name".into(), AttributeValue::S(name.clone()));
        item.insert("_updatedAt".into(), AttributeValue::S(updated_at.clone()));
        let table = &database.tables.livechat;
        let put = database.client.put_item().table_name(table).set_item(Some(item));
        match put.condition_expression("attribute_not_exists(pk)").send().await {
            Ok(_) => output.print(&Created { id: id.to_string(), name, updated_at }),
            Err(error) if error.code() == Some("ConditionalCheckFailedException") => {
                bail!("the department {id} exists already")
            }
            Err(error) => Err(Database::describe_error(table, error)),
        }
    }
}

impl fmt::Display for Created {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "_id          {}\nname         {}\n_updatedAt   {}", self.id, self.name, self.updated_at)
    }
}
