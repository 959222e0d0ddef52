//! `unitctl import`: brings a mongoexport of a Rocket.Chat workspace.

mod documents;
mod export;
mod extended_json;
mod records;
mod report;
mod same;
mod stored;
mod workspace;
mod write;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use futures_util::stream::{self, FuturesUnordered};
use futures_util::{StreamExt, TryStreamExt};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use livechat_units::id::{DepartmentId, UserId};
use time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use self::documents::Broken;
use self::export::{Collection, Export, Record};
use self::records::{Place, UnitMonitor, UnitOrDepartment, User, parse_permission};
use self::report::{Event, Report};
use self::workspace::{Exported, plan};
use self::write::{Kind, MAX_BATCH, Outcome, Write};
use crate::database::Database;
use crate::output::Output;

/// Batches, or units, that are written at once.
const MOST_IN_FLIGHT: usize = 8;

const HELP: &str = "\
DIR holds four files, made by mongoexport from the workspace's database:

  mongoexport --uri URI --collection users --out DIR/users.json \\
      --fields username,active,roles,services.resume.loginTokens
  mongoexport --uri URI --collection rocketchat_permissions --out DIR/rocketchat_permissions.json
  mongoexport --uri URI --collection rocketchat_livechat_department --out DIR/rocketchat_livechat_department.json
  mongoexport --uri URI --collection rocketchat_livechat_unit_monitors --out DIR/rocketchat_livechat_unit_monitors.json

One document a line or --jsonArray, relaxed or canonical. Of the users, mongoexport writes all of `services`, password
hashes included: keep DIR to yourself, and delete it when you are done. What Rocket.Chat leaves inconsistent is mended,
and each repair is told: counters, monitors who are none, duplicate rows, parents that do not exist.

It reads what is stored and writes what differs. So it can be stopped and started again, and a second run writes
nothing. A unit that was updated since it was imported stays as it is, with its departments, unless --overwrite says
that the export is right. Nothing is deleted.

Examples:
  unitctl import dump/ --stack livechat-units --dry-run
  unitctl import dump/ --stack livechat-units
  unitctl import dump/ --stack livechat-units --strict --output json > import.log";

/// Bring the users, tokens, permissions, units and departments of a mongoexport.
#[derive(Args, Clone, Debug)]
#[command(after_help = HELP)]
pub struct Import {
    /// The folder with the export
    dir: PathBuf,
    /// Write nothing; print what would be written
    #[arg(long)]
    dry_run: bool,
    /// Stop at the first line that can't be used, instead of going on and ending with exit code 3
    #[arg(long)]
    strict: bool,
    /// Overwrite units that were updated since they were imported
    #[arg(long)]
    overwrite: bool,
    /// How long login tokens live: the workspace's setting `Accounts_LoginExpiration`
    #[arg(long, value_name = "DAYS", default_value_t = 90, value_parser = clap::value_parser!(i64).range(1..=36500))]
    token_lifetime: i64,
}

impl Import {
    /// Imports the folder. Returns whether every line could be used and every item is now as it was exported.
    ///
    /// # Errors
    /// A file can't be read, a line can't be used and it is strict, or DynamoDB refuses.
    pub async fn run(self, data: &Database, output: Output) -> Result<bool> {
        let export = Export::Folder(self.dir.clone());
        let mut report = Report::new(Some(output), self.strict, self.dry_run);
        Importer { options: &self, data, export }.run(&mut report).await?;
        report.finish()
    }
}

/// Imports the sample that comes with this tool.
///
/// # Errors
/// DynamoDB refuses, or the sample is not in order.
pub async fn sample(data: &Database) -> Result<()> {
    let options =
        Import { dir: PathBuf::new(), dry_run: false, strict: true, overwrite: false, token_lifetime: 90 };
    let mut report = Report::new(None, true, false);
    Importer { options: &options, data, export: Export::Sample }.run(&mut report).await?;
    if !report.finish()? {
        bail!("the sample is not in order");
    }
    Ok(())
}

struct Importer<'a> {
    options: &'a Import,
    data: &'a Database,
    export: Export,
}

impl Importer<'_> {
    async fn run(&self, report: &mut Report) -> Result<()> {
        self.export.check()?;
        // Everything about units and departments is looked at before anything is written.
        let mut exported = Exported::default();
        self.read_unit_monitors(&mut exported, report).await?;
        self.read_departments(&mut exported, report).await?;
        self.write_permissions(report).await?;
        self.write_users(&mut exported, report).await?;

        let stored = stored::read(self.data, &exported).await?;
        let planned = plan(&exported, &stored, self.options.overwrite);
        for repair in planned.repairs {
            report.tell(Event::Repair(repair))?;
        }
        for unit in planned.kept {
            report.keep(unit)?;
        }
        for (unit, reason) in planned.too_large {
            report.too_large(unit, reason)?;
        }
        drop(exported);
        // Departments first: a unit lists nothing that is not there.
        self.write_departments(&planned.departments, report).await?;
        let units = planned.units.into_iter().map(|unit| {
            let (data, old) = (self.data.clone(), stored.units.get(&unit.id).cloned());
            let is_dry_run = self.options.dry_run;
            async move {
                let outcome = write::unit(&data, &unit, old.as_ref(), is_dry_run).await?;
                let item = unit.item_over(old.as_ref());
                Ok::<_, anyhow::Error>((Write { kind: Kind::Unit, item, keeps_place: false }, outcome))
            }
        });
        let mut units = stream::iter(units).buffer_unordered(MOST_IN_FLIGHT);
        while let Some((write, outcome)) = units.try_next().await? {
            report.outcome(&write, outcome)?;
        }
        Ok(())
    }

    async fn read_unit_monitors(&self, exported: &mut Exported, report: &mut Report) -> Result<()> {
        let (mut rows, _bar) = self.read(Collection::UnitMonitors, UnitMonitor::parse)?;
        while let Some(record) = rows.recv().await {
            if let Some((_, row)) = report.usable(Collection::UnitMonitors, record?)? {
                exported.monitors.entry(row.unit.clone()).or_default().push(row);
            }
        }
        Ok(())
    }

    async fn read_departments(&self, exported: &mut Exported, report: &mut Report) -> Result<()> {
        const FILE: Collection = Collection::Departments;
        let (mut documents, _bar) = self.read(FILE, UnitOrDepartment::parse)?;
        while let Some(record) = documents.recv().await {
            let Some((line, document)) = report.usable(FILE, record?)? else { continue };
            let is_new = match document {
                UnitOrDepartment::Unit(unit) => exported.units.insert(unit.id.clone(), unit).is_none(),
                UnitOrDepartment::Department(department) => {
                    exported.departments.insert(department.id, department.place).is_none()
                }
            };
            if !is_new {
                let reason = "the same _id as a document before; the last one counts".into();
                report.broken(FILE, Broken { line, reason })?;
            }
        }
        Ok(())
    }

    async fn write_permissions(&self, report: &mut Report) -> Result<()> {
        let (mut items, _bar) = self.read(Collection::Permissions, parse_permission)?;
        let mut writes = Writes::new(self.data, self.options.dry_run);
        while let Some(record) = items.recv().await {
            if let Some((_, item)) = report.usable(Collection::Permissions, record?)? {
                writes.push(Write { kind: Kind::Permission, item, keeps_place: false }, report).await?;
            }
        }
        writes.finish(report).await
    }

    async fn write_users(&self, exported: &mut Exported, report: &mut Report) -> Result<()> {
        let monitors: HashSet<UserId> =
            exported.monitors.values().flatten().map(|row| row.monitor.clone()).collect();
        let lifetime = Duration::days(self.options.token_lifetime);
        let (mut users, _bar) = self.read(Collection::Users, move |user| User::parse(user, lifetime))?;
        let mut writes = Writes::new(self.data, self.options.dry_run);
        while let Some(record) = users.recv().await {
            let Some((line, user)) = report.usable(Collection::Users, record?)? else { continue };
            let User { id, item, tokens, monitor } = user;
            writes.push(Write { kind: Kind::User, item, keeps_place: false }, report).await?;
            for token in tokens {
                match token {
                    Ok(item) => {
                        writes.push(Write { kind: Kind::Token, item, keeps_place: false }, report).await?;
                    }
                    Err(reason) => report.broken(Collection::Users, Broken { line, reason })?,
                }
            }
            if monitors.contains(&id) {
                exported.users.insert(id, monitor);
            }
        }
        writes.finish(report).await
    }

    async fn write_departments(
        &self,
        places: &BTreeMap<DepartmentId, Option<Place>>,
        report: &mut Report,
    ) -> Result<()> {
        let (mut documents, _bar) = self.read(Collection::Departments, UnitOrDepartment::parse)?;
        let mut writes = Writes::new(self.data, self.options.dry_run);
        while let Some(record) = documents.recv().await {
            // What can't be used was told when the file was read before.
            let Ok((_, UnitOrDepartment::Department(department))) = record? else { continue };
            let place = places.get(&department.id).cloned().flatten();
            let keeps_place = place.is_none();
            let item = department.item(&place.unwrap_or_default());
            writes.push(Write { kind: Kind::Department, item, keeps_place }, report).await?;
        }
        writes.finish(report).await
    }

    /// A collection's records, and the progress bar that follows them and goes when it is dropped.
    fn read<T: Send + 'static>(
        &self,
        collection: Collection,
        parse: impl Fn(documents::Document) -> Result<T, String> + Send + 'static,
    ) -> Result<(mpsc::Receiver<Result<Record<T>>>, Bar)> {
        let bar = match self.export {
            Export::Folder(_) => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()),
            Export::Sample => ProgressBar::hidden(),
        };
        let style = "{prefix} [{bar:30}] {percent}% {bytes_per_sec}, {eta} left";
        bar.set_style(
            ProgressStyle::with_template(style).expect("a template of our own").progress_chars("=> "),
        );
        bar.set_prefix(collection.name());
        let records = self.export.read(collection, bar.clone(), parse)?;
        Ok((records, Bar(bar)))
    }
}

/// A progress bar that leaves nothing behind.
struct Bar(ProgressBar);

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// What became of a batch.
type Written = Result<Vec<(Write, Outcome)>>;

/// Batches, several in flight, each on a task of its own so that all processors make requests.
struct Writes<'a> {
    data: &'a Database,
    is_dry_run: bool,
    batch: Vec<Write>,
    in_flight: FuturesUnordered<JoinHandle<Written>>,
}

impl<'a> Writes<'a> {
    fn new(data: &'a Database, is_dry_run: bool) -> Self {
        Self { data, is_dry_run, batch: Vec::new(), in_flight: FuturesUnordered::new() }
    }

    async fn push(&mut self, write: Write, report: &mut Report) -> Result<()> {
        // DynamoDB refuses a batch that has an item twice. The export has it twice then, and the last counts.
        self.batch.retain(|other| other.kind != write.kind || other.partition() != write.partition());
        self.batch.push(write);
        if self.batch.len() == MAX_BATCH { self.send(report).await } else { Ok(()) }
    }

    async fn send(&mut self, report: &mut Report) -> Result<()> {
        while self.in_flight.len() >= MOST_IN_FLIGHT {
            self.settle(report).await?;
        }
        let batch = std::mem::take(&mut self.batch);
        self.in_flight.push(tokio::spawn(write::batch(self.data.clone(), batch, self.is_dry_run)));
        Ok(())
    }

    /// Waits for one batch, if any is in flight.
    async fn settle(&mut self, report: &mut Report) -> Result<()> {
        if let Some(outcomes) = self.in_flight.next().await {
            for (write, outcome) in outcomes?? {
                report.outcome(&write, outcome)?;
            }
        }
        Ok(())
    }

    async fn finish(mut self, report: &mut Report) -> Result<()> {
        self.send(report).await?;
        while !self.in_flight.is_empty() {
            self.settle(report).await?;
        }
        Ok(())
    }
}
