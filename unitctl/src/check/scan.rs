//! Reads both tables whole, several segments at once.

use std::collections::BTreeMap;

use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use livechat_units::id::{DepartmentId, UnitId, UserId};
use livechat_units::item::{Item, Key};
use serde::Serialize;
use tokio::sync::mpsc;

use super::items::{Department, Monitor, Seen, Token, Unit};
use super::judge::{Finding, Group, Scope, judge_nothing, judge_permission, judge_token, judge_user};
use crate::database::Database;

/// Pages that wait to be looked at.
const MOST_WAITING: usize = 16;

/// What was read, page by page, while others went on writing: no snapshot.
#[derive(Default)]
pub struct Scanned {
    /// How many items there are.
    pub counts: Counts,
    /// What is wrong with single items that nothing else depends on.
    pub findings: Vec<Finding>,
    units: BTreeMap<UnitId, Unit>,
    monitors: BTreeMap<UnitId, BTreeMap<UserId, Monitor>>,
    departments: BTreeMap<DepartmentId, Department>,
}

/// Items by kind.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    units: u64,
    monitors: u64,
    departments: u64,
    users: u64,
    permissions: u64,
    tokens: u64,
    /// Not of this project.
    other: u64,
}

impl Counts {
    /// With their names.
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

/// Reads both tables, each in so many segments.
///
/// # Errors
/// DynamoDB refuses.
pub async fn scan(data: &Database, segments: i32) -> Result<Scanned> {
    let mut scanned = Scanned::default();
    let mut pages = segments_of(data, data.tables.tokens.clone(), segments);
    let bar = progress("tokens");
    while let Some(page) = pages.recv().await {
        for item in page? {
            bar.inc(1);
            scanned.counts.tokens += 1;
            let key = text(&item, "hashedToken").unwrap_or_default();
            scanned.findings.extend(judge_token(key, &Token::read(&item)));
        }
    }
    bar.finish_and_clear();

    let mut pages = segments_of(data, data.tables.livechat.clone(), segments);
    let bar = progress("livechat");
    while let Some(page) = pages.recv().await {
        for item in page? {
            bar.inc(1);
            scanned.take(&item);
        }
    }
    bar.finish_and_clear();
    Ok(scanned)
}

/// The pages of all segments as they come.
fn segments_of(data: &Database, table: String, segments: i32) -> mpsc::Receiver<Result<Vec<Item>>> {
    let (sender, receiver) = mpsc::channel(MOST_WAITING);
    for segment in 0..segments {
        let scan = data.client.scan().table_name(&table).consistent_read(true);
        let mut pages = scan.segment(segment).total_segments(segments).into_paginator().send();
        let (sender, table) = (sender.clone(), table.clone());
        tokio::spawn(async move {
            while let Some(page) = pages.next().await {
                let page = page.map(|page| page.items.unwrap_or_default());
                let page = page.map_err(|error| Database::describe_error(&table, error));
                // Nobody listens any more: another segment has failed.
                if sender.send(page).await.is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

fn progress(table: &str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix} {spinner} {human_pos} items, {per_sec}");
    let bar = ProgressBar::new_spinner().with_style(style.expect("a template of our own"));
    bar.with_prefix(table.to_owned())
}

impl Scanned {
    fn take(&mut self, item: &Item) {
        let key = || {
            let [pk, sk] = ["pk", "sk"].map(|name| text(item, name).unwrap_or_default());
            format!("{pk} {sk}")
        };
        let counts = &mut self.counts;
        match Seen::read(item) {
            Seen::Unit(id, unit) => {
                counts.units += 1;
                self.units.insert(id, unit);
            }
            Seen::Monitor(unit, id, monitor) => {
                counts.monitors += 1;
                self.monitors.entry(unit).or_default().insert(id, monitor);
            }
            Seen::Department(id, department) => {
                counts.departments += 1;
                self.departments.insert(id, department);
            }
            Seen::User(user) => {
                counts.users += 1;
                self.findings.extend(judge_user(key(), &user));
            }
            Seen::Permission(permission) => {
                counts.permissions += 1;
                self.findings.extend(judge_permission(key(), &permission));
            }
            Seen::Nothing => self.findings.extend(judge_nothing(key())),
            Seen::Other => counts.other += 1,
        }
    }

    /// What has to be judged together.
    pub fn groups(self) -> BTreeMap<Scope, Group> {
        let Self { units, monitors, departments, .. } = self;
        let mut groups: BTreeMap<Scope, Group> = BTreeMap::new();
        for (id, unit) in units {
            let mut group = Group::default();
            for id in unit.departments.is().into_iter().flatten().filter_map(DepartmentId::parse) {
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
            let unit = department.parent_id.is().and_then(UnitId::parse);
            let scope = unit.map_or_else(|| Scope::Department(id.clone()), Scope::Unit);
            groups.entry(scope).or_default().departments.insert(id, Some(department));
        }
        groups
    }
}

/// Reads a scope afresh: the unit's items, the departments that it lists, and those that were seen before.
///
/// # Errors
/// DynamoDB refuses.
pub async fn read_again(data: &Database, scope: &Scope, known: &[DepartmentId]) -> Result<Group> {
    let mut group = Group::default();
    if let Scope::Unit(id) = scope {
        for item in data.unit_partition(id).await? {
            match Seen::read(&item) {
                Seen::Unit(_, unit) => group.unit = Some(unit),
                Seen::Monitor(_, monitor, item) => {
                    group.monitors.insert(monitor, item);
                }
                _ => {}
            }
        }
    }
    let listed = group.unit.iter().filter_map(|unit| unit.departments.is()).flatten();
    group.departments = listed.filter_map(DepartmentId::parse).map(|id| (id, None)).collect();
    group.departments.extend(known.iter().map(|id| (id.clone(), None)));
    let keys = group.departments.keys().map(|id| Key::Department(id.clone()).attributes()).collect();
    for item in data.get_all(keys).await? {
        if let Seen::Department(id, department) = Seen::read(&item) {
            group.departments.insert(id, Some(department));
        }
    }
    // A department that was in no unit may be in one by now, which is judged by that unit then.
    if let Scope::Department(id) = scope {
        let in_unit = |department: &Department| department.parent_id.is().and_then(UnitId::parse).is_some();
        if group.departments.get(id).and_then(Option::as_ref).is_some_and(in_unit) {
            group.departments.clear();
        }
    }
    Ok(group)
}

fn text(item: &Item, name: &str) -> Option<String> {
    item.get(name)?.as_s().ok().cloned()
}
