//! Training: from a source's rows to drafts of models, the same bytes for the same rows in any order.
//!
//! Invariants:
//! - Filters and caps look at one patient at a time, so one patient changes what is learned from one
//!   patient only. Whatever looks at the whole pool may refuse a model at the gate, never drop a row.
//! - Scales, knots and thresholds are constants of the settings, which are signed with the model.
//! - A patient whom anybody labelled is not among those that never had the event.
//! - Labels of one author count for so many patients at most: those nearest to a fixed hash. Where models
//!   learn from those without labels, an author with more is an error; one that lies in every label
//!   changes twice as many patients at most.

mod pool;
mod settings;
mod source;

pub(crate) use pool::TWINS;
pub use pool::{Excluded, Listed, Listing, Mark, Pool, Reading, Stay};
pub use settings::{Cohort, Line, Selection, Settings};
pub use source::{Beats, Stays, pseudonym_of};

use std::collections::{BTreeMap, BTreeSet};

use pulseward_base::{ModelId, Pseudonym};
use pulseward_crypto::hash::sha256;
use pulseward_vitals::{
    Kind,
    training::{Author, Event},
};

use crate::{
    additive::{Basis, fit as fit_curves, fit_change},
    anchor::{self, Pool as AnchorPool, Values},
    artefact::{Card, Draft, Parameters, Purpose},
    features::{Hours, VITALS},
    linfa_wall::{FitError, LogisticSettings},
    measure::share,
    partition::{Gaussians, PartValues},
    rhythm::RhythmModel,
};

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// What is being done.
    pub step: Step,
    /// So many are done.
    pub done: usize,
    /// Of so many; zero when nobody knows.
    pub all: usize,
}

/// A step of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Rows are read.
    Read,
    /// Rows become windows.
    Windows,
    /// Numbers are fitted.
    Fit,
}

/// Why there is no model.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The source failed.
    #[error("couldn't read the source")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// More patients or batches than training takes.
    #[error("the source gives more than training takes")]
    TooLarge,
    /// Nobody is left to train on.
    #[error("no patient is left to train on")]
    Nobody,
    /// A named author labelled more patients than one may where models learn from those without labels.
    #[error("one author labelled more than {0} patients")]
    Author(usize),
    /// The anchor score cannot be fitted.
    #[error("the anchor score")]
    Anchor(#[from] anchor::FitError),
    /// Another model cannot be fitted.
    #[error("the fit")]
    Fit(#[from] FitError),
}

/// Trains one kind of model on `pool`. The draft replaces `parent`.
pub fn train(
    line: Line,
    pool: &Pool,
    settings: &Settings,
    parent: ModelId,
    see: &mut dyn FnMut(Progress),
) -> Result<Draft, TrainError> {
    if pool.stays().is_empty() {
        return Err(TrainError::Nobody);
    }
    let (parameters, mut metrics) = match line {
        Line::Anchor => anchor_of(pool, settings, see)?,
        Line::Gaussians => gaussians_of(pool, settings, see)?,
        Line::Deterioration | Line::Change => curves_of(line, pool, settings, see)?,
        Line::Rhythm => rhythm_of(pool, settings, see)?,
    };
    metrics.extend(pool.metrics());
    metrics.sort_by(|a, b| a.0.cmp(&b.0));
    let mut told = settings.told(line, pool.selection());
    let by_author = by_author(pool);
    if line.learns_from_the_quiet() && !by_author.is_empty() {
        let most = settings.patients_an_author;
        if by_author.values().any(|patients| patients.len() > most) {
            return Err(TrainError::Author(most));
        }
        told.push((PATIENTS_AN_AUTHOR.to_owned(), most.to_string()));
        told.sort();
    }
    let mut data = pool.data().to_vec();
    data.push(("listing".to_owned(), pool.listing().digest()));
    let card = Card {
        name: line.name().to_owned(),
        purpose: line.purpose(),
        advisory: !line.learns_from_the_quiet(),
        words: line.words().to_owned(),
        least_age: 16,
        cadence_seconds: if line == Line::Rhythm { 4 } else { 3_600 },
        kinds: line.kinds(),
        least_kinds: if line == Line::Rhythm { 1 } else { 2 },
        code: concat!("pulseward-models ", env!("CARGO_PKG_VERSION")).to_owned(),
        data,
        settings: told,
        metrics,
        parent,
    };
    Ok(Draft { card, parameters })
}

/// The setting that bounds what one source of labels changes; only where authors are named.
pub(crate) const PATIENTS_AN_AUTHOR: &str = "patients_an_author";

type Fitted = (Parameters, Vec<(String, f64)>);

fn anchor_of(
    pool: &Pool,
    settings: &Settings,
    see: &mut dyn FnMut(Progress),
) -> Result<Fitted, TrainError> {
    let mut anchors = AnchorPool::default();
    let quiet = quiet_values(pool, see);
    for windows in quiet.values() {
        anchors.add_patient(windows);
    }
    let model = anchor::fit(&anchors, settings.constancy, settings.anchor_threshold)?;
    let rates = quiet.values().flatten();
    let alerts = rates.clone().filter(|v| model.alerts(model.score(v)));
    let metrics = vec![
        (
            "alert_share".to_owned(),
            share(alerts.count(), rates.count()),
        ),
        ("pool_patients".to_owned(), anchors.patients() as f64),
        (
            "radius_most".to_owned(),
            model.brackets().len() as f64 - 1.0,
        ),
    ];
    Ok((Parameters::Anchor(model), metrics))
}

fn gaussians_of(
    pool: &Pool,
    settings: &Settings,
    see: &mut dyn FnMut(Progress),
) -> Result<Fitted, TrainError> {
    let quiet = quiet_values(pool, see);
    let patients = quiet.iter().map(|(id, windows)| (&id.0[..], &windows[..]));
    let model = Gaussians::fit(settings.parts, settings.gaussians_threshold, patients)?;
    // Every fifth window is enough to tell a share.
    let rows = || quiet.values().flatten().step_by(5);
    let alerts = rows().filter(|v| model.vote(&PartValues::of(v)).alert);
    let metrics = vec![
        (
            "alert_share".to_owned(),
            share(alerts.count(), rows().count()),
        ),
        ("constant_parts".to_owned(), model.constants() as f64),
        ("pool_patients".to_owned(), quiet.len() as f64),
    ];
    Ok((Parameters::Gaussians(model), metrics))
}

/// The windows of all patients whom nobody labelled.
fn quiet_values(pool: &Pool, see: &mut dyn FnMut(Progress)) -> BTreeMap<Pseudonym, Vec<Values>> {
    let all = pool.stays().len();
    let mut quiet = BTreeMap::new();
    for (done, (patient, stay)) in pool.stays().iter().enumerate() {
        if done % 256 == 0 {
            see(Progress {
                step: Step::Windows,
                done,
                all,
            });
        }
        if stay.had(Event::Deterioration) {
            continue;
        }
        let mut windows = Vec::new();
        stay.windows(pool.selection(), |_, hours, _| {
            windows.push(Values::of(hours))
        });
        quiet.insert(*patient, windows);
    }
    see(Progress {
        step: Step::Windows,
        done: all,
        all,
    });
    quiet
}

fn curves_of(
    line: Line,
    pool: &Pool,
    settings: &Settings,
    see: &mut dyn FnMut(Progress),
) -> Result<Fitted, TrainError> {
    let left_out = over_the_cap(pool, settings.positives_an_author);
    let all = pool.stays().len();
    let mut rows: Vec<(Hours, bool)> = Vec::new();
    for (done, (patient, stay)) in pool.stays().iter().enumerate() {
        if done % 256 == 0 {
            see(Progress {
                step: Step::Windows,
                done,
                all,
            });
        }
        if left_out.contains(patient) {
            continue;
        }
        // So many windows, chosen by a hash of patient and hour alone.
        let mut chosen: Vec<([u8; 32], Hours, bool)> = Vec::new();
        stay.windows(pool.selection(), |hour, hours, event| {
            let order = sha256(&[b"pulseward/v1/window\0", &patient.0, &hour.to_le_bytes()]);
            chosen.push((order.0, hours.clone(), event));
        });
        chosen.sort_by_key(|window| window.0);
        chosen.truncate(settings.windows_a_patient);
        rows.extend(chosen.into_iter().map(|(_, hours, event)| (hours, event)));
    }
    see(Progress {
        step: Step::Fit,
        done: 0,
        all: 1,
    });
    let events = rows.iter().filter(|row| row.1).count();
    let metrics = vec![
        ("event_share".to_owned(), share(events, rows.len())),
        ("over_author_cap".to_owned(), left_out.len() as f64),
        ("windows".to_owned(), rows.len() as f64),
    ];
    let ridge = match line {
        Line::Change => settings.change_ridge,
        _ => settings.ridge,
    };
    let fitting = LogisticSettings {
        ridge,
        steps: settings.steps,
        tolerance: settings.tolerance,
    };
    let rows = rows.iter().map(|(hours, event)| (hours, *event));
    let model = if line == Line::Change {
        let model = fit_change(settings.change_share, rows, fitting)?;
        model.with_threshold(settings.change_threshold)
    } else {
        let model = fit_curves(&Basis::full(), rows, fitting)?;
        model.with_threshold(settings.deterioration_threshold)
    };
    see(Progress {
        step: Step::Fit,
        done: 1,
        all: 1,
    });
    Ok((Parameters::Additive(model), metrics))
}

/// The patients with labels beyond their authors' caps.
fn over_the_cap(pool: &Pool, most: usize) -> BTreeSet<Pseudonym> {
    let beyond = by_author(pool)
        .into_values()
        .flat_map(|patients| patients.into_iter().skip(most));
    beyond.map(|patient| patient.1).collect()
}

/// The patients whom named authors labelled, in the order of a fixed hash.
fn by_author(pool: &Pool) -> BTreeMap<Author, BTreeSet<([u8; 32], Pseudonym)>> {
    let mut by_author: BTreeMap<Author, BTreeSet<([u8; 32], Pseudonym)>> = BTreeMap::new();
    for (patient, stay) in pool.stays() {
        for author in stay.authors().filter(|author| *author != Author::RECORD) {
            let order = sha256(&[b"pulseward/v1/author\0", &author.0, &patient.0]);
            let patients = by_author.entry(author).or_default();
            patients.insert((order.0, *patient));
        }
    }
    by_author
}

fn rhythm_of(
    pool: &Pool,
    settings: &Settings,
    see: &mut dyn FnMut(Progress),
) -> Result<Fitted, TrainError> {
    let all = pool.stays().len();
    let mut windows = Vec::new();
    for (done, stay) in pool.stays().values().enumerate() {
        see(Progress {
            step: Step::Windows,
            done,
            all,
        });
        windows.extend(stay.rhythm_windows());
    }
    let events = windows.iter().filter(|window| window.1).count();
    let metrics = vec![
        ("event_share".to_owned(), share(events, windows.len())),
        ("windows".to_owned(), windows.len() as f64),
    ];
    let mut model = RhythmModel::fit(windows)?;
    model.threshold = settings.rhythm_threshold;
    see(Progress {
        step: Step::Fit,
        done: 1,
        all: 1,
    });
    Ok((Parameters::Rhythm(model), metrics))
}

/// The kinds that models of hours read.
fn hourly_kinds() -> Vec<Kind> {
    VITALS.to_vec()
}

impl Line {
    /// Whether labels only say who is left out.
    const fn learns_from_the_quiet(self) -> bool {
        matches!(self, Self::Anchor | Self::Gaussians)
    }

    fn purpose(self) -> Purpose {
        match self {
            Self::Anchor | Self::Gaussians => Purpose::Anomaly,
            Self::Deterioration | Self::Change => Purpose::Deterioration,
            Self::Rhythm => Purpose::Rhythm,
        }
    }

    fn kinds(self) -> Vec<Kind> {
        match self {
            // The score has no term for diastolic pressure.
            Self::Anchor | Self::Gaussians => hourly_kinds().into_iter().take(6).collect(),
            Self::Deterioration | Self::Change => hourly_kinds(),
            Self::Rhythm => vec![Kind::BeatInterval],
        }
    }
}

#[cfg(test)]
mod tests;
