//! The bodies of all entries but the batch, which only [`crate::Log::append_batch`] writes.
//!
//! One file per topic's family; the bytes are in `docs/formats/log.md` §3. Decoders are total: they
//! take any bytes and give a body or [`Malformed`], and never allocate by a length they did not
//! check. `Debug` shows a body's kind and nothing of what it says.

mod alert;
mod control;
mod device;
mod feed;
mod score;
mod state;

use std::fmt;

use pulseward_base::{
    Pseudonym,
    bytes::{Malformed, Reader, Writer},
};

pub use self::{
    alert::{Alert, AlertReading, AlertState, Delivery, DeliveryState, Severity, alert_id},
    control::{Parked, Redemption},
    device::{Device, DeviceStatus, Mark, MarkIncarnation, MissingRange},
    feed::{Bind, Control, ControlKind, End, Revoke, Role, Tick, Void, Wish},
    score::{Lane, Score, ScorePart},
    state::PartitionRecord,
};
use crate::{Topic, topic::Topic as T};

/// The largest body whose layout belongs to its stage: state, audit record, control.
pub const MAX_OPAQUE_BYTES: usize = 256 << 10;

/// Declares the kinds of entry: number, which key seals it, where it may stand.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $key:ident, $topic:ident;)*) => {
        /// What an entry's body is. The number is frozen: stored entries count on it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EntryKind {
            $($(#[$doc])* $name,)*
        }

        impl EntryKind {
            /// All kinds, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns its number in the entry's header.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$name => $number),* }
            }

            /// Returns the kind of this number.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// Returns whose key seals it.
            #[must_use]
            pub const fn sealed_under(self) -> SealedUnder {
                match self { $(Self::$name => SealedUnder::$key),* }
            }

            /// Returns the topic it belongs to.
            #[must_use]
            pub const fn topic(self) -> Topic {
                match self { $(Self::$name => T::$topic),* }
            }
        }
    };
}

kinds! {
    /// A batch of readings.
    Batch = 1, Patient, Feed;
    /// A batch that was refused after its device had been told its number is taken.
    Void = 2, Patient, Feed;
    /// The time, as a source sees it.
    Tick = 3, Log, Feed;
    /// A device is bound to a patient.
    Bind = 4, Patient, Feed;
    /// A device's batches behind this are void.
    Revoke = 5, Log, Feed;
    /// This life of the partition ends here.
    End = 6, Log, Feed;
    /// Another control.
    Control = 7, Either, Feed;
    /// A score.
    Score = 8, Patient, Scores;
    /// An alert; one about a whole partition names no patient and is under the log's own key.
    Alert = 9, Either, Alerts;
    /// The detector's state of one patient.
    State = 10, Patient, State;
    /// To where every patient's state is complete.
    PartitionRecord = 11, Log, State;
    /// What has arrived from a device.
    Mark = 12, Log, Marks;
    /// A device's enrolment and status.
    Device = 13, Log, Devices;
    /// A spent ticket.
    Redemption = 14, Log, Control;
    /// What was delivered.
    Delivery = 15, Log, Deliveries;
    /// A record of the audit chain.
    Audit = 16, Log, Audit;
    /// A position that is passed over.
    Parked = 17, Log, Parked;
}

/// Whose key seals a kind of entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedUnder {
    /// The patient's: destroying it erases the entry.
    Patient,
    /// The log's own.
    Log,
    /// As the body says: see [`Body::sealed_under`].
    Either,
}

/// What an entry says. A batch is not among them: it cannot be made here, only appended as
/// verified, and is read as [`crate::Content::Batch`].
#[derive(Clone, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is told by its type")]
pub enum Body {
    Void(Void),
    Tick(Tick),
    Bind(Box<Bind>),
    Revoke(Revoke),
    End(End),
    Control(Control),
    Score(Score),
    Alert(Alert),
    /// The detector's own layout, versioned by its first byte.
    State(Vec<u8>),
    PartitionRecord(PartitionRecord),
    Mark(Box<Mark>),
    Device(Box<Device>),
    Redemption(Redemption),
    Delivery(Delivery),
    /// A record as `pulseward_audit` chains it.
    Audit(Vec<u8>),
    Parked(Parked),
}

impl Body {
    /// Returns its kind.
    #[must_use]
    pub const fn kind(&self) -> EntryKind {
        match self {
            Self::Void(_) => EntryKind::Void,
            Self::Tick(_) => EntryKind::Tick,
            Self::Bind(_) => EntryKind::Bind,
            Self::Revoke(_) => EntryKind::Revoke,
            Self::End(_) => EntryKind::End,
            Self::Control(_) => EntryKind::Control,
            Self::Score(_) => EntryKind::Score,
            Self::Alert(_) => EntryKind::Alert,
            Self::State(_) => EntryKind::State,
            Self::PartitionRecord(_) => EntryKind::PartitionRecord,
            Self::Mark(_) => EntryKind::Mark,
            Self::Device(_) => EntryKind::Device,
            Self::Redemption(_) => EntryKind::Redemption,
            Self::Delivery(_) => EntryKind::Delivery,
            Self::Audit(_) => EntryKind::Audit,
            Self::Parked(_) => EntryKind::Parked,
        }
    }

    /// Returns whose key must seal it.
    #[must_use]
    pub fn sealed_under(&self) -> SealedUnder {
        match self {
            Self::Control(control) => control.kind.sealed_under(),
            Self::Alert(alert) if alert.pseudonym == Pseudonym::ZERO => SealedUnder::Log,
            Self::Alert(_) => SealedUnder::Patient,
            _ => self.kind().sealed_under(),
        }
    }

    /// Writes the body's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(256);
        match self {
            Self::Void(body) => body.encode(&mut writer),
            Self::Tick(body) => body.encode(&mut writer),
            Self::Bind(body) => body.encode(&mut writer),
            Self::Revoke(body) => body.encode(&mut writer),
            Self::End(body) => body.encode(&mut writer),
            Self::Control(body) => body.encode(&mut writer),
            Self::Score(body) => body.encode(&mut writer),
            Self::Alert(body) => body.encode(&mut writer),
            Self::PartitionRecord(body) => body.encode(&mut writer),
            Self::Mark(body) => body.encode(&mut writer),
            Self::Device(body) => body.encode(&mut writer),
            Self::Redemption(body) => body.encode(&mut writer),
            Self::Delivery(body) => body.encode(&mut writer),
            Self::Parked(body) => body.encode(&mut writer),
            Self::State(bytes) | Self::Audit(bytes) => {
                writer.put(bytes);
            }
        }
        writer.into_vec()
    }

    /// Reads what [`Body::encode`] wrote for a body of `kind`, and nothing else. A batch is not a
    /// body: it is malformed here.
    pub fn decode(kind: EntryKind, bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let body = match kind {
            EntryKind::Batch => return Err(Malformed),
            EntryKind::Void => Self::Void(Void::decode(&mut reader)?),
            EntryKind::Tick => Self::Tick(Tick::decode(&mut reader)?),
            EntryKind::Bind => Self::Bind(Box::new(Bind::decode(&mut reader)?)),
            EntryKind::Revoke => Self::Revoke(Revoke::decode(&mut reader)?),
            EntryKind::End => Self::End(End::decode(&mut reader)?),
            EntryKind::Control => Self::Control(Control::decode(&mut reader)?),
            EntryKind::Score => Self::Score(Score::decode(&mut reader)?),
            EntryKind::Alert => Self::Alert(Alert::decode(&mut reader)?),
            EntryKind::State => Self::State(take_opaque(&mut reader)?),
            EntryKind::PartitionRecord => {
                Self::PartitionRecord(PartitionRecord::decode(&mut reader)?)
            }
            EntryKind::Mark => Self::Mark(Box::new(Mark::decode(&mut reader)?)),
            EntryKind::Device => Self::Device(Box::new(Device::decode(&mut reader)?)),
            EntryKind::Redemption => Self::Redemption(Redemption::decode(&mut reader)?),
            EntryKind::Delivery => Self::Delivery(Delivery::decode(&mut reader)?),
            EntryKind::Audit => Self::Audit(take_opaque(&mut reader)?),
            EntryKind::Parked => Self::Parked(Parked::decode(&mut reader)?),
        };
        reader.end()?;
        Ok(body)
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Body({:?})", self.kind())
    }
}

/// Gives types a `Debug` that shows their name only: what they hold is about a patient.
macro_rules! blind_debug {
    ($($name:ident),+ $(,)?) => {
        $(impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        })+
    };
}
use blind_debug;

/// Declares a closed list that travels as one byte.
macro_rules! byte_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the number that is stored.
            #[must_use]
            pub const fn number(self) -> u8 {
                match self { $(Self::$variant => $number),* }
            }

            /// Returns what is stored as `number`.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            pub(crate) fn decode(
                reader: &mut pulseward_base::bytes::Reader<'_>,
            ) -> Result<Self, pulseward_base::bytes::Malformed> {
                Self::from_number(reader.u8()?).ok_or(pulseward_base::bytes::Malformed)
            }
        }
    };
}
use byte_enum;

fn take_opaque(reader: &mut Reader<'_>) -> Result<Vec<u8>, Malformed> {
    let count = reader.rest().len();
    if count > MAX_OPAQUE_BYTES {
        return Err(Malformed);
    }
    Ok(reader.take(count)?.to_vec())
}

/// Returns a list's length as the byte it is stored in. Longer lists are cut by the caller's type.
fn count_u8<T>(list: &[T]) -> u8 {
    u8::try_from(list.len()).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests;
