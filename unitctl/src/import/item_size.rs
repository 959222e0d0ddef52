//! How large an item is to DynamoDB ("DynamoDB item sizes and formats").

use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::item::Item;

use crate::limits::MAX_ITEM_BYTES;

/// # Errors
/// The item is larger than DynamoDB stores. One such item would fail a whole batch.
pub fn check_size(item: &Item) -> Result<(), String> {
    check_bytes(item_bytes(item))
}

/// # Errors
/// An item of so many bytes is larger than DynamoDB stores.
pub fn check_bytes(bytes: usize) -> Result<(), String> {
    if bytes > MAX_ITEM_BYTES {
        Err(format!("{bytes} bytes, and an item holds {MAX_ITEM_BYTES}"))
    } else {
        Ok(())
    }
}

/// The size of an item. It is never less than DynamoDB's own, and at most a few bytes more.
pub fn item_bytes(item: &Item) -> usize {
    item.iter().map(|(name, value)| name.len() + value_bytes(value)).sum()
}

/// The size of an attribute's value.
pub fn value_bytes(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        // Each byte holds two digits. One byte is added for the number itself, one for a sign, and one for a decimal
        // point between the digits of a byte.
        AttributeValue::N(digits) => digits.len().div_ceil(2) + 3,
        AttributeValue::B(blob) => blob.as_ref().len(),
        AttributeValue::Ss(members) => members.iter().map(String::len).sum(),
        AttributeValue::L(values) => 3 + values.iter().map(|value| 1 + value_bytes(value)).sum::<usize>(),
        AttributeValue::M(values) => {
            3 + values.iter().map(|(name, value)| 1 + name.len() + value_bytes(value)).sum::<usize>()
        }
        _ => 1,
    }
}
