//! What DynamoDB's errors mean: which are temporary, which are final, and which lead to a new plan.

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::CancellationReason;

use crate::action::FailedCondition;
use crate::error::{Cause, Error};

/// The index of the updated unit's action in its transaction.
const UNIT_ACTION: usize = 0;

/// What a transaction's error means.
pub(super) enum TransactionFailure {
    /// Conditions failed and nothing is stored. Plan again.
    Refused(Vec<FailedCondition>),
    /// The item of the action with this index would be larger than an item can be. Nothing is stored.
    ItemTooLarge(usize),
    /// The transaction's items have more than 4 MB together. Nothing is stored.
    TransactionTooLarge,
    /// Nothing is stored. `Busy` and `Unavailable` are temporary. Any other error is final.
    NotStored(Error),
    /// There is no answer, or one that leaves open whether the transaction is stored. The error is `Unavailable`.
    Unknown(Error),
}

/// Classifies a transaction's error.
pub(super) fn transaction_failure(
    error: SdkError<TransactWriteItemsError, HttpResponse>,
) -> TransactionFailure {
    match error.as_service_error() {
        // The request has a token of its own, so another copy of this very transaction is in progress.
        Some(TransactWriteItemsError::TransactionInProgressException(_)) => {
            TransactionFailure::Unknown(Error::Unavailable(error.into()))
        }
        Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
            cancellation(canceled.cancellation_reasons())
                .unwrap_or_else(|| TransactionFailure::NotStored(internal(error)))
        }
        // DynamoDB checks the size of the values in the request before it looks at any item. Only the unit's action has
        // values that can be large.
        Some(service) if is_item_size(service.message()) => TransactionFailure::ItemTooLarge(UNIT_ACTION),
        Some(service) if service.code() == Some("ValidationException") => {
            TransactionFailure::TransactionTooLarge
        }
        Some(service) if service.code().is_some_and(is_throttling) => {
            TransactionFailure::NotStored(failure(error))
        }
        _ => match failure(error) {
            error @ Error::Unavailable(_) => TransactionFailure::Unknown(error),
            error => TransactionFailure::NotStored(error),
        },
    }
}

/// Classifies a cancelled transaction. If its reasons differ, failed conditions count first, because a new plan may not
/// have the other problems. Then come reasons that no retry can change, then throttling, then conflicts.
///
/// A reason's index is that of its action, and its code is "None" where nothing was wrong (Amazon DynamoDB API
/// Reference, "TransactWriteItems"). Returns `None` for a code that is not known here.
fn cancellation(reasons: &[CancellationReason]) -> Option<TransactionFailure> {
    let code = |reason: &CancellationReason| reason.code().unwrap_or("None").to_owned();
    let failed: Vec<_> = reasons
        .iter()
        .enumerate()
        .filter(|(_, reason)| code(reason) == "ConditionalCheckFailed")
        .map(|(action, reason)| {
            // Some engines return an empty item when there is none.
            let item = reason.item.clone().filter(|item| !item.is_empty());
            FailedCondition { action, item }
        })
        .collect();
    if !failed.is_empty() {
        return Some(TransactionFailure::Refused(failed));
    }
    let invalid = |reason: &CancellationReason| code(reason) == "ValidationError";
    if let Some(action) = reasons.iter().position(|reason| invalid(reason) && is_item_size(reason.message()))
    {
        return Some(TransactionFailure::ItemTooLarge(action));
    }
    if reasons.iter().any(invalid) {
        return Some(TransactionFailure::TransactionTooLarge);
    }
    let codes: Vec<String> = reasons.iter().map(code).filter(|code| code != "None").collect();
    let all = |known: fn(&str) -> bool| !codes.is_empty() && codes.iter().all(|code| known(code));
    if all(|code| code == "TransactionConflict") {
        Some(TransactionFailure::NotStored(Error::Busy))
    } else if all(|code| code == "TransactionConflict" || is_throttling(code)) {
        Some(TransactionFailure::NotStored(Error::Unavailable(codes.join(", ").into())))
    } else {
        None
    }
}

fn is_item_size(message: Option<&str>) -> bool {
    message.is_some_and(|message| message.starts_with("Item size"))
}

/// True for the codes of throttling, as an exception or as a cancellation reason.
fn is_throttling(code: &str) -> bool {
    matches!(
        code,
        "ProvisionedThroughputExceeded"
            | "ProvisionedThroughputExceededException"
            | "RequestLimitExceeded"
            | "ThrottlingError"
            | "ThrottlingException"
    )
}

/// `Unavailable` if a retry may help, else `Internal`.
pub(super) fn failure<E>(error: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let is_temporary = match &error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        // An error without a code is a reply that was cut off.
        SdkError::ServiceError(service) => {
            service.raw().status().is_server_error() || service.err().code().is_none_or(is_throttling)
        }
        _ => false,
    };
    if is_temporary { Error::Unavailable(error.into()) } else { internal(error) }
}

/// A final error that the client did not cause.
pub(super) fn internal(error: impl Into<Cause>) -> Error {
    Error::Internal(error.into())
}
