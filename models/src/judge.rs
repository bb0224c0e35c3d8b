//! One door for whoever judges a patient: a promoted model, what it says, how sure it is, and why.

mod explain;

pub use explain::Reason;

use pulseward_base::ModelId;
use pulseward_vitals::Kind;

use crate::{
    additive::Additive,
    anchor::{Anchor, Radius, Values},
    artefact::{Card, Parameters, Promoted},
    features::{Hold, Hours, LEAST_BEATS, Window, vital},
    partition::{Gaussians, PartValues},
    rhythm::RhythmModel,
    rules::news2::Eligibility,
    train::PATIENTS_AN_AUTHOR,
};

/// What a model says of a patient now.
#[derive(Clone, Debug, PartialEq)]
pub struct Judgement {
    /// Which model.
    pub model: ModelId,
    /// Whether it alerts.
    pub alert: bool,
    /// Whether it only informs: no certificate holds for all of it.
    pub advisory: bool,
    /// Its score, and the threshold it is compared with.
    pub score: f64,
    /// See there.
    pub threshold: f64,
    /// How many patients must have been poisoned in training to change this.
    pub poison: Radius,
    /// How many sources of labels, each lying in every one, are among them; nothing where labels have
    /// no named sources, or nothing bounds what they do.
    pub sources: Option<u32>,
    /// The least and most score when every reading of the stay may be false by its sensor's error.
    pub within_error: (f64, f64),
    /// How long sensors must be held to change this; nothing when even the whole stay does not.
    pub hold: Option<Hold>,
    /// Whether the bounds under error are sound for all that the model reads.
    pub evasion_certified: bool,
    /// What speaks for an alert, the strongest first.
    pub reasons: Vec<Reason>,
}

/// Why a model says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Abstains {
    /// The patient is not one of those it was made for.
    Population,
    /// Too few of its kinds are known.
    Kinds,
    /// Readings come too seldom for it.
    Cadence,
}

impl Abstains {
    /// All of them, for counters.
    pub const ALL: [Self; 3] = [Self::Population, Self::Kinds, Self::Cadence];
}

/// Judges a patient's window. The same window and model give the same judgement to the bit.
pub fn judge(
    model: &Promoted,
    window: &Window,
    eligibility: Eligibility,
) -> Result<Judgement, Abstains> {
    let card = model.card();
    let too_young = eligibility.age.is_some_and(|age| age < card.least_age);
    if too_young || eligibility.pregnant == Some(true) {
        return Err(Abstains::Population);
    }
    let hours = window.hours();
    let known = |kind: &&Kind| match kind {
        Kind::BeatInterval => window.beats().len() >= LEAST_BEATS,
        kind => vital(**kind).is_some_and(|vital| hours.features(vital).is_some()),
    };
    let count = card.kinds.iter().filter(known).count();
    if count < usize::from(card.least_kinds) || count == 0 {
        return Err(Abstains::Kinds);
    }
    // A kind carried over from before the window is no longer at its cadence.
    let fresh = card.kinds.iter().any(|kind| {
        *kind == Kind::BeatInterval || vital(*kind).is_some_and(|vital| hours.is_fresh(vital))
    });
    if !fresh {
        return Err(Abstains::Cadence);
    }
    let mut judgement = match model.parameters() {
        Parameters::Anchor(anchor) => by_anchor(anchor, &hours),
        Parameters::Gaussians(gaussians) => by_gaussians(gaussians, &hours),
        Parameters::Additive(additive) => by_additive(additive, &hours),
        Parameters::Rhythm(rhythm) => by_rhythm(*rhythm, window).ok_or(Abstains::Kinds)?,
    };
    judgement.model = model.id();
    judgement.sources = sources(card, judgement.poison);
    judgement.advisory = card.advisory || !judgement.evasion_certified;
    Ok(judgement)
}

/// A source that lies labels other patients than it would in truth: so many each time.
fn sources(card: &Card, poison: Radius) -> Option<u32> {
    let setting = card
        .settings
        .iter()
        .find(|setting| setting.0 == PATIENTS_AN_AUTHOR)?;
    let labelled: u32 = setting.1.parse().ok()?;
    let patients = match poison {
        Radius::None => return None,
        Radius::Patients(patients) | Radius::AtLeast(patients) => patients,
    };
    patients.checked_div(labelled.checked_mul(2)?)
}

fn by_anchor(anchor: &Anchor, hours: &Hours) -> Judgement {
    let certificate = anchor.certify(hours);
    Judgement {
        model: ModelId::ZERO,
        alert: certificate.alert,
        advisory: false,
        score: certificate.score,
        threshold: anchor.threshold(),
        poison: certificate.poison,
        sources: None,
        within_error: (certificate.evasion.low, certificate.evasion.high),
        hold: certificate.evasion.hold,
        evasion_certified: true,
        reasons: explain::anchor(anchor, hours),
    }
}

fn by_gaussians(gaussians: &Gaussians, hours: &Hours) -> Judgement {
    let values = PartValues::of(&Values::of(hours));
    let vote = gaussians.vote(&values);
    let share = |tally: crate::partition::Tally| {
        f64::from(tally.for_alert) / f64::from(tally.models.max(1))
    };
    let changes = |hold| {
        let (fewest, most) = gaussians.evasion(hours, hold, 4);
        let end = if vote.alert { fewest } else { most };
        end.radius().alert != vote.alert
    };
    let (fewest, most) = gaussians.evasion(hours, Hold::WholeStay, 4);
    Judgement {
        model: ModelId::ZERO,
        alert: vote.alert,
        advisory: false,
        score: share(gaussians.tally(&values)),
        threshold: 0.5,
        poison: Radius::Patients(vote.patients),
        sources: None,
        within_error: (share(fewest), share(most)),
        hold: Hold::all().find(|hold| changes(*hold)),
        evasion_certified: true,
        reasons: explain::gaussians(gaussians, hours),
    }
}

fn by_additive(additive: &Additive, hours: &Hours) -> Judgement {
    let score = additive.score(hours);
    let alert = additive.alerts(score);
    let changes = |hold| {
        let (low, high) = additive.within_error(hours, hold, 4);
        additive.alerts(if alert { low } else { high }) != alert
    };
    Judgement {
        model: ModelId::ZERO,
        alert,
        advisory: true,
        score,
        threshold: additive.threshold(),
        // One fit on all patients: nothing bounds what one of them did to it.
        poison: Radius::None,
        sources: None,
        within_error: additive.within_error(hours, Hold::WholeStay, 4),
        hold: Hold::all().find(|hold| changes(*hold)),
        evasion_certified: true,
        reasons: explain::additive(additive, hours),
    }
}

fn by_rhythm(rhythm: RhythmModel, window: &Window) -> Option<Judgement> {
    let features = window.beats().features()?;
    let score = rhythm.score(&features);
    Some(Judgement {
        model: ModelId::ZERO,
        alert: rhythm.alerts(score),
        advisory: true,
        score,
        threshold: rhythm.threshold,
        poison: Radius::None,
        sources: None,
        within_error: (f64::NEG_INFINITY, f64::INFINITY),
        hold: Some(Hold::Hours(1)),
        evasion_certified: false,
        reasons: explain::rhythm(&rhythm, &features),
    })
}

#[cfg(test)]
mod tests;
