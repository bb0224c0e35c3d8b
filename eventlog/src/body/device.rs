//! What stands in `devices` and `marks`.

use pulseward_base::{
    Digest, GroupId, Incarnation, KeyId, Kid, Pseudonym, Seq, Slot,
    bytes::{Malformed, Reader, Writer},
};

use super::{blind_debug, byte_enum, count_u8};

byte_enum! {
    /// Whether a device may send.
    DeviceStatus {
        /// It may.
        Active = 1,
        /// Not until somebody has looked: a clone or a reused ticket was seen.
        Suspended = 2,
        /// Never again.
        Revoked = 3,
    }
}

/// A device's enrolment. Ingest admits by it.
#[derive(Clone, PartialEq, Eq)]
pub struct Device {
    /// The device.
    pub device: Kid,
    /// Its public key, compressed.
    pub point: [u8; 33],
    /// SHA-256 of its enrolment record: the context of its signatures.
    pub record: Digest,
    /// The patient it is bound to.
    pub pseudonym: Pseudonym,
    /// The name of that patient's key.
    pub key: KeyId,
    /// The patient's place.
    pub slot: Slot,
    /// The patient's group.
    pub group: GroupId,
    /// Which kinds it may send: bit k set = kind number k.
    pub scope: u64,
    /// Whether it may send at all.
    pub status: DeviceStatus,
}

impl Device {
    /// How many bytes its body has.
    pub const SIZE: usize = 144;

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer
            .put(self.device.as_bytes())
            .put(&self.point)
            .put(self.record.as_bytes())
            .put(self.pseudonym.as_bytes())
            .put(self.key.as_bytes())
            .u16(self.slot.0)
            .u32(self.group.0)
            .u64(self.scope)
            .u8(self.status.number());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            device: Kid(reader.array()?),
            point: reader.array()?,
            record: Digest(reader.array()?),
            pseudonym: Pseudonym(reader.array()?),
            key: KeyId(reader.array()?),
            slot: Slot(reader.u16()?),
            group: GroupId(reader.u32()?),
            scope: reader.u64()?,
            status: DeviceStatus::decode(reader)?,
        })
    }
}

/// What has arrived from a device, to drop doubles by.
#[derive(Clone, PartialEq, Eq)]
pub struct Mark {
    /// The device.
    pub device: Kid,
    /// Its newest queues, at most [`Mark::INCARNATIONS`], the newest last.
    pub incarnations: Vec<MarkIncarnation>,
}

/// What has arrived from one queue of a device.
#[derive(Clone, PartialEq, Eq)]
pub struct MarkIncarnation {
    /// The queue.
    pub incarnation: Incarnation,
    /// The highest number that arrived.
    pub highest: Seq,
    /// Bit k set = number `highest` - k arrived.
    pub window: u64,
    /// The first eight bytes of what the device signed, of number n at place n mod 64.
    pub digests: [[u8; 8]; 64],
    /// Older numbers that did not arrive; at most [`Mark::MISSING`].
    pub missing: Vec<MissingRange>,
}

/// Numbers that did not arrive, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingRange {
    /// The first of them.
    pub first: Seq,
    /// The last of them.
    pub last: Seq,
}

impl Mark {
    /// How many queues of a device are remembered.
    pub const INCARNATIONS: usize = 2;
    /// How many missing ranges of a queue are remembered.
    pub const MISSING: usize = 16;

    pub(super) fn encode(&self, writer: &mut Writer) {
        let incarnations = self.incarnations.len().min(Self::INCARNATIONS);
        writer
            .put(self.device.as_bytes())
            .u8(count_u8(&self.incarnations).min(Self::INCARNATIONS as u8));
        for incarnation in self.incarnations.iter().take(incarnations) {
            incarnation.encode(writer);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let device = Kid(reader.array()?);
        let count = reader.u8()?;
        if usize::from(count) > Self::INCARNATIONS {
            return Err(Malformed);
        }
        let incarnations = (0..count)
            .map(|_| MarkIncarnation::decode(reader))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            device,
            incarnations,
        })
    }
}

impl MarkIncarnation {
    fn encode(&self, writer: &mut Writer) {
        let missing = self.missing.len().min(Mark::MISSING);
        writer
            .put(self.incarnation.as_bytes())
            .u64(self.highest.0)
            .u64(self.window)
            .put(self.digests.as_flattened())
            .u8(count_u8(&self.missing).min(Mark::MISSING as u8));
        for range in self.missing.iter().take(missing) {
            writer.u64(range.first.0).u64(range.last.0);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        let incarnation = Incarnation(reader.array()?);
        let highest = Seq(reader.u64()?);
        let window = reader.u64()?;
        let mut digests = [[0; 8]; 64];
        for digest in &mut digests {
            *digest = reader.array()?;
        }
        let count = reader.u8()?;
        if usize::from(count) > Mark::MISSING {
            return Err(Malformed);
        }
        let missing = (0..count)
            .map(|_| {
                Ok(MissingRange {
                    first: Seq(reader.u64()?),
                    last: Seq(reader.u64()?),
                })
            })
            .collect::<Result<_, Malformed>>()?;
        Ok(Self {
            incarnation,
            highest,
            window,
            digests,
            missing,
        })
    }
}

blind_debug!(Device, Mark, MarkIncarnation);
