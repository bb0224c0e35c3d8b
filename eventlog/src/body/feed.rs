//! What stands in `feed` beside batches: voids, ticks and controls.

use pulseward_base::{
    AlertId, Digest, Generation, GroupId, Incarnation, Kid, Micros, Pseudonym, Reject, Seq,
    WriterId,
    bytes::{Malformed, Reader, Writer},
};

use super::{Lane, SealedUnder, blind_debug, byte_enum, take_opaque};

/// A batch that was refused for good: its number is taken, its readings are not kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Void {
    /// The device.
    pub device: Kid,
    /// Its queue.
    pub incarnation: Incarnation,
    /// The batch's number in it.
    pub seq: Seq,
    /// What the device signed.
    pub digest: Digest,
    /// Why it was refused.
    pub code: Reject,
}

impl Void {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer
            .put(self.device.as_bytes())
            .put(self.incarnation.as_bytes())
            .u64(self.seq.0)
            .put(self.digest.as_bytes())
            .u16(self.code.number());
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            device: Kid(reader.array()?),
            incarnation: Incarnation(reader.array()?),
            seq: Seq(reader.u64()?),
            digest: Digest(reader.array()?),
            code: Reject::from_number(reader.u16()?).ok_or(Malformed)?,
        })
    }
}

byte_enum! {
    /// Which stage a tick comes from.
    Role {
        /// An ingest.
        Ingest = 1,
        /// The partition's detector.
        Detector = 2,
    }
}

/// The time, as one source sees it on its monotonic clock.
#[derive(Clone, PartialEq, Eq)]
pub struct Tick {
    /// The process.
    pub source: WriterId,
    /// What it is.
    pub role: Role,
    /// Its time.
    pub time: Micros,
}

impl Tick {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer
            .put(self.source.as_bytes())
            .u8(self.role.number())
            .i64(self.time.0);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            source: WriterId(reader.array()?),
            role: Role::decode(reader)?,
            time: Micros(reader.i64()?),
        })
    }
}

/// A device is bound to a patient: the registry's signed words, kept as they are.
#[derive(Clone, PartialEq, Eq)]
pub struct Bind {
    /// The registry's certificate.
    pub certificate: [u8; 148],
    /// The enrolment record, which the device has too.
    pub record: [u8; 147],
    /// The binding to a pseudonym, which the device never sees.
    pub binding: [u8; 179],
    /// The patient's handle, sealed by the vault for itself; alerts carry it.
    pub sealed_handle: [u8; 44],
    /// The group whose history the patient shares files with.
    pub group: GroupId,
    /// The version of the consent the ticket was issued under.
    pub consent_version: u32,
}

impl Bind {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer
            .put(&self.certificate)
            .put(&self.record)
            .put(&self.binding)
            .put(&self.sealed_handle)
            .u32(self.group.0)
            .u32(self.consent_version);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            certificate: reader.array()?,
            record: reader.array()?,
            binding: reader.array()?,
            sealed_handle: reader.array()?,
            group: GroupId(reader.u32()?),
            consent_version: reader.u32()?,
        })
    }
}

/// The device's batches behind this entry are void.
#[derive(Clone, PartialEq, Eq)]
pub struct Revoke {
    /// The device.
    pub device: Kid,
    /// When it was revoked.
    pub time: Micros,
}

impl Revoke {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.put(self.device.as_bytes()).i64(self.time.0);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            device: Kid(reader.array()?),
            time: Micros(reader.i64()?),
        })
    }
}

/// This life of the partition ends here; the next one is read after it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The life that follows.
    pub next: Generation,
}

impl End {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u32(self.next.0);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            next: Generation(reader.u32()?),
        })
    }
}

byte_enum! {
    /// What a control is about.
    ControlKind {
        /// The models that serve from here on.
        Model = 1,
        /// Settings that change outcomes.
        Config = 2,
        /// An alert was acknowledged.
        Acknowledge = 3,
        /// A lane of a patient is silent for a while.
        Snooze = 4,
        /// Somebody says what an alert was.
        Label = 5,
        /// A patient's consent changed.
        Consent = 6,
        /// A patient is erased.
        Erase = 7,
    }
}

impl ControlKind {
    /// Returns whose key seals it.
    #[must_use]
    pub const fn sealed_under(self) -> SealedUnder {
        match self {
            Self::Acknowledge | Self::Snooze | Self::Label | Self::Consent => SealedUnder::Patient,
            // An erasure must be readable after the patient's key is gone.
            Self::Model | Self::Config | Self::Erase => SealedUnder::Log,
        }
    }
}

/// A control whose body belongs to the stage that acts on it.
#[derive(Clone, PartialEq, Eq)]
pub struct Control {
    /// What it is about.
    pub kind: ControlKind,
    /// What it says, versioned by its first byte.
    pub body: Vec<u8>,
}

impl Control {
    pub(super) fn encode(&self, writer: &mut Writer) {
        writer.u8(self.kind.number()).put(&self.body);
    }

    pub(super) fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            kind: ControlKind::decode(reader)?,
            body: take_opaque(reader)?,
        })
    }
}

/// What somebody of a care team wants of a patient's alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wish {
    /// An alert is looked after: until it rises it calls nobody again.
    Acknowledge(AlertId),
    /// A lane calls nobody for a while, unless with more than what is open in it now.
    Snooze {
        /// The lane.
        lane: Lane,
        /// For how long; at zero it ends.
        seconds: u32,
    },
}

/// The version of the bodies that wishes have.
const WISH_VERSION: u8 = 1;

impl Wish {
    /// Returns the control that says so of `patient`, in the name of `by`.
    #[must_use]
    pub fn to_control(self, patient: Pseudonym, by: [u8; 16]) -> Control {
        let mut writer = Writer::with_capacity(64);
        writer.u8(WISH_VERSION).put(patient.as_bytes()).put(&by);
        let kind = match self {
            Self::Acknowledge(alert) => {
                writer.put(alert.as_bytes());
                ControlKind::Acknowledge
            }
            Self::Snooze { lane, seconds } => {
                writer.u8(lane.number()).u32(seconds);
                ControlKind::Snooze
            }
        };
        let body = writer.into_vec();
        Control { kind, body }
    }

    /// Returns what a control wishes, and of whose alerts; none when it is of another kind, or of a
    /// version that is not known here.
    #[must_use]
    pub fn of_control(control: &Control) -> Option<(Pseudonym, Self)> {
        let mut reader = Reader::new(&control.body);
        if reader.u8().ok()? != WISH_VERSION {
            return None;
        }
        let patient = Pseudonym(reader.array().ok()?);
        let _by: [u8; 16] = reader.array().ok()?;
        let wish = match control.kind {
            ControlKind::Acknowledge => Self::Acknowledge(AlertId(reader.array().ok()?)),
            ControlKind::Snooze => Self::Snooze {
                lane: Lane::decode(&mut reader).ok()?,
                seconds: reader.u32().ok()?,
            },
            _ => return None,
        };
        reader.end().ok()?;
        Some((patient, wish))
    }
}

blind_debug!(Void, Tick, Bind, Revoke, Control);
