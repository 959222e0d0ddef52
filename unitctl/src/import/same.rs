//! Whether two items are the same to DynamoDB, which keeps sets in no order and numbers in a form of its own.

use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::item::Item;

/// Compares all attributes.
pub fn same(one: &Item, other: &Item) -> bool {
    one.len() == other.len()
        && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| same_value(value, other)))
}

fn same_value(one: &AttributeValue, other: &AttributeValue) -> bool {
    use AttributeValue::{L, M, N, Ss};
    match (one, other) {
        (N(one), N(other)) => one == other || normal(one) == normal(other),
        (Ss(one), Ss(other)) => one.len() == other.len() && one.iter().all(|member| other.contains(member)),
        (L(one), L(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same_value(one, other))
        }
        (M(one), M(other)) => same(one, other),
        (one, other) => one == other,
    }
}

/// Sign, digits without zeros around them, and the power of ten of the last: 1.50, 15e-1 and 1.5 are one.
fn normal(number: &str) -> (bool, String, i64) {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let (is_negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let significant = digits.trim_end_matches('0');
    let zeros = digits.len() - significant.len();
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return (false, String::new(), 0);
    }
    let exponent = exponent.parse::<i64>().unwrap_or_default() - fraction.len() as i64 + zeros as i64;
    (is_negative, significant.to_owned(), exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_by_value() {
        for (one, other, is_same) in [
            ("1.50", "1.5", true),
            ("15e-1", "1.5", true),
            ("1E2", "100", true),
            ("+1", "1", true),
            ("-0.0", "0", true),
            ("0.001", "1e-3", true),
            ("12345678901234567890123456789012345678", "12345678901234567890123456789012345679", false),
            ("10", "1", false),
            ("-1", "1", false),
        ] {
            let [a, b] = [one, other].map(|text| Item::from([("n".into(), AttributeValue::N(text.into()))]));
            assert_eq!(same(&a, &b), is_same, "{one} {other}");
        }
    }

    #[test]
    fn sets_have_no_order_and_lists_have() {
        let texts = |texts: [&str; 2]| texts.map(String::from).to_vec();
        let set = |members| AttributeValue::Ss(texts(members));
        let list = |members| AttributeValue::L(texts(members).into_iter().map(AttributeValue::S).collect());
        assert!(same_value(&set(["a", "b"]), &set(["b", "a"])));
        assert!(!same_value(&set(["a", "b"]), &set(["b", "c"])));
        assert!(!same_value(&list(["a", "b"]), &list(["b", "a"])));
        assert!(!same_value(&list(["a", "b"]), &set(["a", "b"])));
    }
}
