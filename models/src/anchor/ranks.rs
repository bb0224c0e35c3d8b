//! Quantiles of a pool in which each patient weighs the same, by integer ranks.
//!
//! A patient's weight, [`WHOLE`], is shared out over one's rows as whole numbers that add up to it
//! exactly. Ranks are sums of such weights, so "half of all patients" and "r patients more" are exact
//! and ties fall where the proof says: with c(x) the weight at or below x, n patients, and r of them
//! altered, inserted or deleted, |c′(x) − c(x) − p·(n′ − n)·WHOLE| ≤ r·WHOLE; so the quantile p stays
//! between those at rank p·n ∓ r, as long as both are ranks at all.

/// What one patient weighs.
const WHOLE: u64 = 1 << 32;

/// A share as a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantile {
    /// So many.
    pub of: u64,
    /// Of so many.
    pub in_: u64,
}

/// The values of a pool with the weight at or below each, rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranks {
    steps: Vec<(i64, u64)>,
    patients: u64,
}

/// Where the two learned quantiles of a term lie, least and most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bracket {
    /// Of the one at which the hinge starts.
    pub near: [i64; 2],
    /// Of the one at which it is one.
    pub far: [i64; 2],
}

impl Ranks {
    /// Takes one list of values per patient; an empty one is no patient.
    #[must_use]
    pub fn new<'a>(patients: impl IntoIterator<Item = &'a [i64]>) -> Self {
        let mut weighted = Vec::new();
        let mut count = 0;
        for values in patients {
            if values.is_empty() {
                continue;
            }
            count += 1;
            let mut sorted = values.to_vec();
            sorted.sort_unstable();
            let rows = sorted.len() as u128;
            // The i-th row's share of the whole, rounded down as a running sum: it ends at the whole.
            let mut shared = 0;
            for (row, value) in (1..).zip(sorted) {
                let so_far = (u128::from(WHOLE) * row / rows) as u64;
                weighted.push((value, so_far - shared));
                shared = so_far;
            }
        }
        weighted.sort_unstable();
        let mut steps: Vec<(i64, u64)> = Vec::new();
        let mut total = 0;
        for (value, weight) in weighted {
            total += weight;
            match steps.last_mut() {
                Some(last) if last.0 == value => last.1 = total,
                _ => steps.push((value, total)),
            }
        }
        Self {
            steps,
            patients: count,
        }
    }

    /// Returns how many patients there are.
    #[must_use]
    pub const fn patients(&self) -> u64 {
        self.patients
    }

    /// Returns the least and the most that `quantile` can be when at most `poisoned` patients were
    /// altered, inserted or deleted; nothing when there is no such bound.
    #[must_use]
    pub fn between(&self, quantile: Quantile, poisoned: u32) -> Option<[i64; 2]> {
        let all = u128::from(self.patients) * u128::from(WHOLE);
        let rank = (all * u128::from(quantile.of)).div_ceil(u128::from(quantile.in_));
        let moved = u128::from(poisoned) * u128::from(WHOLE);
        let least = self.at(rank.checked_sub(moved)?)?;
        let most = self.at(rank.checked_add(moved)?)?;
        Some([least, most])
    }

    /// Returns the least value with at least `rank` of weight at or below it.
    fn at(&self, rank: u128) -> Option<i64> {
        if rank == 0 {
            return None;
        }
        let index = self
            .steps
            .partition_point(|(_, below)| u128::from(*below) < rank);
        self.steps.get(index).map(|step| step.0)
    }
}
