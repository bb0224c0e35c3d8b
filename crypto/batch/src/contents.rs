//! What a batch says, and what the service saw when it came.

use std::fmt;

use pulseward_base::{
    Digest, Incarnation, Kid, Micros, Reject, Seq,
    bytes::{Malformed, Reader},
};
use pulseward_crypto::Signature;
use pulseward_vitals::{Columns, Limits};

use crate::digest::{Place, Seed, batch_digest, readings_digest};

/// The only mode there is: a signature per batch.
pub(crate) const MODE_SIGNED: u8 = 1;

/// What a batch says, without a word on whether it is true. `Debug` shows no reading.
#[derive(Clone, PartialEq, Eq)]
pub struct Contents {
    /// Where it stands in its device's queue.
    pub place: Place,
    /// Where its leaves' salts come from.
    pub seed: Seed,
    /// The device's signature over its D.
    pub signature: Signature,
    /// The readings.
    pub columns: Columns,
}

impl Contents {
    /// Reads the payload of a batch frame.
    pub fn decode(payload: &[u8], limits: Limits) -> Result<Self, Reject> {
        let head = |reader: &mut Reader<'_>| -> Result<_, Malformed> {
            let place = Place {
                incarnation: Incarnation(reader.array()?),
                seq: Seq(reader.u64()?),
                time: Micros(reader.i64()?),
            };
            let seed = reader.array()?;
            let mode = reader.u8()?;
            let signature = Signature(reader.array()?);
            (mode == MODE_SIGNED)
                .then_some((place, seed, signature))
                .ok_or(Malformed)
        };
        let mut reader = Reader::new(payload);
        let (place, seed, signature) = head(&mut reader).map_err(|Malformed| Reject::Malformed)?;
        Ok(Self {
            place,
            seed,
            signature,
            columns: Columns::decode(reader.rest(), limits)?,
        })
    }

    /// Returns its D under the key `device` in the context `ctx`.
    #[must_use]
    pub fn digest(&self, device: &Kid, ctx: &Digest) -> Digest {
        let readings = readings_digest(&self.seed, &self.columns);
        batch_digest(device, ctx, &self.place, &readings)
    }
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Contents({} rows)", self.columns.rows())
    }
}

/// What the service saw when a batch came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Arrival {
    /// The service's clock.
    pub received: Micros,
    /// How far the device's clock is behind the service's, in microseconds.
    pub clock_offset: i64,
}
