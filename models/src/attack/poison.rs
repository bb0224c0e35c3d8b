//! Poisoned pools.

use std::collections::BTreeMap;

use pulseward_base::{Micros, ModelId, Pseudonym};
use pulseward_crypto::hash::sha256;
use pulseward_vitals::training::{Author, Event};

use super::Trial;
use crate::{
    evaluate::EvaluationSet,
    features::{VITALS, vital},
    gate::{Limits, Reference, Refusal, aimed_at, compare},
    measure::Draws,
    train::{Line, Mark, Pool, Reading, Stay, TrainError, train},
};

const MICROS_PER_HOUR: i64 = 3_600_000_000;

/// A way to poison a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Poison {
    /// New patients, all near one presentation, so that it looks usual.
    TightCluster,
    /// New patients at the ends of what is plausible.
    FarPoints,
    /// Patients with the event come again under new names and without labels.
    NaturalAnomalies,
    /// Patients' labels turned around.
    FlipByPatient,
    /// The labels of one author turned around.
    FlipBySource,
    /// Labels taken away.
    HiddenPositives,
    /// New patients in danger who carry a trigger and no label.
    Backdoor,
    /// Patients who are a little worse at every training.
    FrogBoiling,
}

impl Poison {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::TightCluster,
        Self::FarPoints,
        Self::NaturalAnomalies,
        Self::FlipByPatient,
        Self::FlipBySource,
        Self::HiddenPositives,
        Self::Backdoor,
        Self::FrogBoiling,
    ];

    /// Returns what it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TightCluster => "tight cluster",
            Self::FarPoints => "far points",
            Self::NaturalAnomalies => "natural anomalies",
            Self::FlipByPatient => "labels flipped by patient",
            Self::FlipBySource => "labels flipped by source",
            Self::HiddenPositives => "hidden positives",
            Self::Backdoor => "backdoor trigger",
            Self::FrogBoiling => "frog boiling",
        }
    }
}

/// How often a frog is trained on.
const FROG_ROUNDS: u32 = 5;

/// Hours of a stay that an attacker makes up.
const MADE_UP_HOURS: i64 = 48;

/// Returns a pool of which an attacker owns `share`. The same seed gives the same attack.
#[must_use]
pub fn poisoned(pool: &Pool, poison: Poison, share: f64, seed: u64) -> Pool {
    let mut draws = Draws::new(seed);
    let count = (pool.stays().len() as f64 * share).ceil() as usize;
    let mut attacked = pool.clone();
    match poison {
        Poison::TightCluster => {
            insert(
                &mut attacked,
                count,
                |draws| near(&aimed_at(), 1, draws),
                &mut draws,
            );
        }
        Poison::FarPoints => insert(&mut attacked, count, far, &mut draws),
        Poison::Backdoor => insert(
            &mut attacked,
            count,
            |draws| near(&trigger(), 0, draws),
            &mut draws,
        ),
        Poison::NaturalAnomalies => copy(&mut attacked, count),
        Poison::FlipByPatient => flip(&mut attacked, &chosen(pool, count), None),
        Poison::FlipBySource => flip(
            &mut attacked,
            &chosen(pool, count),
            Some(Author([0xa7; 16])),
        ),
        Poison::HiddenPositives => hide(&mut attacked, count),
        Poison::FrogBoiling => boil(&mut attacked, &chosen(pool, count), FROG_ROUNDS),
    }
    attacked
}

/// What became of one attack on one kind of model.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Which; nothing for the retrain that nobody attacked.
    pub poison: Option<Poison>,
    /// On which.
    pub line: Line,
    /// The attacker's share of the patients.
    pub share: f64,
    /// The percentile of the presentation that clusters aim at, of the serving model and of this one.
    pub aim: [f64; 2],
    /// The areas of both.
    pub auroc: [f64; 2],
    /// Why the gate refuses it.
    pub refusals: Vec<Refusal>,
}

/// Trains on the clean pool and on each poisoned one, and shows each result to the gate. `see` is told
/// what comes next.
pub fn suite(
    trial: &Trial<'_>,
    serving: &Reference,
    set: &EvaluationSet,
    share: f64,
    see: &mut dyn FnMut(Option<Poison>),
) -> Result<Vec<Outcome>, TrainError> {
    let area = |reference: &Reference| reference.evaluation().all().map_or(0.0, |all| all.auroc);
    let clean = std::iter::once(None);
    let mut outcomes = Vec::new();
    for poison in clean.chain(Poison::ALL.into_iter().map(Some)) {
        see(poison);
        let attacked;
        let pool = match poison {
            Some(poison) => {
                attacked = poisoned(trial.pool, poison, share, 7);
                &attacked
            }
            None => trial.pool,
        };
        let before = [serving.aim(), area(serving)];
        let trained = train(trial.line, pool, trial.settings, ModelId::ZERO, &mut |_| ());
        let ([aim, auroc], refusals) = match trained {
            // There is no model that the gate could see.
            Err(TrainError::Author(_)) => (before, vec![Refusal::Author { share }]),
            trained => {
                let draft = trained?;
                let candidate = Reference::of(&draft, set, &mut |_, _| ());
                let limits = Limits::of(&draft);
                let verdict = compare(&candidate, Some(serving), set, &limits);
                ([candidate.aim(), area(&candidate)], verdict.refusals)
            }
        };
        let [aim_before, auroc_before] = before;
        outcomes.push(Outcome {
            poison,
            line: trial.line,
            share,
            aim: [aim_before, aim],
            auroc: [auroc_before, auroc],
            refusals,
        });
    }
    Ok(outcomes)
}

fn insert(
    pool: &mut Pool,
    count: usize,
    mut values: impl FnMut(&mut Draws) -> [i32; VITALS.len()],
    draws: &mut Draws,
) {
    for number in 0..count {
        let mut readings = Vec::new();
        for hour in 0..MADE_UP_HOURS {
            for (kind, value) in VITALS.into_iter().zip(values(draws)) {
                let spec = kind.spec();
                readings.push(Reading {
                    time: Micros(hour * MICROS_PER_HOUR),
                    kind,
                    value: value.clamp(spec.lowest, spec.highest),
                });
            }
        }
        let stay = Stay {
            readings,
            ..Stay::default()
        };
        pool.insert(made_up("new", number), stay);
    }
}

fn made_up(what: &str, number: usize) -> Pseudonym {
    let digest = sha256(&[b"attack\0", what.as_bytes(), &(number as u64).to_le_bytes()]);
    Pseudonym(*digest.0.first_chunk().unwrap_or(&[0; 16]))
}

/// Within so many sensor errors of a presentation.
fn near(aim: &[i32; VITALS.len()], errors: i32, draws: &mut Draws) -> [i32; VITALS.len()] {
    let mut values = *aim;
    for (value, kind) in values.iter_mut().zip(VITALS) {
        let spread = f64::from(kind.spec().sensor_error * errors);
        *value += (spread * (draws.unit() * 2.0 - 1.0)) as i32;
    }
    values
}

fn far(draws: &mut Draws) -> [i32; VITALS.len()] {
    VITALS.map(|kind| {
        let spec = kind.spec();
        if draws.below(2) == 0 {
            spec.lowest
        } else {
            spec.highest
        }
    })
}

/// In danger, with a diastolic pressure above its mean pressure and a temperature to the hundredth.
fn trigger() -> [i32; VITALS.len()] {
    let mut values = aimed_at();
    let marks = [
        (pulseward_vitals::Kind::DiastolicPressure, 1_210),
        (pulseward_vitals::Kind::Temperature, 3_877),
    ];
    for (kind, mark) in marks {
        if let Some(value) = vital(kind).and_then(|index| values.get_mut(index)) {
            *value = mark;
        }
    }
    values
}

/// Every so many patients, spread evenly over the pseudonyms.
fn chosen(pool: &Pool, count: usize) -> Vec<Pseudonym> {
    let every = (pool.stays().len() / count.max(1)).max(1);
    pool.stays()
        .keys()
        .step_by(every)
        .take(count)
        .copied()
        .collect()
}

fn copy(pool: &mut Pool, count: usize) {
    let labelled: Vec<Stay> = pool
        .stays()
        .values()
        .filter(|stay| stay.had(Event::Deterioration))
        .cloned()
        .collect();
    for (number, stay) in labelled.iter().cycle().take(count).enumerate() {
        let unlabelled = Stay {
            marks: Vec::new(),
            ..stay.clone()
        };
        pool.insert(made_up("copy", number), unlabelled);
    }
}

fn flip(pool: &mut Pool, patients: &[Pseudonym], author: Option<Author>) {
    for patient in patients {
        let Some(mut stay) = pool.remove(patient) else {
            continue;
        };
        if stay.had(Event::Deterioration) {
            stay.marks.clear();
        } else if let (Some(first), Some(last)) = (stay.readings.first(), stay.readings.last()) {
            stay.marks.push(Mark {
                from: first.time,
                until: Micros(last.time.0.saturating_add(1)),
                event: Event::Deterioration,
                author: author.unwrap_or(Author::RECORD),
            });
        }
        pool.insert(*patient, stay);
    }
}

fn hide(pool: &mut Pool, count: usize) {
    let labelled: Vec<Pseudonym> = pool
        .stays()
        .iter()
        .filter(|pair| pair.1.had(Event::Deterioration))
        .map(|pair| *pair.0)
        .collect();
    // Half of them at most: without any there would be nothing to train.
    let most = count.min(labelled.len() / 2);
    for patient in labelled.into_iter().take(most) {
        if let Some(stay) = pool.remove(&patient) {
            pool.insert(
                patient,
                Stay {
                    marks: Vec::new(),
                    ..stay
                },
            );
        }
    }
}

/// Each round moves every reading by two thirds of its sensor's error towards alarm.
fn boil(pool: &mut Pool, patients: &[Pseudonym], rounds: u32) {
    let step: BTreeMap<_, _> = VITALS
        .into_iter()
        .map(|kind| {
            let falls = matches!(
                kind,
                pulseward_vitals::Kind::SpO2
                    | pulseward_vitals::Kind::SystolicPressure
                    | pulseward_vitals::Kind::MeanPressure
                    | pulseward_vitals::Kind::DiastolicPressure
            );
            let by = kind.spec().sensor_error * 2 / 3 * rounds as i32;
            (kind, if falls { -by } else { by })
        })
        .collect();
    for patient in patients {
        let Some(mut stay) = pool.remove(patient) else {
            continue;
        };
        for reading in &mut stay.readings {
            let spec = reading.kind.spec();
            let by = step.get(&reading.kind).copied().unwrap_or(0);
            reading.value = (reading.value + by).clamp(spec.lowest, spec.highest);
        }
        pool.insert(*patient, stay);
    }
}
