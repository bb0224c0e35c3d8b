//! One way to ask any model of hours what it decides and how sure it is.

use crate::{
    anchor::{Radius, Values},
    artefact::Parameters,
    features::{Hold, Hours},
    partition::{Gaussians, PartValues},
    rhythm::RhythmModel,
};

/// How long sensors are held in evaluations.
pub const HELD: [Hold; 5] = [
    Hold::Hours(1),
    Hold::Hours(3),
    Hold::Hours(6),
    Hold::Hours(12),
    Hold::WholeStay,
];

/// How false readings are in evaluations, in quarters of the sensor's error.
pub const QUARTERS: [u16; 3] = [1, 4, 8];

/// A model's decisions.
#[derive(Clone, Copy, Debug)]
pub struct Decider<'a>(pub &'a Parameters);

impl Decider<'_> {
    /// Returns the score that ranks windows: higher is worse.
    #[must_use]
    pub fn score(&self, hours: &Hours) -> f64 {
        match self.0 {
            Parameters::Anchor(anchor) => anchor.score(&Values::of(hours)),
            Parameters::Gaussians(parts) => parts.median_score(&PartValues::of(&Values::of(hours))),
            Parameters::Additive(curves) => curves.score(hours),
            Parameters::Rhythm(_) => 0.0,
        }
    }

    /// Returns whether the window alerts.
    #[must_use]
    pub fn alerts(&self, hours: &Hours) -> bool {
        match self.0 {
            Parameters::Anchor(anchor) => anchor.alerts(self.score(hours)),
            Parameters::Gaussians(parts) => vote(parts, &Values::of(hours)),
            Parameters::Additive(curves) => curves.alerts(self.score(hours)),
            Parameters::Rhythm(_) => false,
        }
    }

    /// Returns how many poisoned patients the decision survives.
    #[must_use]
    pub fn radius(&self, hours: &Hours) -> Radius {
        match self.0 {
            Parameters::Anchor(anchor) => anchor.poison_radius(&Values::of(hours)),
            Parameters::Gaussians(parts) => {
                Radius::Patients(parts.vote(&PartValues::of(&Values::of(hours))).patients)
            }
            Parameters::Additive(_) | Parameters::Rhythm(_) => Radius::None,
        }
    }

    /// Returns whether the window alerts whatever an attacker does to readings held for `hold`.
    #[must_use]
    pub fn alerts_despite(&self, hours: &Hours, hold: Hold, quarters: u16) -> bool {
        match self.0 {
            Parameters::Anchor(anchor) => anchor.alerts(self.least_score(hours, hold, quarters)),
            Parameters::Gaussians(parts) => parts.evasion(hours, hold, quarters).0.radius().alert,
            Parameters::Additive(curves) => curves.alerts(self.least_score(hours, hold, quarters)),
            Parameters::Rhythm(_) => false,
        }
    }

    /// Returns the certified least score that an attacker reaches. For an ensemble that is the share
    /// of votes.
    #[must_use]
    pub fn least_score(&self, hours: &Hours, hold: Hold, quarters: u16) -> f64 {
        use crate::anchor::Towards;
        match self.0 {
            Parameters::Anchor(anchor) => {
                anchor.score(&Values::held(hours, hold, quarters, Towards::Silence))
            }
            Parameters::Gaussians(parts) => {
                let values = Values::held(hours, hold, quarters, Towards::Silence);
                parts.median_score(&PartValues::of(&values))
            }
            Parameters::Additive(curves) => curves.within_error(hours, hold, quarters).0,
            Parameters::Rhythm(_) => f64::NEG_INFINITY,
        }
    }

    pub(super) fn rhythm(&self) -> Option<RhythmModel> {
        match self.0 {
            Parameters::Rhythm(model) => Some(*model),
            _ => None,
        }
    }
}

fn vote(parts: &Gaussians, values: &Values) -> bool {
    parts.vote(&PartValues::of(values)).alert
}
