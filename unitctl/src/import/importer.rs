//! The steps of an import: look at all files, read, plan, write.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context, Result, bail};
use futures_util::{StreamExt, TryStreamExt, stream};
use livechat_units::id::{DepartmentId, UserId};
use time::{Duration, OffsetDateTime};

use super::document::{Broken, Document};
use super::events::Event;
use super::export::{Collection, Export, Record, Usable};
use super::id_hash::IdHasher;
use super::in_flight::{InFlight, MAX_IN_FLIGHT};
use super::inspect::{Inspection, MayBeEmpty, inspect};
use super::options::Import;
use super::plan::{UpdatedUnits, plan};
use super::progress::Records;
use super::records::{Place, UnitMonitor, UnitOrDepartment, parse_permission};
use super::report::Report;
use super::stored;
use super::user::User;
use super::workspace::{Exported, ExportedDepartment, PlannedUnit, Stored};
use super::write::{self, ItemToWrite};
use super::write_users::{self, UserOptions};
use super::written::{Kind, Written};
use crate::database::Database;
use crate::lease::{Candidate, Lease, Other};
use crate::limits::MAX_BATCH_WRITE_ITEMS;
use crate::output::{note, warn};

/// One import.
pub struct Importer<'a> {
    options: &'a Import,
    database: &'a Database,
    export: Export,
    inspections: HashMap<Collection, Inspection>,
    /// Keeps a sync from working at the same time. A dry run, which writes nothing, and the sample, for which the tables
    /// are new, have none.
    lease: Option<Lease>,
}

impl<'a> Importer<'a> {
    /// An import that has not begun.
    pub fn new(options: &'a Import, database: &'a Database, export: Export) -> Self {
        Self { options, database, export, inspections: HashMap::new(), lease: None }
    }

    /// Imports everything.
    ///
    /// # Errors
    /// A file can't be read or is not a complete export, a line can't be used and the import is strict, or DynamoDB
    /// refuses a request.
    pub async fn run(mut self, report: &mut Report) -> Result<()> {
        // Nothing is written before all files have been looked at, and units and departments have been read.
        self.inspect().await?;
        let mut exported = Exported::default();
        self.read_unit_monitors(&mut exported, report).await?;
        self.read_departments(&mut exported, report).await?;
        if !self.options.dry_run && matches!(self.export, Export::Folder(_)) {
            let mut candidate = Candidate::new(self.database, "unitctl import");
            let on_wait = |other: &Other| note(format!("Waiting to see whether {other} is still running."));
            self.lease = Some(candidate.acquire_or_refuse(on_wait).await?);
        }
        let result = self.write(exported, report).await;
        if let Some(lease) = self.lease.take()
            && let Err(error) = lease.release().await
        {
            warn(format!("others wait for some seconds, because the lease was not given back: {error:#}"));
        }
        result
    }

    /// Writes everything. The units and departments are planned when all users are known.
    async fn write(&self, mut exported: Exported, report: &mut Report) -> Result<()> {
        self.write_permissions(report).await?;
        self.write_users(&mut exported, report).await?;

        let stored = stored::read(self.database, &exported).await?;
        self.read_users_of_stored_monitors(&mut exported, &stored).await?;
        let updated_units = if self.options.overwrite { UpdatedUnits::Overwrite } else { UpdatedUnits::Keep };
        let planned = plan(&mut exported, &stored, updated_units);
        drop(exported);
        for repair in planned.repairs {
            report.repair(repair)?;
        }
        for unit in &planned.kept {
            report.keep(unit)?;
            // A unit without room for the mark is reported below.
            let stored = stored.units.get(unit).filter(|stored| stored.check_mark().is_ok());
            if !self.options.dry_run {
                self.check_lease().await?;
                write::mark_unit(self.database, unit, stored).await?;
            }
        }
        for broken in planned.too_large {
            report.broken(Collection::Departments, broken)?;
        }
        // Departments first: a unit lists only departments that exist.
        self.write_departments(&planned.departments, report).await?;
        self.write_units(planned.units, &stored, report).await
    }

    /// Waits until this process may write. It waits only if DynamoDB could not be reached for a while.
    ///
    /// # Errors
    /// Another process may write to these tables by now.
    async fn check_lease(&self) -> Result<()> {
        match &self.lease {
            Some(lease) => lease.wait_until_held().await.context("the import stops"),
            None => Ok(()),
        }
    }

    /// Looks at all files. What is wrong with any of them is reported together.
    async fn inspect(&mut self) -> Result<()> {
        let Import { no_departments, no_monitors, .. } = *self.options;
        let may_be_empty = MayBeEmpty { departments: no_departments, monitors: no_monitors };
        let export = self.export.clone();
        // One after the other: each thread would keep some of its memory, and nearly all of the work is one file, the users.
        let looks = tokio::task::spawn_blocking(move || {
            Collection::ALL.map(|collection| (collection, inspect(&export, collection, may_be_empty)))
        });
        let mut problems = Vec::new();
        for (collection, look) in looks.await? {
            match look {
                Ok(Ok(inspection)) => {
                    self.inspections.insert(collection, inspection);
                }
                Ok(Err(problem)) => problems.push(problem),
                Err(error) => problems.push(format!("{error:#}")),
            }
        }
        if !problems.is_empty() {
            bail!("nothing was written.\n{}", problems.join("\n"));
        }
        Ok(())
    }

    async fn read_unit_monitors(&self, exported: &mut Exported, report: &mut Report) -> Result<()> {
        let mut rows = self.read(Collection::UnitMonitors, UnitMonitor::parse)?;
        while let Some(record) = rows.next().await? {
            exported.incomplete.monitors |= matches!(record, Record::Broken(_));
            if let Some(Usable { value: row, .. }) = report.usable(Collection::UnitMonitors, record)? {
                exported.monitors.entry(row.unit.clone()).or_default().push(row);
            }
        }
        Ok(())
    }

    async fn read_departments(&self, exported: &mut Exported, report: &mut Report) -> Result<()> {
        const FILE: Collection = Collection::Departments;
        let mut documents = self.read(FILE, UnitOrDepartment::parse)?;
        while let Some(record) = documents.next().await? {
            exported.incomplete.departments |= matches!(record, Record::Broken(_));
            match report.usable(FILE, record)? {
                None => {}
                Some(Usable { line, value: UnitOrDepartment::Unit(mut unit) }) => {
                    report.changed(FILE, line, std::mem::take(&mut unit.changes))?;
                    unit.line = line;
                    exported.units.insert(unit.id.clone(), *unit);
                }
                Some(Usable { line, value: UnitOrDepartment::Department(mut department) }) => {
                    report.changed(FILE, line, std::mem::take(&mut department.changes))?;
                    let bytes_without_place = department.bytes_without_place();
                    let place = department.place;
                    let found = ExportedDepartment { place, line, bytes_without_place };
                    exported.departments.insert(department.id, found);
                }
            }
        }
        Ok(())
    }

    async fn write_permissions(&self, report: &mut Report) -> Result<()> {
        let mut items = self.read(Collection::Permissions, parse_permission)?;
        let mut batch = Vec::new();
        let mut in_flight = InFlight::default();
        while let Some(record) = items.next().await? {
            if let Some(Usable { value: item, .. }) = report.usable(Collection::Permissions, record)? {
                batch.push(ItemToWrite { kind: Kind::Permission, item, keeps_place: false });
                self.send_full(&mut batch, &mut in_flight, report).await?;
            }
        }
        self.check_lease().await?;
        in_flight.start(write::batch(self.database.clone(), batch, self.options.dry_run));
        in_flight.finish(report).await
    }

    /// Writes users and their tokens, and keeps what units' monitors need of them.
    async fn write_users(&self, exported: &mut Exported, report: &mut Report) -> Result<()> {
        const FILE: Collection = Collection::Users;
        let named: HashSet<UserId> =
            exported.monitors.values().flatten().map(|row| row.monitor.clone()).collect();
        let lifetime = Duration::days(self.options.token_lifetime);
        let has_login_tokens =
            self.inspections.get(&FILE).is_some_and(|inspection| inspection.has_login_tokens);
        let is_dry_run = self.options.dry_run;
        let options = UserOptions { now: OffsetDateTime::now_utc(), lifetime, has_login_tokens, is_dry_run };
        let mut users = self.read(FILE, move |user| User::parse(user, lifetime))?;
        let mut batch = Vec::new();
        let mut in_flight = InFlight::default();
        let (hasher, mut seen_tokens) = (IdHasher::default(), HashSet::new());
        let mut without_when = 0;
        while let Some(record) = users.next().await? {
            exported.incomplete.users |= matches!(record, Record::Broken(_));
            let Some(Usable { line, value: mut user }) = report.usable(FILE, record)? else { continue };
            user.line = line;
            user.tokens.retain(|hash, _| {
                let is_first = seen_tokens.insert(hasher.hash(hash));
                if !is_first {
                    user.unusable.push("a login token that another user has, too".into());
                }
                is_first
            });
            without_when += user.tokens.values().filter(|token| token.lacks_when).count() as u64;
            for reason in std::mem::take(&mut user.unusable) {
                report.broken(FILE, Broken { line, reason })?;
            }
            report.changed(FILE, line, std::mem::take(&mut user.changes))?;
            if user.monitor.has_role || named.contains(&user.id) {
                exported.users.insert(user.id.clone(), user.monitor.clone());
            }
            batch.push(user);
            if batch.len() == MAX_BATCH_WRITE_ITEMS {
                in_flight.make_room(report).await?;
                self.check_lease().await?;
                let batch = std::mem::take(&mut batch);
                in_flight.start(write_users::users(self.database.clone(), batch, options));
            }
        }
        self.check_lease().await?;
        in_flight.start(write_users::users(self.database.clone(), batch, options));
        in_flight.finish(report).await?;
        drop(users);
        if without_when > 0 {
            let lifetime_in_days = self.options.token_lifetime;
            report.print(&Event::TokensWithoutWhen { count: without_when, lifetime_in_days })?;
        }
        if !has_login_tokens {
            report.print(&Event::NoLoginTokens)?;
        }
        Ok(())
    }

    /// Reads the users of stored monitors. The plan needs them only if lines can't be used, to decide whether a stored
    /// monitor may stay. Reading all users a second time needs less memory than keeping all of them.
    async fn read_users_of_stored_monitors(&self, exported: &mut Exported, stored: &Stored) -> Result<()> {
        if !exported.incomplete.users && !exported.incomplete.monitors {
            return Ok(());
        }
        let monitors = stored.units.values().flat_map(|unit| unit.monitors.keys());
        let unknown: HashSet<UserId> =
            monitors.filter(|id| !exported.users.contains_key(*id)).cloned().collect();
        if unknown.is_empty() {
            return Ok(());
        }
        let mut users = self.read(Collection::Users, |user| User::parse(user, Duration::ZERO))?;
        while let Some(record) = users.next().await? {
            if let Record::Usable(Usable { value: user, .. }) = record
                && unknown.contains(&user.id)
            {
                exported.users.insert(user.id, user.monitor);
            }
        }
        Ok(())
    }

    async fn write_departments(
        &self,
        places: &BTreeMap<DepartmentId, Option<Place>>,
        report: &mut Report,
    ) -> Result<()> {
        let mut documents = self.read(Collection::Departments, UnitOrDepartment::parse)?;
        let mut batch = Vec::new();
        let mut in_flight = InFlight::default();
        while let Some(record) = documents.next().await? {
            // Lines that can't be used were reported when the file was read before.
            let Record::Usable(Usable { value: UnitOrDepartment::Department(department), .. }) = record
            else {
                continue;
            };
            // A department that is too large has no place.
            let Some(place) = places.get(&department.id) else { continue };
            let item = department.item(place.as_ref().unwrap_or(&Place::default()));
            batch.push(ItemToWrite { kind: Kind::Department, item, keeps_place: place.is_none() });
            self.send_full(&mut batch, &mut in_flight, report).await?;
        }
        self.check_lease().await?;
        in_flight.start(write::batch(self.database.clone(), batch, self.options.dry_run));
        in_flight.finish(report).await
    }

    async fn write_units(&self, units: Vec<PlannedUnit>, stored: &Stored, report: &mut Report) -> Result<()> {
        let is_dry_run = self.options.dry_run;
        let writes = units.into_iter().map(|unit| async move {
            self.check_lease().await?;
            let stored = stored.units.get(&unit.id);
            let outcome = write::unit(self.database, &unit, stored, is_dry_run).await?;
            Ok::<_, anyhow::Error>(Written {
                kind: Kind::Unit,
                item: Some(unit.item_to_replace(stored)),
                outcome,
            })
        });
        let mut writes = stream::iter(writes).buffer_unordered(MAX_IN_FLIGHT);
        while let Some(written) = writes.try_next().await? {
            report.written(written)?;
        }
        Ok(())
    }

    /// Starts to write a batch that is full.
    async fn send_full(
        &self,
        batch: &mut Vec<ItemToWrite>,
        in_flight: &mut InFlight,
        report: &mut Report,
    ) -> Result<()> {
        if batch.len() == MAX_BATCH_WRITE_ITEMS {
            in_flight.make_room(report).await?;
            self.check_lease().await?;
            in_flight.start(write::batch(self.database.clone(), std::mem::take(batch), self.options.dry_run));
        }
        Ok(())
    }

    /// Reads a collection. The documents that do not count are those that the first look at the file found.
    fn read<T: Send + 'static>(
        &self,
        collection: Collection,
        parse: impl Fn(Document) -> Result<T, String> + Send + 'static,
    ) -> Result<Records<T>> {
        let superseded = self.inspections.get(&collection).map(|inspection| inspection.superseded.clone());
        Records::start(&self.export, collection, superseded.unwrap_or_default(), parse)
    }
}
