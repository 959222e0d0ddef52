//! Compares items as DynamoDB does. DynamoDB does not keep the order of sets and the notation of numbers.

use aws_sdk_dynamodb::types::AttributeValue;
use livechat_units::item::Item;

use super::decimal::Decimal;

/// Compares all attributes except those with these names.
pub fn equal_except(ignored: &[&str], one: &Item, other: &Item) -> bool {
    let is_compared = |name: &&String| !ignored.contains(&name.as_str());
    one.keys().filter(is_compared).count() == other.keys().filter(is_compared).count()
        && one
            .iter()
            .filter(|(name, _)| is_compared(name))
            .all(|(name, value)| other.get(name).is_some_and(|other| equal_values(value, other)))
}

/// Compares all attributes.
pub fn equal(one: &Item, other: &Item) -> bool {
    equal_except(&[], one, other)
}

fn equal_values(one: &AttributeValue, other: &AttributeValue) -> bool {
    use AttributeValue::{L, M, N, Ss};
    match (one, other) {
        (N(one), N(other)) => {
            one == other || Decimal::parse(one).is_some_and(|one| Some(one) == Decimal::parse(other))
        }
        (Ss(one), Ss(other)) => {
            let (mut one, mut other): (Vec<_>, Vec<_>) = (one.iter().collect(), other.iter().collect());
            one.sort_unstable();
            other.sort_unstable();
            one == other
        }
        (L(one), L(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal_values(one, other))
        }
        (M(one), M(other)) => equal(one, other),
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_equal_in_any_notation() {
        let number = |text: &str| Item::from([("n".into(), AttributeValue::N(text.into()))]);
        assert!(equal(&number("1.50"), &number("15e-1")));
        assert!(!equal(&number("1.5"), &number("1.6")));
    }

    #[test]
    fn sets_have_no_order_and_lists_have() {
        let texts = |texts: [&str; 2]| texts.map(String::from).to_vec();
        let set = |members| AttributeValue::Ss(texts(members));
        let list = |members| AttributeValue::L(texts(members).into_iter().map(AttributeValue::S).collect());
        assert!(equal_values(&set(["a", "b"]), &set(["b", "a"])));
        assert!(!equal_values(&set(["a", "b"]), &set(["b", "c"])));
        assert!(!equal_values(&list(["a", "b"]), &list(["b", "a"])));
        assert!(!equal_values(&list(["a", "b"]), &set(["a", "b"])));
    }

    #[test]
    fn ignored_attributes_may_differ_or_be_absent() {
        let item = |entries: &[(&str, &str)]| -> Item {
            entries.iter().map(|(name, text)| ((*name).into(), AttributeValue::S((*text).into()))).collect()
        };
        let (with, without) = (item(&[("a", "1"), ("rev", "2")]), item(&[("a", "1")]));
        assert!(equal_except(&["rev"], &with, &without));
        assert!(equal_except(&["rev"], &without, &with));
        assert!(!equal(&with, &without));
        assert!(!equal_except(&["rev"], &with, &item(&[("b", "1")])));
    }
}
