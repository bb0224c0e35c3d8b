//! Sources that are files of studies.

use std::error::Error;

use pulseward_base::{Digest, Micros, Pseudonym};
use pulseward_crypto::hash::sha256;
use pulseward_vitals::{
    Kind,
    training::{About, Author, Event, Label, TrainingItem, TrainingReading, TrainingSource},
};

use crate::{
    dataset::{BeatRecord, HourlyPatient, Rhythm},
    features::VITALS,
};

const MICROS_PER_HOUR: i64 = 3_600_000_000;

const DAY: i64 = 24 * MICROS_PER_HOUR;

/// Returns the pseudonym of the patient whom a file calls `name`.
#[must_use]
pub fn pseudonym_of(name: &str) -> Pseudonym {
    let digest = sha256(&[b"pulseward/v1/study\0", name.as_bytes()]);
    Pseudonym(*digest.0.first_chunk().unwrap_or(&[0; Pseudonym::SIZE]))
}

/// Returns the author whom a file calls `name`; nobody without a name.
fn author_of(name: Option<&str>) -> Author {
    name.map_or(Author::RECORD, |name| {
        let digest = sha256(&[b"pulseward/v1/labels\0", name.as_bytes()]);
        Author(*digest.0.first_chunk().unwrap_or(&Author::RECORD.0))
    })
}

/// Stays with one row an hour.
#[derive(Clone, Debug)]
pub struct Stays {
    /// What the file is called.
    pub name: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// What it holds.
    pub patients: Vec<HourlyPatient>,
}

impl TrainingSource for Stays {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn give(
        &mut self,
        take: &mut dyn FnMut(TrainingItem),
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        for stay in &self.patients {
            let patient = pseudonym_of(&stay.id);
            let author = author_of(stay.labelled_by.as_deref());
            // Whole years; what is no age is unknown.
            let age = stay
                .age
                .filter(|age| (0.0..=130.0).contains(age))
                .map(|age| age as u8);
            take(TrainingItem::About(
                patient,
                About {
                    age,
                    male: stay.male,
                },
            ));
            for hour in &stay.hours {
                let time = Micros(i64::from(hour.hour) * MICROS_PER_HOUR);
                for (kind, value) in VITALS.into_iter().zip(hour.values) {
                    let Some(value) = value else { continue };
                    take(TrainingItem::Reading(TrainingReading {
                        patient,
                        time,
                        kind,
                        value,
                        batch: None,
                    }));
                }
                if hour.event {
                    take(TrainingItem::Label(Label {
                        patient,
                        from: time,
                        until: time.plus(std::time::Duration::from_hours(1)),
                        event: Event::Deterioration,
                        author,
                    }));
                }
            }
        }
        Ok(())
    }
}

/// Records of beats, each of one subject.
#[derive(Clone, Debug)]
pub struct Beats {
    /// What the file is called.
    pub name: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// The subjects' names with their records.
    pub records: Vec<(String, BeatRecord)>,
}

impl TrainingSource for Beats {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn give(
        &mut self,
        take: &mut dyn FnMut(TrainingItem),
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        // A subject's records stand one after another, each beginning on a day of its own.
        let mut begins: std::collections::BTreeMap<&str, i64> = std::collections::BTreeMap::new();
        for (name, record) in &self.records {
            let patient = pseudonym_of(name);
            let begin = begins.entry(name).or_insert(0);
            let units = i64::from(record.units_a_second.max(1));
            let micros = |time: i64| time.saturating_mul(1_000_000) / units;
            let at = |time: i64| Micros(micros(time).saturating_add(*begin));
            for (time, value) in record.intervals() {
                take(TrainingItem::Reading(TrainingReading {
                    patient,
                    time: at(time),
                    kind: Kind::BeatInterval,
                    value,
                    batch: None,
                }));
            }
            let ends = record.rhythms.iter().skip(1).map(|rhythm| rhythm.0);
            let last = record.beats.last().copied().unwrap_or(0);
            for ((from, rhythm), until) in record.rhythms.iter().zip(ends.chain([last])) {
                let event = match rhythm {
                    Rhythm::Fibrillation | Rhythm::Flutter => Event::IrregularRhythm,
                    Rhythm::Regular => Event::RegularRhythm,
                    Rhythm::Paced | Rhythm::Other => continue,
                };
                let author = Author::RECORD;
                let (from, until) = (at(*from), at(until));
                take(TrainingItem::Label(Label {
                    patient,
                    from,
                    until,
                    event,
                    author,
                }));
            }
            let days = micros(last).div_euclid(DAY).saturating_add(1);
            *begin = begin.saturating_add(days.saturating_mul(DAY));
        }
        Ok(())
    }
}
