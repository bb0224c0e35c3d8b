//! A score that is a sum of one curve for each thing it looks at.
//!
//! A curve is a straight line between fixed knots. So every contribution can be drawn and told, and
//! over an interval its least and most are at the interval's ends or at a knot inside: bounds on the
//! sum follow without search. Where all curves rise with alarm and every feature is monotone in its
//! readings, the bounds are exact corners; otherwise they are sound, not tight.

mod fit;

pub use fit::{Basis, fit, fit_rising};

use crate::features::{Hold, Hours, PARTS, VITALS, VitalFeatures};

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
}

impl Looks {
    /// All of them; an artefact names them by their place here.
    pub const ALL: [Self; 8] = [
        Self::Last,
        Self::Mean6h,
        Self::Mean12h,
        Self::Deviation12h,
        Self::Least12h,
        Self::Most12h,
        Self::Rise6h,
        Self::AboveBaseline,
    ];

    /// Returns what it sees, in steps.
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
        }
    }

    /// Returns whether it rises with every reading.
    #[must_use]
    pub const fn is_monotone(self) -> bool {
        !matches!(
            self,
            Self::Deviation12h | Self::Rise6h | Self::AboveBaseline
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
        let features: [_; VITALS.len()] = std::array::from_fn(|vital| hours.features(vital));
        self.intercept
            + self
                .curves
                .iter()
                .map(|curve| curve.of(&features))
                .sum::<f64>()
    }

    /// Returns what each vital adds, over all its curves, against a patient of whom nothing is known.
    #[must_use]
    pub fn contributions(&self, hours: &Hours) -> [f64; VITALS.len()] {
        let features: [_; VITALS.len()] = std::array::from_fn(|vital| hours.features(vital));
        let mut adds = [0.0; VITALS.len()];
        for curve in &self.curves {
            if let Some(add) = adds.get_mut(curve.vital) {
                *add += curve.of(&features) - curve.missing;
            }
        }
        adds
    }

    /// Returns bounds on the score when every reading held for `hold` may be off by `quarters`
    /// quarters of its sensor's error. Exact when [`Additive::is_rising`], else sound only.
    #[must_use]
    pub fn within_error(&self, hours: &Hours, hold: Hold, quarters: u16) -> (f64, f64) {
        let moved = |sign: i64| -> [Option<VitalFeatures>; VITALS.len()] {
            std::array::from_fn(|vital| {
                let error = VITALS.get(vital).map_or(0, |kind| kind.spec().sensor_error);
                let parts = i64::from(error) * i64::from(quarters) * (PARTS / 4);
                hours.vital(vital)?.held(hold, sign * parts).features()
            })
        };
        let (down, true_, up) = (moved(-1), moved(0), moved(1));
        let (mut low, mut high) = (self.intercept, self.intercept);
        for curve in &self.curves {
            let of = |features: &[Option<VitalFeatures>]| {
                features
                    .get(curve.vital)
                    .copied()
                    .flatten()
                    .and_then(|f| curve.looks.at(&f))
            };
            let ends = if curve.looks.is_monotone() {
                of(&down).zip(of(&up))
            } else {
                // Each such feature is a difference of two, or a deviation, of readings each off by
                // the error: it moves by at most twice that.
                let error = VITALS
                    .get(curve.vital)
                    .map_or(0, |kind| kind.spec().sensor_error);
                let most = f64::from(error) * f64::from(quarters) / 2.0 + 1.0;
                of(&true_).map(|value| (value - most, value + most))
            };
            let (least, most) = ends.map_or((curve.missing, curve.missing), |(from, to)| {
                curve.between(from, to)
            });
            low += least;
            high += most;
        }
        (low, high)
    }

    /// Returns whether every curve goes one way and looks at something monotone, so that two corners
    /// are exact bounds.
    #[must_use]
    pub fn is_rising(&self) -> bool {
        self.curves.iter().all(|curve| {
            let rises = curve.knots.is_sorted_by(|a, b| a.1 <= b.1);
            let falls = curve.knots.is_sorted_by(|a, b| a.1 >= b.1);
            curve.looks.is_monotone() && (rises || falls)
        })
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

impl Curve {
    fn of(&self, features: &[Option<VitalFeatures>]) -> f64 {
        let value = features
            .get(self.vital)
            .copied()
            .flatten()
            .and_then(|f| self.looks.at(&f));
        value.map_or(self.missing, |value| self.height(value))
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

#[cfg(test)]
mod tests;
