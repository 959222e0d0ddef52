//! What a full pass may remove. If MongoDB's database is empty, or a restore of it is only half done, nothing may be
//! deleted because of that.

use std::fmt;

/// How much of a kind a full pass would remove from DynamoDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// What it counts, in the plural.
    pub kind: &'static str,
    /// How many came from Rocket.Chat and are in DynamoDB.
    pub in_dynamodb: usize,
    /// How many of these MongoDB does not have.
    pub missing: usize,
    /// True if MongoDB has none at all.
    pub is_empty_in_mongodb: bool,
    /// True if only an empty collection, or the loss of more than half, is suspicious.
    pub is_lenient: bool,
}

/// Why a pass removes nothing of any kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspicion(String);

impl fmt::Display for Suspicion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first suspicion that these counts give. `None` if none of them is suspicious.
pub fn first_suspicion(counts: &[Count]) -> Option<Suspicion> {
    counts.iter().find_map(|count| {
        let Count { kind, in_dynamodb, missing, is_empty_in_mongodb, is_lenient } = *count;
        let is_over_half = missing >= 2 && missing * 2 > in_dynamodb;
        let is_over_a_twentieth = !is_lenient && missing >= 20 && missing * 20 > in_dynamodb;
        let what = if is_empty_in_mongodb && in_dynamodb > 0 {
            format!("MongoDB has no {kind}, and DynamoDB has {in_dynamodb}")
        } else if is_over_half || is_over_a_twentieth {
            format!("MongoDB lacks {missing} of the {in_dynamodb} {kind} in DynamoDB")
        } else {
            return None;
        };
        Some(Suspicion(format!(
            "{what}; nothing is removed from DynamoDB until MongoDB has the missing data again, or until the sync runs \
             with --allow-removals"
        )))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(in_dynamodb: usize, missing: usize) -> Count {
        let is_empty_in_mongodb = in_dynamodb > 0 && in_dynamodb == missing && in_dynamodb > 1;
        Count { kind: "units", in_dynamodb, missing, is_empty_in_mongodb, is_lenient: false }
    }

    #[test]
    fn a_few_removals_are_not_suspicious() {
        for (in_dynamodb, missing) in [(0, 0), (3, 1), (2, 1), (1, 0), (4, 2), (400, 20), (100, 19)] {
            assert_eq!(first_suspicion(&[count(in_dynamodb, missing)]), None, "{missing} of {in_dynamodb}");
        }
        // The only one of its kind is removed, and the collection is empty.
        let last = Count { is_empty_in_mongodb: true, ..count(1, 1) };
        assert!(first_suspicion(&[last]).is_some());
    }

    #[test]
    fn many_removals_are() {
        for (in_dynamodb, missing) in [(3, 2), (399, 20), (1000, 51), (2, 2)] {
            assert!(
                first_suspicion(&[count(10, 0), count(in_dynamodb, missing)]).is_some(),
                "{missing} of {in_dynamodb}"
            );
        }
    }

    #[test]
    fn of_monitors_only_half_is() {
        let lenient = |in_dynamodb, missing| Count { is_lenient: true, ..count(in_dynamodb, missing) };
        assert_eq!(first_suspicion(&[lenient(100, 50)]), None);
        assert!(first_suspicion(&[lenient(100, 51)]).is_some());
    }

    #[test]
    fn the_sentence_says_why_and_what_helps() {
        let text = first_suspicion(&[count(3, 2)]).map(|suspicion| suspicion.to_string());
        assert_eq!(
            text.as_deref(),
            Some(
                "MongoDB lacks 2 of the 3 units in DynamoDB; nothing is removed from DynamoDB until MongoDB has the \
                 missing data again, or until the sync runs with --allow-removals"
            )
        );
    }
}
