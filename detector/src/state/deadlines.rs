//! Who falls silent when: each patient by the earliest time at which something of theirs is due, so
//! that a tick of the clock looks at those alone, among however many.

use std::collections::{BTreeMap, BTreeSet};

use pulseward_base::{Micros, Pseudonym};

/// The patients that may fall silent.
#[derive(Clone, Debug, Default)]
pub(super) struct Deadlines {
    ordered: BTreeSet<(Micros, Pseudonym)>,
    of: BTreeMap<Pseudonym, Micros>,
}

impl Deadlines {
    /// Sets when something of a patient's is due; nothing of theirs may be.
    pub(super) fn set(&mut self, patient: Pseudonym, due: Option<Micros>) {
        let before = match due {
            Some(due) => self.of.insert(patient, due),
            None => self.of.remove(&patient),
        };
        if before == due {
            return;
        }
        if let Some(before) = before {
            self.ordered.remove(&(before, patient));
        }
        self.ordered.extend(due.map(|due| (due, patient)));
    }

    /// Returns for whom something is due at `now`, in the order of their names.
    pub(super) fn passed(&self, now: Micros) -> BTreeSet<Pseudonym> {
        let passed = self.ordered.range(..=(now, Pseudonym([u8::MAX; 16])));
        passed.map(|(_, patient)| *patient).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn those_due_are_the_ones_that_a_look_at_everybody_finds(
            set in prop::collection::vec((0_u8..8, prop::option::of(0_i64..20)), 0..60),
            now in 0_i64..20,
        ) {
            let mut deadlines = Deadlines::default();
            let mut everybody = BTreeMap::new();
            for (name, due) in set {
                let (patient, due) = (Pseudonym([name; 16]), due.map(Micros));
                deadlines.set(patient, due);
                everybody.insert(patient, due);
            }
            let due: BTreeSet<_> = everybody
                .iter()
                .filter(|(_, due)| due.is_some_and(|due| due <= Micros(now)))
                .map(|(patient, _)| *patient)
                .collect();
            prop_assert_eq!(deadlines.passed(Micros(now)), due);
            prop_assert_eq!(deadlines.ordered.len(), deadlines.of.len());
        }
    }
}
