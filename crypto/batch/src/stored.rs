//! A batch as the log and history hold it: everything its device's signature covers, so that
//! anyone with the public keys can check it, years later.
//!
//! ```text
//! pseudonym (16) | device kid (32) | record digest (32) | incarnation (16) | seq u64 | time i64 | clock offset i64
//! | received i64 | seed (32) | proven u8 | signature (64) | columns
//! ```

use pulseward_base::{
    Digest, Incarnation, Kid, Micros, Pseudonym, Reject, Seq,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_crypto::{Signature, VerifyingKey};
use pulseward_vitals::{Columns, Limits};

use crate::{
    contents::{Arrival, Contents},
    digest::Place,
};

const HEAD_SIZE: usize = 16 + 32 + 32 + 16 + 8 + 8 + 8 + 8 + 32 + 1 + 64;

/// What shows that the device sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Proof {
    /// Nothing yet: a checkpoint is due. Trains nothing.
    Unproven = 0,
    /// Its own signature.
    Signature = 1,
}

/// A batch as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredBatch {
    /// The patient, as the pipeline knows one.
    pub pseudonym: Pseudonym,
    /// The device.
    pub device: Kid,
    /// The digest of the device's enrolment record.
    pub record: Digest,
    /// What the service saw when it came.
    pub arrival: Arrival,
    /// What shows that the device sent it.
    pub proof: Proof,
    /// What it says.
    pub contents: Contents,
}

impl StoredBatch {
    /// Writes the body of its log entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let columns = self.contents.columns.encode();
        let place = &self.contents.place;
        let mut writer = Writer::with_capacity(HEAD_SIZE + columns.len());
        writer
            .put(&self.pseudonym.0)
            .put(&self.device.0)
            .put(&self.record.0)
            .put(&place.incarnation.0)
            .u64(place.seq.0)
            .i64(place.time.0)
            .i64(self.arrival.clock_offset)
            .i64(self.arrival.received.0)
            .put(&self.contents.seed)
            .u8(self.proof as u8)
            .put(&self.contents.signature.0)
            .put(&columns);
        writer.into_vec()
    }

    /// Reads what [`StoredBatch::encode`] wrote.
    pub fn decode(bytes: &[u8], limits: Limits) -> Result<Self, Reject> {
        let mut reader = Reader::new(bytes);
        let head = Head::decode(&mut reader).map_err(|Malformed| Reject::Malformed)?;
        Ok(Self {
            pseudonym: head.pseudonym,
            device: head.device,
            record: head.record,
            arrival: head.arrival,
            proof: head.proof,
            contents: Contents {
                place: head.place,
                seed: head.seed,
                signature: head.signature,
                columns: Columns::decode(reader.rest(), limits)?,
            },
        })
    }

    /// Returns its D.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.contents.digest(&self.device, &self.record)
    }

    /// Returns whether `key` signed it under the enrolment whose record has the digest `ctx`: the
    /// offline check of a row's origin.
    pub fn verify(&self, key: &VerifyingKey, ctx: &Digest) -> Result<(), Reject> {
        if key.kid() != self.device || *ctx != self.record || self.proof != Proof::Signature {
            return Err(Reject::BadSignature);
        }
        key.verify_prehash(&self.digest(), &self.contents.signature)
    }
}

struct Head {
    pseudonym: Pseudonym,
    device: Kid,
    record: Digest,
    place: Place,
    arrival: Arrival,
    seed: [u8; 32],
    proof: Proof,
    signature: Signature,
}

impl Head {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let pseudonym = Pseudonym(reader.array()?);
        let device = Kid(reader.array()?);
        let record = Digest(reader.array()?);
        let place = Place {
            incarnation: Incarnation(reader.array()?),
            seq: Seq(reader.u64()?),
            time: Micros(reader.i64()?),
        };
        let clock_offset = reader.i64()?;
        let received = Micros(reader.i64()?);
        let seed = reader.array()?;
        let proof = match reader.u8()? {
            0 => Proof::Unproven,
            1 => Proof::Signature,
            _ => return Err(Malformed),
        };
        Ok(Self {
            pseudonym,
            device,
            record,
            place,
            arrival: Arrival {
                received,
                clock_offset,
            },
            seed,
            proof,
            signature: Signature(reader.array()?),
        })
    }
}
