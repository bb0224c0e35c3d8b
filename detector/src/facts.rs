//! What one entry of the feed tells the detector: all that may change an outcome, and nothing else.

use pulseward_base::{Incarnation, KeyId, Kid, Micros, Pseudonym, Reject, Seq, Slot};
use pulseward_eventlog::{Position, body::Wish};
use pulseward_vitals::Columns;

/// One entry of the feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// Where it stands.
    pub position: Position,
    /// The slot of the patient it concerns.
    pub slot: Slot,
    /// The key it was sealed under: the patient's, or zeros for the log's own.
    pub key: KeyId,
    /// What it says.
    pub what: What,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// Readings.
    Batch(Box<Batch>),
    /// A number in a device's queue that was refused.
    Void(Void),
    /// Somebody's clock.
    Tick(Tick),
    /// A device now speaks for a patient.
    Bind(Box<Bind>),
    /// A device no longer speaks for anybody.
    Revoke(Kid),
    /// What somebody wants of a patient's alerts.
    Wish(Pseudonym, Wish),
    /// This life of the log ends here.
    End,
    /// Sealed under a key that was destroyed.
    Erased,
    /// Nothing that changes an outcome yet.
    Other,
}

/// The readings of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whose they are.
    pub patient: Pseudonym,
    /// Which device took them.
    pub device: Kid,
    /// In which of its queues.
    pub incarnation: Incarnation,
    /// Under which number.
    pub seq: Seq,
    /// The first eight bytes of the digest that the device signed.
    pub digest: [u8; 8],
    /// What to add to the device's times for the server's.
    pub clock_offset: i64,
    /// When ingest received it, by the server's clock.
    pub received: Micros,
    /// Whether a signature covers it.
    pub proven: bool,
    /// The readings.
    pub columns: Columns,
}

/// A number in a device's queue that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Void {
    /// Whose queue.
    pub device: Kid,
    /// Which of its queues.
    pub incarnation: Incarnation,
    /// Which number.
    pub seq: Seq,
    /// The first eight bytes of the digest that the device signed.
    pub digest: [u8; 8],
    /// Why.
    pub code: Reject,
}

/// Somebody's clock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Whether an ingest sent it; else a detector did.
    pub ingest: bool,
    /// The time it shows.
    pub time: Micros,
}

/// A device now speaks for a patient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Which device.
    pub device: Kid,
    /// For whom.
    pub patient: Pseudonym,
    /// The patient's key.
    pub key: KeyId,
    /// The handle that only the vault opens; alerts carry a copy.
    pub sealed_handle: [u8; 44],
}
