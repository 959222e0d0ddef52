//! How long an update waits after it has lost a race against another update of the same unit.
//!
//! Tries come in rounds of two. The first try of a round mostly reads, because others have changed the items during the
//! pause: it is refused, and the refusal contains the present items. The second try may win with them. Between the two, an
//! update of another client that has begun gets the time to end, so that this one does not make it lose. Between two rounds
//! the update pauses for much longer than an update takes, so that most updates of the others meet no other update. An
//! old update tries more often and does not let others pass, so that no update loses every race.
//!
//! The figures were chosen by simulation and measured: see docs/performance.md, "A unit that many change".

use std::time::Duration;

/// The shortest pause between two rounds.
const MIN_PAUSE: Duration = Duration::from_millis(120);

/// The longest pause between two rounds.
const MAX_PAUSE: Duration = Duration::from_millis(240);

/// The age from which an update goes first.
const OLD: Duration = Duration::from_millis(1200);

/// The tries of one round.
const TRIES: u32 = 2;

/// The tries of one round of an old update.
const TRIES_OF_OLD: u32 = 3;

/// The rounds of one transaction's tries.
#[derive(Debug, Default)]
pub(crate) struct Rounds {
    /// The tries of this round that lost.
    lost: u32,
}

impl Rounds {
    /// The pause before the next try. `age` is the time since the request began, and `call` the time that the last try
    /// took. `random` is between 0 and 1.
    pub(crate) fn next_pause(&mut self, age: Duration, call: Duration, random: f64) -> Duration {
        let is_old = age >= OLD;
        self.lost += 1;
        if self.lost >= if is_old { TRIES_OF_OLD } else { TRIES } {
            self.lost = 0;
            return MIN_PAUSE + (MAX_PAUSE - MIN_PAUSE).mul_f64(random);
        }
        // An update takes two calls: it reads, and then it writes.
        if is_old { Duration::ZERO } else { (2 * call).min(MAX_PAUSE) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pauses of an update of this age, in ms.
    fn pauses(age_ms: u64) -> [u128; 6] {
        let mut rounds = Rounds::default();
        [(); 6].map(|()| {
            let (age, call) = (Duration::from_millis(age_ms), Duration::from_millis(8));
            rounds.next_pause(age, call, 0.5).as_millis()
        })
    }

    #[test]
    fn a_round_has_two_tries_between_which_another_update_can_end() {
        assert_eq!(pauses(0), [16, 180, 16, 180, 16, 180]);
    }

    #[test]
    fn a_round_of_an_old_update_has_three_tries_without_a_pause() {
        assert_eq!(pauses(1200), [0, 0, 180, 0, 0, 180]);
    }

    #[test]
    fn the_pause_between_two_rounds_is_random_and_no_other_pause_is_longer() {
        let pause = |lost, random| Rounds { lost }.next_pause(Duration::ZERO, Duration::from_secs(1), random);
        assert_eq!([pause(1, 0.0), pause(1, 1.0), pause(0, 0.0)], [MIN_PAUSE, MAX_PAUSE, MAX_PAUSE]);
    }
}
