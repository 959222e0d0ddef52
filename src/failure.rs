//! What DynamoDB's errors mean: which pass, which are final, and which give the items that a plan has to start from.

use aws_sdk_dynamodb::config::http::HttpResponse;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::types::CancellationReason;

use crate::error::Error;
use crate::item::Item;

/// What a transaction's failure means.
pub(crate) enum Verdict {
    /// Plan again.
    Refused(Vec<(usize, Option<Item>)>),
    /// `Busy` and `Unavailable` pass; anything else is final.
    Failed(Error),
}

/// Reasons stand at the place of their actions, "None" where nothing was wrong (DynamoDB API Reference,
/// "TransactWriteItems").
pub(crate) fn verdict(error: SdkError<TransactWriteItemsError, HttpResponse>) -> Verdict {
    match error.as_service_error() {
        Some(TransactWriteItemsError::TransactionInProgressException(_)) => Verdict::Failed(Error::Busy),
        Some(TransactWriteItemsError::TransactionCanceledException(canceled)) => {
            match reasons(canceled.cancellation_reasons()) {
                Some(verdict) => verdict,
                None => Verdict::Failed(internal(error)),
            }
        }
        // What a request itself carries may be found too large before any item is looked at.
        Some(service) if is_item_size(service.message()) => Verdict::Failed(Error::UnitTooLarge),
        _ => Verdict::Failed(failure(error)),
    }
}

/// When reasons mix: failed conditions first, since a new plan may not meet the others; then what no
/// repetition cures; then throttling, then conflicts. `None` is a reason that we don't know.
fn reasons(reasons: &[CancellationReason]) -> Option<Verdict> {
    let code = |reason: &CancellationReason| reason.code().unwrap_or("None").to_owned();
    let refused: Vec<_> = reasons
        .iter()
        .enumerate()
        .filter(|(_, reason)| code(reason) == "ConditionalCheckFailed")
        // An empty item is how some engines say that there is none.
        .map(|(place, reason)| (place, reason.item.clone().filter(|item| !item.is_empty())))
        .collect();
    if !refused.is_empty() {
        return Some(Verdict::Refused(refused));
    }
    // The unit's action is the first.
    if let Some(unit) = reasons.first()
        && code(unit) == "ValidationError"
        && is_item_size(unit.message())
    {
        return Some(Verdict::Failed(Error::UnitTooLarge));
    }
    let codes: Vec<String> = reasons.iter().map(code).filter(|code| code != "None").collect();
    let all = |known: fn(&str) -> bool| !codes.is_empty() && codes.iter().all(|code| known(code));
    if all(|code| code == "TransactionConflict") {
        Some(Verdict::Failed(Error::Busy))
    } else if all(|code| code == "TransactionConflict" || is_throttling(code)) {
        Some(Verdict::Failed(Error::Unavailable(codes.join(", ").into())))
    } else {
        None
    }
}

fn is_item_size(message: Option<&str>) -> bool {
    message.is_some_and(|message| message.starts_with("Item size"))
}

/// The codes of throttling, as an exception of its own or as a cancellation reason.
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

/// `Unavailable` if trying again may help, else `Internal`.
pub(crate) fn failure<E>(error: SdkError<E, HttpResponse>) -> Error
where
    E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
{
    let passes = match &error {
        SdkError::TimeoutError(_) | SdkError::DispatchFailure(_) | SdkError::ResponseError(_) => true,
        // An error without a code is a reply that was cut short.
        SdkError::ServiceError(service) => {
            service.raw().status().is_server_error() || service.err().code().is_none_or(is_throttling)
        }
        _ => false,
    };
    if passes { Error::Unavailable(error.into()) } else { internal(error) }
}

/// Final, and not the caller's doing.
pub(crate) fn internal(error: impl Into<crate::error::Cause>) -> Error {
    Error::Internal(error.into())
}
