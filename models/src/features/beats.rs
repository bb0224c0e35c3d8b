//! The last 128 beats, and two numbers that tell an irregular rhythm from a regular one.

use std::ops::Deref;

use pulseward_base::Micros;

use super::Taken;

/// How many intervals between beats are kept.
pub const BEATS: usize = 128;

/// Fewer intervals than this say nothing about a rhythm.
pub const LEAST_BEATS: usize = 32;

/// Two intervals match when they are this close: 30 ms, in tenths.
const MATCH: u16 = 300;

/// Intervals beyond these are taken for them: 0.2 s and 3 s, in tenths of a millisecond.
const SHORTEST: u16 = 2_000;
const LONGEST: u16 = 30_000;

/// Half the width of the Lorenz plot, in cells of 5 % of the median interval.
const CELLS: u32 = 12;

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
        let error = u16::try_from(error.max(0)).unwrap_or(LONGEST).min(LONGEST);
        let slack = error.saturating_mul(2);
        // What may not differ at all does not match for sure.
        let sure = MATCH.checked_sub(slack);
        let (sure_pairs, sure_runs) = sure.map_or((0, 0), |sure| matches(&beats, sure));
        let (may_pairs, may_runs) = matches(&beats, MATCH.saturating_add(slack).min(LONGEST));
        let mean = mean_seconds(&beats);
        let off = f64::from(error) / 10_000.0;
        let most_share = (at_least_one(may_runs) / at_least_one(sure_pairs)).min(1.0);
        let least_share = at_least_one(sure_runs) / at_least_one(may_pairs);
        // Logarithms are not correctly rounded; a hair outward covers that.
        let low = coefficient(most_share, mean + off) - 1e-9;
        let high = coefficient(least_share, (mean - off).max(1e-4)) + 1e-9;
        Some((low, high))
    }

    /// The intervals as computations take them.
    fn clamped(&self) -> Option<Clamped> {
        let len = self.intervals.len();
        if len < LEAST_BEATS {
            return None;
        }
        let mut beats = [0; BEATS];
        for (slot, interval) in beats.iter_mut().zip(&self.intervals) {
            *slot = (*interval).clamp(SHORTEST, LONGEST);
        }
        Some(Clamped { beats, len })
    }
}

/// Intervals within [`SHORTEST`] and [`LONGEST`], and how many there are.
struct Clamped {
    beats: [u16; BEATS],
    len: usize,
}

impl Deref for Clamped {
    type Target = [u16];

    fn deref(&self) -> &[u16] {
        self.beats.get(..self.len).unwrap_or_default()
    }
}

fn entropy(beats: &[u16]) -> f64 {
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

fn mean_seconds(beats: &[u16]) -> f64 {
    let sum: u32 = beats.iter().map(|beat| u32::from(*beat)).sum();
    f64::from(sum) / (beats.len() as f64 * 10_000.0)
}

/// How many pairs are compared at once: 16 bits each, a register or two full.
const LANES: usize = 16;

/// Farther from every interval, and from zero, than any tolerance reaches.
const NOWHERE: u16 = u16::MAX;

/// Returns how many pairs of intervals that are not the last match within `tolerance`, and how many
/// of those are followed by intervals that match too. Of 128 intervals there are 8,128 pairs, so 16
/// bits hold every count. What fills up the last lanes matches nothing.
fn matches(beats: &[u16], tolerance: u16) -> (u16, u16) {
    let beats = beats.get(..beats.len().min(BEATS)).unwrap_or_default();
    let mut early = [0; BEATS + LANES + 1];
    let mut late = [NOWHERE; 2 * BEATS + LANES + 1];
    for ((early, late), beat) in early.iter_mut().zip(&mut late).zip(beats) {
        (*early, *late) = (*beat, *beat);
    }
    // The last interval has none that follows it, so it is in no pair.
    let mut late_but_last = late;
    let last = beats.len().checked_sub(1);
    if let Some(last) = last.and_then(|last| late_but_last.get_mut(last)) {
        *last = NOWHERE;
    }
    let (mut pairs, mut runs) = ([0; LANES], [0; LANES]);
    for lag in 1..beats.len() {
        let blocks = (beats.len() - lag).div_ceil(LANES);
        let firsts = lanes(&early, 0).zip(lanes(&late_but_last, lag));
        let nexts = lanes(&early, 1).zip(lanes(&late, lag + 1));
        for (first, next) in firsts.zip(nexts).take(blocks) {
            count_matches(first, next, tolerance, &mut pairs, &mut runs);
        }
    }
    (pairs.iter().sum(), runs.iter().sum())
}

fn lanes(beats: &[u16], from: usize) -> impl Iterator<Item = &[u16; LANES]> {
    beats.get(from..).unwrap_or_default().as_chunks().0.iter()
}

type Pairs<'a> = (&'a [u16; LANES], &'a [u16; LANES]);

fn count_matches(
    first: Pairs<'_>,
    next: Pairs<'_>,
    tolerance: u16,
    pairs: &mut [u16; LANES],
    runs: &mut [u16; LANES],
) {
    let match_ = |a: u16, b: u16| u16::from(a.abs_diff(b) <= tolerance);
    let first = first.0.iter().zip(first.1);
    let next = next.0.iter().zip(next.1);
    let counts = pairs.iter_mut().zip(runs);
    for (((a, b), (c, d)), (pairs, runs)) in first.zip(next).zip(counts) {
        let is_first = match_(*a, *b);
        *pairs += is_first;
        *runs += is_first & match_(*c, *d);
    }
}

/// The side of the Lorenz plot, in cells.
const SIDE: usize = 2 * CELLS as usize + 1;

fn occupied(beats: &[u16]) -> f64 {
    let median_doubled = f64::from(median_doubled(beats));
    // The cell is the difference over 5 % of the median, to the nearest whole number, counted from the
    // plot's side: a quotient of two small whole numbers, rounded down. It is either whole or farther
    // than a hair from being so, and a product with the inverse is off by far less than a hair.
    const HAIR: f64 = 1e-9;
    let (inverse, side) = (0.5 / median_doubled, f64::from(CELLS));
    let cell = |a: u16, b: u16| {
        let difference = f64::from(i32::from(b) - i32::from(a));
        let cells = (difference * 80.0 + median_doubled) * inverse + HAIR;
        (cells.clamp(-side, side) + side) as u32
    };
    let middle = |cell: u32| cell.abs_diff(CELLS) <= 1;
    let mut visited = [0_u32; SIDE];
    let mut steps = beats
        .iter()
        .zip(beats.iter().skip(1))
        .map(|(a, b)| cell(*a, *b));
    let mut before = steps.next().unwrap_or(CELLS);
    for step in steps {
        if let Some(row) = visited.get_mut(before as usize) {
            *row |= u32::from(!(middle(before) && middle(step))) << step;
        }
        before = step;
    }
    let distinct: u32 = visited.iter().map(|row| row.count_ones()).sum();
    let count = u32::try_from(beats.len().saturating_sub(2)).unwrap_or(u32::MAX);
    f64::from(distinct) / f64::from(count.max(1))
}

/// Returns twice the median, so that an even count needs no half. All intervals are positive.
fn median_doubled(beats: &[u16]) -> u32 {
    let middle = beats.len() / 2;
    let upper = ranked(beats, middle);
    let below = beats.iter().map(|beat| u16::from(*beat < upper));
    let lower = if beats.len().is_multiple_of(2) && usize::from(below.sum::<u16>()) == middle {
        let below = beats.iter().filter(|beat| **beat < upper);
        below.max().copied().unwrap_or(upper)
    } else {
        upper
    };
    u32::from(upper) + u32::from(lower)
}

/// Returns the beat that `rank` others do not exceed: the least number that more than so many do not.
/// Counting all of them fifteen times is faster than ordering them.
fn ranked(beats: &[u16], rank: usize) -> u16 {
    let (mut low, mut high) = (SHORTEST, LONGEST);
    while low < high {
        let middle = low.midpoint(high);
        let within = beats.iter().map(|beat| u16::from(*beat <= middle));
        if usize::from(within.sum::<u16>()) > rank {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}
