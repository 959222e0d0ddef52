//! Commits the transactions of one request. Also decides which errors must wait because a transaction may still be
//! stored.
//!
//! A transaction is sent again if no reply comes, and after a failure. So there may be several copies of it. All copies
//! have the same ClientRequestToken, so DynamoDB stores at most one of them and answers the others with the same
//! success. A copy without an answer may still be on its way to DynamoDB. If another copy is refused, the update is
//! planned again at once. That is safe: both transactions require the same version of the unit, so at most one of them
//! is stored. It is not safe to answer the client with an error that promises that nothing is stored, because the copy
//! without an answer could be stored later. [`Writes::confirm_error`] prevents that.

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::transact_write_items::builders::TransactWriteItemsFluentBuilder;
use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, TransactWriteItem};
use uuid::Uuid;

use super::connections::OnNewConnection;
use super::failure::{TransactionFailure, internal, transaction_failure};
use super::hedging::Copies;
use super::store::{Store, capacity_units};
use super::transact_item::to_transact_item;
use crate::action::{Action, FailedCondition, Transaction};
use crate::budget::{Budget, Retry};
use crate::error::Error;

/// How a transaction ended, if the update can go on after it.
pub(crate) enum CommitOutcome {
    /// The transaction is stored.
    Stored,
    /// These conditions failed, and this copy is not stored.
    Refused(Vec<FailedCondition>),
    /// The transaction's items have more than 4 MB together, and this copy is not stored.
    TooLarge,
    /// An earlier transaction, which was refused, is stored after all, because another copy of it was not refused. This
    /// transaction is not stored.
    EarlierStored(TransactionNumber),
}

/// The number of a transaction among those of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TransactionNumber(u32);

/// The writes of one request.
pub(crate) struct Writes<'a> {
    store: &'a Store,
    updated_at: &'a str,
    retry: Retry<'a>,
    unanswered: Unanswered<'a>,
}

/// The copies of a request's transactions that have no answer.
struct Unanswered<'a> {
    store: &'a Store,
    budget: &'a Budget,
    /// The copies whose replies may still come.
    copies: Copies<'a, Answer>,
    /// The transaction that is being committed.
    transaction: TransactionNumber,
    /// The number of the current try, among all tries of the request.
    attempt: u32,
    /// True if there is a copy that may be stored although its reply will never come.
    is_any_lost: bool,
}

/// The answer to one copy, or the reason why there is none.
struct Answer {
    transaction: TransactionNumber,
    attempt: u32,
    /// The consumed write capacity units, if the transaction is stored.
    reply: Result<f64, TransactionFailure>,
    /// True if no reply came in time.
    is_silent: bool,
}

impl Store {
    /// The writes of one request. Every item that it writes gets this `_updatedAt`.
    pub(crate) fn writes<'a>(&'a self, updated_at: &'a str, budget: &'a Budget) -> Writes<'a> {
        let unanswered = Unanswered {
            store: self,
            budget,
            copies: Copies::default(),
            transaction: TransactionNumber::default(),
            attempt: 0,
            is_any_lost: false,
        };
        Writes { store: self, updated_at, retry: Retry::new(budget), unanswered }
    }
}

impl Writes<'_> {
    /// Commits a transaction. It is sent again until it is stored or refused, or until the time budget ends.
    ///
    /// # Errors
    /// An item is too large, or DynamoDB refuses the request. Or the time budget ends while other updates still
    /// conflict with the transaction, or while DynamoDB is unavailable. The caller passes every error to
    /// [`Self::confirm_error`], before the client gets it.
    pub(crate) async fn commit(&mut self, transaction: &Transaction) -> Result<CommitOutcome, Error> {
        let items: Vec<TransactWriteItem> = transaction
            .actions
            .iter()
            .map(|action| to_transact_item(action, &self.store.tables.livechat, self.updated_at))
            .collect::<Result<_, _>>()
            .map_err(internal)?;
        let call = self
            .store
            .client
            .transact_write_items()
            .set_transact_items(Some(items))
            .client_request_token(Uuid::new_v4().to_string())
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        self.unanswered.transaction.0 += 1;
        let answer = self.send_until_answered(&call).await?;
        let outcome = match answer.reply {
            Ok(_) if answer.transaction == self.unanswered.transaction => CommitOutcome::Stored,
            Ok(_) => CommitOutcome::EarlierStored(answer.transaction),
            Err(TransactionFailure::Refused(failed)) => self.refused(failed).await,
            Err(TransactionFailure::TransactionTooLarge) => CommitOutcome::TooLarge,
            Err(TransactionFailure::ItemTooLarge(action)) => return Err(item_too_large(transaction, action)),
            Err(TransactionFailure::NotStored(error) | TransactionFailure::Unknown(error)) => {
                return Err(error);
            }
        };
        if matches!(outcome, CommitOutcome::Stored | CommitOutcome::EarlierStored(_)) {
            self.unanswered.forget_all();
            self.retry = Retry::new(self.unanswered.budget);
        }
        Ok(outcome)
    }

    /// The outcome for failed conditions. If an item has the `_updatedAt` of this request, an earlier transaction of
    /// this request may be stored although its answer has not come. Then the function waits for that answer, because a
    /// new plan would carry out the update twice.
    async fn refused(&mut self, failed: Vec<FailedCondition>) -> CommitOutcome {
        let is_changed_now = |failed: &FailedCondition| {
            let time = failed.item.as_ref().and_then(|item| item.get("_updatedAt"));
            time.and_then(|time| time.as_s().ok()).is_some_and(|time| time == self.updated_at)
        };
        if failed.iter().any(is_changed_now)
            && let Some(stored) = self.unanswered.stored_transaction().await
        {
            return CommitOutcome::EarlierStored(stored);
        }
        CommitOutcome::Refused(failed)
    }

    /// Sends a transaction again and again until there is an answer that is not temporary. It may be the answer to an
    /// earlier transaction, if that one is stored.
    async fn send_until_answered(&mut self, call: &TransactWriteItemsFluentBuilder) -> Result<Answer, Error> {
        let unanswered = &mut self.unanswered;
        let mut on_new_connection = false;
        loop {
            let answer = self.retry.run(unanswered.send_and_wait(call, on_new_connection)).await?;
            if !answer.is_temporary() {
                return Ok(answer);
            }
            on_new_connection = answer.is_silent;
            let Err(TransactionFailure::NotStored(error) | TransactionFailure::Unknown(error)) = answer.reply
            else {
                return Ok(answer);
            };
            unanswered.attempt += 1;
            // A copy may be answered during the pause.
            tokio::select! {
                biased;
                answer = unanswered.next() => return Ok(answer),
                paused = self.retry.pause(error) => paused?,
            }
        }
    }

    /// Waits before the update is planned again.
    ///
    /// # Errors
    /// The time budget would end during the pause. The caller passes the error to [`Self::confirm_error`], before the client
    /// gets it.
    pub(crate) async fn pause_after_refusal(&mut self) -> Result<(), Error> {
        self.retry.pause_after_refusal().await
    }

    /// Forgets all copies without an answer. The caller knows that none of them can be stored, because the unit has
    /// another version now.
    pub(crate) fn forget_unanswered(&mut self) {
        self.unanswered.forget_all();
    }

    /// The number of the last transaction, if a copy of it may still be answered.
    pub(crate) fn unanswered_transaction(&self) -> Option<TransactionNumber> {
        (!self.unanswered.copies.is_empty()).then_some(self.unanswered.transaction)
    }

    /// Makes sure that what an error promises is true, before the client gets it. If the error promises that nothing is
    /// stored, this waits for the answers to all copies. Returns the transaction that is stored after all, if there is
    /// one.
    ///
    /// # Errors
    /// The error itself, if its promise is true. `Unavailable`, if the error promises that nothing is stored and a copy
    /// may still be stored.
    pub(crate) async fn confirm_error(&mut self, error: Error) -> Result<TransactionNumber, Error> {
        if matches!(error, Error::Unavailable(_) | Error::Internal(_)) {
            return Err(error);
        }
        if let Some(stored) = self.unanswered.stored_transaction().await {
            self.retry = Retry::new(self.unanswered.budget);
            return Ok(stored);
        }
        if self.unanswered.is_any_lost {
            let cause = "a copy of the transaction has no answer, so it is unknown whether it is stored";
            return Err(Error::Unavailable(cause.into()));
        }
        Err(error)
    }
}

impl Unanswered<'_> {
    /// Sends a copy of the transaction and waits for an answer. If none comes, sends another copy on a new connection.
    async fn send_and_wait(
        &mut self,
        call: &TransactWriteItemsFluentBuilder,
        on_new_connection: bool,
    ) -> Answer {
        self.send(call, on_new_connection);
        match tokio::time::timeout(self.store.hedging.wait_before_second_request(), self.next()).await {
            Ok(answer) => return answer,
            Err(_) if !self.budget.is_over() && self.store.hedging.take_hedging_token() => {
                self.budget.record(|usage| usage.hedged += 1);
                self.send(call, true);
            }
            Err(_) => {}
        }
        self.next().await
    }

    fn send(&mut self, call: &TransactWriteItemsFluentBuilder, on_new_connection: bool) {
        self.budget.record(|usage| {
            usage.calls += 1;
            usage.transactions += 1;
        });
        let call = call.clone();
        let hedging = &self.store.hedging;
        let (transaction, attempt) = (self.transaction, self.attempt);
        self.copies.push(async move {
            let reply = if on_new_connection {
                let call = call.customize().mutate_request(|request| request.add_extension(OnNewConnection));
                hedging.timed(call.send()).await
            } else {
                hedging.timed(call.send()).await
            };
            let is_silent = matches!(reply, Err(SdkError::TimeoutError(_)));
            let reply = reply.map(|output| capacity_units(output.consumed_capacity()));
            Answer { transaction, attempt, reply: reply.map_err(transaction_failure), is_silent }
        });
    }

    /// Waits for the next answer that matters. Three kinds do: a transaction is stored, even an earlier one; the
    /// current transaction has failed for good; the current try has failed. If no such answer comes, it waits forever.
    async fn next(&mut self) -> Answer {
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
    async fn stored_transaction(&mut self) -> Option<TransactionNumber> {
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
    fn forget_all(&mut self) {
        self.copies = Copies::default();
        self.is_any_lost = false;
    }
}

impl Answer {
    /// True if the transaction may be stored by another try.
    fn is_temporary(&self) -> bool {
        matches!(
            self.reply,
            Err(TransactionFailure::NotStored(Error::Busy | Error::Unavailable(_))
                | TransactionFailure::Unknown(_))
        )
    }
}

/// The error for an action whose item would be larger than an item can be.
fn item_too_large(transaction: &Transaction, action: usize) -> Error {
    match transaction.actions.get(action) {
        Some(Action::UpdateUnit(_)) => Error::UnitTooLarge,
        Some(Action::JoinDepartment { id, .. } | Action::LeaveDepartment { id, .. }) => {
            Error::DepartmentTooLarge(id.clone())
        }
        _ => internal("an item that the request does not name would be too large"),
    }
}
