//! The last 128 beats, and two numbers that tell an irregular rhythm from a regular one.

use pulseward_base::Micros;

use super::Taken;

/// How many intervals between beats are kept.
pub const BEATS: usize = 128;

/// Fewer intervals than this say nothing about a rhythm.
pub const LEAST_BEATS: usize = 32;

/// Two intervals match when they are this close: 30 ms, in tenths.
const MATCH: i16 = 300;

/// Intervals beyond these are taken for them: 0.2 s and 3 s, in tenths of a millisecond.
const SHORTEST: i16 = 2_000;
const LONGEST: i16 = 30_000;

/// Half the width of the Lorenz plot, in cells of 5 % of the median interval.
const CELLS: i32 = 12;

/// The newest intervals, in tenths of a millisecond, oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Beats {
    pub(super) intervals: Vec<u16>,
    pub(super) newest: Micros,
}

impl Default for Beats {
    fn default() -> Self {
        Self {
            intervals: Vec::new(),
            newest: Micros(i64::MIN),
        }
    }
}

/// What describes a rhythm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RhythmFeatures {
    /// Coefficient of sample entropy with m = 1, r = 30 ms, and the mean interval in seconds taken
    /// off (Lake and Moorman, 2011): high when each beat comes as a surprise.
    pub entropy: f64,
    /// How many distinct cells of the plot of successive differences are visited, the middle left
    /// out, for each beat: high when beats scatter, low when they repeat a pattern.
    pub occupied: f64,
}

impl Beats {
    pub(super) fn push(&mut self, time: Micros, tenths: i32) -> Taken {
        if time <= self.newest {
            return Taken::TooOld;
        }
        let Ok(interval) = u16::try_from(tenths) else {
            return Taken::Implausible;
        };
        self.newest = time;
        if self.intervals.len() == BEATS {
            self.intervals.remove(0);
        }
        self.intervals.push(interval);
        Taken::Yes
    }

    /// Returns how many intervals there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.intervals.len()
    }

    /// Returns whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// Returns what describes the rhythm; nothing with fewer than [`LEAST_BEATS`].
    #[must_use]
    pub fn features(&self) -> Option<RhythmFeatures> {
        let beats = self.clamped()?;
        Some(RhythmFeatures {
            entropy: entropy(&beats),
            occupied: occupied(&beats),
        })
    }

    /// Returns an interval that holds the entropy of any beats whose every interval is off by at
    /// most `error` tenths of a millisecond: matches are counted once as they surely stay and once
    /// as they possibly become. Sound; not tight.
    #[must_use]
    pub fn entropy_within(&self, error: i32) -> Option<(f64, f64)> {
        let beats = self.clamped()?;
        let error = i16::try_from(error.max(0)).unwrap_or(LONGEST);
        let slack = error.saturating_mul(2);
        let (sure_pairs, sure_runs) = matches(&beats, MATCH.saturating_sub(slack));
        let (may_pairs, may_runs) = matches(&beats, MATCH.saturating_add(slack));
        let mean = mean_seconds(&beats);
        let off = f64::from(error) / 10_000.0;
        let most_share = (at_least_one(may_runs) / at_least_one(sure_pairs)).min(1.0);
        let least_share = at_least_one(sure_runs) / at_least_one(may_pairs);
        // Logarithms are not correctly rounded; a hair outward covers that.
        let low = coefficient(most_share, mean + off) - 1e-9;
        let high = coefficient(least_share, (mean - off).max(1e-4)) + 1e-9;
        Some((low, high))
    }

    /// The intervals as their 16-bit computations take them.
    fn clamped(&self) -> Option<Vec<i16>> {
        let clamp = |interval: &u16| {
            i16::try_from(*interval).map_or(LONGEST, |short| short.clamp(SHORTEST, LONGEST))
        };
        (self.intervals.len() >= LEAST_BEATS).then(|| self.intervals.iter().map(clamp).collect())
    }
}

fn entropy(beats: &[i16]) -> f64 {
    let (pairs, runs) = matches(beats, MATCH);
    coefficient(
        at_least_one(runs) / at_least_one(pairs),
        mean_seconds(beats),
    )
}

fn coefficient(share: f64, mean_seconds: f64) -> f64 {
    -share.ln() + (2.0 * f64::from(MATCH) / 10_000.0).ln() - mean_seconds.ln()
}

fn at_least_one(count: u16) -> f64 {
    f64::from(count.max(1))
}

fn mean_seconds(beats: &[i16]) -> f64 {
    let sum: i64 = beats.iter().map(|beat| i64::from(*beat)).sum();
    sum as f64 / (beats.len() as f64 * 10_000.0)
}

/// Returns how many pairs of intervals match within `tolerance`, and how many of those are followed
/// by intervals that match too. Of 128 intervals there are 8,128 pairs, so 16 bits hold every count,
/// and eight pairs fit a register; each pair is compared once and read twice.
fn matches(beats: &[i16], tolerance: i16) -> (u16, u16) {
    let (mut pairs, mut runs) = (0_u16, 0_u16);
    let mut near = [0_u16; BEATS];
    for lag in 1..beats.len() {
        let late = beats.get(lag..).unwrap_or_default();
        for ((near, a), b) in near.iter_mut().zip(beats).zip(late) {
            // Both lie within 0.2 s and 3 s, so their difference fits as well.
            *near = u16::from((a - b).abs() <= tolerance);
        }
        let near = near.get(..late.len()).unwrap_or_default();
        for (first, next) in near.iter().zip(near.iter().skip(1)) {
            pairs += first;
            runs += first & next;
        }
    }
    (pairs, runs)
}

fn occupied(beats: &[i16]) -> f64 {
    let median_doubled = median_doubled(beats);
    // The cell is the difference over 5 % of the median, to the nearest whole number.
    let cell = |a: i16, b: i16| {
        let difference = i32::from(b) - i32::from(a);
        (difference * 80 + median_doubled)
            .div_euclid(2 * median_doubled)
            .clamp(-CELLS, CELLS)
    };
    let steps: Vec<i32> = beats
        .iter()
        .zip(beats.iter().skip(1))
        .map(|(a, b)| cell(*a, *b))
        .collect();
    const SIDE: usize = 2 * CELLS as usize + 1;
    let mut visited = [false; SIDE * SIDE];
    let mut count = 0_u32;
    for (a, b) in steps.iter().zip(steps.iter().skip(1)) {
        count += 1;
        let place = (a + CELLS) as usize * SIDE + (b + CELLS) as usize;
        if let Some(cell) = visited.get_mut(place) {
            *cell |= a.abs().max(b.abs()) > 1;
        }
    }
    let distinct = visited.iter().filter(|visited| **visited).count();
    distinct as f64 / f64::from(count.max(1))
}

/// Returns twice the median, so that an even count needs no half. All intervals are positive.
fn median_doubled(beats: &[i16]) -> i32 {
    let mut ordered = beats.to_vec();
    let middle = ordered.len() / 2;
    if middle == 0 {
        return 2 * beats.first().map_or(1, |beat| i32::from(*beat));
    }
    let (below, upper, _) = ordered.select_nth_unstable(middle);
    let upper = i32::from(*upper);
    let lower = if beats.len().is_multiple_of(2) {
        below.iter().max().map_or(upper, |most| i32::from(*most))
    } else {
        upper
    };
    upper + lower
}
