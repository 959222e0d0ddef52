//! An update that changes something of every kind, and what it has stored.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use futures_util::future::FutureExt;
use livechat_units::Function;
use serde_json::Value;
use tokio::time::sleep;

use super::asked::{Asked, first_difference};
use super::faulty_client::OtherWrite;
use super::invariants::assert_invariants;
use super::lag::{MIN_TIME_OF_UNAVAILABLE, with_lag};
use super::{Items, TestApp, as_strs, ids, invoke, text, updated_at};

/// An update that changes something of every kind, in items that no other case uses. Only the users are shared.
pub struct UpdateCase {
    pub unit: String,
    pub event: Value,
    /// A fault makes the function divide the update's only transaction.
    pub is_divided: bool,
    asked: Asked,
    is_large: bool,
    number: usize,
}

/// How much of an update is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    Nothing,
    /// Some of its transactions, and the invariants hold.
    Part,
    Everything,
}

/// The transactions of a large case.
pub const TRANSACTIONS: usize = 3;

/// Stores the users of all cases.
pub async fn put_users(app: &TestApp) {
    app.put_monitors(&["m", "n"]).await;
    app.put_monitors(&as_strs(&ids("n", 60))).await;
}

impl UpdateCase {
    /// Stores the items of the case with this number. [`put_users`] has to be called before. A large case takes
    /// [`TRANSACTIONS`] transactions.
    pub async fn new(app: &TestApp, is_large: bool, number: usize) -> Self {
        let of_case =
            |ids: Vec<String>| -> Vec<String> { ids.iter().map(|id| format!("{id}-{number}")).collect() };
        let (unit, other) = (format!("U-{number}"), format!("V-{number}"));
        let (monitors, leaving, joining) = if is_large {
            // 80 departments leave in the first transaction. The second takes all departments of the other unit, and
            // adds some of the 60 monitors.
            (ids("n", 60), of_case(ids("d", 80)), of_case(ids("e", 70)))
        } else {
            (vec!["n".to_owned()], vec![format!("d-{number}")], vec![format!("e-{number}")])
        };
        app.put_unit(&unit, &["m"], &as_strs(&leaving)).await;
        app.put_unit(&other, &[], &as_strs(&joining)).await;
        let asked = Asked::new(&unit, &monitors, &joining);
        Self { unit, event: asked.event(), is_divided: false, asked, is_large, number }
    }

    /// All items after the update, which has this `_updatedAt`. The versions of units are those of `after`.
    pub fn expected_items(&self, before: &Items, after: &Items, time: &str) -> Items {
        self.asked.expected_items(before, after, time)
    }

    /// Whether the unit is exactly as the update asks.
    pub fn is_fulfilled(&self, items: &Items) -> bool {
        self.asked.is_fulfilled(items)
    }

    /// Another update of the unit, which changes its version only.
    pub fn other_update(&self, app: &TestApp) -> OtherWrite {
        let request = app
            .client
            .update_item()
            .table_name(&app.tables.livechat)
            .key("pk", AttributeValue::S(format!("UNIT#{}", self.unit)))
            .key("sk", AttributeValue::S("UNIT".into()))
            .update_expression("SET version = version + :one")
            .expression_attribute_values(":one", AttributeValue::N("1".into()));
        Arc::new(move || {
            let request = request.clone();
            async move { drop(request.send().await.expect("the unit is updated")) }.boxed()
        })
    }

    /// Applies [`Self::other_update`] to these items.
    pub fn increment_version(&self, before: &mut Items) {
        let next = self.version(before) + 1;
        before.get_mut(&self.key()).expect("the unit")["version"] = next.into();
    }

    pub fn version(&self, items: &Items) -> u64 {
        items[&self.key()]["version"].as_u64().expect("a count")
    }

    /// The `_updatedAt` of the unit.
    pub fn time(&self, items: &Items) -> String {
        text(&items[&self.key()], "_updatedAt")
    }

    /// How much of the update is stored. Panics if anything else is stored, or if a transaction is stored in part.
    pub fn progress(&self, before: &Items, after: &Items) -> Progress {
        if before == after {
            return Progress::Nothing;
        }
        let difference = first_difference(&self.expected_items(before, after, &self.time(after)), after);
        let Some(difference) = difference else {
            if !self.is_divided {
                let transactions = if self.is_large { TRANSACTIONS as u64 } else { 1 };
                assert_eq!(self.version(after) - self.version(before), transactions);
            }
            return Progress::Everything;
        };
        assert!(self.is_large || self.is_divided, "partly stored: {difference}");
        assert_invariants(after);
        let suffix = format!("-{}", self.number);
        for key in before.keys().chain(after.keys()).filter(|(pk, _)| !pk.ends_with(&suffix)) {
            assert_eq!(before.get(key), after.get(key), "an item of another case");
        }
        Progress::Part
    }

    /// Whether the update is stored. Panics if a part of it is stored, or anything else.
    pub fn is_stored(&self, before: &Items, after: &Items) -> bool {
        match self.progress(before, after) {
            Progress::Nothing => false,
            Progress::Everything => true,
            Progress::Part => panic!("a part of the update is stored"),
        }
    }

    /// Repeats an update that was not answered with 200, and checks that the repetition stores what is left to do.
    pub async fn assert_repeatable(
        &self,
        app: &TestApp,
        function: &Function,
        mut stored: Items,
        mut progress: Progress,
    ) {
        let mut attempt = 0;
        let again = loop {
            let repetition = invoke(function, &self.event, Some(Duration::from_secs(30)));
            let started = Instant::now();
            let (again, lag) = with_lag(repetition).await;
            let is_late = lag.is_stall() || started.elapsed() > MIN_TIME_OF_UNAVAILABLE;
            attempt += 1;
            if again.status_code != 503 || !is_late || attempt == 5 {
                break again;
            }
            // This machine stood still so often, or is so slow, that the time was over.
            sleep(Duration::from_secs(1)).await;
            let before = std::mem::replace(&mut stored, app.stored_items().await);
            if stored != before {
                progress = Progress::Part;
            }
        };
        assert_eq!(again.status_code, 200, "again: {}", again.body);
        let after = app.stored_items().await;
        let expected = self.expected_items(&stored, &after, &updated_at(&again));
        let difference = first_difference(&expected, &after);
        assert_eq!(difference, None, "the repetition did not store what the update asks for");
        let transactions = self.version(&after) - self.version(&stored);
        let most = if self.is_large && progress != Progress::Everything { TRANSACTIONS as u64 } else { 1 };
        assert!((1..=most).contains(&transactions), "the repetition took {transactions} transactions");
    }

    /// The key of the unit's item.
    pub fn key(&self) -> (String, String) {
        (format!("UNIT#{}", self.unit), "UNIT".into())
    }
}
