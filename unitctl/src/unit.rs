//! `unitctl unit`: creates and shows units. Only the endpoint changes their members.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Result, bail};
use aws_sdk_dynamodb::error::ProvideErrorMetadata;
use aws_sdk_dynamodb::types::AttributeValue;
use clap::{Args, Subcommand, ValueEnum};
use livechat_units::id::UnitId;
use livechat_units::item::{self, Item, Key};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::arguments::{name, unit_id};
use crate::database::Database;
use crate::output::Output;
use crate::random;
use crate::timestamp::rfc3339;

/// Create and show units.
#[derive(Args, Debug)]
pub struct Unit {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Create(Create),
    Show(Show),
}

/// Create a unit without monitors and departments.
#[derive(Args, Debug)]
#[command(after_help = "\
The endpoint adds monitors and departments: POST /api/v1/livechat/units/{id}.

Examples:
  unitctl unit create --name 'Sales Europe' --stack livechat-units
  unitctl unit create --name Billing --visibility private --id bL9iBillingUnit02")]
struct Create {
    /// Name of the unit
    #[arg(long, value_parser = name)]
    name: String,
    /// Visibility of the unit
    #[arg(long, value_enum, default_value_t)]
    visibility: Visibility,
    /// _id of the unit [default: a random one]
    #[arg(long, value_parser = unit_id)]
    id: Option<UnitId>,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Visibility {
    #[default]
    Public,
    Private,
}

/// Show a unit: its monitors, departments, counters and version.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  unitctl unit show o5zNtKy7BcTMgyXtm --stack livechat-units
  unitctl unit show o5zNtKy7BcTMgyXtm --output json
  unitctl unit show o5zNtKy7BcTMgyXtm --body > update.json")]
struct Show {
    /// _id of the unit
    #[arg(value_parser = unit_id)]
    id: UnitId,
    /// Print the body of an update that leaves the unit as it is, as a start for another update
    #[arg(long)]
    body: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    #[serde(rename = "_id")]
    id: String,
    name: Option<String>,
    visibility: Option<String>,
    num_monitors: Option<u64>,
    num_departments: Option<u64>,
    /// Usernames by user id.
    monitors: BTreeMap<String, String>,
    department_ids: BTreeSet<String>,
    ancestors: Vec<String>,
    version: u64,
    #[serde(rename = "_updatedAt")]
    updated_at: Option<String>,
    /// True if the counters, the map of monitors and the monitors' items agree.
    is_sound: bool,
}

impl Unit {
    /// Runs the command.
    ///
    /// # Errors
    /// The unit exists already (`create`) or does not exist (`show`), or DynamoDB refuses or can't be reached.
    pub async fn run(self, database: &Database, output: Output) -> Result<()> {
        match self.command {
            Command::Create(create) => output.print(&show(database, &create.run(database).await?).await?),
            Command::Show(Show { id, body: false }) => output.print(&show(database, &id).await?),
            Command::Show(Show { id, body: true }) => output.print(&show(database, &id).await?.body()),
        }
    }
}

impl Create {
    async fn run(self, database: &Database) -> Result<UnitId> {
        let id = self.id.or_else(|| UnitId::parse(random::id())).expect("a random id is valid");
        let visibility = match self.visibility {
            Visibility::Public => "public",
            Visibility::Private => "private",
        };
        let mut item = Key::Unit(id.clone()).attributes();
        let string = |text: &str| AttributeValue::S(text.to_owned());
        let zero = || AttributeValue::N("0".into());
        item.extend([
            ("name".into(), string(&self.name)),
            ("visibility".into(), string(visibility)),
            ("type".into(), string("u")),
            ("numMonitors".into(), zero()),
            ("numDepartments".into(), zero()),
            ("monitors".into(), AttributeValue::M(Item::new())),
            ("version".into(), zero()),
            ("_updatedAt".into(), string(&rfc3339(OffsetDateTime::now_utc()))),
        ]);
        let table = &database.tables.livechat;
        let put = database.client.put_item().table_name(table).set_item(Some(item));
        match put.condition_expression("attribute_not_exists(pk)").send().await {
            Ok(_) => Ok(id),
            Err(error) if error.code() == Some("ConditionalCheckFailedException") => {
                bail!("the unit {id} exists already")
            }
            Err(error) => Err(Database::describe_error(table, error)),
        }
    }
}

async fn show(database: &Database, id: &UnitId) -> Result<Shown> {
    let key = Key::Unit(id.clone());
    let items = database.unit_partition(id).await?;
    let is_unit = |item: &Item| text(item, "sk").as_deref() == Some("UNIT");
    let (units, others): (Vec<Item>, Vec<Item>) = items.into_iter().partition(is_unit);
    let Some(item) = units.into_iter().next() else { bail!("there is no unit {id}") };

    let [num_monitors, num_departments] = ["numMonitors", "numDepartments"]
        .map(|name| item.get(name).and_then(|value| value.as_n().ok()?.parse::<u64>().ok()));
    let [name, visibility, updated_at] = ["name", "visibility", "_updatedAt"].map(|name| text(&item, name));
    let unit = item::Unit::parse(&key, item)?;
    // Other functions may store other items in the unit's partition.
    let is_monitor = |item: &&Item| text(item, "sk").is_some_and(|sk| sk.starts_with("MONITOR#"));
    let monitors = others.iter().filter(is_monitor);
    let monitors = monitors.map(|item| Some((text(item, "monitorId")?, text(item, "username")?)));
    let monitors: Option<BTreeMap<String, String>> = monitors.collect();
    let listed_monitors = unit.monitors.iter().map(|(id, username)| (id.to_string(), username.to_string()));
    let listed_monitors: BTreeMap<String, String> = listed_monitors.collect();
    let are_counts_true = [num_monitors, num_departments]
        == [unit.monitors.len(), unit.departments.len()].map(|n| Some(n as u64));
    Ok(Shown {
        id: id.to_string(),
        name,
        visibility,
        num_monitors,
        num_departments,
        is_sound: are_counts_true && monitors.as_ref() == Some(&listed_monitors),
        monitors: listed_monitors,
        department_ids: unit.departments.into_iter().map(Into::into).collect(),
        ancestors: unit.ancestors.into_iter().map(Into::into).collect(),
        version: unit.version.unwrap_or_default(),
        updated_at,
    })
}

fn text(item: &Item, name: &str) -> Option<String> {
    item.get(name)?.as_s().ok().cloned()
}

impl Shown {
    /// The body of an update that leaves the unit as it is. For a unit without a name the name is null, and the endpoint
    /// refuses the update.
    fn body(&self) -> Value {
        let monitors = self.monitors.iter();
        let monitors = monitors.map(|(id, username)| json!({ "monitorId": id, "username": username }));
        let departments = self.department_ids.iter().map(|id| json!({ "departmentId": id }));
        json!({
            "unitData": { "name": self.name, "visibility": self.visibility },
            "unitMonitors": monitors.collect::<Vec<_>>(),
            "unitDepartments": departments.collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
        let number = |number: Option<u64>| number.map_or_else(|| "-".into(), |number| number.to_string());
        writeln!(f, "_id             {}", self.id)?;
        writeln!(f, "name            {}", or_none(&self.name))?;
        writeln!(f, "visibility      {}", or_none(&self.visibility))?;
        writeln!(f, "numMonitors     {}", number(self.num_monitors))?;
        writeln!(f, "numDepartments  {}", number(self.num_departments))?;
        writeln!(f, "version         {}", self.version)?;
        write!(f, "_updatedAt      {}", or_none(&self.updated_at))?;
        for ancestor in &self.ancestors {
            write!(f, "\nancestor        {ancestor}")?;
        }
        for (id, username) in &self.monitors {
            write!(f, "\nmonitor         {id}  {username}")?;
        }
        for id in &self.department_ids {
            write!(f, "\ndepartment      {id}")?;
        }
        if !self.is_sound {
            write!(f, "\nThe unit is not sound: see `unitctl check`.")?;
        }
        Ok(())
    }
}
