//! Which batches of one device queue have counted: each sequence number once.
//!
//! The newest 64 numbers are a window of bits; of what slid out of it unseen, up to sixteen ranges
//! are remembered and may still arrive. Everything else that is older has been seen, or is given up.

use pulseward_base::{Incarnation, Seq};

/// How many ranges of missing numbers are remembered; the oldest is given up first.
pub const MISSING_RANGES: usize = 16;

/// How many numbers the window covers.
pub const WINDOW: u64 = 64;

/// One queue of one device, as far as it has been seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Queue {
    /// Which queue.
    pub incarnation: Incarnation,
    /// The highest number seen.
    pub highest: Seq,
    /// Bit `i`: whether `highest - i` was seen.
    pub window: u64,
    /// First and last of what slid out of the window unseen, ascending.
    pub missing: Vec<(u64, u64)>,
}

impl Queue {
    /// Returns a queue of which `seq` is the first that was seen.
    #[must_use]
    pub fn starting_at(incarnation: Incarnation, seq: Seq) -> Self {
        let missing = seq
            .0
            .checked_sub(WINDOW)
            .map(|last| (0, last))
            .into_iter()
            .collect();
        let mut queue = Self {
            incarnation,
            highest: seq,
            window: 1,
            missing,
        };
        queue.give_up();
        queue
    }

    /// Marks `seq` as seen. Returns whether it had not been.
    pub fn take(&mut self, seq: Seq) -> bool {
        if let Some(ahead) = seq.0.checked_sub(self.highest.0).filter(|ahead| *ahead > 0) {
            self.advance(ahead);
            return true;
        }
        let back = self.highest.0.saturating_sub(seq.0);
        if back >= WINDOW {
            return self.fill(seq.0);
        }
        let bit = 1_u64 << back;
        let new = self.window & bit == 0;
        self.window |= bit;
        new
    }

    /// Returns how many numbers below the highest have not been seen and may still arrive.
    #[must_use]
    pub fn open(&self) -> u64 {
        let covered = self.highest.0.saturating_add(1).min(WINDOW);
        let in_window = covered - u64::from(self.window.count_ones());
        let older = self
            .missing
            .iter()
            .map(|(first, last)| last.saturating_sub(*first).saturating_add(1));
        older.fold(in_window, u64::saturating_add)
    }

    fn advance(&mut self, ahead: u64) {
        // What leaves the window: its oldest `ahead` numbers, then whatever is jumped over.
        for back in (0..WINDOW).rev() {
            let leaves = WINDOW - back <= ahead;
            let number = self.highest.0.checked_sub(back);
            if let Some(number) = number
                && leaves
                && self.window & (1 << back) == 0
            {
                self.miss(number, number);
            }
        }
        if ahead > WINDOW {
            self.miss(self.highest.0 + 1, self.highest.0 + (ahead - WINDOW));
        }
        self.window = if ahead >= WINDOW {
            1
        } else {
            self.window << ahead | 1
        };
        self.highest = Seq(self.highest.0 + ahead);
        self.give_up();
    }

    fn miss(&mut self, first: u64, last: u64) {
        match self.missing.last_mut() {
            Some(range) if range.1.checked_add(1) == Some(first) => range.1 = last,
            _ => self.missing.push((first, last)),
        }
    }

    fn fill(&mut self, seq: u64) -> bool {
        let Some(place) = self
            .missing
            .iter()
            .position(|(first, last)| (*first..=*last).contains(&seq))
        else {
            return false;
        };
        let (first, last) = self.missing.remove(place);
        if seq < last {
            self.missing.insert(place, (seq + 1, last));
        }
        if first < seq {
            self.missing.insert(place, (first, seq - 1));
        }
        self.give_up();
        true
    }

    fn give_up(&mut self) {
        let over = self.missing.len().saturating_sub(MISSING_RANGES);
        self.missing.drain(..over);
        // The state's layout spells a range as two 32-bit distances: what lies further back is given
        // up as well.
        let oldest = self.highest.0.saturating_sub(u64::from(u32::MAX));
        self.missing.retain(|(_, last)| *last >= oldest);
        for (first, _) in &mut self.missing {
            *first = oldest.max(*first);
        }
    }
}

/// Returns the order of a device's queues: by start time, then by their random half.
#[must_use]
pub fn age(incarnation: &Incarnation) -> (i64, [u8; 8]) {
    let (start, random) = incarnation.0.split_at(8);
    // Unwrap safety: both halves of sixteen bytes are eight.
    (
        start.try_into().map_or(0, i64::from_le_bytes),
        random.try_into().unwrap_or([0; 8]),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn queue() -> Queue {
        Queue::starting_at(Incarnation([1; 16]), Seq(0))
    }

    #[test]
    fn each_number_counts_once_in_any_order() {
        let mut queue = queue();
        for seq in [5, 3, 200, 4, 100, 1, 2] {
            assert!(queue.take(Seq(seq)), "{seq}");
        }
        for seq in [0, 1, 2, 3, 4, 5, 100, 200] {
            assert!(!queue.take(Seq(seq)), "{seq}");
        }
        assert_eq!(queue.open(), 201 - 8);
    }

    #[test]
    fn the_largest_number_does_no_harm() {
        let mut queue = queue();
        assert!(queue.take(Seq(u64::MAX)));
        assert!(!queue.take(Seq(u64::MAX)));
        assert!(queue.take(Seq(u64::MAX - 63)));
        assert!(queue.take(Seq(u64::MAX - 64)));
        assert!(!queue.take(Seq(7)), "given up, so it counts as seen");
    }

    #[test]
    fn queues_are_ordered_by_their_start() {
        let start = |time: i64, random: u8| {
            let mut bytes = [random; 16];
            bytes[..8].copy_from_slice(&time.to_le_bytes());
            Incarnation(bytes)
        };
        assert!(age(&start(256, 0)) > age(&start(255, 9)));
        assert!(age(&start(255, 9)) > age(&start(255, 8)));
        assert!(age(&start(-1, 9)) < age(&start(0, 0)));
    }

    proptest! {
        #[test]
        fn the_queue_equals_a_set_while_gaps_are_few(
            seqs in prop::collection::vec(0_u64..150, 1..200),
        ) {
            // Under 150 numbers there are at most 43 ranges, so keep to neighbours of multiples of ten.
            let seqs: Vec<u64> = seqs.into_iter().map(|seq| seq / 10 * 10).collect();
            let mut seen = BTreeSet::new();
            let mut queue: Option<Queue> = None;
            for seq in seqs {
                let new = match &mut queue {
                    None => { queue = Some(Queue::starting_at(Incarnation([0; 16]), Seq(seq))); true }
                    Some(queue) => queue.take(Seq(seq)),
                };
                prop_assert_eq!(new, seen.insert(seq));
            }
            let queue = queue.unwrap();
            prop_assert_eq!(queue.open(), queue.highest.0 + 1 - seen.len() as u64);
        }

        #[test]
        fn a_number_never_counts_twice(seqs in prop::collection::vec(any::<u64>(), 1..200), narrow: bool) {
            let mut seen = BTreeSet::new();
            let mut queue = queue();
            seen.insert(0);
            for seq in seqs {
                let seq = if narrow { seq % 4000 } else { seq };
                if queue.take(Seq(seq)) {
                    prop_assert!(seen.insert(seq));
                }
                prop_assert!(queue.missing.len() <= MISSING_RANGES);
            }
        }
    }
}
