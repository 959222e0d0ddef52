//! Reads both tables completely, several segments at the same time.

use std::collections::BTreeMap;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::{Item, Key};
use serde::Serialize;
use tokio::sync::mpsc;

use super::finding::{Finding, Group, Scope};
use super::items::{Department, Monitor, StoredItem, Token, Unit};
use super::single_items::{check_permission, check_token, check_user, check_user_tokens, invalid_id};
use crate::database::Database;

/// The maximum number of pages that are read but not yet processed.
const MAX_WAITING_PAGES: usize = 16;

/// What a scan read. It is no snapshot: clients may write between the pages.
#[derive(Default)]
pub struct Scanned {
    /// The number of items of each kind.
    pub counts: Counts,
    /// The findings in items that no other item depends on.
    pub findings: Vec<Finding>,
    units: BTreeMap<UnitId, Unit>,
    monitors: BTreeMap<UnitId, BTreeMap<UserId, Monitor>>,
    departments: BTreeMap<DepartmentId, Department>,
}

/// The number of items of each kind.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    units: u64,
    monitors: u64,
    departments: u64,
    users: u64,
    permissions: u64,
    tokens: u64,
    /// Items that the function does not know.
    other: u64,
}

impl Counts {
    /// The counts with the names of the kinds.
    pub fn named(&self) -> [(&'static str, u64); 7] {
        let Self { units, monitors, departments, users, permissions, tokens, other } = *self;
        [
            ("units", units),
            ("monitors", monitors),
            ("departments", departments),
            ("users", users),
            ("permissions", permissions),
            ("tokens", tokens),
            ("other items", other),
        ]
    }
}

/// Reads both tables, each in this number of segments.
///
/// # Errors
/// DynamoDB refuses a request or can't be reached.
pub async fn scan(database: &Database, segments: i32) -> Result<Scanned> {
    let mut scanned = Scanned::default();
    let mut pages = scan_segments(database, database.tables.tokens.clone(), segments);
    let bar = progress_bar("tokens");
    while let Some(page) = pages.recv().await {
        for item in page? {
            bar.inc(1);
            scanned.counts.tokens += 1;
            let key = text(&item, "hashedToken").unwrap_or_default();
            scanned.findings.extend(check_token(key, &Token::read(&item)));
        }
    }
    bar.finish_and_clear();

    let mut pages = scan_segments(database, database.tables.livechat.clone(), segments);
    let bar = progress_bar("livechat");
    while let Some(page) = pages.recv().await {
        for item in page? {
            bar.inc(1);
            scanned.add(&item);
        }
    }
    bar.finish_and_clear();
    Ok(scanned)
}

/// Starts to read all segments of a table. Returns their pages in the order in which they arrive.
fn scan_segments(database: &Database, table: String, segments: i32) -> mpsc::Receiver<Result<Vec<Item>>> {
    let (sender, receiver) = mpsc::channel(MAX_WAITING_PAGES);
    for segment in 0..segments {
        let scan = database.client.scan().table_name(&table).consistent_read(true);
        let mut pages = scan.segment(segment).total_segments(segments).into_paginator().send();
        let (sender, table) = (sender.clone(), table.clone());
        tokio::spawn(async move {
            while let Some(page) = pages.next().await {
                let page = page.map(|page| page.items.unwrap_or_default());
                let page = page.map_err(|error| Database::describe_error(&table, error));
                // The receiver is dropped when another segment has failed.
                if sender.send(page).await.is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

fn progress_bar(table: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {spinner} {human_pos} items, {per_sec}");
    let bar = ProgressBar::new_spinner().with_style(style.expect("the template is valid"));
    bar.with_prefix(table.to_owned())
}

impl Scanned {
    /// Adds an item of the livechat table.
    fn add(&mut self, item: &Item) {
        let key = || {
            let [pk, sk] = ["pk", "sk"].map(|name| text(item, name).unwrap_or_default());
            format!("{pk} {sk}")
        };
        let counts = &mut self.counts;
        match StoredItem::read(item) {
            StoredItem::Unit(id, unit) => {
                counts.units += 1;
                self.units.insert(id, unit);
            }
            StoredItem::Monitor(unit, id, monitor) => {
                counts.monitors += 1;
                self.monitors.entry(unit).or_default().insert(id, monitor);
            }
            StoredItem::Department(id, department) => {
                counts.departments += 1;
                self.departments.insert(id, department);
            }
            StoredItem::User(user) => {
                counts.users += 1;
                self.findings.extend(check_user(key(), &user));
            }
            // It belongs to a user, who is counted.
            StoredItem::UserTokens(tokens) => self.findings.extend(check_user_tokens(key(), &tokens)),
            StoredItem::Permission(permission) => {
                counts.permissions += 1;
                self.findings.extend(check_permission(key(), &permission));
            }
            StoredItem::InvalidId => self.findings.push(invalid_id(key())),
            StoredItem::Other => counts.other += 1,
        }
    }

    /// The items that have to be checked together, by scope.
    pub fn groups(self) -> BTreeMap<Scope, Group> {
        let Self { units, monitors, departments, .. } = self;
        let mut groups: BTreeMap<Scope, Group> = BTreeMap::new();
        for (id, unit) in units {
            let mut group = Group::default();
            for id in unit.departments.valid().into_iter().flatten().filter_map(DepartmentId::parse) {
                let department = departments.get(&id).cloned();
                group.departments.insert(id, department);
            }
            group.unit = Some(unit);
            groups.insert(Scope::Unit(id), group);
        }
        for (unit, monitors) in monitors {
            groups.entry(Scope::Unit(unit)).or_default().monitors = monitors;
        }
        for (id, department) in departments {
            let unit = department.parent_id.valid().and_then(UnitId::parse);
            let scope = unit.map_or_else(|| Scope::Department(id.clone()), Scope::Unit);
            groups.entry(scope).or_default().departments.insert(id, Some(department));
        }
        groups
    }
}

/// Reads the items of a scope again: the unit, its monitors, the departments that it lists, and the departments that the
/// scan found.
///
/// # Errors
/// DynamoDB refuses a request or can't be reached.
pub async fn reread(database: &Database, scope: &Scope, known: &[DepartmentId]) -> Result<Group> {
    let mut group = Group::default();
    if let Scope::Unit(id) = scope {
        for item in database.unit_partition(id).await? {
            match StoredItem::read(&item) {
                StoredItem::Unit(_, unit) => group.unit = Some(unit),
                StoredItem::Monitor(_, monitor, item) => {
                    group.monitors.insert(monitor, item);
                }
                _ => {}
            }
        }
    }
    let listed = group.unit.iter().filter_map(|unit| unit.departments.valid()).flatten();
    group.departments = listed.filter_map(DepartmentId::parse).map(|id| (id, None)).collect();
    group.departments.extend(known.iter().map(|id| (id.clone(), None)));
    let keys = group.departments.keys().map(|id| Key::Department(id.clone()).attributes()).collect();
    for item in database.get_all(keys).await? {
        if let StoredItem::Department(id, department) = StoredItem::read(&item) {
            group.departments.insert(id, Some(department));
        }
    }
    // A department that was in no unit may be in one now. Then it belongs to the scope of that unit.
    if let Scope::Department(id) = scope {
        let in_unit =
            |department: &Department| department.parent_id.valid().and_then(UnitId::parse).is_some();
        if group.departments.get(id).and_then(Option::as_ref).is_some_and(in_unit) {
            group.departments.clear();
        }
    }
    Ok(group)
}

fn text(item: &Item, name: &str) -> Option<String> {
    item.get(name)?.as_s().ok().cloned()
}
