//! Random tokens and ids in Rocket.Chat's form, from the random generator of the operating system.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// The letters and digits of Meteor's `Random.id()`, without those that people confuse, such as 0 and O.
const LETTERS: &[u8; 55] = b"23456789ABCDEFGHJKLMNPQRSTWXYZabcdefghijkmnopqrstuvwxyz";

/// A login token like those of Meteor's `Random.secret()`: 32 bytes as 43 letters, digits, `-` and `_`.
pub fn token() -> String {
    URL_SAFE_NO_PAD.encode(bytes::<32>())
}

/// An `_id` of 17 letters and digits.
pub fn id() -> String {
    let mut id = String::with_capacity(17);
    while id.len() < 17 {
        // 256 is not a multiple of 55. Without this limit, the first letters would be more likely than the last.
        let even = bytes::<32>().into_iter().filter(|byte| *byte < 55 * 4);
        let letters = even.map(|byte| LETTERS[usize::from(byte) % LETTERS.len()]);
        id.extend(letters.map(char::from).take(17 - id.len()));
    }
    id
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system's generator works");
    bytes
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn tokens_and_ids_have_rocket_chats_form() {
        let tokens: HashSet<String> = (0..100).map(|_| token()).collect();
        assert_eq!(tokens.len(), 100);
        let is_token_letter = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        assert!(tokens.iter().all(|token| token.len() == 43 && token.chars().all(is_token_letter)));
        let ids: HashSet<String> = (0..1000).map(|_| id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| id.len() == 17 && id.bytes().all(|byte| LETTERS.contains(&byte))));
        // Among 17,000 letters, each of the 55 occurs.
        assert_eq!(ids.iter().flat_map(|id| id.bytes()).collect::<HashSet<_>>().len(), LETTERS.len());
    }
}
