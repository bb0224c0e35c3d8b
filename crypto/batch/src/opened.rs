//! The three steps of a batch that came through a session.

use pulseward_base::{Digest, KeyId, Kid, Pseudonym, Reject, Slot};
use pulseward_crypto::{VerifyingKey, session::OpenedBatchFrame};
use pulseward_vitals::{Columns, Limits};

use crate::{
    contents::{Arrival, Contents},
    digest::Place,
    stored::{Proof, StoredBatch},
};

/// A batch that a session opened and that is well formed. Whose it is, is a claim.
#[derive(Debug)]
pub struct OpenedBatch {
    device: Kid,
    contents: Contents,
}

impl OpenedBatch {
    /// Parses what a session opened, within `limits`.
    pub fn parse(frame: &OpenedBatchFrame, limits: Limits) -> Result<Self, Reject> {
        Ok(Self {
            device: frame.device(),
            contents: Contents::decode(frame.payload(), limits)?,
        })
    }

    /// Returns where it stands in its device's queue.
    #[must_use]
    pub const fn place(&self) -> Place {
        self.contents.place
    }

    /// Returns the batch with its D when the session's device signed it in the context `ctx` and
    /// every kind lies within `scope`.
    pub fn verify(
        self,
        key: &VerifyingKey,
        ctx: &Digest,
        scope: u64,
    ) -> Result<VerifiedBatch, Reject> {
        if key.kid() != self.device {
            return Err(Reject::BadSignature);
        }
        let digest = self.contents.digest(&self.device, ctx);
        key.verify_prehash(&digest, &self.contents.signature)?;
        check_scope(&self.contents.columns, scope)?;
        Ok(VerifiedBatch {
            device: self.device,
            ctx: *ctx,
            digest,
            contents: self.contents,
        })
    }
}

/// A batch that its device signed, whole, in its present enrolment, within its scope.
#[derive(Debug)]
pub struct VerifiedBatch {
    device: Kid,
    ctx: Digest,
    digest: Digest,
    contents: Contents,
}

impl VerifiedBatch {
    /// Returns the device's kid.
    #[must_use]
    pub const fn device(&self) -> Kid {
        self.device
    }

    /// Returns where it stands in its device's queue.
    #[must_use]
    pub const fn place(&self) -> Place {
        self.contents.place
    }

    /// Returns its D.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns its readings.
    #[must_use]
    pub const fn columns(&self) -> &Columns {
        &self.contents.columns
    }

    /// Puts the patient's pseudonym in the person's place. Facts that are of another device or
    /// enrolment are refused.
    pub fn pseudonymise(
        self,
        facts: &BindingFacts,
        arrival: Arrival,
    ) -> Result<PseudonymousBatch, Reject> {
        if facts.device != self.device || facts.record != self.ctx {
            return Err(Reject::NotAdmitted);
        }
        Ok(PseudonymousBatch {
            slot: facts.slot,
            key: facts.key,
            digest: self.digest,
            stored: StoredBatch {
                pseudonym: facts.pseudonym,
                device: self.device,
                record: self.ctx,
                arrival,
                proof: Proof::Signature,
                contents: self.contents,
            },
        })
    }
}

fn check_scope(columns: &Columns, scope: u64) -> Result<(), Reject> {
    let within = columns.leaves().iter().all(|leaf| {
        1_u64
            .checked_shl(u32::from(leaf.kind.spec().number))
            .is_some_and(|bit| scope & bit != 0)
    });
    if within {
        Ok(())
    } else {
        Err(Reject::OutOfScope)
    }
}

/// Whose device it is, as the registry bound it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BindingFacts {
    /// The device.
    pub device: Kid,
    /// The digest of its enrolment record.
    pub record: Digest,
    /// The patient, as the pipeline knows one.
    pub pseudonym: Pseudonym,
    /// The name of the patient's key.
    pub key: KeyId,
    /// The patient's slot.
    pub slot: Slot,
}

/// A batch that may go into the log: verified, under a pseudonym. There is no other way to one.
#[derive(Debug)]
pub struct PseudonymousBatch {
    slot: Slot,
    key: KeyId,
    digest: Digest,
    stored: StoredBatch,
}

impl PseudonymousBatch {
    /// Returns the patient's slot.
    #[must_use]
    pub const fn slot(&self) -> Slot {
        self.slot
    }

    /// Returns the name of the patient's key, under which it is to be sealed.
    #[must_use]
    pub const fn key(&self) -> KeyId {
        self.key
    }

    /// Returns its D.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns what is stored of it.
    #[must_use]
    pub const fn stored(&self) -> &StoredBatch {
        &self.stored
    }

    /// Returns the body of its log entry.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.stored.encode()
    }
}
