//! Commits the transactions of one request. Also decides which errors must wait because a transaction may still be
//! stored.
//!
//! A transaction is sent again if no reply comes, and after a failure. So there may be several copies of it. All copies
//! have the same ClientRequestToken, so DynamoDB stores at most one of them and answers the others with the same
//! success. A copy without an answer may still be on its way to DynamoDB. If another copy is refused, the update is
//! planned again without a wait for that copy. That is safe: both transactions require the same version of the unit, so at
//! most one of them is stored. It is not safe to answer the client with an error that promises that nothing is stored, because the copy
//! without an answer could be stored later. [`Writes::confirm_error`] prevents that.

use aws_sdk_dynamodb::operation::transact_write_items::builders::TransactWriteItemsFluentBuilder;
use aws_sdk_dynamodb::types::{ReturnConsumedCapacity, TransactWriteItem};
use uuid::Uuid;

use super::connections::Connection;
use super::copies::{Answer, TransactionNumber, Unanswered};
use super::failure::{TransactionFailure, internal};
use super::store::Store;
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

/// The writes of one request.
pub(crate) struct Writes<'a> {
    store: &'a Store,
    updated_at: &'a str,
    retry: Retry<'a>,
    unanswered: Unanswered<'a>,
}

impl Store {
    /// The writes of one request. Every item that it writes gets this `_updatedAt`.
    pub(crate) fn writes<'a>(&'a self, updated_at: &'a str, budget: &'a Budget) -> Writes<'a> {
        Writes {
            store: self,
            updated_at,
            retry: Retry::new(budget),
            unanswered: Unanswered::new(self, budget),
        }
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
        let mut connection = Connection::Pooled;
        loop {
            let answer = self.retry.run(unanswered.send_and_wait(call, connection)).await?;
            if !answer.is_temporary() {
                return Ok(answer);
            }
            connection = Connection::after_silence(answer.is_silent);
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
        self.retry.pause(Error::Busy).await
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
