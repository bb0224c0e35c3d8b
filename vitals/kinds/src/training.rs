//! What training takes its rows from: a file of a study, or a history of verified batches.
//!
//! A source gives readings, labels and what is known about patients, in any order; training sorts
//! them, so the order of arrival changes nothing. Only what may train is given: rows whose signature
//! verified and whose patient's consent allows it.

use std::error::Error;

use pulseward_base::{Digest, Micros, Pseudonym};

use crate::Kind;

/// One reading, and where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrainingReading {
    /// Whose.
    pub patient: Pseudonym,
    /// When, by the device.
    pub time: Micros,
    /// Of what.
    pub kind: Kind,
    /// In steps of its kind.
    pub value: i32,
    /// The digest that the device signed over its batch, where there is one.
    pub batch: Option<Digest>,
}

/// What somebody says happened to a patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Event {
    /// The patient got worse, or is about to.
    Deterioration,
    /// The heart beat irregularly: fibrillation or flutter of the atria.
    IrregularRhythm,
    /// The heart beat regularly.
    RegularRhythm,
}

/// Who says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Author(pub [u8; 16]);

impl Author {
    /// Nobody: the label follows from the patient's own record by a fixed rule.
    pub const RECORD: Self = Self([0; 16]);
}

/// A label with its author.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    /// Of whom.
    pub patient: Pseudonym,
    /// From when.
    pub from: Micros,
    /// Until when, not included.
    pub until: Micros,
    /// What happened.
    pub event: Event,
    /// Who says so.
    pub author: Author,
}

/// What is known about a patient beside vital signs; enough to judge per group, no more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct About {
    /// In whole years.
    pub age: Option<u8>,
    /// As recorded.
    pub male: Option<bool>,
}

/// One thing that a source gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrainingItem {
    /// A reading.
    Reading(TrainingReading),
    /// A label.
    Label(Label),
    /// What is known about a patient.
    About(Pseudonym, About),
}

/// Where training rows come from.
pub trait TrainingSource {
    /// Returns what people call it.
    fn name(&self) -> String;

    /// Returns the digest of everything it gives: of a file's bytes, or of a store's signed heads.
    fn digest(&self) -> Digest;

    /// Gives everything there is, in any order, each thing once.
    fn give(
        &mut self,
        take: &mut dyn FnMut(TrainingItem),
    ) -> Result<(), Box<dyn Error + Send + Sync>>;
}
