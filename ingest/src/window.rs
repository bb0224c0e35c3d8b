//! Which batches of one queue are known: the 64 newest one by one, older ones by what is missing.
//!
//! Invariants: every number up to `highest` is either in the window (known or not, by its bit), or
//! older and known unless a missing range holds it. The ranges ascend, do not touch, and there are
//! at most [`MISSING`] of them: a peer cannot make a window grow.

/// How many of the newest numbers are known one by one.
pub(crate) const WIDTH: u64 = 64;
/// How many ranges of missing numbers are remembered.
pub(crate) const MISSING: usize = 16;

/// The first eight bytes of a batch's digest, as answers carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Short(pub(crate) [u8; 8]);

/// What a window says of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It is known under another digest.
    Forked,
    /// It is known.
    Known,
    /// It is not known.
    New,
}

/// A number that would tear one hole more than a window remembers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more missing ranges than a window remembers")]
pub(crate) struct Scattered;

/// What is known of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    highest: Option<u64>,
    /// Bit `i` stands for `highest - i`.
    known: u64,
    /// The digest of number `n`, if known and in the window, lies at `n % WIDTH`.
    digests: Box<[Short; WIDTH as usize]>,
    missing: Vec<(u64, u64)>,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            highest: None,
            known: 0,
            digests: Box::new([Short::default(); WIDTH as usize]),
            missing: Vec::new(),
        }
    }
}

impl Window {
    /// Returns what is known of number `seq`. Past the window, digests are forgotten.
    #[must_use]
    pub(crate) fn place(&self, seq: u64, digest: Short) -> Place {
        let Some(highest) = self.highest else {
            return Place::New;
        };
        if seq > highest {
            return Place::New;
        }
        let age = highest - seq;
        let is_known = if age < WIDTH {
            self.known >> age & 1 == 1
        } else {
            !self.is_missing(seq)
        };
        match self.digest_of(seq) {
            _ if !is_known => Place::New,
            Some(known) if known != digest => Place::Forked,
            _ => Place::Known,
        }
    }

    /// Makes `seq` known. Nothing changes when that would tear a hole too many.
    pub(crate) fn insert(&mut self, seq: u64, digest: Short) -> Result<(), Scattered> {
        match self.highest {
            Some(highest) if seq <= highest => {
                let age = highest - seq;
                if age >= WIDTH {
                    return self.fill(seq);
                }
                self.known |= 1 << age;
            }
            _ => self.advance(seq)?,
        }
        if let Some(kept) = self.digests.get_mut(slot(seq)) {
            *kept = digest;
        }
        Ok(())
    }

    /// Makes `seq` unknown again. When too many holes are torn, the two nearest become one: what
    /// lies between them may then be taken twice, but nothing is lost.
    pub(crate) fn remove(&mut self, seq: u64) {
        let Some(highest) = self.highest.filter(|highest| seq <= *highest) else {
            return;
        };
        let age = highest - seq;
        if age < WIDTH {
            self.known &= !(1 << age);
        } else if !self.is_missing(seq) {
            self.missing.push((seq, seq));
            self.missing.sort_unstable();
            self.missing = joined(&self.missing);
            while self.missing.len() > MISSING {
                self.join_nearest();
            }
        }
    }

    /// Returns whether every number up to `seq` is known.
    #[must_use]
    pub(crate) fn is_complete_to(&self, seq: u64) -> bool {
        let Some(highest) = self.highest.filter(|highest| seq <= *highest) else {
            return false;
        };
        let has_hole = self.missing.first().is_some_and(|(first, _)| *first <= seq);
        let oldest = highest.saturating_sub(WIDTH - 1);
        !has_hole && (oldest..=seq).all(|number| self.known >> (highest - number) & 1 == 1)
    }

    fn is_missing(&self, seq: u64) -> bool {
        let holds = |(first, last): &(u64, u64)| (*first..=*last).contains(&seq);
        self.missing.iter().any(holds)
    }

    fn digest_of(&self, seq: u64) -> Option<Short> {
        let in_window = self.highest? - seq < WIDTH;
        self.digests.get(slot(seq)).copied().filter(|_| in_window)
    }

    /// Moves the window up to `seq`; what falls out unknown becomes missing.
    fn advance(&mut self, seq: u64) -> Result<(), Scattered> {
        let oldest = seq.saturating_sub(WIDTH - 1);
        let mut missing = self.missing.clone();
        let next = match self.highest {
            None => 0,
            Some(highest) => {
                let left = highest.saturating_sub(WIDTH - 1);
                let fallen = (left..=highest).take_while(|number| *number < oldest);
                let holes = fallen.filter(|number| self.known >> (highest - number) & 1 == 0);
                missing.extend(holes.map(|number| (number, number)));
                highest + 1
            }
        };
        if next < oldest {
            missing.push((next, oldest - 1));
        }
        let missing = joined(&missing);
        if missing.len() > MISSING {
            return Err(Scattered);
        }
        self.missing = missing;
        let step = self.highest.map_or(WIDTH, |highest| seq - highest);
        self.known = if step < WIDTH { self.known << step } else { 0 } | 1;
        self.highest = Some(seq);
        Ok(())
    }

    /// Takes `seq` out of the missing ranges.
    fn fill(&mut self, seq: u64) -> Result<(), Scattered> {
        let mut missing = Vec::with_capacity(self.missing.len() + 1);
        for &(first, last) in &self.missing {
            if !(first..=last).contains(&seq) {
                missing.push((first, last));
                continue;
            }
            if first < seq {
                missing.push((first, seq - 1));
            }
            if seq < last {
                missing.push((seq + 1, last));
            }
        }
        if missing.len() > MISSING {
            return Err(Scattered);
        }
        self.missing = missing;
        Ok(())
    }

    fn join_nearest(&mut self) {
        let gaps = self.missing.iter().zip(self.missing.iter().skip(1));
        let nearest = gaps
            .enumerate()
            .min_by_key(|(_, (left, right))| right.0 - left.1)
            .map(|(at, (left, right))| (at, (left.0, right.1)));
        if let Some((at, whole)) = nearest {
            self.missing.remove(at);
            if let Some(range) = self.missing.get_mut(at) {
                *range = whole;
            }
        }
    }
}

impl Window {
    /// Puts a window together; parts that no window has give none.
    #[must_use]
    pub(crate) fn from_parts(
        highest: u64,
        known: u64,
        digests: [Short; WIDTH as usize],
        missing: &[(u64, u64)],
    ) -> Option<Self> {
        let oldest = highest.saturating_sub(WIDTH - 1);
        let below = |(first, last): &(u64, u64)| first <= last && *last < oldest;
        let bits = highest - oldest + 1;
        let beyond = if bits < WIDTH { known >> bits } else { 0 };
        let holds = beyond == 0
            && missing.len() <= MISSING
            && missing.iter().all(below)
            && joined(missing) == missing;
        holds.then(|| Self {
            highest: Some(highest),
            known,
            digests: Box::new(digests),
            missing: missing.to_vec(),
        })
    }
}

fn slot(seq: u64) -> usize {
    usize::try_from(seq % WIDTH).unwrap_or(0)
}

/// Joins ranges that touch. They come in ascending order.
fn joined(ranges: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let mut joined: Vec<(u64, u64)> = Vec::with_capacity(ranges.len());
    for &(first, last) in ranges {
        match joined.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn short(seq: u64) -> Short {
        Short(seq.to_le_bytes())
    }

    #[test]
    fn a_number_is_known_once_it_is_inserted_and_forked_under_another_digest() {
        let mut window = Window::default();
        assert_eq!(window.place(0, short(0)), Place::New);
        window.insert(0, short(0)).unwrap();
        assert_eq!(window.place(0, short(0)), Place::Known);
        assert_eq!(window.place(0, short(1)), Place::Forked);
        assert_eq!(window.place(1, short(1)), Place::New);
    }

    #[test]
    fn what_was_skipped_is_new_for_ever_and_what_was_not_is_known_for_ever() {
        let mut window = Window::default();
        for seq in [0, 1, 5, 200] {
            window.insert(seq, short(seq)).unwrap();
        }
        for seq in 0..=200 {
            let expect = if [0, 1, 5, 200].contains(&seq) {
                Place::Known
            } else {
                Place::New
            };
            assert_eq!(window.place(seq, short(seq)), expect, "{seq}");
        }
        assert!(window.is_complete_to(1));
        assert!(!window.is_complete_to(5));
    }

    #[test]
    fn the_seventeenth_hole_is_refused_and_changes_nothing() {
        let mut window = Window::default();
        let mut seq = 0;
        while window.insert(seq, short(seq)).is_ok() {
            seq += 2 * WIDTH;
        }
        let before = window.clone();
        assert_eq!(window.insert(seq, short(seq)), Err(Scattered));
        assert_eq!(window, before);
        assert_eq!(window.missing.len(), MISSING);
    }

    #[test]
    fn the_ends_of_the_number_line_hold() {
        let mut window = Window::default();
        window.insert(u64::MAX, short(1)).unwrap();
        assert_eq!(window.place(u64::MAX, short(1)), Place::Known);
        assert_eq!(window.place(0, short(1)), Place::New);
        window.insert(0, short(0)).unwrap();
        assert_eq!(window.place(0, short(0)), Place::Known);
    }

    /// What a step of the property test does.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Insert(u64),
        Remove(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let near = 0_u64..400;
        let step = prop_oneof![
            5 => near.clone().prop_map(Step::Insert),
            1 => near.prop_map(Step::Remove),
        ];
        prop::collection::vec(step, 0..300)
    }

    proptest! {
        #[test]
        fn a_window_agrees_with_a_plain_set(steps in steps()) {
            let mut window = Window::default();
            let mut model = BTreeMap::new();
            let mut joined = false;
            for step in steps {
                let full = window.missing.len() == MISSING;
                match step {
                    Step::Insert(seq) => {
                        if window.insert(seq, short(seq)).is_ok() {
                            model.insert(seq, ());
                        }
                    }
                    Step::Remove(seq) => {
                        window.remove(seq);
                        model.remove(&seq);
                        joined |= full;
                    }
                }
                for seq in 0..400 {
                    let place = window.place(seq, short(seq));
                    let known = model.contains_key(&seq);
                    // Nothing that is not there is ever called known.
                    prop_assert!(known || place == Place::New, "{seq} {place:?}");
                    prop_assert!(!known || joined || place == Place::Known, "{seq} {place:?}");
                }
                if let Some(prefix) = (0..400).take_while(|seq| model.contains_key(seq)).last() {
                    prop_assert!(joined || window.is_complete_to(prefix));
                    prop_assert!(!window.is_complete_to(prefix + 1));
                }
            }
        }

        #[test]
        fn a_window_survives_being_taken_apart(steps in steps()) {
            let mut window = Window::default();
            for step in steps {
                if let Step::Insert(seq) = step
                    && window.insert(seq, short(seq)).is_err()
                {
                    break;
                }
            }
            if let Some(highest) = window.highest {
                let (known, digests) = (window.known, *window.digests);
                let again = Window::from_parts(highest, known, digests, &window.missing);
                prop_assert_eq!(again.unwrap(), window);
            }
        }
    }
}
