//! Quantiles of a pool in which each patient weighs the same, by integer ranks.
//!
//! A patient's weight, [`WHOLE`], is shared out over one's rows as whole numbers that add up to it
//! exactly. Ranks are sums of such weights, so "half of all patients" and "r patients more" are exact
//! and ties fall where the proof says: with c(x) the weight at or below x, n patients, and r of them
//! altered, inserted or deleted, |c′(x) − c(x) − p·(n′ − n)·WHOLE| ≤ r·WHOLE; so the quantile p stays
//! between those at rank p·n ∓ r, as long as both are ranks at all.
//!
//! An anchor is the mean of the quantiles of a [`Band`]. What holds for each quantile of the band
//! holds for their mean, and a mean does not jump by a whole step of a coarse scale when one patient
//! is moved: the same patients give a tighter bracket.

/// What one patient weighs.
const WHOLE: u64 = 1 << 32;

/// The quantiles from one share to another, as fractions of the same whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Band {
    /// From so many.
    pub from: u64,
    /// To so many; the same for one quantile.
    pub to: u64,
    /// Of so many.
    pub in_: u64,
}

/// The values of a pool with the weight at or below each, rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranks {
    steps: Vec<Step>,
    patients: u64,
}

/// A value, the weight at or below it, and the sum of all values up to it, weighted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Step {
    value: i64,
    below: u64,
    sum: i128,
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
        let mut steps: Vec<Step> = Vec::new();
        let mut reached = Step::default();
        for (value, weight) in weighted {
            reached = Step {
                value,
                below: reached.below + weight,
                sum: reached.sum + i128::from(value) * i128::from(weight),
            };
            match steps.last_mut() {
                Some(last) if last.value == value => *last = reached,
                _ => steps.push(reached),
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

    /// Returns the least and the most that the mean of `band` can be when at most `poisoned` patients
    /// were altered, inserted or deleted; nothing when there is no such bound. Means are rounded down,
    /// which keeps their order.
    #[must_use]
    pub fn between(&self, band: Band, poisoned: u32) -> Option<[i64; 2]> {
        // Ranks count in so many parts of a weight that the band's ends are whole.
        let one = i128::from(WHOLE) * i128::from(band.in_);
        let moved = i128::from(poisoned) * one;
        let end = |share: u64| i128::from(self.patients) * i128::from(WHOLE) * i128::from(share);
        let (from, to) = (end(band.from), end(band.to));
        let least = self.mean(from - moved, to - moved, band.in_)?;
        let most = self.mean(from + moved, to + moved, band.in_)?;
        Some([least, most])
    }

    /// Returns the mean of the quantiles from one rank to another, in parts of a weight.
    fn mean(&self, from: i128, to: i128, parts: u64) -> Option<i64> {
        let all = i128::from(self.patients) * i128::from(WHOLE) * i128::from(parts);
        if to <= 0 || from < 0 || to > all {
            return None;
        }
        if from == to {
            let rank =
                to.div_euclid(i128::from(parts)) + i128::from(to.rem_euclid(i128::from(parts)) > 0);
            return self.step_at(rank).map(|(_, step)| step.value);
        }
        let sum = self.sum_to(to, parts)? - self.sum_to(from, parts)?;
        i64::try_from(sum.div_euclid(to - from)).ok()
    }

    /// Returns the sum of the quantiles up to a rank, times the parts of a weight.
    fn sum_to(&self, rank: i128, parts: u64) -> Option<i128> {
        let parts = i128::from(parts);
        if rank == 0 {
            return Some(0);
        }
        let whole = rank.div_euclid(parts) + i128::from(rank.rem_euclid(parts) > 0);
        let (before, step) = self.step_at(whole)?;
        Some(
            before.sum * parts + (rank - i128::from(before.below) * parts) * i128::from(step.value),
        )
    }

    /// Returns the first step with at least `rank` of weight at or below it, and the one before.
    fn step_at(&self, rank: i128) -> Option<(Step, Step)> {
        let index = self
            .steps
            .partition_point(|step| i128::from(step.below) < rank);
        let before = index
            .checked_sub(1)
            .and_then(|before| self.steps.get(before));
        Some((before.copied().unwrap_or_default(), *self.steps.get(index)?))
    }
}
