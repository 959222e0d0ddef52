//! How long an update waits after it has lost a race against another update of the same unit.
//!
//! Tries come in rounds of two. The first try of a round mostly reads, because others have changed the items during the
//! pause: it is refused, and the refusal contains the present items. The second try may win with them. Between two rounds
//! the update pauses for much longer than an update takes, so that most updates of the others meet nobody. An old update
//! tries more often without a pause, so that no update loses every race.
//!
//! The figures were chosen by simulation and measured: see docs/performance.md, "A unit that many change".

use std::time::Duration;

/// The shortest pause between two rounds.
const MIN_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause between two rounds.
const MAX_PAUSE: Duration = Duration::from_millis(200);

/// The age from which an update goes first.
const OLD: Duration = Duration::from_millis(1300);

/// The tries of one round.
const TRIES: u32 = 2;

/// The tries of one round of an old update.
const TRIES_OF_OLD: u32 = 3;

/// Why an update lost a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LostRace {
    /// A condition failed. The other update is stored, and its items are known.
    Refused,
    /// DynamoDB was carrying out another transaction on one of the items.
    Conflict,
}

/// The rounds of one transaction's tries.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// The rounds that ended.
    ended: u32,
    /// The tries of this round that lost.
    lost: u32,
}

impl Rounds {
    /// The pause before the next try. `age` is the time since the request began, and `call` the time that the last try
    /// took. `random` is between 0 and 1.
    pub(crate) fn next_pause(
        &mut self,
        lost: LostRace,
        age: Duration,
        call: Duration,
        random: f64,
    ) -> Duration {
        let is_old = age >= OLD;
        self.lost += 1;
        if self.lost >= if is_old { TRIES_OF_OLD } else { TRIES } {
            *self = Self { ended: self.ended + 1, lost: 0 };
            return MIN_PAUSE + (MAX_PAUSE - MIN_PAUSE).mul_f64(random);
        }
        match lost {
            LostRace::Refused if is_old || self.ended == 0 => Duration::ZERO,
            // Another update may have begun. It is done after two calls. Who lost twice lets it pass, and does not make
            // it lose.
            LostRace::Refused | LostRace::Conflict => (2 * call).min(MAX_PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: Duration = Duration::from_millis(8);

    fn pauses(lost: LostRace, age: u64, count: usize) -> Vec<u128> {
        let mut rounds = Rounds::default();
        let mut next = || rounds.next_pause(lost, Duration::from_millis(age), CALL, 0.5).as_millis();
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn the_first_try_after_a_refusal_comes_at_once_and_later_rounds_let_others_pass() {
        assert_eq!(pauses(LostRace::Refused, 0, 6), [0, 150, 16, 150, 16, 150]);
    }

    #[test]
    fn an_old_update_tries_three_times_without_a_pause() {
        assert_eq!(pauses(LostRace::Refused, 1300, 6), [0, 0, 150, 0, 0, 150]);
    }

    #[test]
    fn after_a_conflict_the_other_transaction_gets_time_to_end() {
        assert_eq!(pauses(LostRace::Conflict, 0, 4), [16, 150, 16, 150]);
    }

    #[test]
    fn the_pause_between_rounds_is_random() {
        let pause = |random| {
            let mut rounds = Rounds { ended: 1, lost: 1 };
            rounds.next_pause(LostRace::Refused, Duration::ZERO, CALL, random)
        };
        assert_eq!((pause(0.0), pause(1.0)), (MIN_PAUSE, MAX_PAUSE));
    }
}
