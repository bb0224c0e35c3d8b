//! A score that is a sum of one curve for each thing it looks at.
//!
//! A curve is a straight line between fixed knots. So every contribution can be drawn and told, and
//! over an interval its least and most are at the interval's ends or at a knot inside: bounds on the
//! sum follow without search. Where all curves rise with alarm and every feature is monotone in its
//! readings, the bounds are exact corners, but for a vital with curves both ways; otherwise they are sound,
//! not tight.
//!
//! A *change* score is such a sum too: a curve's mean height over the last three hours, less a share of
//! its mean height over all of the window's. It alarms when risk has risen, not when it is high.

mod fit;
mod rising;

pub use fit::{Basis, fit, fit_change};
pub use rising::{RisingSettings, fit_rising};

use std::cell::OnceCell;

use crate::features::{HOURS, Hold, Hours, PARTS, VITALS, VitalFeatures, VitalHours};

/// What a curve looks at in its vital.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Looks {
    /// [`VitalFeatures::last`].
    Last,
    /// [`VitalFeatures::mean_6h`].
    Mean6h,
    /// [`VitalFeatures::mean_12h`].
    Mean12h,
    /// [`VitalFeatures::deviation_12h`].
    Deviation12h,
    /// [`VitalFeatures::least_12h`].
    Least12h,
    /// [`VitalFeatures::most_12h`].
    Most12h,
    /// [`VitalFeatures::rise_6h`].
    Rise6h,
    /// [`VitalFeatures::above_baseline`].
    AboveBaseline,
    /// Each of the last twelve hours, standing for itself or for the one before: the curve's mean
    /// height over them counts.
    EachHour,
    /// The same of the last three.
    NewestHours,
}

impl Looks {
    /// All of them; an artefact names them by their place here.
    pub const ALL: [Self; 10] = [
        Self::Last,
        Self::Mean6h,
        Self::Mean12h,
        Self::Deviation12h,
        Self::Least12h,
        Self::Most12h,
        Self::Rise6h,
        Self::AboveBaseline,
        Self::EachHour,
        Self::NewestHours,
    ];

    /// Returns the one number it sees, in steps.
    #[must_use]
    pub const fn at(self, features: &VitalFeatures) -> Option<f64> {
        match self {
            Self::Last => Some(features.last),
            Self::Mean6h => Some(features.mean_6h),
            Self::Mean12h => Some(features.mean_12h),
            Self::Deviation12h => features.deviation_12h,
            Self::Least12h => Some(features.least_12h),
            Self::Most12h => Some(features.most_12h),
            Self::Rise6h => Some(features.rise_6h),
            Self::AboveBaseline => Some(features.above_baseline),
            Self::EachHour | Self::NewestHours => None,
        }
    }

    /// Returns how many hours it sees one by one, if it does.
    const fn hours(self) -> Option<usize> {
        match self {
            Self::EachHour => Some(HOURS),
            Self::NewestHours => Some(3),
            _ => None,
        }
    }

    /// Returns whether it rises with every reading.
    #[must_use]
    pub const fn is_monotone(self) -> bool {
        !matches!(
            self,
            Self::Deviation12h
                | Self::Rise6h
                | Self::AboveBaseline
                | Self::EachHour
                | Self::NewestHours
        )
    }
}

/// One curve.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    /// The place of its vital in [`VITALS`].
    pub vital: usize,
    /// What it looks at.
    pub looks: Looks,
    /// Knots, rising, in steps, and the curve's height at each. Beyond the ends it is level.
    pub knots: Vec<(f64, f64)>,
    /// What it adds when there is nothing to look at.
    pub missing: f64,
}

/// A sum of curves.
#[derive(Clone, Debug, PartialEq)]
pub struct Additive {
    curves: Vec<Curve>,
    intercept: f64,
    threshold: f64,
}

/// The most knots an additive score may have in all.
pub const MOST_KNOTS: usize = 4096;

impl Additive {
    /// Makes a score; none of curves that are no curves.
    #[must_use]
    pub fn new(curves: Vec<Curve>, intercept: f64, threshold: f64) -> Option<Self> {
        let sound = curves.iter().all(|curve| {
            curve.vital < VITALS.len()
                && !curve.knots.is_empty()
                && curve.missing.is_finite()
                && curve
                    .knots
                    .iter()
                    .all(|knot| knot.0.is_finite() && knot.1.is_finite())
                && curve.knots.is_sorted_by(|a, b| a.0 < b.0)
        });
        let knots: usize = curves.iter().map(|curve| curve.knots.len()).sum();
        (sound && knots <= MOST_KNOTS && intercept.is_finite() && threshold.is_finite()).then_some(
            Self {
                curves,
                intercept,
                threshold,
            },
        )
    }

    /// Returns the score: the logarithm of the odds.
    #[must_use]
    pub fn score(&self, hours: &Hours) -> f64 {
        let seen = Seen::of(hours.vitals());
        let adds = self.curves.iter().map(|curve| curve.of(&seen));
        self.intercept + adds.sum::<f64>()
    }

    /// Returns what each vital adds, over all its curves, against a patient of whom nothing is known.
    #[must_use]
    pub fn contributions(&self, hours: &Hours) -> [f64; VITALS.len()] {
        let seen = Seen::of(hours.vitals());
        let mut adds = [0.0; VITALS.len()];
        for curve in &self.curves {
            if let Some(add) = adds.get_mut(curve.vital) {
                *add += curve.of(&seen) - curve.missing;
            }
        }
        adds
    }

    /// Returns bounds on the score when every reading held for `hold` may be off by `quarters`
    /// quarters of its sensor's error. Exact when [`Additive::is_rising`] and no vital has curves both
    /// ways, else sound only.
    #[must_use]
    pub fn within_error(&self, hours: &Hours, hold: Hold, quarters: u16) -> (f64, f64) {
        let moved = |sign: i64| -> [VitalHours; VITALS.len()] {
            std::array::from_fn(|vital| {
                let error = VITALS.get(vital).map_or(0, |kind| kind.spec().sensor_error);
                let parts = i64::from(error) * i64::from(quarters) * (PARTS / 4);
                let hours = hours.vital(vital).copied().unwrap_or_default();
                hours.held(hold, sign * parts)
            })
        };
        let ends = [-1, 0, 1].map(moved);
        let ends = ends.each_ref().map(Seen::of);
        let (mut low, mut high) = (self.intercept, self.intercept);
        for curve in &self.curves {
            let (least, most) = curve.within(&ends, quarters);
            low += least;
            high += most;
        }
        (low, high)
    }

    /// Returns whether every curve goes one way and looks at something monotone, so that two corners
    /// bound each.
    #[must_use]
    pub fn is_rising(&self) -> bool {
        self.curves.iter().all(|curve| {
            let rises = curve.knots.is_sorted_by(|a, b| a.1 <= b.1);
            let falls = curve.knots.is_sorted_by(|a, b| a.1 >= b.1);
            curve.looks.is_monotone() && (rises || falls)
        })
    }

    /// Returns whether it compares a patient with the hours before.
    #[must_use]
    pub fn is_change(&self) -> bool {
        self.curves
            .iter()
            .any(|curve| curve.looks == Looks::EachHour)
    }

    /// Returns whether `score` alerts.
    #[must_use]
    pub fn alerts(&self, score: f64) -> bool {
        score > self.threshold
    }

    /// Returns the threshold.
    #[must_use]
    pub const fn threshold(&self) -> f64 {
        self.threshold
    }

    /// Returns the same score with another threshold.
    #[must_use]
    pub const fn with_threshold(mut self, threshold: f64) -> Self {
        self.threshold = threshold;
        self
    }

    /// Returns the curves.
    #[must_use]
    pub fn curves(&self) -> &[Curve] {
        &self.curves
    }

    /// Returns what is added to all curves.
    #[must_use]
    pub const fn intercept(&self) -> f64 {
        self.intercept
    }
}

/// What curves look at: the vitals that are known.
struct Seen<'a>([Option<SeenVital<'a>>; VITALS.len()]);

/// A vital that is known: its hours, and what describes them once a curve asks for it.
struct SeenVital<'a> {
    hours: &'a VitalHours,
    features: OnceCell<Option<VitalFeatures>>,
}

impl<'a> Seen<'a> {
    fn of(vitals: &'a [VitalHours; VITALS.len()]) -> Self {
        Self(vitals.each_ref().map(SeenVital::of))
    }

    fn vital(&self, index: usize) -> Option<&SeenVital<'a>> {
        self.0.get(index)?.as_ref()
    }
}

impl<'a> SeenVital<'a> {
    fn of(hours: &'a VitalHours) -> Option<Self> {
        hours.last().map(|_| Self {
            hours,
            features: OnceCell::new(),
        })
    }

    fn at(&self, looks: Looks) -> Option<f64> {
        let features = self.features.get_or_init(|| self.hours.features());
        looks.at(features.as_ref()?)
    }
}

impl Curve {
    fn of(&self, seen: &Seen<'_>) -> f64 {
        let Some(vital) = seen.vital(self.vital) else {
            return self.missing;
        };
        if let Some(hours) = self.looks.hours() {
            return self.mean_height(vital.hours, hours).unwrap_or(self.missing);
        }
        let value = vital.at(self.looks);
        value.map_or(self.missing, |value| self.height(value))
    }

    /// Returns its mean height over the newest hours. Most hours stand in for others, so a height is
    /// looked up only where the value is another.
    fn mean_height(&self, hours: &VitalHours, newest: usize) -> Option<f64> {
        let mut known = None;
        let heights = hours.each_filled(newest).map(|value| match known {
            Some((same, height)) if same == value => height,
            _ => {
                let height = self.height(steps(value));
                known = Some((value, height));
                height
            }
        });
        mean(heights)
    }

    /// Returns the least and most it adds between two ends: everything as low as it can be, as it is,
    /// and as high as it can be.
    fn within(&self, [down, true_, up]: &[Seen<'_>; 3], quarters: u16) -> (f64, f64) {
        if let Some(newest) = self.looks.hours() {
            let Some((low, high)) = down.vital(self.vital).zip(up.vital(self.vital)) else {
                return (self.missing, self.missing);
            };
            let between = || {
                let low = low.hours.each_filled(newest);
                let ends = low.zip(high.hours.each_filled(newest));
                ends.map(|(from, to)| self.between(steps(from), steps(to)))
            };
            let least = mean(between().map(|ends| ends.0));
            let most = mean(between().map(|ends| ends.1));
            return (least.unwrap_or(self.missing), most.unwrap_or(self.missing));
        }
        let at = |seen: &Seen<'_>| seen.vital(self.vital)?.at(self.looks);
        let ends = if self.looks.is_monotone() {
            at(down).zip(at(up))
        } else {
            // Each such feature is a difference of two, or a deviation, of readings each off by the
            // error: it moves by at most twice that.
            let error = VITALS
                .get(self.vital)
                .map_or(0, |kind| kind.spec().sensor_error);
            let most = f64::from(error) * f64::from(quarters) / 2.0 + 1.0;
            at(true_).map(|value| (value - most, value + most))
        };
        ends.map_or((self.missing, self.missing), |(from, to)| {
            self.between(from, to)
        })
    }

    /// Returns the curve's height at `value`.
    fn height(&self, value: f64) -> f64 {
        let after = self.knots.partition_point(|knot| knot.0 <= value);
        let before = after.checked_sub(1).and_then(|index| self.knots.get(index));
        match (before, self.knots.get(after)) {
            (Some(a), Some(b)) => a.1 + (b.1 - a.1) * ((value - a.0) / (b.0 - a.0)),
            (Some(end), None) | (None, Some(end)) => end.1,
            (None, None) => self.missing,
        }
    }

    /// Returns the least and most height from `from` to `to`.
    fn between(&self, from: f64, to: f64) -> (f64, f64) {
        let (a, b) = (self.height(from), self.height(to));
        let inside = self
            .knots
            .iter()
            .filter(|knot| from < knot.0 && knot.0 < to);
        inside.fold((a.min(b), a.max(b)), |(least, most), knot| {
            (least.min(knot.1), most.max(knot.1))
        })
    }
}

fn steps(parts: i64) -> f64 {
    parts as f64 / PARTS as f64
}

fn mean(heights: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = heights.fold((0.0, 0_u32), |(sum, count), height| {
        (sum + height, count + 1)
    });
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests;
