//! What to train, on whom, and how. All of it is written into the model's card.

use std::collections::BTreeSet;

use pulseward_base::{Micros, Pseudonym};
use pulseward_crypto::hash::sha256;
use pulseward_vitals::{Kind, training::About};

use crate::{anchor::Constancy, artefact::Parameters};

/// A kind of model. Each has a line of versions of its own, of which one decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Line {
    /// The certified anomaly score.
    Anchor,
    /// The partition ensemble beside it.
    Gaussians,
    /// The curves that inform of deterioration.
    Deterioration,
    /// The curves that inform that risk has risen.
    Change,
    /// The rhythm model.
    Rhythm,
}

impl Line {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Anchor,
        Self::Gaussians,
        Self::Deterioration,
        Self::Change,
        Self::Rhythm,
    ];

    /// Returns its name in commands and files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anchor => "anchor",
            Self::Gaussians => "gaussians",
            Self::Deterioration => "deterioration",
            Self::Change => "change",
            Self::Rhythm => "rhythm",
        }
    }

    /// Returns the line called `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|line| line.name() == name)
    }

    /// Returns the line that `parameters` belong to.
    #[must_use]
    pub fn of(parameters: &Parameters) -> Self {
        match parameters {
            Parameters::Anchor(_) => Self::Anchor,
            Parameters::Gaussians(_) => Self::Gaussians,
            Parameters::Additive(curves) if curves.is_change() => Self::Change,
            Parameters::Additive(_) => Self::Deterioration,
            Parameters::Rhythm(_) => Self::Rhythm,
        }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Anchor | Self::Gaussians => {
                "For adults in hospital whose vital signs come hourly or more often: says that they are unusual in the direction of harm. \
                 Certified against poisoned patients and false readings. Not for children under 16, not in pregnancy, not a diagnosis, not a score of \
                 mortality, and never a reason to stay away from a patient. Less sensitive from 70 years on."
            }
            Self::Deterioration => {
                "For adults in intensive care whose vital signs come hourly: says that sepsis may be hours away. Advisory: one fit on all patients, \
                 so nothing bounds what a poisoned patient did to it. Not for children under 16, not in pregnancy, not outside of intensive care without recalibration, not a diagnosis."
            }
            Self::Change => {
                "For adults in intensive care whose vital signs come hourly: says that signs of sepsis are stronger than over the patient's own last \
                 twelve hours. Advisory, as one fit on all patients is. Silent on who has long been ill: it is for the moment, not for ranking. Not for \
                 children under 16, not in pregnancy, not a diagnosis."
            }
            Self::Rhythm => {
                "For adults with a sensor of beat intervals: says that the last 128 beats look like atrial fibrillation or flutter. \
                 Advisory: its share of occupied cells has no certificate. Not for paced rhythms, not for other arrhythmias, not a diagnosis."
            }
        }
    }
}

/// How models are fitted. Every number is a constant, none comes from the rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    /// How much of an anchor is constant.
    pub constancy: Constancy,
    /// Where the anchor score alerts.
    pub anchor_threshold: f64,
    /// How many parts the ensemble has.
    pub parts: u32,
    /// Where each of its models votes for an alert.
    pub gaussians_threshold: f32,
    /// Where the deterioration model alerts: logarithm of odds.
    pub deterioration_threshold: f64,
    /// Where the change model alerts.
    pub change_threshold: f64,
    /// How much of the last twelve hours' risk it takes off the risk of the last three.
    pub change_share: f64,
    /// The ridge of its curves.
    pub change_ridge: f64,
    /// Where the rhythm model alerts: logarithm of odds.
    pub rhythm_threshold: f64,
    /// How many windows of a patient train the curves.
    pub windows_a_patient: usize,
    /// The ridge of the deterioration model's curves.
    pub ridge: f64,
    /// The most steps of their solver.
    pub steps: u64,
    /// Where its gradient counts as zero.
    pub tolerance: f64,
    /// For how many patients one author's labels count.
    pub positives_an_author: usize,
    /// For how many patients a named author may say that they had the event where models learn from all
    /// others. More is an error, not a cap: which of them count must not depend on one another.
    pub patients_an_author: usize,
}

impl Default for Settings {
    /// The thresholds are those at which, on the public data, patients who do not have the event see
    /// about one false episode in four days.
    fn default() -> Self {
        Self {
            constancy: Constancy::SHIPPED,
            anchor_threshold: 2.85,
            parts: 201,
            gaussians_threshold: 5.5,
            deterioration_threshold: -3.1,
            change_threshold: -0.18,
            change_share: 0.85,
            change_ridge: 20.0,
            rhythm_threshold: 0.0,
            windows_a_patient: 24,
            ridge: 100.0,
            steps: 120,
            tolerance: 1e-2,
            positives_an_author: 200,
            patients_an_author: 10,
        }
    }
}

/// Which patients take part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cohort {
    /// The youngest; a patient of unknown age is taken when neither bound is set.
    pub least_age: Option<u8>,
    /// The oldest.
    pub most_age: Option<u8>,
    /// Of one sex only.
    pub male: Option<bool>,
    /// Those in these hundredths of a fixed hash of the pseudonym: from, and up to without.
    pub hundredths: Option<(u8, u8)>,
}

impl Cohort {
    /// Returns whether a patient takes part.
    #[must_use]
    pub fn takes(&self, patient: &Pseudonym, about: &About) -> bool {
        let age = |age: Option<u8>, holds: fn(u8, u8) -> bool| {
            age.is_none_or(|bound| about.age.is_some_and(|age| holds(age, bound)))
        };
        age(self.least_age, |age, least| age >= least)
            && age(self.most_age, |age, most| age <= most)
            && self.male.is_none_or(|male| about.male == Some(male))
            && self
                .hundredths
                .is_none_or(|(from, to)| (from..to).contains(&hundredth(patient)))
    }
}

/// Returns the hundredth that a patient is in, for ever.
fn hundredth(patient: &Pseudonym) -> u8 {
    let digest = sha256(&[b"pulseward/v1/split\0", &patient.0]);
    let first = digest.0.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
    // A remainder by 100 fits.
    (first % 100) as u8
}

/// What of a source takes part. Every test looks at one patient alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// No reading before.
    pub from: Option<Micros>,
    /// No reading from here on.
    pub to: Option<Micros>,
    /// Only these kinds; all without.
    pub kinds: Option<Vec<Kind>>,
    /// Only these patients.
    pub cohort: Cohort,
    /// Not these patients.
    pub exclude: BTreeSet<Pseudonym>,
    /// A patient with fewer readings is left out.
    pub least_readings: usize,
    /// A patient with more readings is left out.
    pub most_readings: usize,
    /// Only so many hours of a patient count, from the first on.
    pub most_hours: usize,
    /// A patient of whose readings more percent are implausible is left out.
    pub most_implausible_percent: usize,
}

impl Default for Selection {
    fn default() -> Self {
        Self {
            from: None,
            to: None,
            kinds: None,
            cohort: Cohort::default(),
            exclude: BTreeSet::new(),
            least_readings: 6,
            most_readings: 1 << 20,
            most_hours: 24 * 90,
            most_implausible_percent: 10,
        }
    }
}

impl Selection {
    /// Returns whether a reading takes part.
    #[must_use]
    pub fn takes(&self, kind: Kind, time: Micros) -> bool {
        self.from.is_none_or(|from| time >= from)
            && self.to.is_none_or(|to| time < to)
            && self
                .kinds
                .as_ref()
                .is_none_or(|kinds| kinds.contains(&kind))
    }
}

impl Settings {
    /// Returns what a card says of how a model was fitted, sorted by name.
    pub(super) fn told(&self, line: Line, selection: &Selection) -> Vec<(String, String)> {
        let mut told = self.of_line(line);
        told.extend(selection.told());
        told.sort();
        told.into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    fn of_line(&self, line: Line) -> Vec<(&'static str, String)> {
        match line {
            Line::Anchor => vec![
                ("constancy_percent", self.constancy.as_percent().to_string()),
                ("threshold", self.anchor_threshold.to_string()),
            ],
            Line::Gaussians => vec![
                ("parts", self.parts.to_string()),
                ("threshold", self.gaussians_threshold.to_string()),
            ],
            Line::Deterioration => self.of_curves(self.deterioration_threshold, self.ridge),
            Line::Change => {
                let mut told = self.of_curves(self.change_threshold, self.change_ridge);
                told.push(("change_share", self.change_share.to_string()));
                told
            }
            Line::Rhythm => vec![("threshold", self.rhythm_threshold.to_string())],
        }
    }

    fn of_curves(&self, threshold: f64, ridge: f64) -> Vec<(&'static str, String)> {
        vec![
            ("positives_an_author", self.positives_an_author.to_string()),
            ("ridge", ridge.to_string()),
            ("steps", self.steps.to_string()),
            ("threshold", threshold.to_string()),
            ("tolerance", self.tolerance.to_string()),
            ("windows_a_patient", self.windows_a_patient.to_string()),
        ]
    }
}

impl Selection {
    fn told(&self) -> Vec<(&'static str, String)> {
        let cohort = self.cohort;
        let kinds = self.kinds.as_ref().map(|kinds| {
            let names: Vec<_> = kinds.iter().map(|kind| kind.spec().name).collect();
            names.join(" ")
        });
        let excluded = Some(self.exclude.len()).filter(|count| *count > 0);
        let hundredths = cohort.hundredths;
        let implausible = self.most_implausible_percent;
        let told = [
            ("least_readings", Some(self.least_readings.to_string())),
            ("most_hours", Some(self.most_hours.to_string())),
            ("most_implausible_percent", Some(implausible.to_string())),
            ("most_readings", Some(self.most_readings.to_string())),
            ("from_us", self.from.map(|time| time.0.to_string())),
            ("to_us", self.to.map(|time| time.0.to_string())),
            ("least_age", cohort.least_age.map(|age| age.to_string())),
            ("most_age", cohort.most_age.map(|age| age.to_string())),
            ("male", cohort.male.map(|male| male.to_string())),
            (
                "hundredths",
                hundredths.map(|(from, to)| format!("{from}..{to}")),
            ),
            ("excluded", excluded.map(|count| count.to_string())),
            ("kinds", kinds),
        ];
        told.into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}
