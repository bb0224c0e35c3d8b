//! Why a model says what it says, in words a clinician reads.

use std::fmt;

use pulseward_vitals::Kind;

use crate::{
    additive::Additive,
    anchor::{Anchor, RECIPE, Reads, TERMS, Values},
    features::{Hours, PARTS, RhythmFeatures, VITALS},
    partition::{Gaussians, PartValues},
    rhythm::RhythmModel,
};

/// One thing that speaks for an alert, or against it.
#[derive(Clone, Debug, PartialEq)]
pub struct Reason {
    /// The vital it is about.
    pub kind: Kind,
    /// What was seen, such as "mean over 12 h 112 /min".
    pub seen: String,
    /// What it adds to the score; negative speaks against.
    pub adds: f64,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ({:+.2})", words(self.kind), self.seen, self.adds)
    }
}

/// Returns what a clinician calls a kind.
const fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::HeartRate => "heart rate",
        Kind::SpO2 => "oxygen saturation",
        Kind::RespiratoryRate => "respiratory rate",
        Kind::Temperature => "temperature",
        Kind::SystolicPressure => "systolic pressure",
        Kind::DiastolicPressure => "diastolic pressure",
        Kind::MeanPressure => "mean pressure",
        Kind::Consciousness => "consciousness",
        Kind::SupplementalOxygen => "oxygen given",
        Kind::BeatInterval => "rhythm",
        Kind::Glucose => "glucose",
        Kind::EndTidalCo2 => "end-tidal carbon dioxide",
    }
}

fn unit(kind: Kind) -> &'static str {
    match kind.spec().ucum {
        "Cel" => "°C",
        "mm[Hg]" => "mmHg",
        other => other,
    }
}

/// A number of steps in the kind's unit, with as many digits as the kind has.
fn in_unit(kind: Kind, steps: f64) -> String {
    let value = steps / 10_f64.powi(i32::from(kind.spec().scale));
    format!(
        "{value:.*} {}",
        usize::from(kind.spec().scale.min(1)),
        unit(kind)
    )
}

pub(super) fn anchor(anchor: &Anchor, hours: &Hours) -> Vec<Reason> {
    let values = Values::of(hours);
    terms(&values, anchor.contributions(&values))
}

/// What is added is to the mean of the models' scores, not to the share of their votes.
pub(super) fn gaussians(gaussians: &Gaussians, hours: &Hours) -> Vec<Reason> {
    let values = Values::of(hours);
    terms(&values, gaussians.contributions(&PartValues::of(&values)))
}

fn terms(values: &Values, adds: [f64; TERMS]) -> Vec<Reason> {
    let mut reasons = Vec::new();
    for ((term, value), adds) in RECIPE.iter().zip(values.0).zip(adds) {
        let (Some(kind), Some(value)) = (VITALS.get(term.vital).copied(), value) else {
            continue;
        };
        if adds <= 0.0 {
            continue;
        }
        let (of, sign) = match term.reads {
            Reads::HighMean => ("mean over 12 h", 1.0),
            Reads::HighMost => ("highest in 8 h", 1.0),
            Reads::LowLeast => ("lowest in 8 h", -1.0),
        };
        let seen = in_unit(kind, sign * value as f64 / PARTS as f64);
        reasons.push(Reason {
            kind,
            seen: format!("{of} {seen}"),
            adds,
        });
    }
    strongest_first(reasons)
}

pub(super) fn additive(additive: &Additive, hours: &Hours) -> Vec<Reason> {
    let adds = additive.contributions(hours);
    let mut reasons = Vec::new();
    for ((index, kind), adds) in VITALS.into_iter().enumerate().zip(adds) {
        if let Some(features) = hours.features(index) {
            let (last, mean) = (
                in_unit(kind, features.last),
                in_unit(kind, features.mean_12h),
            );
            reasons.push(Reason {
                kind,
                seen: format!("last {last}, mean over 12 h {mean}"),
                adds,
            });
        }
    }
    strongest_first(reasons)
}

pub(super) fn rhythm(rhythm: &RhythmModel, features: &RhythmFeatures) -> Vec<Reason> {
    let regular = RhythmFeatures {
        entropy: -2.2,
        occupied: 0.05,
    };
    let adds = rhythm.score(features) - rhythm.score(&regular);
    vec![Reason {
        kind: Kind::BeatInterval,
        seen: format!(
            "of the last beats: entropy {:.2} (a regular one about {:.1}), scatter {:.0} %",
            features.entropy,
            regular.entropy,
            100.0 * features.occupied
        ),
        adds,
    }]
}

fn strongest_first(mut reasons: Vec<Reason>) -> Vec<Reason> {
    reasons.sort_by(|a, b| b.adds.total_cmp(&a.adds));
    reasons
}
