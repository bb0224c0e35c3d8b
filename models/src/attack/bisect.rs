//! Which patients or batches moved a model.
//!
//! Two listings say what entered two trainings; what they share cannot have moved anything. The rest
//! is halved: a half without which the model moves back is looked into.

use std::collections::{BTreeMap, BTreeSet};

use pulseward_base::{Digest, ModelId, Pseudonym};

use super::Trial;
use crate::{
    artefact::{Draft, Parameters},
    train::{Listing, TrainError, train},
};

/// What differs between two trainings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Patients that only the later one has.
    pub added: BTreeSet<Pseudonym>,
    /// Patients that only the earlier one has.
    pub removed: BTreeSet<Pseudonym>,
    /// Patients with other rows.
    pub rows: BTreeSet<Pseudonym>,
    /// Patients with other labels.
    pub labels: BTreeSet<Pseudonym>,
    /// Batches that only the later one has, with their patients.
    pub batches: BTreeMap<Digest, Pseudonym>,
}

/// Patients who move a model together.
#[derive(Clone, Debug, PartialEq)]
pub struct Suspect {
    /// Who.
    pub patients: Vec<Pseudonym>,
    /// How far the model is from the earlier one with them.
    pub with: f64,
    /// And without them.
    pub without: f64,
}

/// Returns what differs between what two models were trained on.
#[must_use]
pub fn difference(before: &Listing, after: &Listing) -> Moved {
    let mut moved = Moved::default();
    for (patient, listed) in &after.0 {
        let Some(old) = before.0.get(patient) else {
            moved.added.insert(*patient);
            moved
                .batches
                .extend(listed.batches.iter().map(|batch| (*batch, *patient)));
            continue;
        };
        if old.rows != listed.rows {
            moved.rows.insert(*patient);
        }
        if old.marks != listed.marks {
            moved.labels.insert(*patient);
        }
        let known: BTreeSet<&Digest> = old.batches.iter().collect();
        let new = listed.batches.iter().filter(|batch| !known.contains(batch));
        moved.batches.extend(new.map(|batch| (*batch, *patient)));
    }
    moved.removed = before
        .0
        .keys()
        .filter(|patient| !after.0.contains_key(patient))
        .copied()
        .collect();
    moved
}

/// Finds up to `most` groups of `suspects` in the trial's pool without whom the model is nearer to `before`,
/// the strongest first. Each step trains twice.
pub fn bisect(
    trial: &Trial<'_>,
    before: &Draft,
    suspects: &BTreeSet<Pseudonym>,
    (least, most): (usize, usize),
    see: &mut dyn FnMut(usize),
) -> Result<Vec<Suspect>, TrainError> {
    let mut trained = 0;
    let mut away = |without: &[Pseudonym]| -> Result<f64, TrainError> {
        let mut rest = trial.pool.clone();
        for patient in without {
            rest.remove(patient);
        }
        trained += 1;
        see(trained);
        let draft = train(
            trial.line,
            &rest,
            trial.settings,
            ModelId::ZERO,
            &mut |_| (),
        )?;
        Ok(distance(&draft.parameters, &before.parameters))
    };
    let with = away(&[])?;
    let mut found = Vec::new();
    let all: Vec<Pseudonym> = suspects.iter().copied().collect();
    let mut waiting = vec![all];
    while let Some(group) = waiting.pop() {
        if group.is_empty() || found.len() == most {
            continue;
        }
        let without = away(&group)?;
        // A group that moves the model less than its size would by chance is let go.
        if without >= with {
            continue;
        }
        if group.len() <= least.max(1) {
            found.push(Suspect {
                patients: group,
                with,
                without,
            });
            continue;
        }
        let (left, right) = group
            .split_at_checked(group.len() / 2)
            .unwrap_or((&group, &[]));
        waiting.push(left.to_vec());
        waiting.push(right.to_vec());
    }
    found.sort_by(|a, b| a.without.total_cmp(&b.without));
    Ok(found)
}

/// How far two models of one kind are apart, in their own numbers.
fn distance(a: &Parameters, b: &Parameters) -> f64 {
    match (a, b) {
        (Parameters::Anchor(a), Parameters::Anchor(b)) => {
            let places = |model: &crate::anchor::Anchor| -> Vec<i64> {
                let first = model.brackets().first().into_iter().flatten();
                first
                    .flat_map(|bracket| [bracket.near[0], bracket.far[0]])
                    .collect()
            };
            places(a)
                .into_iter()
                .zip(places(b))
                .map(|(a, b)| (a - b).abs() as f64)
                .sum()
        }
        (Parameters::Gaussians(a), Parameters::Gaussians(b)) => a
            .parts()
            .iter()
            .zip(b.parts())
            .filter(|(a, b)| a != b)
            .count() as f64,
        (Parameters::Additive(a), Parameters::Additive(b)) => {
            let heights = |model: &crate::additive::Additive| -> Vec<f64> {
                model
                    .curves()
                    .iter()
                    .flat_map(|curve| curve.knots.iter().map(|knot| knot.1))
                    .collect()
            };
            heights(a)
                .into_iter()
                .zip(heights(b))
                .map(|(a, b)| (a - b).abs())
                .sum()
        }
        (Parameters::Rhythm(a), Parameters::Rhythm(b)) => {
            let numbers = |model: &crate::rhythm::RhythmModel| {
                let [x, y] = model.weights;
                [x, y, model.intercept]
            };
            let pairs = numbers(a).into_iter().zip(numbers(b));
            pairs.map(|(a, b)| (a - b).abs()).sum()
        }
        _ => f64::INFINITY,
    }
}
