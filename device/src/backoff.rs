//! How long to wait before the next try: longer each time, spread out, so that a fleet that lost
//! its service does not come back all at once.

use std::time::Duration;

use crate::dice::Dice;

/// Waits that double up to a bound, each between half and all of its length.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    dice: Dice,
}

impl Backoff {
    /// Returns waits from `first` to `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration, dice: Dice) -> Self {
        Self {
            first,
            longest,
            next: first,
            dice,
        }
    }

    /// Returns the next wait.
    pub fn wait(&mut self) -> Duration {
        let whole = self.next.min(self.longest);
        self.next = whole.saturating_mul(2);
        whole.mul_f64(self.dice.between(0.5, 1.0))
    }

    /// Begins anew, after something went well.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_within_their_bounds_and_begin_anew() {
        let (first, longest) = (Duration::from_millis(100), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, longest, Dice::new(1));
        for whole in [100, 200, 400, 800, 1000, 1000] {
            let (wait, whole) = (backoff.wait(), Duration::from_millis(whole));
            assert!(whole / 2 <= wait && wait <= whole, "{wait:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= first);
    }
}
