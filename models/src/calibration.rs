//! How far scores can be read as probabilities: as they stand, and after a recalibration on other
//! patients.
//!
//! Agreement is told by two numbers. The *slope* is what the logarithm of odds has to be multiplied by
//! to fit best: below one, scores are too extreme. The *intercept* is what has to be added when the slope
//! stays one: above zero, events are more frequent than told. One and zero are perfect.

use crate::measure::share;

/// Odds beyond these are told apart by nobody.
const FARTHEST: f64 = 100.0;

/// How many bins a plot shows.
const BINS: usize = 10;

/// How many steps a fit takes; each at least doubles the right digits.
const STEPS: usize = 60;

/// A logarithm of odds as a line of a score, by which scores become probabilities.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recalibration {
    /// What a score is multiplied by.
    pub slope: f64,
    /// What is added.
    pub intercept: f64,
}

/// How well logarithms of odds agree with what happened.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Agreement {
    /// One is perfect, below one is too extreme.
    pub slope: f64,
    /// With a slope of one: zero is perfect, above zero is too low.
    pub intercept: f64,
}

/// Windows of similar predicted probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bin {
    /// The mean probability predicted.
    pub predicted: f64,
    /// The share that had the event.
    pub observed: f64,
    /// How many.
    pub windows: usize,
}

/// How probabilities agree with what happened, on the same half of the patients.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calibration {
    /// Of scores as they stand, read as logarithms of odds.
    pub home: Agreement,
    /// The same by rising probability.
    pub home_bins: Vec<Bin>,
    /// Of scores recalibrated on the other half.
    pub after: Agreement,
    /// The same by rising probability.
    pub bins: Vec<Bin>,
}

impl Recalibration {
    /// Fits the line to scores and events, by Newton's steps. Nothing when there are not both kinds,
    /// or when scores tell them apart without exception.
    #[must_use]
    pub fn fit(rows: &[(f64, bool)]) -> Option<Self> {
        let (mean, width) = spread(rows)?;
        let standard = |score: f64| (score.clamp(-FARTHEST, FARTHEST) - mean) / width;
        let events = rows.iter().filter(|row| row.1).count();
        let prior = share(events, rows.len());
        let mut line = (0.0, (prior / (1.0 - prior)).ln());
        for _ in 0..STEPS {
            // Gradient and curvature of the likelihood.
            let (mut g0, mut g1, mut h00, mut h01, mut h11) = (0.0, 0.0, 0.0, 0.0, 0.0);
            for (score, event) in rows {
                let x = standard(*score);
                let chance = probability(line.1 + line.0 * x);
                let error = f64::from(u8::from(*event)) - chance;
                let weight = chance * (1.0 - chance);
                (g0, g1) = (g0 + error, g1 + error * x);
                (h00, h01, h11) = (h00 + weight, h01 + weight * x, h11 + weight * x * x);
            }
            let determinant = h00 * h11 - h01 * h01;
            if determinant.is_nan() || determinant <= 1e-12 * h00 * h11 {
                return None;
            }
            let by = (
                (h00 * g1 - h01 * g0) / determinant,
                (h11 * g0 - h01 * g1) / determinant,
            );
            line = (line.0 + by.0, line.1 + by.1);
            if by.0.abs().max(by.1.abs()) < 1e-10 {
                let slope = line.0 / width;
                let intercept = line.1 - slope * mean;
                return Some(Self { slope, intercept });
            }
        }
        None
    }

    /// Returns the logarithm of odds of a score.
    #[must_use]
    pub fn odds(&self, score: f64) -> f64 {
        self.intercept + self.slope * score.clamp(-FARTHEST, FARTHEST)
    }
}

impl Agreement {
    /// Compares logarithms of odds with what happened.
    #[must_use]
    pub fn of(rows: &[(f64, bool)]) -> Option<Self> {
        let slope = Recalibration::fit(rows)?.slope;
        let events = rows.iter().filter(|row| row.1).count() as f64;
        let told = |by: f64| -> f64 {
            let odds = rows.iter().map(|row| row.0.clamp(-FARTHEST, FARTHEST));
            odds.map(|odds| probability(odds + by)).sum()
        };
        // What is told grows with what is added, so halving finds it.
        let (mut low, mut high) = (-2.0 * FARTHEST, 2.0 * FARTHEST);
        for _ in 0..STEPS {
            let middle = f64::midpoint(low, high);
            if told(middle) < events {
                low = middle;
            } else {
                high = middle;
            }
        }
        let intercept = f64::midpoint(low, high);
        Some(Self { slope, intercept })
    }
}

impl Calibration {
    /// Recalibrates on every other patient and compares on the rest. Nothing when a half has not both
    /// kinds of windows.
    #[must_use]
    pub fn of(patients: &[Vec<(f64, bool)>]) -> Option<Self> {
        let half = |odd: usize| -> Vec<(f64, bool)> {
            let patients = patients.iter().skip(odd).step_by(2);
            patients.flatten().copied().collect()
        };
        let line = Recalibration::fit(&half(0))?;
        let home = half(1);
        let after: Vec<_> = home.iter().map(|row| (line.odds(row.0), row.1)).collect();
        Some(Self {
            home: Agreement::of(&home)?,
            home_bins: bins(&home),
            after: Agreement::of(&after)?,
            bins: bins(&after),
        })
    }
}

/// The mean and the standard deviation of scores; nothing when they are all one, or one kind is missing.
fn spread(rows: &[(f64, bool)]) -> Option<(f64, f64)> {
    let scores = || rows.iter().map(|row| row.0.clamp(-FARTHEST, FARTHEST));
    if scores().any(f64::is_nan) || rows.iter().all(|row| row.1) || !rows.iter().any(|row| row.1) {
        return None;
    }
    let count = rows.len() as f64;
    let mean = scores().sum::<f64>() / count;
    let width = (scores().map(|score| (score - mean).powi(2)).sum::<f64>() / count).sqrt();
    (width > 1e-9).then_some((mean, width))
}

fn bins(rows: &[(f64, bool)]) -> Vec<Bin> {
    let mut told: Vec<(f64, bool)> = rows
        .iter()
        .map(|row| (probability(row.0.clamp(-FARTHEST, FARTHEST)), row.1))
        .collect();
    told.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let size = told.len().div_ceil(BINS).max(1);
    told.chunks(size)
        .map(|bin| Bin {
            predicted: bin.iter().map(|row| row.0).sum::<f64>() / bin.len() as f64,
            observed: share(bin.iter().filter(|row| row.1).count(), bin.len()),
            windows: bin.len(),
        })
        .collect()
}

/// Either end without overflow.
fn probability(odds: f64) -> f64 {
    if odds >= 0.0 {
        1.0 / (1.0 + (-odds).exp())
    } else {
        let odds = odds.exp();
        odds / (1.0 + odds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::Draws;

    /// Patients whose events come with the odds of a line of their scores.
    fn drawn(slope: f64, intercept: f64) -> Vec<Vec<(f64, bool)>> {
        let mut draws = Draws::new(1);
        let patient = |_| {
            let row = |_| {
                let score = draws.unit() * 6.0 - 4.0;
                let event = draws.unit() < probability(intercept + slope * score);
                (score, event)
            };
            (0..10).map(row).collect()
        };
        (0..4_000).map(patient).collect()
    }

    #[test]
    fn the_line_that_made_the_events_is_found() {
        for (slope, intercept) in [(1.0, 0.0), (0.4, -2.0), (-1.5, 1.0)] {
            let rows: Vec<_> = drawn(slope, intercept).into_iter().flatten().collect();
            let found = Recalibration::fit(&rows).unwrap();
            assert!((found.slope - slope).abs() < 0.06, "{found:?}");
            assert!((found.intercept - intercept).abs() < 0.06, "{found:?}");
        }
    }

    #[test]
    fn scores_that_are_too_extreme_and_too_low_are_mended_by_a_recalibration() {
        let told = Calibration::of(&drawn(0.5, 0.7)).unwrap();
        assert!((told.home.slope - 0.5).abs() < 0.06, "{told:?}");
        assert!(told.home.intercept > 0.3, "{told:?}");
        assert!((told.after.slope - 1.0).abs() < 0.1, "{told:?}");
        assert!(told.after.intercept.abs() < 0.1, "{told:?}");
        assert_eq!((told.bins.len(), told.home_bins.len()), (BINS, BINS));
        let off = |bin: &Bin| (bin.predicted - bin.observed).abs();
        assert!(told.bins.iter().all(|bin| off(bin) < 0.06), "{told:?}");
    }

    #[test]
    fn what_cannot_be_calibrated_is_nothing_and_no_panic() {
        let perfect: Vec<_> = (0..50).map(|row| (f64::from(row), row > 24)).collect();
        for rows in [
            vec![],
            vec![(1.0, true), (2.0, true)],
            vec![(1.0, true), (1.0, false)],
            vec![(f64::NAN, true), (1.0, false)],
            perfect,
        ] {
            assert_eq!(Recalibration::fit(&rows), None, "{rows:?}");
            assert_eq!(Calibration::of(&[rows]), None);
        }
        let far = [f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, 5e-324, 0.0];
        let rows: Vec<_> = far.iter().map(|score| (*score, *score > -1.0)).collect();
        if let Some(found) = Recalibration::fit(&rows) {
            assert!(found.slope.is_finite() && found.intercept.is_finite());
        }
    }
}
