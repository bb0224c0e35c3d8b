//! Fitting curves that only rise with alarm: boosted Newton steps on climbs.
//!
//! A curve climbs a ladder of fixed knots. Its weights, one for each cell between two knots, are never
//! negative, so it is monotone by construction. Round after round each curve in turn takes one step of
//! Newton's method (the intercept's step with it) on the climb that lowers the logistic loss most, a
//! fixed share of the way; a step back ends at zero. After a fixed number of rounds it ends: that
//! number, the share and the damping are what keeps the curves small. It is ours because the
//! logistic regression behind the wall has no bounds on its weights.
//!
//! Beside its curves a vital has a level, of either sign, for being known at all, as curves of any shape
//! have: a pressure that nobody ever measured says something, and no reading moves it.
//!
//! Temperature alarms both ways: upwards from 37 °C, downwards from 37 °C. Sums run in the order of the
//! rows, so the same rows in the same order give the same bytes.

use std::borrow::Borrow;

use super::{Additive, Curve, Looks};
use crate::{
    features::{Hours, VITALS, VitalFeatures},
    linfa_wall::{FitError, LARGEST, MOST_CELLS},
};

/// How rising curves are fitted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RisingSettings {
    /// How many times each curve takes a step.
    pub rounds: u32,
    /// How much of a Newton step is taken: above zero, one at most.
    pub shrinkage: f64,
    /// Added to the curvature of each step, so that climbs of few rows move slowly. Above zero.
    pub damping: f64,
}

impl Default for RisingSettings {
    fn default() -> Self {
        Self {
            rounds: 40,
            shrinkage: 0.3,
            damping: 50.0,
        }
    }
}

impl RisingSettings {
    fn checked(self) -> Result<Self, FitError> {
        let shrinks = self.shrinkage > 0.0 && self.shrinkage <= 1.0;
        let damps = self.damping > 0.0 && self.damping.is_finite();
        if shrinks && damps {
            Ok(self)
        } else {
            Err(FitError::NotFinite)
        }
    }
}

/// Evenly spaced knots, in steps of the vital, and which end alarms.
#[derive(Clone, Copy, Debug)]
struct Ladder {
    vital: usize,
    high_alarms: bool,
    lowest: f64,
    spacing: f64,
    cells: u16,
    looks: &'static [Looks],
}

const ALL: &[Looks] = &[Looks::Last, Looks::Mean12h, Looks::Least12h, Looks::Most12h];
const HOT: &[Looks] = &[Looks::Last, Looks::Mean12h, Looks::Most12h];
const COLD: &[Looks] = &[Looks::Last, Looks::Mean12h, Looks::Least12h];

/// The ladders: every 10 beats/min, 2 %, 3 breaths/min, 0.5 °C, 10 and twice 5 mmHg.
const LADDERS: [Ladder; VITALS.len() + 1] = [
    Ladder::new(0, true, 400.0, 100.0, 12, ALL),
    Ladder::new(1, false, 800.0, 20.0, 10, ALL),
    Ladder::new(2, true, 60.0, 30.0, 12, ALL),
    Ladder::new(3, true, 3700.0, 50.0, 7, HOT),
    Ladder::new(3, false, 3450.0, 50.0, 5, COLD),
    Ladder::new(4, false, 600.0, 100.0, 14, ALL),
    Ladder::new(5, false, 400.0, 50.0, 18, ALL),
    Ladder::new(6, false, 200.0, 50.0, 16, ALL),
];

impl Ladder {
    const fn new(
        vital: usize,
        high_alarms: bool,
        lowest: f64,
        spacing: f64,
        cells: u16,
        looks: &'static [Looks],
    ) -> Self {
        Self {
            vital,
            high_alarms,
            lowest,
            spacing,
            cells,
            looks,
        }
    }

    /// Returns how many cells `value` has climbed towards alarm.
    fn climbed(&self, value: f64) -> f64 {
        let up = (value - self.lowest) / self.spacing;
        if self.high_alarms {
            up
        } else {
            f64::from(self.cells) - up
        }
    }

    /// Returns the curve whose climbs have these weights, `level` above what is missing.
    fn curve(&self, looks: Looks, weights: &[f64], level: f64) -> Curve {
        let climbs = weights.iter().scan(level, |height, weight| {
            *height += weight;
            Some(*height)
        });
        let mut heights: Vec<f64> = std::iter::once(level).chain(climbs).collect();
        if !self.high_alarms {
            heights.reverse();
        }
        let knots = (0..=self.cells).map(|knot| self.lowest + f64::from(knot) * self.spacing);
        Curve {
            vital: self.vital,
            looks,
            knots: knots.zip(heights).collect(),
            missing: 0.0,
        }
    }
}

/// Fits curves that only rise with alarm, on windows with and without the event. The threshold is left
/// at zero.
pub fn fit_rising<H: Borrow<Hours>>(
    rows: impl IntoIterator<Item = (H, bool)>,
    settings: RisingSettings,
) -> Result<Additive, FitError> {
    let shapes: Vec<(Ladder, Looks)> = LADDERS
        .into_iter()
        .flat_map(|ladder| ladder.looks.iter().map(move |looks| (ladder, *looks)))
        .collect();
    let mut levels = VITALS.map(|_| Column::new(1, true));
    let mut climbs: Vec<Column> = shapes
        .iter()
        .map(|shape| Column::new(shape.0.cells, false))
        .collect();
    let mut events = Vec::new();
    for (hours, event) in rows {
        let hours = hours.borrow();
        let features: [Option<VitalFeatures>; VITALS.len()] =
            std::array::from_fn(|vital| hours.features(vital));
        for (level, features) in levels.iter_mut().zip(&features) {
            level.push(features.map(|_| 1.0))?;
        }
        for (column, (ladder, looks)) in climbs.iter_mut().zip(&shapes) {
            let seen = features.get(ladder.vital).and_then(Option::as_ref);
            let value = seen.and_then(|features| looks.at(features));
            column.push(value.map(|value| ladder.climbed(value)))?;
        }
        events.push(event);
    }
    let columns = levels.iter_mut().chain(&mut climbs).collect();
    let intercept = boost(columns, &events, settings)?;
    let mut levels = levels.map(|column| column.weights.first().copied().unwrap_or(0.0));
    let curves = shapes.iter().zip(&climbs).map(|((ladder, looks), column)| {
        // A vital's first curve carries its level.
        let level = levels.get_mut(ladder.vital).map_or(0.0, std::mem::take);
        ladder.curve(*looks, &column.weights, level)
    });
    Additive::new(curves.collect(), intercept, 0.0).ok_or(FitError::Wrong)
}

/// One curve's climbs over all rows.
#[derive(Clone, Debug)]
struct Column {
    /// How many cells each row has climbed; below zero where there is nothing to look at.
    places: Vec<f32>,
    /// What climbing each cell adds.
    weights: Vec<f64>,
    /// Whether weights may be negative.
    may_fall: bool,
}

const MISSING: f32 = -1.0;

/// There are fewer than 64 columns.
const MOST_ROWS: usize = MOST_CELLS / 64;

impl Column {
    fn new(cells: u16, may_fall: bool) -> Self {
        Self {
            places: Vec::new(),
            weights: vec![0.0; usize::from(cells)],
            may_fall,
        }
    }

    fn push(&mut self, climbed: Option<f64>) -> Result<(), FitError> {
        // Neither is NaN.
        let small = climbed.is_none_or(|climbed| climbed.abs() <= LARGEST);
        if !small {
            return Err(FitError::NotFinite);
        }
        if self.places.len() >= MOST_ROWS {
            return Err(FitError::TooLarge);
        }
        let most = self.weights.len() as f64;
        self.places
            .push(climbed.map_or(MISSING, |climbed| climbed.clamp(0.0, most) as f32));
        Ok(())
    }
}

/// Finds the columns' weights and returns the intercept.
fn boost(
    mut columns: Vec<&mut Column>,
    events: &[bool],
    settings: RisingSettings,
) -> Result<f64, FitError> {
    let settings = settings.checked()?;
    let count = events.iter().filter(|event| **event).count();
    if events.is_empty() || columns.is_empty() {
        return Err(FitError::Empty);
    }
    if columns.iter().any(|c| c.places.len() != events.len()) {
        return Err(FitError::Shape);
    }
    if count == 0 || count == events.len() {
        return Err(FitError::SingleClass);
    }
    let mut fit = Fit {
        events,
        scores: vec![0.0; events.len()],
        intercept: (count as f64 / (events.len() - count) as f64).ln(),
    };
    for _ in 0..settings.rounds {
        for column in &mut columns {
            fit.improve(column, settings);
        }
    }
    let mut weights = columns.iter().flat_map(|column| &column.weights);
    if fit.intercept.is_finite() && weights.all(|weight| weight.is_finite()) {
        Ok(fit.intercept)
    } else {
        Err(FitError::Wrong)
    }
}

/// Where the fit stands.
struct Fit<'a> {
    events: &'a [bool],
    /// What the columns add to each row.
    scores: Vec<f64>,
    intercept: f64,
}

/// Sums over the rows that end in one cell, of which each has climbed a share.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// Of event less chance: how fast the loss falls.
    pull: f64,
    shared_pull: f64,
    /// Of chance times its complement: how fast that ends.
    bend: f64,
    shared_bend: f64,
    squared_bend: f64,
}

/// A step on one climb.
#[derive(Clone, Copy, Debug)]
struct Step {
    cell: usize,
    by: f64,
    /// What the intercept gives for it.
    counter: f64,
    gain: f64,
}

impl Fit<'_> {
    /// Takes the column's best step, and the intercept's.
    fn improve(&mut self, column: &mut Column, settings: RisingSettings) {
        let (all, cells) = self.sums(column);
        self.intercept += all.pull / (all.bend + settings.damping);
        let Some(step) = best(column, &all, &cells, settings) else {
            return;
        };
        self.intercept -= step.counter;
        if let Some(weight) = column.weights.get_mut(step.cell) {
            *weight += step.by;
            // The bound holds to the bit, too.
            *weight = if column.may_fall {
                *weight
            } else {
                weight.max(0.0)
            };
        }
        let from = step.cell as f32;
        for (score, place) in self.scores.iter_mut().zip(&column.places) {
            *score += step.by * f64::from((place - from).clamp(0.0, 1.0));
        }
    }

    /// Returns the sums over all rows, and over those that end in each cell; the last one is the top.
    fn sums(&self, column: &Column) -> (Sums, Vec<Sums>) {
        let mut all = Sums::default();
        let mut cells = vec![Sums::default(); column.weights.len() + 1];
        let rows = self.events.iter().zip(&self.scores).zip(&column.places);
        for ((event, score), place) in rows {
            let chance = 1.0 / (1.0 + (-score - self.intercept).exp());
            let pull = f64::from(u8::from(*event)) - chance;
            let bend = chance * (1.0 - chance);
            all.pull += pull;
            all.bend += bend;
            if *place < 0.0 {
                continue;
            }
            // A place is between zero and the number of cells.
            let cell = place.trunc();
            let share = f64::from(place - cell);
            if let Some(cell) = cells.get_mut(cell as usize) {
                cell.pull += pull;
                cell.shared_pull += pull * share;
                cell.bend += bend;
                cell.shared_bend += bend * share;
                cell.squared_bend += bend * share * share;
            }
        }
        (all, cells)
    }
}

/// Returns the step that lowers the loss most, if any does: the first of equals from the top.
fn best(column: &Column, all: &Sums, cells: &[Sums], settings: RisingSettings) -> Option<Step> {
    let whole = all.bend + settings.damping;
    let mut above = Sums::default();
    let mut best: Option<Step> = None;
    for (cell, here) in cells.iter().enumerate().rev() {
        if let Some(weight) = column.weights.get(cell) {
            let reach = above.bend + here.shared_bend;
            let pull = above.pull + here.shared_pull - all.pull * reach / whole;
            let bend = above.bend + here.squared_bend - reach * reach / whole;
            let newton = settings.shrinkage * pull / (bend.max(0.0) + settings.damping);
            let by = if column.may_fall {
                newton
            } else {
                newton.max(-weight)
            };
            let gain = by * pull;
            if gain > best.map_or(0.0, |best| best.gain) {
                best = Some(Step {
                    cell,
                    by,
                    counter: by * reach / whole,
                    gain,
                });
            }
        }
        above.pull += here.pull;
        above.bend += here.bend;
    }
    best
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::measure::Draws;

    fn columns(values: &[Vec<Option<f64>>]) -> Result<Vec<Column>, FitError> {
        let column = |values: &Vec<Option<f64>>| {
            let mut column = Column::new(4, false);
            values.iter().try_for_each(|value| column.push(*value))?;
            Ok(column)
        };
        values.iter().map(column).collect()
    }

    fn fitted(columns: &mut [Column], events: &[bool]) -> Result<f64, FitError> {
        boost(
            columns.iter_mut().collect(),
            events,
            RisingSettings::default(),
        )
    }

    #[test]
    fn hostile_numbers_are_typed_errors() {
        for hostile in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300] {
            let told = columns(&[vec![Some(1.0), Some(hostile)]]).map(|_| ());
            assert_eq!(told, Err(FitError::NotFinite));
            for field in 0..2 {
                let mut settings = RisingSettings::default();
                *[&mut settings.shrinkage, &mut settings.damping][field] = hostile;
                let mut one = columns(&[vec![Some(0.0), Some(1.0)]]).unwrap();
                let told = boost(one.iter_mut().collect(), &[true, false], settings);
                if field == 0 || hostile != 1e300 {
                    assert_eq!(told, Err(FitError::NotFinite));
                }
            }
        }
        for value in [5e-324, -5e-324, 0.0, -0.0] {
            let mut one = columns(&[vec![Some(value), Some(1.0), None]]).unwrap();
            assert!(fitted(&mut one, &[true, false, true]).is_ok());
        }
    }

    #[test]
    fn nothing_single_classes_and_ragged_rows_are_typed_errors() {
        let none: [(Hours, bool); 0] = [];
        let settings = RisingSettings::default();
        assert_eq!(fit_rising(none, settings), Err(FitError::Empty));
        assert_eq!(fitted(&mut [], &[true, false]), Err(FitError::Empty));
        let mut two = columns(&[vec![Some(0.0), Some(1.0)]]).unwrap();
        assert_eq!(fitted(&mut two, &[true]), Err(FitError::Shape));
        for event in [true, false] {
            assert_eq!(fitted(&mut two, &[event; 2]), Err(FitError::SingleClass));
        }
    }

    #[test]
    fn a_step_up_is_found_where_it_is_and_a_fall_is_left_out() {
        let mut draws = Draws::new(5);
        let mut values = [Vec::new(), Vec::new(), Vec::new()];
        let mut events = Vec::new();
        for _ in 0..4_000 {
            let [climbs, falls, noise] = [(); 3].map(|()| draws.unit() * 4.0);
            let chance = 0.1 + 0.4 * (climbs - 2.0).clamp(0.0, 1.0) - 0.02 * falls;
            events.push(draws.unit() < chance);
            values[0].push(Some(climbs));
            values[1].push(Some(falls));
            values[2].push((noise > 1.0).then_some(noise));
        }
        let mut fit = columns(&values).unwrap();
        fitted(&mut fit, &events).unwrap();
        let [climbs, falls, noise] = &fit[..] else {
            panic!("three columns")
        };
        assert!(climbs.weights[2] > 1.5, "{climbs:?}");
        assert!(climbs.weights[0] + climbs.weights[3] < 0.6);
        assert!(falls.weights.iter().sum::<f64>() < 0.1);
        assert!(noise.weights.iter().sum::<f64>() < 0.5);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn no_weight_is_negative_and_a_fit_is_the_same_to_the_bit(
            rows in prop::collection::vec((any::<bool>(), [prop::option::of(-2.0..6.0_f64), prop::option::of(-1e3..1e3_f64)]), 2..80),
            shrinkage in 0.01..=1.0_f64,
            damping in 1e-6..1e3_f64,
        ) {
            let values = [0, 1].map(|column| rows.iter().map(|row| row.1[column]).collect::<Vec<_>>());
            let events: Vec<bool> = rows.iter().map(|row| row.0).collect();
            let settings = RisingSettings { rounds: 30, shrinkage, damping };
            let fit = || {
                let mut columns = columns(&values).unwrap();
                let told = boost(columns.iter_mut().collect(), &events, settings);
                (told.map(f64::to_bits), columns.into_iter().flat_map(|column| column.weights).collect::<Vec<_>>())
            };
            let (told, weights) = fit();
            prop_assert!(told.is_err() || weights.iter().all(|weight| weight.is_finite()));
            prop_assert!(weights.iter().all(|weight| weight.is_nan() || *weight >= 0.0));
            let again = fit();
            prop_assert_eq!(told, again.0);
            prop_assert!(weights.iter().zip(&again.1).all(|(a, b)| a.to_bits() == b.to_bits()));
        }
    }
}
