//! Telling atrial fibrillation and flutter from a regular rhythm, from the times between beats.
//!
//! Two numbers (see [`RhythmFeatures`]) and a logistic regression fitted by linfa. Its threshold is a
//! constant. It says nothing below [`crate::features::LEAST_BEATS`] beats, and nothing of paced
//! rhythms. The entropy carries a sound interval under jitter of the beats; the share of occupied
//! cells does not, so as a whole the model is advisory.

use crate::{
    features::RhythmFeatures,
    linfa_wall::{FitError, LogisticSettings, Rows, logistic},
};

/// Constant centre and width of the two numbers.
const SCALE: [(f64, f64); 2] = [(-1.5, 0.5), (0.2, 0.2)];

/// A fitted rhythm model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RhythmModel {
    /// For entropy and occupied cells, once scaled.
    pub weights: [f64; 2],
    /// What is added.
    pub intercept: f64,
    /// Above this it alerts.
    pub threshold: f64,
}

impl RhythmModel {
    /// Fits the model on windows of an irregular rhythm (`true`) and of a regular one.
    pub fn fit(
        windows: impl IntoIterator<Item = (RhythmFeatures, bool)>,
    ) -> Result<Self, FitError> {
        let mut rows = Rows::new(2);
        let mut events = Vec::new();
        for (features, event) in windows {
            rows.push(&scaled(&features));
            events.push(event);
        }
        let settings = LogisticSettings {
            ridge: 20.0,
            ..LogisticSettings::default()
        };
        let linear = logistic(rows, &events, settings)?;
        match linear.weights.as_slice() {
            &[entropy, occupied] => Ok(Self {
                weights: [entropy, occupied],
                intercept: linear.intercept,
                threshold: 0.0,
            }),
            _ => Err(FitError::Wrong),
        }
    }

    /// Returns the score: the logarithm of the odds of an irregular rhythm.
    #[must_use]
    pub fn score(&self, features: &RhythmFeatures) -> f64 {
        let scaled = scaled(features);
        let sum: f64 = self
            .weights
            .iter()
            .zip(scaled)
            .map(|(weight, value)| weight * value)
            .sum();
        self.intercept + sum
    }

    /// Returns whether `score` alerts.
    #[must_use]
    pub fn alerts(&self, score: f64) -> bool {
        score > self.threshold
    }
}

fn scaled(features: &RhythmFeatures) -> [f64; 2] {
    let mut values = [features.entropy, features.occupied];
    for (value, (centre, width)) in values.iter_mut().zip(SCALE) {
        *value = (*value - centre) / width;
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_surprise_and_more_scatter_score_higher() {
        let windows = (0..200).map(|index| {
            let event = index % 3 == 0;
            let jitter = f64::from(index % 10) / 20.0;
            let features = RhythmFeatures {
                entropy: if event { -0.8 } else { -2.2 } + jitter,
                occupied: if event { 0.5 } else { 0.1 } + jitter / 2.0,
            };
            (features, event)
        });
        let model = RhythmModel::fit(windows).unwrap();
        assert!(
            model.weights.iter().all(|weight| *weight > 0.0),
            "{model:?}"
        );
    }

    #[test]
    fn a_single_class_is_refused() {
        let features = RhythmFeatures {
            entropy: -1.0,
            occupied: 0.2,
        };
        assert_eq!(
            RhythmModel::fit([(features, true); 5]),
            Err(FitError::SingleClass)
        );
        assert_eq!(RhythmModel::fit([]), Err(FitError::Empty));
    }
}
