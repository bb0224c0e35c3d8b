//! The rows of each kind of file, as values, and their way into Arrow and back.

mod decode;
mod encode;

use std::fmt;

use pulseward_base::{
    AlertId, Digest, Incarnation, Kid, Micros, ModelId, Pseudonym, Seq,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_crypto::{
    Signature,
    certificate::CertificateBytes,
    slips::{binding::BindingBytes, record::RecordBytes},
};
use pulseward_vitals::Kind;

/// Set in a reading's flags when no signature covers its batch yet.
pub const UNPROVEN: u16 = 1;
/// Set in a reading's flags when its time lies further ahead of its reception than clocks may run.
pub const AHEAD: u16 = 2;

/// One reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The patient.
    pub pseudonym: Pseudonym,
    /// The device's number in this file.
    pub device: u32,
    /// The batch's number in this file.
    pub batch: u32,
    /// When it was taken, by the device's clock.
    pub time: Micros,
    /// When its batch was received.
    pub received: Micros,
    /// What was measured.
    pub kind: Kind,
    /// Which of the device's sensors.
    pub channel: u8,
    /// Steps of the kind's unit.
    pub raw: i32,
    /// The device's word on its quality.
    pub quality: u8,
    /// [`UNPROVEN`], [`AHEAD`].
    pub flags: u16,
}

/// What proves one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The batch's number in this file and in the file of readings written with it.
    pub batch: u32,
    /// The device's number in those files.
    pub device: u32,
    /// The patient the rows are filed under.
    pub pseudonym: Pseudonym,
    /// Who signed.
    pub kid: Kid,
    /// Under which enrolment.
    pub record_digest: Digest,
    /// Of which queue.
    pub incarnation: Incarnation,
    /// The batch's number in that queue.
    pub seq: Seq,
    /// The batch's own time, by the device's clock.
    pub time: Micros,
    /// How far the device's clock was off when its session began, in microseconds.
    pub clock_offset: i64,
    /// When it was received.
    pub received: Micros,
    /// What salts the leaves.
    pub salts: Salts,
    /// Whether the signature is the batch's own.
    pub proven: bool,
    /// The signature.
    pub signature: Signature,
    /// How many rows it has in the file of readings.
    pub rows: u32,
}

/// What a batch's leaves are salted with.
#[derive(Clone, PartialEq, Eq)]
pub enum Salts {
    /// The seed that all salts come from.
    Seed([u8; 32]),
    /// Leaf by leaf, once some were withheld: the seed would let their readings be guessed.
    Leaves(Vec<LeafProof>),
}

/// What is left of one leaf's proof.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LeafProof {
    /// Its rows are in the file; this is its salt.
    Kept([u8; 16]),
    /// Its rows are gone; this is its digest.
    Withheld(Digest),
}

impl Salts {
    /// Writes what stands in place of a seed: `{ 1 ‖ salt (16) | 2 ‖ digest (32) }…`.
    pub(crate) fn encode_leaves(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        if let Self::Leaves(leaves) = self {
            for leaf in leaves {
                match leaf {
                    LeafProof::Kept(salt) => writer.u8(1).put(salt),
                    LeafProof::Withheld(digest) => writer.u8(2).put(&digest.0),
                };
            }
        }
        writer.into_vec()
    }

    /// Reads a seed, or what stands in its place.
    pub(crate) fn decode(seed: [u8; 32], leaves: &[u8]) -> Result<Self, Malformed> {
        if leaves.is_empty() {
            return Ok(Self::Seed(seed));
        }
        let mut reader = Reader::new(leaves);
        let mut proofs = Vec::new();
        while !reader.rest().is_empty() {
            proofs.push(match reader.u8()? {
                1 => LeafProof::Kept(reader.array()?),
                2 => LeafProof::Withheld(Digest(reader.array()?)),
                _ => return Err(Malformed),
            });
        }
        if seed == [0; 32] {
            Ok(Self::Leaves(proofs))
        } else {
            Err(Malformed)
        }
    }
}

impl fmt::Debug for Salts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Salts(..)")
    }
}

/// One enrolment: whose key it was, and whose rows it signs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// Of the registry's key.
    pub certificate: CertificateBytes,
    /// The record the device has.
    pub record: RecordBytes,
    /// The binding to a pseudonym.
    pub binding: BindingBytes,
}

/// What one vital contributes, in points, between two bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    /// The number of the vital's kind.
    pub kind: u16,
    /// What was seen of it, in steps; in alerts only.
    pub value: i32,
    /// The least it contributes.
    pub low: i32,
    /// The most it contributes.
    pub high: i32,
}

/// The feed position that an output names as its cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CausedBy {
    /// The log's generation.
    pub generation: u32,
    /// The entry.
    pub offset: u64,
    /// The output's index among that entry's.
    pub index: u32,
}

/// One score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScoreRow {
    /// The patient.
    pub pseudonym: Pseudonym,
    /// When.
    pub at: Micros,
    /// Which lane.
    pub lane: u8,
    /// By which model.
    pub model: ModelId,
    /// The least it may be.
    pub low: i32,
    /// The most it may be.
    pub high: i32,
    /// As in the log.
    pub flags: u16,
    /// What it is made of.
    pub terms: Vec<Term>,
    /// What it was computed at.
    pub cause: CausedBy,
}

/// One change of an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AlertRow {
    /// The alert.
    pub alert: AlertId,
    /// Its severity, 1 to 3.
    pub severity: u8,
    /// Raised, risen or cleared.
    pub state: u8,
    /// What it is about.
    pub what: u16,
    /// The rest is as with a score.
    pub score: ScoreRow,
}

/// The rows of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rows {
    /// Of a file of readings.
    Readings(Vec<Reading>),
    /// Of a file of proofs.
    Proofs(Vec<Proof>),
    /// Of a file of enrolments.
    Enrolments(Vec<Enrolment>),
    /// Of a file of scores.
    Scores(Vec<ScoreRow>),
    /// Of a file of alerts.
    Alerts(Vec<AlertRow>),
}
