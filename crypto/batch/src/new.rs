//! The device's side: a batch is made once, at collection, and re-sent unchanged.

use pulseward_base::{Digest, bytes::Writer};
use pulseward_crypto::{
    SigningKey,
    frame::{D8, d8},
    random,
};
use pulseward_vitals::Columns;

use crate::{
    contents::MODE_SIGNED,
    digest::{Place, Seed, batch_digest, readings_digest},
};

/// A batch to be signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBatch<'a> {
    place: Place,
    seed: Seed,
    columns: &'a Columns,
}

impl<'a> NewBatch<'a> {
    /// Takes readings into a batch with a fresh seed.
    #[must_use]
    pub fn new(place: Place, columns: &'a Columns) -> Self {
        Self::with_seed(place, random::bytes(), columns)
    }

    /// Takes readings into a batch with a seed that was drawn elsewhere, at random.
    #[must_use]
    pub const fn with_seed(place: Place, seed: Seed, columns: &'a Columns) -> Self {
        Self {
            place,
            seed,
            columns,
        }
    }

    /// Signs it with the device's key in the context `ctx` of its enrolment record.
    #[must_use]
    pub fn sign(&self, key: &SigningKey, ctx: &Digest) -> SignedBatch {
        let readings = readings_digest(&self.seed, self.columns);
        let digest = batch_digest(&key.kid(), ctx, &self.place, &readings);
        let signature = key.sign_prehash(&digest);
        let columns = self.columns.encode();
        let mut writer = Writer::with_capacity(129 + columns.len());
        writer
            .put(&self.place.incarnation.0)
            .u64(self.place.seq.0)
            .i64(self.place.time.0)
            .put(&self.seed)
            .u8(MODE_SIGNED)
            .put(&signature.0)
            .put(&columns);
        SignedBatch {
            payload: writer.into_vec(),
            digest,
            place: self.place,
        }
    }
}

/// A signed batch: its payload does not change any more.
#[derive(Clone, PartialEq, Eq)]
pub struct SignedBatch {
    /// What goes into the frame.
    pub payload: Vec<u8>,
    /// Its D.
    pub digest: Digest,
    /// Where it stands in the queue.
    pub place: Place,
}

impl SignedBatch {
    /// Returns the part of its D that answers carry.
    #[must_use]
    pub const fn d8(&self) -> D8 {
        d8(&self.digest)
    }
}

impl std::fmt::Debug for SignedBatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SignedBatch({})", self.place.seq)
    }
}
