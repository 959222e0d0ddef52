//! Carries out an update: plans it and commits its transactions one after the other. If another update has changed an
//! item meanwhile, plans it again.

use crate::action::Transaction;
use crate::auth::Caller;
use crate::budget::Budget;
use crate::dynamodb::{CommitOutcome, TransactionNumber, Writes};
use crate::error::Error;
use crate::load::Loaded;
use crate::plan::{Progress, Sequence, plan};

/// Carries out the update that `loaded` was read for. Afterwards `loaded` has the unit as it is stored after the
/// update.
///
/// # Errors
/// The plan's errors, and those of its transactions. [`Error::Busy`] if another update has undone a part of this one.
pub(crate) async fn carry_out(
    caller: &Caller,
    loaded: &mut Loaded<'_>,
    writes: Writes<'_>,
    budget: &Budget,
) -> Result<(), Error> {
    let progress = Progress::default();
    let mut run = Run { caller, loaded, writes, budget, progress, refused: Vec::new() };
    let mut rest = None;
    loop {
        let stored_after_all = match run.commit_all(rest).await {
            Ok(Ended::Complete) => return Ok(()),
            Ok(Ended::StoredAfterAll(number)) => number,
            Err(error) => {
                let error = run.progress.error(error);
                run.writes.confirm_error(error).await?
            }
        };
        rest = Some(run.resume_after(stored_after_all)?);
    }
}

/// An update that is being carried out. `'a` is the life of the request.
struct Run<'r, 'a> {
    caller: &'r Caller,
    loaded: &'r mut Loaded<'a>,
    writes: Writes<'r>,
    budget: &'r Budget,
    /// What is committed so far.
    progress: Progress,
    /// The transactions that were refused since the last commit, and of which another copy has no answer yet. A
    /// transaction that gets no reply is sent in a second copy.
    refused: Vec<RefusedTransaction<'a>>,
}

/// A refused transaction, and what was known when it was sent. DynamoDB refused one copy of it, and may still store
/// another.
struct RefusedTransaction<'a> {
    number: TransactionNumber,
    transaction: Transaction,
    /// The transactions of its plan that were left to do, itself included.
    sequence: Sequence,
    loaded: Loaded<'a>,
}

/// How the work on a sequence of transactions ended.
enum Ended {
    /// All transactions are committed.
    Complete,
    /// A transaction that was refused is stored after all.
    StoredAfterAll(TransactionNumber),
}

impl<'a> Run<'_, 'a> {
    /// Commits the transactions of `rest`, or of a new plan if there is none.
    async fn commit_all(&mut self, rest: Option<Sequence>) -> Result<Ended, Error> {
        let mut sequence = match rest {
            Some(rest) => rest,
            None => plan(self.caller, self.loaded)?,
        };
        while let Some(transaction) = sequence.next_transaction(self.loaded) {
            if sequence.is_large() {
                self.budget.extend_for_large_update();
            }
            let outcome = self.writes.commit(&transaction).await;
            if !matches!(outcome, Ok(CommitOutcome::Stored | CommitOutcome::EarlierStored(_))) {
                self.remember_if_unanswered(&transaction, &sequence);
            }
            match outcome? {
                CommitOutcome::Stored => self.record(&transaction, &mut sequence),
                CommitOutcome::Refused(failed) => {
                    self.loaded.apply_refusal(&transaction, failed);
                    self.busy_if_undone()?;
                    self.writes.pause_after_refusal().await?;
                    sequence = plan(self.caller, self.loaded)?;
                }
                CommitOutcome::TooLarge => {
                    if !sequence.halve() {
                        let cause = "DynamoDB refuses a transaction as invalid, and it can't be divided";
                        return Err(Error::Internal(cause.into()));
                    }
                }
                CommitOutcome::EarlierStored(number) => return Ok(Ended::StoredAfterAll(number)),
            }
        }
        Ok(Ended::Complete)
    }

    /// Records what a committed transaction has changed. The transaction is the first of `sequence`, and is removed
    /// from it.
    fn record(&mut self, transaction: &Transaction, sequence: &mut Sequence) {
        self.loaded.apply_commit(transaction);
        self.progress.record(transaction);
        self.refused.clear();
        sequence.pop();
    }

    /// Remembers a transaction that failed, if a copy of it has no answer yet. That copy may still be stored.
    fn remember_if_unanswered(&mut self, transaction: &Transaction, sequence: &Sequence) {
        if let Some(number) = self.writes.unanswered_transaction() {
            let (transaction, sequence) = (transaction.clone(), sequence.clone());
            let loaded = self.loaded.clone();
            self.refused.push(RefusedTransaction { number, transaction, sequence, loaded });
        }
    }

    /// Checks that no other update has undone a part of this one.
    ///
    /// # Errors
    /// [`Error::Busy`] if another update has.
    fn busy_if_undone(&mut self) -> Result<(), Error> {
        if !self.progress.is_undone(self.loaded) {
            return Ok(());
        }
        // The other update changed the unit's version. So the copies that have no answer yet can no longer be stored.
        if self.loaded.unit.exists() {
            self.writes.forget_unanswered();
        }
        Err(Error::Busy)
    }

    /// Makes the update go on after a transaction that was refused and is stored after all, as if it had not been
    /// refused. Returns the transactions that follow it.
    fn resume_after(&mut self, number: TransactionNumber) -> Result<Sequence, Error> {
        let Some(place) = self.refused.iter().position(|refused| refused.number == number) else {
            return Err(Error::Internal("an unknown transaction is stored".into()));
        };
        let RefusedTransaction { transaction, mut sequence, loaded, .. } = self.refused.swap_remove(place);
        *self.loaded = loaded;
        self.record(&transaction, &mut sequence);
        Ok(sequence)
    }
}
