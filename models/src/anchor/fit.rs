//! Fitting the score: gather each patient's values, rank them, read off the brackets.

use super::{Anchor, Bracket, Constancy, FAR, MOST_RADIUS, NEAR, Ranks, TERMS, Values};

/// The values of the patients that a score is fitted on: those that never had the event.
#[derive(Clone, Debug, Default)]
pub struct Pool {
    pub(super) patients: Vec<[Vec<i64>; TERMS]>,
}

/// Why no score could be fitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FitError {
    /// A term has too few patients, or its quantiles coincide.
    #[error("the pool does not tell apart the anchors of term {0}")]
    NoAnchors(usize),
    /// The threshold is not a number.
    #[error("the threshold is not finite")]
    Threshold,
}

impl Pool {
    /// Adds one patient with all windows there are. What one patient can do to the pool does not
    /// depend on how many.
    pub fn add_patient<'a>(&mut self, windows: impl IntoIterator<Item = &'a Values>) {
        let mut columns: [Vec<i64>; TERMS] = Default::default();
        for window in windows {
            for (column, value) in columns.iter_mut().zip(window.0) {
                column.extend(value);
            }
        }
        self.patients.push(columns);
    }

    /// Returns how many patients were added.
    #[must_use]
    pub const fn patients(&self) -> usize {
        self.patients.len()
    }

    /// Ranks the values of each term.
    #[must_use]
    pub fn ranks(&self) -> [Ranks; TERMS] {
        std::array::from_fn(|term| {
            Ranks::new(
                self.patients
                    .iter()
                    .filter_map(|patient| patient.get(term).map(Vec::as_slice)),
            )
        })
    }
}

/// Fits a score. The same pool in any order gives the same score to the byte.
pub fn fit(pool: &Pool, constancy: Constancy, threshold: f64) -> Result<Anchor, FitError> {
    if !threshold.is_finite() {
        return Err(FitError::Threshold);
    }
    let ranks = pool.ranks();
    let mut brackets = Vec::new();
    for poisoned in 0..=MOST_RADIUS {
        let mut terms = [Bracket::default(); TERMS];
        for (index, (slot, ranks)) in terms.iter_mut().zip(&ranks).enumerate() {
            match (ranks.between(NEAR, poisoned), ranks.between(FAR, poisoned)) {
                // With crossing quantiles the hinge has no bound, whatever the constants add.
                (Some(near), Some(far)) if near[1] < far[0] => *slot = Bracket { near, far },
                _ if poisoned == 0 => return Err(FitError::NoAnchors(index)),
                _ => return finish(constancy, threshold, brackets),
            }
        }
        brackets.push(terms);
    }
    finish(constancy, threshold, brackets)
}

fn finish(
    constancy: Constancy,
    threshold: f64,
    brackets: Vec<[Bracket; TERMS]>,
) -> Result<Anchor, FitError> {
    Anchor::new(constancy, threshold, brackets).ok_or(FitError::NoAnchors(0))
}
