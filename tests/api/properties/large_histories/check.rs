//! What clients asked and what they saw while every committed transaction was observed, and the check that both agree with
//! the contract.

mod tests;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::asked::Asked;
use crate::support::invariants::broken_invariant;
use crate::support::{Items, merge, set, text};

/// The caller who sees only the units that they monitor.
pub const LEAD: &str = "lead";

/// The partition and the sort key of an item.
pub type Key = (String, String);

#[derive(Clone, Debug)]
pub enum Request {
    Update { asked: Asked, is_by_lead: bool },
    Read(Key),
}

#[derive(Clone, Debug)]
pub enum Outcome {
    /// The answer 200, with this `_updatedAt`.
    Updated(String),
    /// Row 9 of the contract: the caller does not see the unit.
    NotFound,
    /// Row 12. Transactions of a large update may be stored. All of them may be, if another update has undone some of it.
    Busy,
    /// Row 13. Any of the transactions may be stored, or may be stored later.
    Unavailable,
    /// The item that a read has returned.
    Seen(Value),
}

/// A request with its outcome.
#[derive(Clone, Debug)]
pub struct Event {
    /// Its number among all requests of the history.
    pub number: usize,
    pub request: Request,
    pub outcome: Outcome,
    /// How many transactions were committed when it began, and when it ended.
    pub started: usize,
    pub ended: usize,
}

/// A committed transaction.
pub struct Commit {
    /// The number of the request that it belongs to.
    pub request: usize,
    /// All items after it.
    pub items: Items,
}

/// A history: all committed transactions in their order, and all requests.
pub struct History {
    pub before: Items,
    pub commits: Vec<Commit>,
    pub events: Vec<Event>,
}

impl Outcome {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Updated(_) => "updated",
            Self::NotFound => "not found",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
            Self::Seen(_) => "read",
        }
    }
}

impl History {
    /// Checks each transaction and each outcome.
    ///
    /// # Errors
    /// Describes the first one that the contract does not allow.
    pub fn check(&self) -> Result<(), String> {
        for number in 0..self.commits.len() {
            self.check_commit(number).map_err(|wrong| format!("after transaction {number}: {wrong}"))?;
        }
        for event in &self.events {
            self.check_event(event).map_err(|wrong| format!("{wrong}: {event:?}"))?;
        }
        Ok(())
    }

    /// The items after this many transactions.
    fn state(&self, transactions: usize) -> &Items {
        transactions.checked_sub(1).map_or(&self.before, |number| &self.commits[number].items)
    }

    /// The numbers of the transactions that belong to a request, in their order.
    pub fn commits_of(&self, event: &Event) -> Vec<usize> {
        let own = self.commits.iter().enumerate().filter(|(_, commit)| commit.request == event.number);
        own.map(|(number, _)| number).collect()
    }

    /// The states that a request may have seen. The transaction that was being committed at its end may be among them.
    fn states_during(&self, event: &Event) -> impl Iterator<Item = &Items> {
        let last = (event.ended + 1).min(self.commits.len());
        (event.started..=last).map(|transactions| self.state(transactions))
    }

    /// The invariants hold after each transaction, and it changes only what its request asks for.
    fn check_commit(&self, number: usize) -> Result<(), String> {
        let (old, new) = (self.state(number), self.state(number + 1));
        if let Some(broken) = broken_invariant(new) {
            return Err(broken);
        }
        let request = self.commits[number].request;
        let event = self.events.iter().find(|event| event.number == request);
        let Some(Event { request: Request::Update { asked, .. }, started, .. }) = event else {
            return Err(format!("it belongs to the request {request}, which is not an update"));
        };
        if number < *started {
            return Err(format!("it came before its request {request}"));
        }
        for (key, unit) in new.iter().filter(|((_, sk), _)| sk == "UNIT") {
            let before = &old[key];
            if before == unit {
                continue;
            }
            let version =
                |unit: &Value| unit.get("version").map_or(0, |version| version.as_u64().expect("a count"));
            if version(unit) != version(before) + 1 {
                return Err(format!("the version of {} went from {before} to {unit}", key.0));
            }
            let is_allowed = if key.0 == format!("UNIT#{}", asked.unit) {
                is_nearer(before, unit, asked)
            } else {
                has_only_lost(before, unit, asked)
            };
            if !is_allowed {
                return Err(format!(
                    "the request {request} did not ask for the change from {before} to {unit}"
                ));
            }
        }
        Ok(())
    }

    fn check_event(&self, event: &Event) -> Result<(), &'static str> {
        let own = self.commits_of(event);
        let ensure = |is_true: bool, wrong: &'static str| if is_true { Ok(()) } else { Err(wrong) };
        let (asked, is_by_lead) = match (&event.request, &event.outcome) {
            (Request::Update { asked, is_by_lead }, _) => (asked, *is_by_lead),
            (Request::Read(key), Outcome::Seen(item)) => {
                let is_seen = self.states_during(event).any(|items| items.get(key) == Some(item));
                return ensure(is_seen, "no state during the read had this item");
            }
            (Request::Read(_), _) => return Err("this is no outcome of a read"),
        };
        let sees_unit = |items: &Items| !is_by_lead || monitors(unit_of(items, asked)).contains(LEAD);
        ensure(own.iter().all(|number| sees_unit(self.state(*number))), "the caller does not see the unit")?;
        let is_fulfilled_after = |number: &usize| asked.is_fulfilled(self.state(number + 1));
        let is_over = own.iter().all(|number| *number < event.ended);
        match &event.outcome {
            Outcome::Updated(time) => {
                ensure(is_over, "a transaction was committed after the answer")?;
                let last = own.last().ok_or("nothing was committed")?;
                ensure(is_fulfilled_after(last), "the unit was not as asked after the last transaction")?;
                let unit = unit_of(self.state(last + 1), asked);
                ensure(text(unit, "_updatedAt") == *time, "the unit has another time than the answer")
            }
            Outcome::NotFound => {
                ensure(own.is_empty(), "a transaction was committed")?;
                let was_hidden = self.states_during(event).any(|items| !sees_unit(items));
                ensure(was_hidden, "the caller saw the unit all the time")
            }
            Outcome::Busy => {
                ensure(is_over, "a transaction was committed after the answer")?;
                let was_fulfilled = own.last().is_some_and(is_fulfilled_after);
                let is_undone = |last: &usize| {
                    (last + 1..=event.ended).any(|number| !asked.is_fulfilled(self.state(number)))
                };
                // The reply to the last transaction may come after another update has undone something. An update in one
                // transaction waits for that reply.
                let has_given_way = own.len() > 1 && own.last().is_some_and(is_undone);
                ensure(!was_fulfilled || has_given_way, "the whole update was committed")
            }
            Outcome::Unavailable => Ok(()),
            Outcome::Seen(_) => Err("this is no outcome of an update"),
        }
    }
}

fn unit_of<'a>(items: &'a Items, asked: &Asked) -> &'a Value {
    &items[&(format!("UNIT#{}", asked.unit), "UNIT".to_owned())]
}

fn monitors(unit: &Value) -> BTreeSet<String> {
    unit["monitors"].as_object().expect("a map").keys().cloned().collect()
}

/// Whether each difference between two states of the updated unit is one that the update asks for.
fn is_nearer(before: &Value, after: &Value, asked: &Asked) -> bool {
    let is_between = |before: BTreeSet<String>, after: BTreeSet<String>, asked: &[String]| {
        let asked: BTreeSet<String> = asked.iter().cloned().collect();
        after.is_subset(&(&before | &asked)) && after.is_superset(&(&before & &asked))
    };
    let is_old_or_asked = |name: &str, asked: &str| after[name] == before[name] || text(after, name) == asked;
    is_between(monitors(before), monitors(after), &asked.monitors)
        && is_between(set(before, "departmentIds"), set(after, "departmentIds"), &asked.departments)
        && is_old_or_asked("name", &asked.name)
        && is_old_or_asked("visibility", asked.visibility)
}

/// Whether the only difference between two states of another unit is that the update has taken departments from it.
fn has_only_lost(before: &Value, after: &Value, asked: &Asked) -> bool {
    let (had, has) = (set(before, "departmentIds"), set(after, "departmentIds"));
    let without_list = |unit: &Value| {
        let mut unit = unit.clone();
        let list =
            json!({ "departmentIds": null, "numDepartments": null, "version": null, "_updatedAt": null });
        merge(&mut unit, list);
        unit
    };
    has.is_subset(&had)
        && had.difference(&has).all(|id| asked.departments.contains(id))
        && without_list(before) == without_list(after)
}
