//! The last 128 beats, and two numbers that tell an irregular rhythm from a regular one.

use pulseward_base::Micros;

use super::Taken;

/// How many intervals between beats are kept.
pub const BEATS: usize = 128;

/// Fewer intervals than this say nothing about a rhythm.
pub const LEAST_BEATS: usize = 32;

/// Two intervals match when they are this close: 30 ms, in tenths.
const MATCH: i32 = 300;

/// Intervals beyond these are taken for them: 0.2 s and 3 s, in tenths of a millisecond.
const SHORTEST: i32 = 2_000;
const LONGEST: i32 = 30_000;

/// Half the width of the Lorenz plot, in cells of 5 % of the median interval.
const CELLS: i64 = 12;

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
        let beats: Vec<i32> = self
            .intervals
            .iter()
            .map(|interval| i32::from(*interval).clamp(SHORTEST, LONGEST))
            .collect();
        (beats.len() >= LEAST_BEATS).then(|| RhythmFeatures {
            entropy: entropy(&beats),
            occupied: occupied(&beats),
        })
    }

    /// Returns an interval that holds the entropy of any beats whose every interval is off by at
    /// most `error` tenths of a millisecond: matches are counted once as they surely stay and once
    /// as they possibly become. Sound; not tight.
    #[must_use]
    pub fn entropy_within(&self, error: i32) -> Option<(f64, f64)> {
        let beats: Vec<i32> = self
            .intervals
            .iter()
            .map(|interval| i32::from(*interval).clamp(SHORTEST, LONGEST))
            .collect();
        if beats.len() < LEAST_BEATS {
            return None;
        }
        let slack = error.max(0).saturating_mul(2);
        let (sure_pairs, sure_runs) = matches(&beats, MATCH.saturating_sub(slack));
        let (may_pairs, may_runs) = matches(&beats, MATCH.saturating_add(slack));
        let mean = mean_seconds(&beats);
        let off = f64::from(error.max(0)) / 10_000.0;
        let most_share = (at_least_one(may_runs) / at_least_one(sure_pairs)).min(1.0);
        let least_share = at_least_one(sure_runs) / at_least_one(may_pairs);
        // Logarithms are not correctly rounded; a hair outward covers that.
        let low = coefficient(most_share, mean + off) - 1e-9;
        let high = coefficient(least_share, (mean - off).max(1e-4)) + 1e-9;
        Some((low, high))
    }
}

fn entropy(beats: &[i32]) -> f64 {
    let (pairs, runs) = matches(beats, MATCH);
    coefficient(
        at_least_one(runs) / at_least_one(pairs),
        mean_seconds(beats),
    )
}

fn coefficient(share: f64, mean_seconds: f64) -> f64 {
    -share.ln() + (2.0 * f64::from(MATCH) / 10_000.0).ln() - mean_seconds.ln()
}

fn at_least_one(count: u32) -> f64 {
    f64::from(count.max(1))
}

fn mean_seconds(beats: &[i32]) -> f64 {
    let sum: i64 = beats.iter().map(|beat| i64::from(*beat)).sum();
    sum as f64 / (beats.len() as f64 * 10_000.0)
}

/// Returns how many pairs of intervals match within `tolerance`, and how many of those are followed
/// by intervals that match too.
fn matches(beats: &[i32], tolerance: i32) -> (u32, u32) {
    let near = |a: i32, b: i32| (a - b).abs() <= tolerance;
    let followed: Vec<(i32, i32)> = beats
        .iter()
        .copied()
        .zip(beats.iter().copied().skip(1))
        .collect();
    let (mut pairs, mut runs) = (0, 0);
    let mut rest = followed.as_slice();
    while let Some((&(beat, next), others)) = rest.split_first() {
        for &(other, after) in others {
            let matched = near(beat, other);
            pairs += u32::from(matched);
            runs += u32::from(matched & near(next, after));
        }
        rest = others;
    }
    (pairs, runs)
}

fn occupied(beats: &[i32]) -> f64 {
    let mut sorted = beats.to_vec();
    sorted.sort_unstable();
    // Twice the median, so that an even count needs no half.
    let upper = sorted.get(sorted.len() / 2).copied().unwrap_or(1);
    let lower = sorted.get((sorted.len() - 1) / 2).copied().unwrap_or(1);
    let median_doubled = i64::from(upper) + i64::from(lower);
    // The cell is the difference over 5 % of the median, to the nearest whole number.
    let cell = |a: i32, b: i32| {
        let difference = i64::from(b) - i64::from(a);
        (difference * 80 + median_doubled)
            .div_euclid(2 * median_doubled)
            .clamp(-CELLS, CELLS)
    };
    let steps: Vec<i64> = beats
        .iter()
        .zip(beats.iter().skip(1))
        .map(|(a, b)| cell(*a, *b))
        .collect();
    let mut visited: Vec<(i64, i64)> = steps
        .iter()
        .copied()
        .zip(steps.iter().copied().skip(1))
        .collect();
    let count = visited.len().max(1);
    visited.retain(|(a, b)| a.abs().max(b.abs()) > 1);
    visited.sort_unstable();
    visited.dedup();
    visited.len() as f64 / count as f64
}
