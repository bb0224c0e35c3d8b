//! How good a model is, how sure its alerts are, and how often it calls people: on a frozen set.

mod decider;
mod episodes;
mod set;
mod summary;

pub use decider::{Decider, HELD, QUARTERS};
pub use episodes::{Burden, Hysteresis};
pub use set::{Case, EvaluationSet, RhythmCase};
pub use summary::{Certified, Evaluation, Group, GroupRow, Kept, LaneRow, threshold_for};

use pulseward_vitals::training::About;

use crate::{anchor::Radius, rules::news2::Score};

/// What a model says of one window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// Since the first.
    pub hour: u32,
    /// Whether the event is marked.
    pub event: bool,
    /// The model's score.
    pub score: f64,
    /// Whether it alerts.
    pub alert: bool,
    /// How many poisoned patients that survives.
    pub radius: Radius,
    /// For an alert: whether it stands against each of [`QUARTERS`] held for each of [`HELD`].
    pub kept: [[bool; HELD.len()]; QUARTERS.len()],
    /// What the rules say of the same window.
    pub rules: Option<Score>,
}

/// What a model says of one patient.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judged {
    /// What is known of the patient.
    pub about: About,
    /// In order of time.
    pub rows: Vec<Row>,
}

/// Judges everybody in a set. `see` is told how many of how many are done.
pub fn judge_set(
    decider: &Decider<'_>,
    set: &EvaluationSet,
    see: &mut dyn FnMut(usize, usize),
) -> Vec<Judged> {
    if let Some(rhythm) = decider.rhythm() {
        return set.rhythm.iter().map(|case| case.judged(&rhythm)).collect();
    }
    let all = set.cases.len();
    let mut judged = Vec::with_capacity(all);
    for (done, case) in set.cases.iter().enumerate() {
        if done % 64 == 0 {
            see(done, all);
        }
        judged.push(case.judged(decider));
    }
    see(all, all);
    judged
}

#[cfg(test)]
mod tests;
