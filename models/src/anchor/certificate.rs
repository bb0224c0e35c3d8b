//! What an attacker would have had to poison or perturb to change a decision.

use crate::features::{HOURS, Hold, Hours};

use super::{Anchor, Corners, Numbers, Towards, Values, hinges};

/// How many poisoned patients a decision surely survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Radius {
    /// There is no bound, not even for one patient.
    None,
    /// Exactly so many are covered; for one more there is no promise.
    Patients(u32),
    /// So many are covered, and nobody looked further.
    AtLeast(u32),
}

impl Radius {
    /// Returns whether `patients` poisoned patients are covered.
    #[must_use]
    pub const fn covers(self, patients: u32) -> bool {
        match self {
            Self::None => false,
            Self::Patients(radius) | Self::AtLeast(radius) => patients <= radius,
        }
    }
}

/// What false readings within the sensors' error can do to a score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evasion {
    /// The least score when every reading of the stay may be false by the error.
    pub low: f64,
    /// The most score.
    pub high: f64,
    /// How long the sensors must be held to change the decision; nothing when even the whole stay
    /// does not do it.
    pub hold: Option<Hold>,
}

/// A decision and how sure it is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Certificate {
    /// The score.
    pub score: f64,
    /// Whether it alerts.
    pub alert: bool,
    /// How many poisoned patients it survives.
    pub poison: Radius,
    /// What false readings can do at once the sensors' error.
    pub evasion: Evasion,
}

/// Bounds under poison are computed with a rounding error far below this share of them.
const OUTWARD: f64 = 1e-12;

impl Anchor {
    /// Judges the hours and certifies the judgement.
    #[must_use]
    pub fn certify(&self, hours: &Hours) -> Certificate {
        let values = Values::of(hours);
        let score = self.score(&values);
        Certificate {
            score,
            alert: self.alerts(score),
            poison: self.radius(&values.numbers(), self.alerts(score)),
            evasion: self.evasion_of(hours, &values, 4),
        }
    }

    /// Returns how many poisoned patients the decision on `values` surely survives.
    #[must_use]
    pub fn poison_radius(&self, values: &Values) -> Radius {
        let numbers = values.numbers();
        self.radius(&numbers, self.alerts(self.score_at(&numbers)))
    }

    fn radius(&self, numbers: &Numbers, alert: bool) -> Radius {
        let survives = |corners: &Corners| {
            if alert {
                least(corners, numbers) > self.threshold
            } else {
                most(corners, numbers) <= self.threshold
            }
        };
        // The brackets nest, so what the widest leaves unchanged all do; else the first level that
        // does not survive ends it.
        let surviving = if self.levels.last().is_some_and(survives) {
            self.levels.len()
        } else {
            self.levels.partition_point(survives)
        };
        let levels = u32::try_from(surviving).unwrap_or(u32::MAX);
        match (levels, self.levels.len()) {
            // Nothing is known beyond no poison at all.
            (0, _) | (_, 1) => Radius::None,
            (_, all) if surviving == all => Radius::AtLeast(levels - 1),
            _ => Radius::Patients(levels - 1),
        }
    }

    /// Returns the least and the most score when `poisoned` patients were altered, inserted or
    /// deleted; nothing when there is no bound.
    #[must_use]
    pub fn within_poison(&self, values: &Values, poisoned: u32) -> Option<(f64, f64)> {
        let level = self.levels.get(usize::try_from(poisoned).ok()?)?;
        let numbers = values.numbers();
        Some((least(level, &numbers), most(level, &numbers)))
    }

    /// Returns what readings false by `quarters` quarters of the sensors' error can do.
    #[must_use]
    pub fn evasion(&self, hours: &Hours, quarters: u16) -> Evasion {
        self.evasion_of(hours, &Values::of(hours), quarters)
    }

    fn evasion_of(&self, hours: &Hours, values: &Values, quarters: u16) -> Evasion {
        let low = self.score(&values.moved(quarters, Towards::Silence));
        let high = self.score(&values.moved(quarters, Towards::Alarm));
        let alert = self.alerts(self.score(values));
        let (towards, whole) = if alert {
            (Towards::Silence, low)
        } else {
            (Towards::Alarm, high)
        };
        let changes = |score| self.alerts(score) != alert;
        let hold = changes(whole).then(|| {
            // Holding longer only adds readings to move, so the shortest hold is found by halving.
            let (mut kept, mut changed) = (0, HOURS as u8 + 1);
            while changed - kept > 1 {
                let middle = kept.midpoint(changed);
                let held = Values::held(hours, Hold::Hours(middle), quarters, towards);
                if changes(self.score(&held)) {
                    changed = middle;
                } else {
                    kept = middle;
                }
            }
            if usize::from(changed) > HOURS {
                Hold::WholeStay
            } else {
                Hold::Hours(changed)
            }
        });
        Evasion { low, high, hold }
    }
}

/// Returns a bound below the score over all anchors within the corners. A hinge falls as its far
/// anchor moves away, so that one is fixed; in its near anchor it rises or falls throughout, so the
/// extreme is at an end.
fn least(corners: &Corners, numbers: &Numbers) -> f64 {
    let ([near_a, near_b], [width_a, width_b]) = (&corners.near, &corners.silence);
    let a = hinges(numbers, near_a, width_a);
    let b = hinges(numbers, near_b, width_b);
    let sum: f64 = a.iter().zip(b).map(|(a, b)| a.min(b)).sum();
    sum - OUTWARD * (1.0 + sum)
}

/// Returns a bound above the score, likewise.
fn most(corners: &Corners, numbers: &Numbers) -> f64 {
    let ([near_a, near_b], [width_a, width_b]) = (&corners.near, &corners.force);
    let a = hinges(numbers, near_a, width_a);
    let b = hinges(numbers, near_b, width_b);
    let sum: f64 = a.iter().zip(b).map(|(a, b)| a.max(b)).sum();
    sum + OUTWARD * (1.0 + sum)
}
