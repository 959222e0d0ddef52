//! The copies of requests that have no answer yet: sends them, and waits for the answers that matter.

use std::pin::Pin;
use std::task::Poll;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::builders::TransactWriteItemsFluentBuilder;
use aws_sdk_dynamodb::types::ConsumedCapacity;

use super::connections::{Connection, OnNewConnection};
use super::failure::{TransactionFailure, transaction_failure};
use super::store::Store;
use crate::budget::Budget;
use crate::error::Error;

/// Copies of a request that are not answered yet.
pub(super) struct Copies<'a, T>(Vec<Pin<Box<dyn Future<Output = T> + Send + 'a>>>);

impl<T> Default for Copies<'_, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'a, T> Copies<'a, T> {
    pub(super) fn push(&mut self, copy: impl Future<Output = T> + Send + 'a) {
        self.0.push(Box::pin(copy));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for the next answer. It never comes if there are no copies.
    pub(super) async fn next(&mut self) -> T {
        std::future::poll_fn(|context| {
            for (place, copy) in self.0.iter_mut().enumerate() {
                if let Poll::Ready(answer) = copy.as_mut().poll(context) {
                    drop(self.0.swap_remove(place));
                    return Poll::Ready(answer);
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// The number of a transaction among those of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TransactionNumber(pub(super) u32);

/// The copies of a request's transactions that have no answer.
pub(super) struct Unanswered<'a> {
    store: &'a Store,
    pub(super) budget: &'a Budget,
    /// The copies whose replies may still come.
    pub(super) copies: Copies<'a, Answer>,
    /// The transaction that is being committed.
    pub(super) transaction: TransactionNumber,
    /// The number of the current try, among all tries of the request.
    pub(super) attempt: u32,
    /// True if there is a copy that may be stored although its reply will never come.
    pub(super) is_any_lost: bool,
}

/// The answer to one copy, or the reason why there is none.
pub(super) struct Answer {
    pub(super) transaction: TransactionNumber,
    pub(super) attempt: u32,
    /// The consumed write capacity units, if the transaction is stored.
    pub(super) reply: Result<f64, TransactionFailure>,
    /// True if no reply came in time.
    pub(super) is_silent: bool,
}

impl<'a> Unanswered<'a> {
    pub(super) fn new(store: &'a Store, budget: &'a Budget) -> Self {
        Self {
            store,
            budget,
            copies: Copies::default(),
            transaction: TransactionNumber::default(),
            attempt: 0,
            is_any_lost: false,
        }
    }

    /// Sends a copy of the transaction and waits for an answer. If none comes, sends another copy on a new connection.
    pub(super) async fn send_and_wait(
        &mut self,
        call: &TransactWriteItemsFluentBuilder,
        connection: Connection,
    ) -> Answer {
        self.send(call, connection);
        match tokio::time::timeout(self.store.hedging.wait_before_second_request(), self.next()).await {
            Ok(answer) => return answer,
            Err(_) if !self.budget.is_over() && self.store.hedging.take_hedging_token() => {
                self.budget.record(|usage| usage.hedged += 1);
                self.send(call, Connection::New);
            }
            Err(_) => {}
        }
        self.next().await
    }

    fn send(&mut self, call: &TransactWriteItemsFluentBuilder, connection: Connection) {
        self.budget.record(|usage| {
            usage.calls += 1;
            usage.transactions += 1;
        });
        let call = call.clone();
        let hedging = &self.store.hedging;
        let (transaction, attempt) = (self.transaction, self.attempt);
        self.copies.push(async move {
            let reply = match connection {
                Connection::Pooled => hedging.timed(call.send()).await,
                Connection::New => {
                    let call =
                        call.customize().mutate_request(|request| request.add_extension(OnNewConnection));
                    hedging.timed(call.send()).await
                }
            };
            let is_silent = matches!(reply, Err(SdkError::TimeoutError(_)));
            let reply = reply.map(|output| capacity_units(output.consumed_capacity()));
            Answer { transaction, attempt, reply: reply.map_err(transaction_failure), is_silent }
        });
    }

    /// Waits for the next answer that matters. Three kinds do: a transaction is stored, even an earlier one; the
    /// current transaction has failed for good; the current try has failed. If no such answer comes, it waits forever.
    pub(super) async fn next(&mut self) -> Answer {
        loop {
            let answer = self.next_of_all().await;
            let is_current = answer.transaction == self.transaction
                && (answer.attempt == self.attempt || !answer.is_temporary());
            if is_current || answer.reply.is_ok() {
                return answer;
            }
        }
    }

    /// Waits for the answer to any copy, and counts it.
    async fn next_of_all(&mut self) -> Answer {
        let answer = self.copies.next().await;
        self.budget.record(|usage| match &answer.reply {
            Ok(capacity) => usage.write_capacity += capacity,
            Err(TransactionFailure::Refused(_) | TransactionFailure::NotStored(Error::Busy)) => {
                usage.conflicts += 1;
            }
            Err(
                TransactionFailure::NotStored(Error::Unavailable(_))
                | TransactionFailure::Unknown(Error::Unavailable(_)),
            ) => usage.failures += 1,
            Err(_) => {}
        });
        self.is_any_lost |= matches!(answer.reply, Err(TransactionFailure::Unknown(_)));
        answer
    }

    /// Waits for the answers to all copies, until the time budget ends. Returns the transaction that is stored, if
    /// there is one.
    pub(super) async fn stored_transaction(&mut self) -> Option<TransactionNumber> {
        let end = self.budget.end();
        while !self.copies.is_empty() {
            match tokio::time::timeout_at(end, self.next_of_all()).await {
                Ok(Answer { transaction, reply: Ok(_), .. }) => {
                    self.forget_all();
                    return Some(transaction);
                }
                Ok(_) => {}
                Err(_) => {
                    self.is_any_lost = true;
                    break;
                }
            }
        }
        None
    }

    /// Forgets all copies, because none of them can change anything any more. Either a transaction is stored or another
    /// update has changed the unit, so the unit has another version now. Copies of a stored transaction have its token,
    /// and all other copies fail.
    pub(super) fn forget_all(&mut self) {
        self.copies = Copies::default();
        self.is_any_lost = false;
    }
}

impl Answer {
    /// True if the transaction may be stored by another try.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(
            self.reply,
            Err(TransactionFailure::NotStored(Error::Busy | Error::Unavailable(_))
                | TransactionFailure::Unknown(_))
        )
    }
}

fn capacity_units(capacity: &[ConsumedCapacity]) -> f64 {
    capacity.iter().filter_map(ConsumedCapacity::capacity_units).sum()
}
