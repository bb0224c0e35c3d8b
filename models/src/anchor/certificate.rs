//! What an attacker would have had to poison or perturb to change a decision.

use crate::features::{HOURS, Hold, Hours};

use super::{Anchor, Corners, RECIPE, TERMS, Towards, Values, hinge};

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
            poison: self.poison_radius(&values),
            evasion: self.evasion(hours, 4),
        }
    }

    /// Returns how many poisoned patients the decision on `values` surely survives.
    #[must_use]
    pub fn poison_radius(&self, values: &Values) -> Radius {
        let alert = self.alerts(self.score(values));
        let survives = |corners: &[Corners; TERMS]| {
            let (least, most) = bounds(corners, values);
            if alert {
                least > self.threshold
            } else {
                most <= self.threshold
            }
        };
        // The brackets nest, so the first level that does not survive ends it.
        let surviving = self.levels.partition_point(survives);
        match (
            u32::try_from(surviving).unwrap_or(u32::MAX),
            self.levels.len(),
        ) {
            // Nothing is known beyond no poison at all.
            (0, _) | (_, 1) => Radius::None,
            (levels, all) if surviving == all => Radius::AtLeast(levels - 1),
            (levels, _) => Radius::Patients(levels - 1),
        }
    }

    /// Returns the least and the most score when `poisoned` patients were altered, inserted or
    /// deleted; nothing when there is no bound.
    #[must_use]
    pub fn within_poison(&self, values: &Values, poisoned: u32) -> Option<(f64, f64)> {
        let level = self.levels.get(usize::try_from(poisoned).ok()?)?;
        Some(bounds(level, values))
    }

    /// Returns what readings false by `quarters` quarters of the sensors' error can do.
    #[must_use]
    pub fn evasion(&self, hours: &Hours, quarters: u16) -> Evasion {
        let at = |hold, towards| self.score(&Values::held(hours, hold, quarters, towards));
        let low = at(Hold::WholeStay, Towards::Silence);
        let high = at(Hold::WholeStay, Towards::Alarm);
        let alert = self.alerts(self.score(&Values::of(hours)));
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
                if changes(at(Hold::Hours(middle), towards)) {
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

/// Returns bounds on the score over all anchors within the corners. A hinge falls as its far anchor
/// moves away, so that one is fixed; in its near anchor it rises or falls throughout, so the extreme
/// is at an end.
fn bounds(corners: &[Corners; TERMS], values: &Values) -> (f64, f64) {
    let (mut least, mut most) = (0.0, 0.0);
    for ((term, corners), value) in RECIPE.iter().zip(corners).zip(values.0) {
        let Some(value) = value else { continue };
        let ends = |widths: [f64; 2]| {
            let [a, b] = corners.near;
            let [width_a, width_b] = widths;
            (hinge(value, a, width_a), hinge(value, b, width_b))
        };
        let (a, b) = ends(corners.silence);
        least += term.weight * a.min(b);
        let (a, b) = ends(corners.force);
        most += term.weight * a.max(b);
    }
    (
        least - OUTWARD * (1.0 + least),
        most + OUTWARD * (1.0 + most),
    )
}
