//! The certified companion of the anchor score: on each part one Gaussian without correlations,
//! shrunk half way to a constant one, and read on one side only.
//!
//! A model's score is Σ max(x − mean, 0)² / variance over the anchor's values, scaled by
//! constants and turned so that more is worse. It is monotone in every reading, so the ends of the
//! sensors' error give the exact ends of every model's vote at once.

use super::{Tally, VoteRadius, part_of};
use crate::{
    anchor::{TERMS, Towards, Values},
    features::{Hold, Hours, PARTS},
    linfa_wall::{FitError, Rows, gaussian},
};

/// How far each part's mean and variance move to the constants, and how much of a variance is
/// always one: parts are small.
pub const SHRINK: f64 = 0.5;
const FLOOR: f64 = 0.2;

/// A part with fewer rows votes a constant.
const LEAST_ROWS: usize = 50;

/// Scaled values end here.
const FARTHEST: f64 = 6.0;

/// Constant centre and width of each value, in steps, turned like it.
const SCALE: [(f64, f64); TERMS] = [
    (910.0, 180.0),
    (180.0, 45.0),
    (3710.0, 70.0),
    (-680.0, 130.0),
    (-955.0, 40.0),
    (-3670.0, 70.0),
    (-1050.0, 190.0),
];

/// How much each value counts: as in the anchor score, infection's first signs most.
const WEIGHT: [f64; TERMS] = [0.5, 1.0, 2.0, 0.5, 0.25, 0.5, 0.25];

/// Scaled values; what is missing is minus infinity's stand-in: it adds nothing to any score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PartValues([f32; TERMS]);

impl PartValues {
    /// Scales the anchor's values.
    #[must_use]
    pub fn of(values: &Values) -> Self {
        let mut scaled = [f32::MIN; TERMS];
        for ((slot, value), (centre, width)) in scaled.iter_mut().zip(values.0).zip(SCALE) {
            if let Some(value) = value {
                *slot = scale(value, centre, width) as f32;
            }
        }
        Self(scaled)
    }
}

fn scale(value: i64, centre: f64, width: f64) -> f64 {
    ((value as f64 / PARTS as f64 - centre) / width).clamp(-FARTHEST, FARTHEST)
}

/// One part's Gaussian, or its constant vote.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    /// Mean and reciprocal variance of each value.
    Fitted {
        /// Of each value.
        mean: [f32; TERMS],
        /// Of each value.
        precision: [f32; TERMS],
    },
    /// It had too little to learn from, and never votes for an alert.
    Constant,
}

/// All parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussians {
    threshold: f32,
    parts: Vec<Part>,
    blocks: Vec<Block>,
}

/// Parts are computed this many at a time.
const LANES: usize = 16;

/// Some parts value by value, so that one value is compared with all of them at once. A constant
/// part, and padding, has a mean that nothing exceeds.
#[derive(Clone, Debug, PartialEq)]
struct Block {
    means: [[f32; LANES]; TERMS],
    precisions: [[f32; LANES]; TERMS],
}

impl Block {
    fn of(parts: &[Part]) -> Self {
        let mut block = Self {
            means: [[f32::MAX; LANES]; TERMS],
            precisions: [[0.0; LANES]; TERMS],
        };
        for (lane, part) in parts.iter().enumerate() {
            let Part::Fitted { mean, precision } = part else {
                continue;
            };
            let columns = block.means.iter_mut().zip(&mut block.precisions);
            for ((means, precisions), (mean, precision)) in columns.zip(mean.iter().zip(precision))
            {
                if let (Some(a), Some(b)) = (means.get_mut(lane), precisions.get_mut(lane)) {
                    (*a, *b) = (*mean, *precision);
                }
            }
        }
        block
    }

    fn scores(&self, values: &[f32; TERMS]) -> [f32; LANES] {
        let mut scores = [0.0_f32; LANES];
        for ((means, precisions), value) in self.means.iter().zip(&self.precisions).zip(values) {
            for ((score, mean), precision) in scores.iter_mut().zip(means).zip(precisions) {
                let above = (value - mean).max(0.0);
                *score += above * above * precision;
            }
        }
        scores
    }
}

impl Gaussians {
    /// Makes an ensemble of its parts; none without parts or with a threshold that is no number.
    #[must_use]
    pub fn new(threshold: f32, parts: Vec<Part>) -> Option<Self> {
        let finite = parts.iter().all(|part| match part {
            Part::Fitted { mean, precision } => {
                mean.iter().all(|mean| mean.is_finite())
                    && precision.iter().all(|p| p.is_finite() && *p > 0.0)
            }
            Part::Constant => true,
        });
        if parts.is_empty() || !finite || !threshold.is_finite() || threshold < 0.0 {
            return None;
        }
        Some(Self {
            threshold,
            blocks: parts.chunks(LANES).map(Block::of).collect(),
            parts,
        })
    }

    /// Fits `count` parts on patients that never had the event, each with its windows.
    pub fn fit<'a>(
        count: u32,
        threshold: f32,
        patients: impl IntoIterator<Item = (&'a [u8], &'a [Values])>,
    ) -> Result<Self, FitError> {
        let mut members: Vec<Vec<(&[u8], &[Values])>> = vec![Vec::new(); count as usize];
        for (patient, windows) in patients {
            if let Some(part) = members.get_mut(part_of(patient, count) as usize) {
                part.push((patient, windows));
            }
        }
        Self::new(threshold, members.into_iter().map(fit_part).collect()).ok_or(FitError::Empty)
    }

    /// Returns the parts.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Returns the threshold.
    #[must_use]
    pub const fn threshold(&self) -> f32 {
        self.threshold
    }

    /// Returns the same ensemble with another threshold.
    #[must_use]
    pub fn with_threshold(mut self, threshold: f32) -> Self {
        self.threshold = threshold;
        self
    }

    /// Returns how many parts vote a constant.
    #[must_use]
    pub fn constants(&self) -> usize {
        self.parts
            .iter()
            .filter(|part| **part == Part::Constant)
            .count()
    }

    /// Counts the votes.
    #[must_use]
    pub fn tally(&self, values: &PartValues) -> Tally {
        let threshold = self.threshold;
        let mut for_alert = 0;
        for block in &self.blocks {
            let scores = block.scores(&values.0);
            for_alert += scores
                .map(|score| u32::from(score > threshold))
                .iter()
                .sum::<u32>();
        }
        Tally {
            for_alert,
            models: self.parts.len() as u32,
        }
    }

    /// Returns what each value adds to a part's score, averaged over the parts that learned.
    #[must_use]
    pub fn contributions(&self, values: &PartValues) -> [f64; TERMS] {
        let mut adds = [0.0; TERMS];
        for part in &self.parts {
            let Part::Fitted { mean, precision } = part else {
                continue;
            };
            let terms = values.0.iter().zip(mean.iter().zip(precision));
            for (adds, (value, (mean, precision))) in adds.iter_mut().zip(terms) {
                let above = (value - mean).max(0.0);
                *adds += f64::from(above * above * precision);
            }
        }
        let learned = self.parts.len() - self.constants();
        adds.map(|sum| sum / learned.max(1) as f64)
    }

    /// Returns the outcome and how many poisoned patients it survives.
    #[must_use]
    pub fn vote(&self, values: &PartValues) -> VoteRadius {
        self.tally(values).radius()
    }

    /// Returns the votes at the two ends of what readings false by `quarters` quarters of the
    /// sensors' error, held for `hold`, can reach: fewest and most.
    #[must_use]
    pub fn evasion(&self, hours: &Hours, hold: Hold, quarters: u16) -> (Tally, Tally) {
        let at = |towards| {
            let values = match hold {
                Hold::WholeStay => Values::of(hours).moved(quarters, towards),
                hold @ Hold::Hours(_) => Values::held(hours, hold, quarters, towards),
            };
            self.tally(&PartValues::of(&values))
        };
        (at(Towards::Silence), at(Towards::Alarm))
    }

    /// Returns the median model's score: what ranks patients.
    #[must_use]
    pub fn median_score(&self, values: &PartValues) -> f64 {
        let mut scores = Vec::with_capacity(self.blocks.len() * LANES);
        for block in &self.blocks {
            scores.extend(block.scores(&values.0));
        }
        scores.truncate(self.parts.len());
        scores.sort_unstable_by(f32::total_cmp);
        scores
            .get(scores.len() / 2)
            .map_or(0.0, |score| f64::from(*score))
    }
}

/// Fits one part. The patients are put in the order of their names first, so the order in which
/// they came changes nothing.
fn fit_part(mut patients: Vec<(&[u8], &[Values])>) -> Part {
    patients.sort_unstable_by_key(|patient| patient.0);
    let mut rows = Rows::new(TERMS);
    for (_, windows) in &patients {
        for window in *windows {
            let mut row = [0.0; TERMS];
            for ((slot, value), (centre, width)) in row.iter_mut().zip(window.0).zip(SCALE) {
                // What is missing is the constant centre: nothing is ever imputed from a pool.
                *slot = value.map_or(0.0, |value| scale(value, centre, width));
            }
            rows.push(&row);
        }
    }
    if rows.len() < LEAST_ROWS {
        return Part::Constant;
    }
    // A part that nothing can be fitted on must not keep the other parts from being fitted.
    let Ok(fitted) = gaussian(rows) else {
        return Part::Constant;
    };
    let mut mean = [0.0; TERMS];
    let mut precision = [0.0; TERMS];
    let fitted = fitted.mean.iter().zip(&fitted.variance).zip(WEIGHT);
    for ((slot, other), ((from, spread), weight)) in mean.iter_mut().zip(&mut precision).zip(fitted)
    {
        *slot = ((1.0 - SHRINK) * from) as f32;
        let variance = (1.0 - SHRINK) * ((1.0 - FLOOR) * spread + FLOOR) + SHRINK;
        *other = (weight / variance) as f32;
    }
    Part::Fitted { mean, precision }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::measure::Draws;

    fn windows(draws: &mut Draws, rows: usize) -> Vec<Values> {
        (0..rows)
            .map(|_| {
                Values(SCALE.map(|(centre, width)| {
                    Some(((centre + width * (draws.unit() * 4.0 - 2.0)) * PARTS as f64) as i64)
                }))
            })
            .collect()
    }

    fn patients(count: u32) -> Vec<(Vec<u8>, Vec<Values>)> {
        let mut draws = Draws::new(11);
        (0..count)
            .map(|patient| (patient.to_le_bytes().to_vec(), windows(&mut draws, 12)))
            .collect()
    }

    fn fit(patients: &[(Vec<u8>, Vec<Values>)], parts: u32) -> Gaussians {
        Gaussians::fit(
            parts,
            4.0,
            patients.iter().map(|(id, windows)| (&id[..], &windows[..])),
        )
        .unwrap()
    }

    #[test]
    fn c5_adding_a_patient_changes_exactly_one_part_and_order_changes_none() {
        let mut all = patients(200);
        let before = fit(&all, 7);
        let mut draws = Draws::new(12);
        all.push((b"new".to_vec(), windows(&mut draws, 5)));
        let after = fit(&all, 7);
        let changed = before
            .parts()
            .iter()
            .zip(after.parts())
            .filter(|(a, b)| a != b)
            .count();
        assert_eq!(changed, 1);
        all.reverse();
        assert_eq!(fit(&all, 7), after);
    }

    #[test]
    fn c4_no_replacement_of_one_part_flips_a_vote_inside_its_radius() {
        let all = patients(210);
        let model = fit(&all, 7);
        let mut draws = Draws::new(13);
        let hostile = [
            Values([Some(i64::from(i32::MAX)); TERMS]),
            Values([Some(i64::from(i32::MIN)); TERMS]),
        ];
        let mut attacked = Vec::new();
        for part in 0..7 {
            for value in hostile {
                let mut poisoned = all.clone();
                for (id, windows) in &mut poisoned {
                    if part_of(id, 7) == part {
                        windows.fill(value);
                    }
                }
                attacked.push(fit(&poisoned, 7));
            }
        }
        for values in windows(&mut draws, 2_000) {
            let values = PartValues::of(&values);
            let vote = model.vote(&values);
            for poisoned in attacked.iter().filter(|_| vote.patients >= 1) {
                assert_eq!(poisoned.vote(&values).alert, vote.alert);
            }
        }
    }

    #[test]
    fn c6_a_part_without_rows_votes_a_constant_and_is_counted() {
        let few = patients(3);
        let model = fit(&few, 201);
        assert_eq!(model.constants(), 201);
        let worst = PartValues([FARTHEST as f32; TERMS]);
        assert_eq!(
            model.tally(&worst),
            Tally {
                for_alert: 0,
                models: 201
            }
        );
        assert_eq!(fit(&patients(4_000), 21).constants(), 0);
    }

    #[test]
    fn hostile_parts_are_refused() {
        let part = |mean, precision| Part::Fitted {
            mean: [mean; TERMS],
            precision: [precision; TERMS],
        };
        for (mean, precision) in [
            (f32::NAN, 1.0),
            (0.0, f32::INFINITY),
            (0.0, -1.0),
            (0.0, 0.0),
        ] {
            assert_eq!(Gaussians::new(4.0, vec![part(mean, precision)]), None);
        }
        assert_eq!(Gaussians::new(f32::NAN, vec![part(0.0, 1.0)]), None);
        assert_eq!(Gaussians::new(4.0, vec![]), None);
    }

    proptest! {
        #[test]
        fn votes_only_rise_with_worse_values(values in prop::array::uniform7(prop::option::of(-2_000_000_i64..2_000_000)), worse in prop::array::uniform7(0..200_000_i64)) {
            let model = fit(&patients(300), 21);
            let more = Values(std::array::from_fn(|term| values[term].map(|value| value + worse[term])));
            let (a, b) = (PartValues::of(&Values(values)), PartValues::of(&more));
            prop_assert!(model.tally(&a).for_alert <= model.tally(&b).for_alert);
            prop_assert!(model.median_score(&a) <= model.median_score(&b));
        }
    }
}
