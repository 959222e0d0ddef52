//! The part of CloudWatch's metric math that the alarms use: `IF`, arithmetic and comparisons over series that may
//! lack values ("Using math expressions with CloudWatch metrics", CloudWatch User Guide).

use std::collections::BTreeMap;

/// Values by the start of their period, in minutes. A period without a value is absent.
pub type Series = BTreeMap<i64, f64>;

#[derive(Clone, Debug)]
enum Operand {
    Constant(f64),
    Series(Series),
}

/// The values of an expression over series that it refers to by their ids.
///
/// # Panics
/// The expression is not one that this module knows, or its result is a constant.
pub fn evaluate(expression: &str, series: &BTreeMap<String, Series>) -> Series {
    let mut parser = Parser { tokens: tokens(expression), position: 0, series };
    let result = parser.comparison();
    assert_eq!(parser.position, parser.tokens.len(), "{expression} goes on after its end");
    match result {
        Operand::Series(series) => series,
        Operand::Constant(_) => panic!("{expression} is a constant, which has no periods"),
    }
}

fn tokens(expression: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut is_inside_word = false;
    for c in expression.chars() {
        let is_word = c.is_ascii_alphanumeric() || c == '_' || c == '.';
        // `>=`, `<=`, `==` and `!=` are one token each.
        let follows =
            c == '=' && tokens.last().is_some_and(|last| [">", "<", "=", "!"].contains(&last.as_str()));
        if (is_word && is_inside_word) || follows {
            tokens.last_mut().expect("a token has begun").push(c);
        } else if !c.is_whitespace() {
            tokens.push(c.to_string());
        }
        is_inside_word = is_word;
    }
    tokens
}

struct Parser<'a> {
    tokens: Vec<String>,
    position: usize,
    series: &'a BTreeMap<String, Series>,
}

impl Parser<'_> {
    fn next_if(&mut self, wanted: &[&str]) -> Option<String> {
        let token = self.tokens.get(self.position).filter(|token| wanted.contains(&token.as_str()))?.clone();
        self.position += 1;
        Some(token)
    }

    fn expect(&mut self, wanted: &str) {
        assert!(self.next_if(&[wanted]).is_some(), "{wanted} is missing in {:?}", self.tokens);
    }

    fn comparison(&mut self) -> Operand {
        let left = self.sum();
        match self.next_if(&[">", "<", ">=", "<=", "==", "!="]).as_deref() {
            Some(">") => combine(left, self.sum(), |a, b| f64::from(a > b)),
            Some("<") => combine(left, self.sum(), |a, b| f64::from(a < b)),
            Some(">=") => combine(left, self.sum(), |a, b| f64::from(a >= b)),
            Some("<=") => combine(left, self.sum(), |a, b| f64::from(a <= b)),
            Some("==") => combine(left, self.sum(), |a, b| f64::from(a == b)),
            Some(_) => combine(left, self.sum(), |a, b| f64::from(a != b)),
            None => left,
        }
    }

    fn sum(&mut self) -> Operand {
        let mut sum = self.product();
        while let Some(operator) = self.next_if(&["+", "-"]) {
            let sign = if operator == "+" { 1.0 } else { -1.0 };
            sum = combine(sum, self.product(), |a, b| a + sign * b);
        }
        sum
    }

    fn product(&mut self) -> Operand {
        let mut product = self.atom();
        while let Some(operator) = self.next_if(&["*", "/"]) {
            let is_product = operator == "*";
            product = combine(product, self.atom(), |a, b| if is_product { a * b } else { a / b });
        }
        product
    }

    fn atom(&mut self) -> Operand {
        if self.next_if(&["("]).is_some() {
            let inner = self.comparison();
            self.expect(")");
            return inner;
        }
        if self.next_if(&["IF"]).is_some() {
            self.expect("(");
            let condition = self.comparison();
            self.expect(",");
            let then = self.comparison();
            self.expect(",");
            let otherwise = self.comparison();
            self.expect(")");
            return choose(condition, &then, &otherwise);
        }
        let token = self.tokens.get(self.position).expect("an expression does not end here").clone();
        self.position += 1;
        match (token.parse(), self.series.get(&token)) {
            (Ok(number), _) => Operand::Constant(number),
            (Err(_), Some(series)) => Operand::Series(series.clone()),
            (Err(_), None) => panic!("{token} is neither a number, a metric's id nor a known function"),
        }
    }
}

/// One operation on two operands. A period in which one of them has no value has no result, and neither has a division
/// by zero.
fn combine(left: Operand, right: Operand, operation: impl Fn(f64, f64) -> f64) -> Operand {
    let finite = |(period, value): (i64, f64)| value.is_finite().then_some((period, value));
    match (left, right) {
        (Operand::Constant(a), Operand::Constant(b)) => Operand::Constant(operation(a, b)),
        (Operand::Series(a), Operand::Constant(b)) => Operand::Series(
            a.into_iter().map(|(period, a)| (period, operation(a, b))).filter_map(finite).collect(),
        ),
        (Operand::Constant(a), Operand::Series(b)) => Operand::Series(
            b.into_iter().map(|(period, b)| (period, operation(a, b))).filter_map(finite).collect(),
        ),
        (Operand::Series(a), Operand::Series(b)) => {
            let both = a.into_iter().filter_map(|(period, a)| Some((period, operation(a, *b.get(&period)?))));
            Operand::Series(both.filter_map(finite).collect())
        }
    }
}

/// `IF`: a period in which the condition or the chosen operand has no value has no result.
fn choose(condition: Operand, then: &Operand, otherwise: &Operand) -> Operand {
    let Operand::Series(condition) = condition else { panic!("the condition of an IF is a constant") };
    let chosen = condition.into_iter().filter_map(|(period, holds)| {
        let chosen = if holds == 0.0 { otherwise } else { then };
        match chosen {
            Operand::Constant(value) => Some((period, *value)),
            Operand::Series(series) => Some((period, *series.get(&period)?)),
        }
    });
    Operand::Series(chosen.collect())
}

#[test]
fn expressions_follow_precedence_and_skip_missing_values() {
    let series = BTreeMap::from([
        ("a".to_owned(), Series::from([(0, 1.0), (1, 2.0), (2, 4.0)])),
        ("b".to_owned(), Series::from([(0, 10.0), (2, 0.0)])),
    ]);
    for (expression, expected) in [
        ("1 + 2 * a", vec![(0, 3.0), (1, 5.0), (2, 9.0)]),
        ("(1 + 2) * a", vec![(0, 3.0), (1, 6.0), (2, 12.0)]),
        ("10 - a - 1", vec![(0, 8.0), (1, 7.0), (2, 5.0)]),
        ("a + b", vec![(0, 11.0), (2, 4.0)]),
        ("a / b", vec![(0, 0.1)]),
        ("a >= 2", vec![(0, 0.0), (1, 1.0), (2, 1.0)]),
        ("a != 2", vec![(0, 1.0), (1, 0.0), (2, 1.0)]),
        ("IF(a > 1, b, 7)", vec![(0, 7.0), (2, 0.0)]),
        ("IF(b >= 3, 100 * a / b, 0)", vec![(0, 10.0), (2, 0.0)]),
    ] {
        assert_eq!(evaluate(expression, &series), Series::from_iter(expected), "{expression}");
    }
}
