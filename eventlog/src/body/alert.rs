//! What stands in `alerts` and `deliveries`.

use pulseward_base::{
    AlertId, Micros, ModelId, Partition, Pseudonym,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_crypto::hash;

use super::{Lane, blind_debug, byte_enum, count_u8};
use crate::{Cause, Position};

byte_enum! {
    /// How soon somebody must look.
    Severity {
        /// Look at it; pages nobody.
        Watch = 1,
        /// Within the hour.
        Urgent = 2,
        /// Now.
        Emergency = 3,
    }
}

impl Severity {
    /// Returns the word that is counted.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Watch => "watch",
            Self::Urgent => "urgent",
            Self::Emergency => "emergency",
        }
    }
}

byte_enum! {
    /// What happened to the alert.
    AlertState {
        /// It is new.
        Raised = 1,
        /// Its severity rose.
        Risen = 2,
        /// It is over.
        Cleared = 3,
        /// Somebody looks after it.
        Acknowledged = 4,
        /// Its lane is silent for a while.
        Snoozed = 5,
        /// It still holds, and its lane is silent no longer.
        Resumed = 6,
    }
}

impl AlertState {
    /// Returns the word that is counted.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Risen => "risen",
            Self::Cleared => "cleared",
            Self::Acknowledged => "acknowledged",
            Self::Snoozed => "snoozed",
            Self::Resumed => "resumed",
        }
    }

    /// Returns whether this is what people made of the alert: a score and readings do not stand
    /// with it, those of the step before still hold.
    #[must_use]
    pub const fn is_of_people(self) -> bool {
        matches!(self, Self::Acknowledged | Self::Snoozed | Self::Resumed)
    }
}

/// Something the care team must know of.
#[derive(Clone, PartialEq, Eq)]
pub struct Alert {
    /// The same in every state and every delivery of it; see [`alert_id`].
    pub id: AlertId,
    /// The patient.
    pub pseudonym: Pseudonym,
    /// The lane that raised it.
    pub lane: Lane,
    /// What the lane saw, by the lane's own numbers.
    pub what: u16,
    /// How soon somebody must look.
    pub severity: Severity,
    /// What happened to it.
    pub state: AlertState,
    /// [`Alert::PAST`], [`Alert::LATE`], [`Alert::UNVERIFIED`], [`Alert::SNOOZED`].
    pub flags: u16,
    /// The end of the window that it speaks of.
    pub at: Micros,
    /// The model, or the rules' version.
    pub model: ModelId,
    /// The least the score can be.
    pub low: i32,
    /// The most it can be.
    pub high: i32,
    /// The patient's handle, sealed by the vault for itself.
    pub sealed_handle: [u8; 44],
    /// The readings behind it; at most 255 are stored.
    pub readings: Vec<AlertReading>,
}

/// One vital behind an alert.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct AlertReading {
    /// The number of the vital's kind.
    pub kind: u16,
    /// Its value, in steps of the kind's unit.
    pub value: i32,
    /// The least it contributes.
    pub low: i32,
    /// The most it contributes.
    pub high: i32,
}

impl Alert {
    /// Drained from a backlog: it is over already and pages nobody.
    pub const PAST: u16 = 1;
    /// Made from readings that came late.
    pub const LATE: u16 = 1 << 1;
    /// Made from readings that failed a guard.
    pub const UNVERIFIED: u16 = 1 << 2;
    /// Its lane is silent for a while: it pages nobody.
    pub const SNOOZED: u16 = 1 << 3;

    pub(super) fn encode(&self, writer: &mut Writer) {
        writer
            .put(self.id.as_bytes())
            .put(self.pseudonym.as_bytes())
            .u8(self.lane.number())
            .u16(self.what)
            .u8(self.severity.number())
            .u8(self.state.number())
            .u16(self.flags)
            .i64(self.at.0)
            .put(self.model.as_bytes())
            .i32(self.low)
            .i32(self.high)
            .put(&self.sealed_handle)
            .u8(count_u8(&self.readings));
        for reading in self.readings.iter().take(usize::from(u8::MAX)) {
            writer.u16(reading.kind).i32(reading.value);
            writer.i32(reading.low).i32(reading.high);
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            id: AlertId(reader.array()?),
            pseudonym: Pseudonym(reader.array()?),
            lane: Lane::decode(reader)?,
            what: reader.u16()?,
            severity: Severity::decode(reader)?,
            state: AlertState::decode(reader)?,
            flags: reader.u16()?,
            at: Micros(reader.i64()?),
            model: ModelId(reader.array()?),
            low: reader.i32()?,
            high: reader.i32()?,
            sealed_handle: reader.array()?,
            readings: decode_readings(reader)?,
        })
    }
}

fn decode_readings(reader: &mut Reader<'_>) -> Result<Vec<AlertReading>, Malformed> {
    (0..reader.u8()?)
        .map(|_| {
            Ok(AlertReading {
                kind: reader.u16()?,
                value: reader.i32()?,
                low: reader.i32()?,
                high: reader.i32()?,
            })
        })
        .collect()
}

/// Returns the id of the alert that `cause` raised in `partition`: the same in every replay.
#[must_use]
pub fn alert_id(log_id: &[u8; 16], partition: Partition, cause: Cause) -> AlertId {
    let mut place = Writer::with_capacity(20);
    place
        .u32(cause.position.generation.0)
        .u32(partition.0)
        .u64(cause.position.offset.0)
        .u32(cause.index);
    let digest = hash::sha256(&[b"pulseward/v1/alert\0", log_id, place.as_slice()]);
    let mut id = [0; AlertId::SIZE];
    for (to, from) in id.iter_mut().zip(digest.0) {
        *to = from;
    }
    AlertId(id)
}

byte_enum! {
    /// How far a delivery got.
    DeliveryState {
        /// To be sent, or sent again.
        Pending = 1,
        /// The recipient has it.
        Delivered = 2,
        /// Given up; somebody else was told.
        Escalated = 3,
        /// A person has seen it.
        Acknowledged = 4,
        /// The recipient has its end as well.
        Ended = 5,
    }
}

/// Where the delivery of alerts stands.
#[derive(Clone, PartialEq, Eq)]
pub enum Delivery {
    /// One alert to one recipient.
    Sent {
        /// The alert.
        alert: AlertId,
        /// The recipient, by the alerts stage's own naming.
        recipient: [u8; 16],
        /// How far it got.
        state: DeliveryState,
        /// How often it was tried.
        attempts: u32,
        /// When that was.
        time: Micros,
    },
    /// Up to where the partition's alerts have been taken up.
    Cursor {
        /// The next position in `alerts`.
        next: Position,
        /// The cause of the last alert that was taken.
        last: Option<Cause>,
    },
}

impl Delivery {
    pub(super) fn encode(&self, writer: &mut Writer) {
        match self {
            Self::Sent {
                alert,
                recipient,
                state,
                attempts,
                time,
            } => {
                writer.u8(1).put(alert.as_bytes()).put(recipient);
                writer.u8(state.number()).u32(*attempts).i64(time.0);
            }
            Self::Cursor { next, last } => {
                writer.u8(2);
                next.encode(writer);
                Cause::encode_option(*last, writer);
            }
        }
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        match reader.u8()? {
            1 => Ok(Self::Sent {
                alert: AlertId(reader.array()?),
                recipient: reader.array()?,
                state: DeliveryState::decode(reader)?,
                attempts: reader.u32()?,
                time: Micros(reader.i64()?),
            }),
            2 => Ok(Self::Cursor {
                next: Position::decode(reader)?,
                last: Cause::decode_option(reader)?,
            }),
            _ => Err(Malformed),
        }
    }
}

blind_debug!(Alert, AlertReading, Delivery);
