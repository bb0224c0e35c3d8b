//! The sepsis study's protocol: who trains, who is judged, and on what.
//!
//! Patients are put in the order of a hash of their names: the first 4,000 train, the next 4,000 are
//! judged, all the others train too where a model is said to be trained on 12,000. Row by row, one
//! row an hour. Nobody is in both.

use std::{fs, path::Path};

use anyhow::Context;
use pulseward_crypto::hash::sha256;
use pulseward_models::{
    anchor::{Anchor, Constancy, Pool, Values, fit},
    dataset::{HourlyPatient, plain_text, read_hourly},
    features::{Hours, vital},
    measure::{auroc, bootstrap, quantile, stratified_auroc},
    rules::news2::{Eligibility, Measured, Parameter, SaturationScale, Score, Vitals, assess},
};

pub(crate) const GROUP: usize = 4_000;

/// Share of windows without an event that may alert.
pub(crate) const FALSE_POSITIVES: f64 = 0.05;

pub(crate) struct Patient {
    pub(crate) record: HourlyPatient,
    pub(crate) event: bool,
    pub(crate) values: Vec<Values>,
    pub(crate) news2: Vec<Score>,
}

pub(crate) struct Study {
    patients: Vec<Patient>,
}

impl Study {
    pub(crate) fn load(data: &Path) -> anyhow::Result<Self> {
        let path = data.join("icu_hourly_sepsis/setA_vitals.csv.gz");
        let bytes = fs::read(&path).with_context(|| format!("couldn't read {}", path.display()))?;
        let mut records = read_hourly(&plain_text(&bytes)?)?;
        records.sort_by_cached_key(|record| sha256(&[b"split\0", record.id.as_bytes()]));
        let patients = records.into_iter().map(Patient::new).collect();
        Ok(Self { patients })
    }

    pub(crate) fn train(&self) -> &[Patient] {
        self.patients.get(..GROUP).unwrap_or_default()
    }

    pub(crate) fn judged(&self) -> &[Patient] {
        self.patients.get(GROUP..2 * GROUP).unwrap_or_default()
    }

    /// Everybody who is not among the first to train.
    pub(crate) fn others(&self) -> &[Patient] {
        self.patients.get(GROUP..).unwrap_or_default()
    }

    /// Everybody who is not judged.
    pub(crate) fn train_12k(&self) -> impl Iterator<Item = &Patient> {
        self.train()
            .iter()
            .chain(self.patients.iter().skip(2 * GROUP))
    }

    /// The anchor score fitted on the patients of `train` that never had the event, with the
    /// threshold that lets the share of false positives through there.
    pub(crate) fn anchor(&self, constancy: Constancy) -> anyhow::Result<Anchor> {
        let model = fit(&self.pool(), constancy, 0.0)?;
        let scores: Vec<f64> = self
            .quiet_values()
            .map(|values| model.score(values))
            .collect();
        let threshold = quantile(&scores, 1.0 - FALSE_POSITIVES).context("nobody to train on")?;
        Ok(model.with_threshold(threshold))
    }

    pub(crate) fn pool(&self) -> Pool {
        let mut pool = Pool::default();
        for patient in self.train().iter().filter(|patient| !patient.event) {
            pool.add_patient(&patient.values);
        }
        pool
    }

    /// The windows of those who train and never had the event.
    pub(crate) fn quiet_values(&self) -> impl Iterator<Item = &Values> {
        let quiet = self.train().iter().filter(|patient| !patient.event);
        quiet.flat_map(|patient| &patient.values)
    }
}

impl Patient {
    fn new(record: HourlyPatient) -> Self {
        let windows = record.windows();
        Self {
            event: record.has_event(),
            values: windows.iter().map(Values::of).collect(),
            news2: windows.iter().map(|hours| news2(hours, 0)).collect(),
            record,
        }
    }
}

/// NEWS2 on the last values, each off by so many quarters of its sensor's error; what nobody
/// measured makes its interval.
pub(crate) fn news2(hours: &Hours, quarters: u16) -> Score {
    let last = |parameter: Parameter| {
        let index = vital(parameter.kind());
        let last = index.and_then(|index| hours.last(index));
        Measured::from(last.and_then(|steps| i32::try_from(steps).ok()))
    };
    let vitals = Vitals {
        respiration: last(Parameter::Respiration),
        saturation: last(Parameter::Saturation),
        oxygen: Measured::Missing,
        pressure: last(Parameter::Pressure),
        pulse: last(Parameter::Pulse),
        consciousness: Measured::Missing,
        temperature: last(Parameter::Temperature),
    };
    let adult = Eligibility {
        age: Some(18),
        pregnant: Some(false),
    };
    match assess(&vitals.under_error(quarters), SaturationScale::One, adult) {
        Ok(score) => score,
        Err(_) => unreachable!("an adult has a score"),
    }
}

/// One judged row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Judged {
    pub(crate) score: f64,
    pub(crate) event: bool,
    pub(crate) hour: u32,
}

/// Scores of patients, one list each.
pub(crate) struct Scored(pub(crate) Vec<Vec<Judged>>);

impl Scored {
    pub(crate) fn of(patients: &[Patient], mut score: impl FnMut(&Patient, usize) -> f64) -> Self {
        Self(
            patients
                .iter()
                .map(|patient| {
                    let rows = patient.record.hours.iter().enumerate();
                    rows.map(|(row, hour)| Judged {
                        score: score(patient, row),
                        event: hour.event,
                        hour: hour.hour,
                    })
                    .collect()
                })
                .collect(),
        )
    }

    pub(crate) fn rows(&self) -> Vec<(f64, bool)> {
        self.0
            .iter()
            .flatten()
            .map(|row| (row.score, row.event))
            .collect()
    }

    pub(crate) fn auroc(&self) -> f64 {
        auroc(&self.rows()).unwrap_or(0.0)
    }

    /// Within each hour of stay; beyond 120 h all together.
    pub(crate) fn stratified(&self) -> f64 {
        let rows: Vec<_> = self
            .0
            .iter()
            .flatten()
            .map(|row| (row.score, row.event, row.hour.min(120)))
            .collect();
        stratified_auroc(&rows).unwrap_or(0.0)
    }

    /// Each patient once, by the 90th percentile of the scores.
    pub(crate) fn by_patient(&self) -> f64 {
        let patients: Vec<_> = self
            .0
            .iter()
            .filter_map(|rows| {
                let scores: Vec<f64> = rows.iter().map(|row| row.score).collect();
                Some((quantile(&scores, 0.9)?, rows.iter().any(|row| row.event)))
            })
            .collect();
        auroc(&patients).unwrap_or(0.0)
    }

    /// The middle 95 % of the area over resampled patients.
    pub(crate) fn interval(&self, rounds: usize) -> (f64, f64) {
        bootstrap(self.0.len(), rounds, 1, |drawn| auroc(&self.drawn(drawn))).unwrap_or((0.0, 1.0))
    }

    /// The middle 95 % of the difference to `other` over the same resampled patients.
    pub(crate) fn gain_over(&self, other: &Self, rounds: usize) -> (f64, f64) {
        let gain = |drawn: &[usize]| Some(auroc(&self.drawn(drawn))? - auroc(&other.drawn(drawn))?);
        bootstrap(self.0.len(), rounds, 2, gain).unwrap_or((-1.0, 1.0))
    }

    fn drawn(&self, drawn: &[usize]) -> Vec<(f64, bool)> {
        let patients = drawn.iter().filter_map(|index| self.0.get(*index));
        patients
            .flatten()
            .map(|row| (row.score, row.event))
            .collect()
    }

    /// One line of a table.
    pub(crate) fn line(&self, name: &str) -> String {
        let (low, high) = self.interval(100);
        format!(
            "{name:44} AUROC {:.3} [{low:.3}, {high:.3}]  strat {:.3}  by patient {:.3}",
            self.auroc(),
            self.stratified(),
            self.by_patient(),
        )
    }
}
