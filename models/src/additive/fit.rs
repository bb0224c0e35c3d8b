//! Fitting curves of any shape: logistic regressions on fixed bases.

use std::borrow::Borrow;

use super::{Additive, Curve, Looks};
use crate::{
    features::{Hours, VITALS},
    linfa_wall::{FitError, LogisticSettings, Rows, logistic},
};

/// A fixed list of curves without their heights.
#[derive(Clone, Debug, PartialEq)]
pub struct Basis(Vec<(usize, Looks, Vec<f64>)>);

/// Where each vital's levels bend, in steps, from a textbook's idea of normal.
const LEVELS: [[f64; 7]; VITALS.len()] = [
    [400.0, 600.0, 750.0, 900.0, 1050.0, 1200.0, 1400.0],
    [850.0, 900.0, 920.0, 940.0, 960.0, 980.0, 1000.0],
    [80.0, 120.0, 150.0, 180.0, 210.0, 250.0, 320.0],
    [3450.0, 3550.0, 3630.0, 3680.0, 3730.0, 3800.0, 3900.0],
    [750.0, 900.0, 1050.0, 1200.0, 1400.0, 1600.0, 1850.0],
    [500.0, 600.0, 700.0, 800.0, 900.0, 1050.0, 1250.0],
    [350.0, 450.0, 520.0, 600.0, 680.0, 780.0, 950.0],
];

/// A usual spread of each vital, in steps: the unit of changes and deviations.
const SPREAD: [f64; VITALS.len()] = [170.0, 25.0, 50.0, 70.0, 220.0, 150.0, 130.0];

const CHANGES: [f64; 7] = [-3.0, -1.5, -0.7, 0.0, 0.7, 1.5, 3.0];
const DEVIATIONS: [f64; 7] = [0.0, 0.15, 0.35, 0.6, 1.0, 1.6, 2.5];

impl Basis {
    /// Every number there is to look at.
    #[must_use]
    pub fn full() -> Self {
        Self::of(&[
            Looks::Last,
            Looks::Mean6h,
            Looks::Mean12h,
            Looks::Deviation12h,
            Looks::Least12h,
            Looks::Most12h,
            Looks::Rise6h,
            Looks::AboveBaseline,
        ])
    }

    /// The newest hour alone.
    fn last() -> Self {
        Self::of(&[Looks::Last])
    }

    fn of(looks: &[Looks]) -> Self {
        let mut curves = Vec::new();
        for (vital, (levels, spread)) in LEVELS.iter().zip(SPREAD).enumerate() {
            for look in looks {
                let knots = match look {
                    Looks::Deviation12h => DEVIATIONS.map(|knot| knot * spread).to_vec(),
                    Looks::Rise6h | Looks::AboveBaseline => {
                        CHANGES.map(|knot| knot * spread).to_vec()
                    }
                    _ => levels.to_vec(),
                };
                curves.push((vital, *look, knots));
            }
        }
        Self(curves)
    }

    /// Returns how many numbers describe a window.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.0.iter().map(|curve| curve.2.len()).sum()
    }

    /// Describes a window by how near each value is to the knots around it: one for a knot that is
    /// hit, shared between two otherwise. What is missing is near none.
    #[must_use]
    pub fn hats(&self, hours: &Hours) -> Vec<f64> {
        let mut row = Vec::with_capacity(self.columns());
        let features: [_; VITALS.len()] = std::array::from_fn(|vital| hours.features(vital));
        for (vital, look, knots) in &self.0 {
            let start = row.len();
            row.resize(start + knots.len(), 0.0);
            let features = features.get(*vital).and_then(Option::as_ref);
            let value = features.and_then(|features| look.at(features));
            let (Some(value), Some(slots)) = (value, row.get_mut(start..)) else {
                continue;
            };
            let (left, share) = place(knots, value);
            for (index, slot) in slots.iter_mut().enumerate() {
                if index == left {
                    *slot = 1.0 - share;
                } else if index == left + 1 {
                    *slot = share;
                }
            }
        }
        row
    }
}

/// The knot to the left of a value, and how far it is on the way to the next.
fn place(knots: &[f64], value: f64) -> (usize, f64) {
    let after = knots.partition_point(|knot| *knot <= value);
    let left = after.saturating_sub(1);
    match (
        after.checked_sub(1).and_then(|left| knots.get(left)),
        knots.get(after),
    ) {
        (Some(from), Some(to)) => (left, (value - from) / (to - from)),
        _ => (left, 0.0),
    }
}

/// Fits curves of any shape on windows with and without the event. The threshold is left at zero.
pub fn fit<H: Borrow<Hours>>(
    basis: &Basis,
    rows: impl IntoIterator<Item = (H, bool)>,
    settings: LogisticSettings,
) -> Result<Additive, FitError> {
    let mut matrix = Rows::new(basis.columns());
    let mut events = Vec::new();
    for (hours, event) in rows {
        matrix.push(&basis.hats(hours.borrow()));
        events.push(event);
    }
    let linear = logistic(matrix, &events, settings)?;
    let mut weights = linear.weights.iter();
    let curves = basis.0.iter().map(|(vital, looks, knots)| Curve {
        vital: *vital,
        looks: *looks,
        knots: knots
            .iter()
            .copied()
            .zip(weights.by_ref().copied())
            .collect(),
        missing: 0.0,
    });
    Additive::new(curves.collect(), linear.intercept, 0.0).ok_or(FitError::Wrong)
}

/// Fits a change score: curves are fitted to the newest hour; their mean height over the last three
/// hours counts, less `share` of that over the last twelve. What is missing adds nothing to either.
pub fn fit_change<H: Borrow<Hours>>(
    share: f64,
    rows: impl IntoIterator<Item = (H, bool)>,
    settings: LogisticSettings,
) -> Result<Additive, FitError> {
    if !share.is_finite() {
        return Err(FitError::NotFinite);
    }
    let now = fit(&Basis::last(), rows, settings)?;
    let mut curves = now.curves;
    for curve in &mut curves {
        curve.looks = Looks::NewestHours;
    }
    let before: Vec<Curve> = curves
        .iter()
        .map(|curve| Curve {
            looks: Looks::EachHour,
            knots: curve
                .knots
                .iter()
                .map(|(at, height)| (*at, -share * height))
                .collect(),
            ..curve.clone()
        })
        .collect();
    curves.extend(before);
    Additive::new(curves, (1.0 - share) * now.intercept, 0.0).ok_or(FitError::Wrong)
}
