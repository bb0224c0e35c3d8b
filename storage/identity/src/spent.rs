//! Way-back slips that were used. One is forgotten after its expiry, when its date alone refuses it.

use std::collections::BTreeMap;

use pulseward_base::Micros;

use crate::error::Refusal;

/// How many unexpired slips may have been used.
pub(crate) const MOST_SPENT: usize = 1 << 20;

/// The slips, named by a keyed digest: their own ids are known to the pipeline as well, and the two
/// sides have no value in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Spent {
    /// The latest expiry among the slips that were forgotten: a slip that expires no later is
    /// refused, even if the clock was turned back since.
    pub(crate) forgotten_until: Micros,
    /// Keyed digest and expiry.
    pub(crate) slips: BTreeMap<[u8; 16], Micros>,
}

impl Default for Spent {
    fn default() -> Self {
        Self {
            forgotten_until: Micros(i64::MIN),
            slips: BTreeMap::new(),
        }
    }
}

impl Spent {
    /// Returns the list with one more slip and without those that have expired.
    pub(crate) fn with(
        &self,
        reference: [u8; 16],
        expiry: Micros,
        now: Micros,
    ) -> Result<Self, Refusal> {
        if self.slips.contains_key(&reference) {
            return Err(Refusal::Spent);
        }
        if expiry < now || expiry <= self.forgotten_until {
            return Err(Refusal::Expired);
        }
        let expired = self.slips.values().filter(|expiry| **expiry < now);
        let mut next = Self {
            forgotten_until: expired.copied().fold(self.forgotten_until, Micros::max),
            slips: BTreeMap::new(),
        };
        next.slips.extend(
            self.slips
                .iter()
                .filter(|(_, expiry)| **expiry >= now)
                .map(|(reference, expiry)| (*reference, *expiry)),
        );
        if next.slips.len() >= MOST_SPENT {
            return Err(Refusal::Full);
        }
        next.slips.insert(reference, expiry);
        Ok(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_used_once_even_after_it_was_forgotten_and_the_clock_turned_back() {
        let first = Spent::default()
            .with([1; 16], Micros(10), Micros(0))
            .unwrap();
        assert_eq!(
            first.with([1; 16], Micros(10), Micros(1)),
            Err(Refusal::Spent)
        );
        let second = first.with([2; 16], Micros(30), Micros(20)).unwrap();
        assert_eq!(second.slips.len(), 1);
        assert_eq!(
            second.with([1; 16], Micros(10), Micros(1)),
            Err(Refusal::Expired)
        );
        assert_eq!(
            second.with([4; 16], Micros(19), Micros(20)),
            Err(Refusal::Expired)
        );
        assert!(second.with([3; 16], Micros(11), Micros(1)).is_ok());
    }
}
