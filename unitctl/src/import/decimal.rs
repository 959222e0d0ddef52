//! Decimal numbers as text: whether DynamoDB can store them, and whether two of them are equal.

/// DynamoDB's precision in digits ("Supported data types and naming rules in Amazon DynamoDB").
const MAX_DIGITS: usize = 38;

/// The powers of ten of the first digit that DynamoDB stores: 1E-130 to 9.99E+125 (the same document).
const FIRST_DIGIT: std::ops::RangeInclusive<i64> = -130..=125;

/// A number without its notation: 1.50, 15e-1 and 1.5 are the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal {
    is_negative: bool,
    /// Without zeros at either end; empty for zero.
    digits: String,
    /// The power of ten of the last digit.
    exponent: i64,
}

impl Decimal {
    /// Reads a number: an optional sign, digits, an optional fraction, an optional exponent. `None` for any
    /// other text, "NaN" and "Infinity" included.
    pub fn parse(text: &str) -> Option<Self> {
        let (is_negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (mantissa, exponent) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, "0"));
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !is_number(whole) || !is_number(fraction) {
            return None;
        }
        let exponent: i64 = exponent.parse().ok()?;
        let all = format!("{whole}{fraction}");
        let without_end = all.trim_end_matches('0');
        let digits = without_end.trim_start_matches('0');
        if digits.is_empty() {
            return Some(Self { is_negative: false, digits: String::new(), exponent: 0 });
        }
        let dropped = all.len() - without_end.len();
        let exponent = exponent.checked_sub(fraction.len() as i64)?.checked_add(dropped as i64)?;
        Some(Self { is_negative, digits: digits.to_owned(), exponent })
    }

    /// Whether the number is zero.
    pub fn is_zero(&self) -> bool {
        self.digits.is_empty()
    }

    /// Whether DynamoDB stores the number without loss.
    pub fn is_storable(&self) -> bool {
        let first_digit = self.exponent.saturating_add(self.digits.len() as i64 - 1);
        self.is_zero() || (self.digits.len() <= MAX_DIGITS && FIRST_DIGIT.contains(&first_digit))
    }
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
            assert_eq!(Decimal::parse(one) == Decimal::parse(other), is_same, "{one} {other}");
        }
    }

    #[test]
    fn numbers_beyond_the_range_of_dynamodb_are_recognized() {
        let nines = "9".repeat(38);
        for (text, is_storable) in [
            ("0", true),
            ("0E-6176", true),
            ("1e-130", true),
            ("9.9e-131", false),
            ("9.99E+125", true),
            ("1e126", false),
            ("1E-6143", false),
            (&nines, true),
            (&format!("{nines}9"), false),
            // Zeros at the end are no digits of the mantissa.
            (&format!("{nines}000"), true),
        ] {
            let decimal = Decimal::parse(text).expect("it is a number");
            assert_eq!(decimal.is_storable(), is_storable, "{text}");
        }
        for text in [
            "NaN",
            "Infinity",
            "-Infinity",
            "",
            "-",
            ".5",
            "5.",
            "1e",
            "0x10",
            "1_000",
            "1e99999999999999999999",
        ] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }
}
