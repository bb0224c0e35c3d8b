//! The only place where linfa is called.
//!
//! linfa 0.8 panics on infinities, returns infinities for far points, calls the larger class
//! "positive", and lets one far row take a component. So behind this wall:
//! - shapes, classes and finiteness are checked before a fit, and every number is bounded;
//! - a panic inside linfa comes out as [`FitError::Panicked`];
//! - only parameters come out, checked to be finite; labels are read, not assumed; scoring is ours;
//! - a mean and a variance are compared with our own sums, so a silently wrong fit is an error;
//! - nothing that depends on a random order is used: no trees, no forests, no PCA. The same rows in
//!   the same order give the same bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use linfa::{Dataset, traits::Fit};
use linfa_clustering::GaussianMixtureModel;
use linfa_logistic::LogisticRegression;
use ndarray::{Array1, Array2, ShapeBuilder};

/// The largest number that may go into a fit: features are scaled to about one.
pub const LARGEST: f64 = 1e3;

/// The most cells that a fit may hold.
pub const MOST_CELLS: usize = 1 << 29;

/// Why a fit gave nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// There are no rows or no columns.
    #[error("there is nothing to fit")]
    Empty,
    /// Rows, columns and labels do not agree.
    #[error("rows, columns and labels do not agree")]
    Shape,
    /// More cells than a fit may hold.
    #[error("too many rows to fit")]
    TooLarge,
    /// A number is NaN, infinite or larger than [`LARGEST`].
    #[error("a number is not finite or too large")]
    NotFinite,
    /// All rows have the same label.
    #[error("all rows have the same label")]
    SingleClass,
    /// linfa says it cannot.
    #[error("the fit was refused")]
    Refused,
    /// linfa panicked.
    #[error("the fit panicked")]
    Panicked,
    /// The fit gave numbers that are not finite, or not those that the rows have.
    #[error("the fit gave wrong numbers")]
    Wrong,
}

/// Rows of equal length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rows {
    columns: usize,
    values: Vec<f64>,
}

impl Rows {
    /// Returns no rows of so many columns.
    #[must_use]
    pub const fn new(columns: usize) -> Self {
        Self {
            columns,
            values: Vec::new(),
        }
    }

    /// Adds a row. One of another length makes every fit a [`FitError::Shape`].
    pub fn push(&mut self, row: &[f64]) {
        self.values.extend_from_slice(row);
        if row.len() != self.columns {
            self.columns = 0;
        }
    }

    /// Returns how many rows there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.values.len().checked_div(self.columns).unwrap_or(0)
    }

    /// Returns whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Returns the rows.
    pub fn iter(&self) -> impl Iterator<Item = &[f64]> {
        self.values.chunks_exact(self.columns.max(1))
    }

    fn checked(self) -> Result<Array2<f64>, FitError> {
        if self.values.is_empty() {
            return Err(FitError::Empty);
        }
        if self.columns == 0 || !self.values.len().is_multiple_of(self.columns) {
            return Err(FitError::Shape);
        }
        if self.values.len() > MOST_CELLS {
            return Err(FitError::TooLarge);
        }
        // `abs() <= LARGEST` is false for NaN.
        if !self.values.iter().all(|value| value.abs() <= LARGEST) {
            return Err(FitError::NotFinite);
        }
        // Column after column: linfa's gradient walks along columns, which is several times as fast
        // when they lie together.
        let (rows, columns) = (self.len(), self.columns);
        let mut by_column = Vec::with_capacity(self.values.len());
        for column in 0..columns {
            by_column.extend(self.values.iter().skip(column).step_by(columns));
        }
        Array2::from_shape_vec((rows, columns).f(), by_column).map_err(|_| FitError::Shape)
    }
}

/// A linear score: higher means the event.
#[derive(Clone, Debug, PartialEq)]
pub struct Linear {
    /// One for each column.
    pub weights: Vec<f64>,
    /// What is added.
    pub intercept: f64,
}

/// How a logistic regression is fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogisticSettings {
    /// The ridge: half of it times the sum of squared weights is added to the summed loss.
    pub ridge: f64,
    /// The most steps of the solver.
    pub steps: u64,
    /// Where the gradient counts as zero.
    pub tolerance: f64,
}

impl Default for LogisticSettings {
    fn default() -> Self {
        Self {
            ridge: 1.0,
            steps: 200,
            tolerance: 1e-4,
        }
    }
}

/// Fits a logistic regression with a ridge; `events` are the labels of the rows.
pub fn logistic(
    rows: Rows,
    events: &[bool],
    settings: LogisticSettings,
) -> Result<Linear, FitError> {
    let columns = rows.columns;
    let records = rows.checked()?;
    if records.nrows() != events.len() {
        return Err(FitError::Shape);
    }
    if events.iter().all(|event| *event) || !events.iter().any(|event| *event) {
        return Err(FitError::SingleClass);
    }
    let usable = settings.ridge.is_finite() && settings.ridge >= 0.0;
    if !usable || !settings.tolerance.is_finite() || settings.tolerance <= 0.0 {
        return Err(FitError::NotFinite);
    }
    let dataset = Dataset::new(records, Array1::from(events.to_vec()));
    let fitted = behind_the_wall(|| {
        LogisticRegression::default()
            .alpha(settings.ridge)
            .max_iterations(settings.steps)
            .gradient_tolerance(settings.tolerance)
            .fit(&dataset)
            .ok()
    })?;
    // linfa's "positive" is the larger class; ours is the event.
    let sign = if fitted.labels().pos.class { 1.0 } else { -1.0 };
    let linear = Linear {
        weights: fitted.params().iter().map(|weight| sign * weight).collect(),
        intercept: sign * fitted.intercept(),
    };
    let finite = linear.intercept.is_finite() && linear.weights.iter().all(|w| w.is_finite());
    if finite && linear.weights.len() == columns {
        Ok(linear)
    } else {
        Err(FitError::Wrong)
    }
}

/// The mean and variance of each column.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    /// Of each column.
    pub mean: Vec<f64>,
    /// Of each column: positive, whatever the rows.
    pub variance: Vec<f64>,
}

/// linfa adds this to each variance.
const REGULARISED: f64 = 1e-6;

/// Fits one Gaussian.
pub fn gaussian(rows: Rows) -> Result<Gaussian, FitError> {
    let records = rows.clone().checked()?;
    let dataset = linfa::DatasetBase::from(records);
    let fitted = behind_the_wall(|| {
        GaussianMixtureModel::params(1)
            .reg_covariance(REGULARISED)
            .fit(&dataset)
            .ok()
    })?;
    let gaussian = Gaussian {
        mean: fitted.means().iter().copied().collect(),
        variance: fitted
            .covariances()
            .outer_iter()
            .flat_map(|covariance| covariance.diag().to_vec())
            .collect(),
    };
    let own = moments(&rows);
    let agrees = |ours: &[f64], theirs: &[f64]| {
        ours.len() == theirs.len()
            && ours
                .iter()
                .zip(theirs)
                .all(|(a, b)| (a - b).abs() <= 1e-5 * (1.0 + a.abs()))
    };
    if agrees(&own.mean, &gaussian.mean) && agrees(&own.variance, &gaussian.variance) {
        Ok(gaussian)
    } else {
        Err(FitError::Wrong)
    }
}

/// Our own means and variances, in two passes.
fn moments(rows: &Rows) -> Gaussian {
    let count = rows.len() as f64;
    let mut mean = vec![0.0; rows.columns];
    for row in rows.iter() {
        for (sum, value) in mean.iter_mut().zip(row) {
            *sum += value / count;
        }
    }
    let mut variance = vec![REGULARISED; rows.columns];
    for row in rows.iter() {
        for ((sum, mean), value) in variance.iter_mut().zip(&mean).zip(row) {
            *sum += (value - mean).powi(2) / count;
        }
    }
    Gaussian { mean, variance }
}

/// Runs a fit so that neither its panic nor its refusal gets further.
fn behind_the_wall<T>(fit: impl FnOnce() -> Option<T>) -> Result<T, FitError> {
    // Unwind safety: the closure owns or only reads what it touches, and all of it is dropped.
    match catch_unwind(AssertUnwindSafe(fit)) {
        Ok(Some(fitted)) => Ok(fitted),
        Ok(None) => Err(FitError::Refused),
        Err(_) => Err(FitError::Panicked),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::measure::Draws;

    fn rows(values: &[&[f64]]) -> Rows {
        let mut rows = Rows::new(values.first().map_or(1, |row| row.len()));
        for row in values {
            rows.push(row);
        }
        rows
    }

    fn noisy(count: usize, events_every: usize) -> (Rows, Vec<bool>) {
        let mut draws = Draws::new(7);
        let mut rows = Rows::new(2);
        let mut events = Vec::new();
        for index in 0..count {
            let event = index % events_every == 0;
            let shift = if event { 1.0 } else { 0.0 };
            rows.push(&[draws.unit() + shift, draws.unit()]);
            events.push(event);
        }
        (rows, events)
    }

    #[test]
    fn hostile_numbers_are_typed_errors() {
        for hostile in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300] {
            let bad = rows(&[&[1.0, 2.0], &[hostile, 0.0], &[0.0, 1.0]]);
            let settings = LogisticSettings::default();
            assert_eq!(
                logistic(bad.clone(), &[true, false, true], settings),
                Err(FitError::NotFinite)
            );
            assert_eq!(gaussian(bad), Err(FitError::NotFinite));
        }
        let ridge = LogisticSettings {
            ridge: f64::NAN,
            ..Default::default()
        };
        assert_eq!(
            logistic(rows(&[&[0.0], &[1.0]]), &[true, false], ridge),
            Err(FitError::NotFinite)
        );
        let subnormal = rows(&[&[5e-324], &[1.0], &[2.0]]);
        assert!(gaussian(subnormal).is_ok());
    }

    #[test]
    fn empty_parts_ragged_rows_and_single_classes_are_typed_errors() {
        let settings = LogisticSettings::default();
        assert_eq!(logistic(Rows::new(3), &[], settings), Err(FitError::Empty));
        assert_eq!(gaussian(Rows::new(3)), Err(FitError::Empty));
        let mut ragged = rows(&[&[1.0, 2.0]]);
        ragged.push(&[1.0]);
        assert_eq!(gaussian(ragged), Err(FitError::Shape));
        assert_eq!(
            logistic(rows(&[&[1.0], &[2.0]]), &[true], settings),
            Err(FitError::Shape)
        );
        for event in [true, false] {
            assert_eq!(
                logistic(rows(&[&[1.0], &[2.0]]), &[event; 2], settings),
                Err(FitError::SingleClass)
            );
        }
    }

    #[test]
    fn constant_columns_fit() {
        let constant = rows(&[&[1.0, 5.0], &[2.0, 5.0], &[3.0, 5.0]]);
        let fitted = gaussian(constant.clone()).unwrap();
        assert!(fitted.variance.iter().all(|variance| *variance > 0.0));
        assert!(logistic(constant, &[true, false, true], LogisticSettings::default()).is_ok());
    }

    #[test]
    fn the_event_scores_higher_whether_it_is_the_smaller_class_or_the_larger() {
        for events_every in [2, 10] {
            let (rows, events) = noisy(1_000, events_every);
            let fitted = logistic(rows.clone(), &events, LogisticSettings::default()).unwrap();
            assert!(fitted.weights[0] > 0.5, "{fitted:?}");
            let others: Vec<bool> = events.iter().map(|event| !event).collect();
            let turned = logistic(rows, &others, LogisticSettings::default()).unwrap();
            assert!(turned.weights[0] < -0.5, "{turned:?}");
        }
    }

    #[test]
    fn a_fit_is_the_same_to_the_bit_every_time() {
        let (rows, events) = noisy(2_000, 7);
        let fit = || {
            (
                logistic(rows.clone(), &events, LogisticSettings::default()),
                gaussian(rows.clone()),
            )
        };
        let first = fit();
        for _ in 0..5 {
            assert_eq!(fit(), first);
        }
    }

    #[test]
    fn a_panic_inside_a_fit_does_not_reach_the_caller() {
        assert_eq!(
            behind_the_wall::<()>(|| panic!("as linfa does")),
            Err(FitError::Panicked)
        );
    }

    proptest! {
        #[test]
        fn no_rows_and_labels_can_panic(values in prop::collection::vec(prop_oneof![any::<f64>(), -3.0..3.0_f64], 0..60), columns in 0..4_usize, labels: Vec<bool>) {
            let mut rows = Rows::new(columns);
            for row in values.chunks(columns.max(1)) {
                rows.push(row);
            }
            let labels: Vec<bool> = (0..rows.len()).map(|index| labels.get(index).copied().unwrap_or(false)).collect();
            if let Ok(fitted) = logistic(rows.clone(), &labels, LogisticSettings { steps: 20, ..Default::default() }) {
                prop_assert!(fitted.weights.iter().all(|weight| weight.is_finite()));
            }
            if let Ok(fitted) = gaussian(rows) {
                prop_assert!(fitted.variance.iter().all(|variance| *variance > 0.0));
            }
        }
    }
}
