//! How good a score is: areas, shares, and how sure one can be of them.

/// Returns the area under the receiver operating characteristic: how often an event scores above a
/// non-event, ties counting half. Nothing without both kinds.
#[must_use]
pub fn auroc(scored: &[(f64, bool)]) -> Option<f64> {
    let mut sorted: Vec<&(f64, bool)> = scored.iter().collect();
    sorted.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let events = scored.iter().filter(|row| row.1).count();
    let others = scored.len() - events;
    if events == 0 || others == 0 {
        return None;
    }
    // Twice the number of pairs won, so that halves stay whole.
    let (mut won, mut below) = (0_u128, 0_u128);
    for tied in sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let hits = tied.iter().filter(|row| row.1).count() as u128;
        let misses = tied.len() as u128 - hits;
        won += hits * (2 * below + misses);
        below += misses;
    }
    Some(won as f64 / (2.0 * events as f64 * others as f64))
}

/// Returns the average precision; nothing without events.
#[must_use]
pub fn average_precision(scored: &[(f64, bool)]) -> Option<f64> {
    let mut sorted: Vec<&(f64, bool)> = scored.iter().collect();
    sorted.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let events = scored.iter().filter(|row| row.1).count();
    if events == 0 {
        return None;
    }
    let (mut seen, mut hits, mut sum) = (0_usize, 0_usize, 0.0);
    for tied in sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        let new = tied.iter().filter(|row| row.1).count();
        seen += tied.len();
        hits += new;
        sum += new as f64 * hits as f64 / seen as f64;
    }
    Some(sum / events as f64)
}

/// Returns the area within strata, weighted by each stratum's events: what is left of a score when
/// it cannot gain from knowing the stratum, such as how long a patient has been in.
#[must_use]
pub fn stratified_auroc(scored: &[(f64, bool, u32)]) -> Option<f64> {
    let mut sorted: Vec<&(f64, bool, u32)> = scored.iter().collect();
    sorted.sort_by_key(|row| row.2);
    let (mut sum, mut weight) = (0.0, 0.0);
    for stratum in sorted.chunk_by(|a, b| a.2 == b.2) {
        let rows: Vec<(f64, bool)> = stratum.iter().map(|row| (row.0, row.1)).collect();
        if let Some(area) = auroc(&rows) {
            let events = rows.iter().filter(|row| row.1).count() as f64;
            sum += events * area;
            weight += events;
        }
    }
    (weight > 0.0).then(|| sum / weight)
}

/// Returns the value below which `share` of `values` lie, by the next rank.
#[must_use]
pub fn quantile(values: &[f64], share: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    let rank = (share.clamp(0.0, 1.0) * last as f64).round() as usize;
    sorted.get(rank.min(last)).copied()
}

/// Returns `of` over `all`, zero for nothing.
#[must_use]
pub fn share(of: usize, all: usize) -> f64 {
    if all == 0 {
        0.0
    } else {
        of as f64 / all as f64
    }
}

/// Draws for resampling: the same from the same seed, on every machine.
#[derive(Clone, Debug)]
pub struct Draws(u64);

impl Draws {
    /// Starts from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next 64 bits (splitmix64).
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Returns a number below `limit`; zero when that is zero.
    pub const fn below(&mut self, limit: usize) -> usize {
        ((self.bits() as u128 * limit as u128) >> 64) as usize
    }

    /// Returns a number from 0 up to 1.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Returns the middle 95 % of a statistic over `rounds` resamples of `units` with replacement: units
/// are patients, because a patient's rows are not independent.
pub fn bootstrap(
    units: usize,
    rounds: usize,
    seed: u64,
    mut statistic: impl FnMut(&[usize]) -> Option<f64>,
) -> Option<(f64, f64)> {
    let mut draws = Draws::new(seed);
    let mut drawn = vec![0; units];
    let mut values = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        drawn.fill_with(|| draws.below(units));
        values.extend(statistic(&drawn));
    }
    Some((quantile(&values, 0.025)?, quantile(&values, 0.975)?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_area_is_the_share_of_pairs_won(scored in prop::collection::vec((-3..3_i32, any::<bool>()), 0..40)) {
            let scored: Vec<(f64, bool)> = scored.into_iter().map(|(score, event)| (f64::from(score), event)).collect();
            let (mut won, mut pairs) = (0.0, 0.0);
            for event in scored.iter().filter(|row| row.1) {
                for other in scored.iter().filter(|row| !row.1) {
                    pairs += 1.0;
                    won += if event.0 > other.0 { 1.0 } else if event.0 == other.0 { 0.5 } else { 0.0 };
                }
            }
            match auroc(&scored) {
                Some(area) => prop_assert!((area - won / pairs).abs() < 1e-12),
                None => prop_assert_eq!(pairs, 0.0),
            }
            let strata: Vec<_> = scored.iter().map(|row| (row.0, row.1, 7)).collect();
            let (stratified, plain) = (stratified_auroc(&strata), auroc(&scored));
            prop_assert_eq!(stratified.is_some(), plain.is_some());
            prop_assert!((stratified.unwrap_or(0.0) - plain.unwrap_or(0.0)).abs() < 1e-12);
        }
    }

    #[test]
    fn c18_a_score_that_only_knows_the_hour_is_worth_nothing_within_it() {
        let rows: Vec<_> = (0..100_u32)
            .map(|row| (f64::from(row / 10), row % 10 < row / 10, row / 10))
            .collect();
        assert_eq!(stratified_auroc(&rows), Some(0.5));
    }

    #[test]
    fn hostile_numbers_have_an_order_and_no_panic() {
        let rows = [
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e300,
            5e-324,
            0.0,
        ];
        let scored: Vec<_> = rows
            .iter()
            .enumerate()
            .map(|(index, score)| (*score, index % 2 == 0))
            .collect();
        assert!(auroc(&scored).is_some_and(|area| (0.0..=1.0).contains(&area)));
        assert!(average_precision(&scored).is_some_and(f64::is_finite));
        assert_eq!(
            (auroc(&[]), average_precision(&[]), quantile(&[], 0.5)),
            (None, None, None)
        );
        assert_eq!(auroc(&[(1.0, true)]), None);
    }

    #[test]
    fn perfect_precision_is_one() {
        assert_eq!(average_precision(&[(2.0, true), (1.0, false)]), Some(1.0));
        assert_eq!(average_precision(&[(1.0, true), (2.0, false)]), Some(0.5));
    }
}
