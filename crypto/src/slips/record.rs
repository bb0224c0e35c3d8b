//! The registry's record of an enrolment, 147 bytes: what the device gets, and whose digest is its
//! context from then on.

use pulseward_base::{
    Digest, Kid, Micros, Reject,
    bytes::{Malformed, Reader, Writer},
};

use crate::{
    certificate::joined,
    hash::sha256,
    sign::{NO_CONTEXT, Point, Role, Signature, SigningKey, VerifyingKey},
};

/// How many bytes a record has.
pub const SIZE: usize = 147;

/// A record as it travels.
pub type RecordBytes = [u8; SIZE];

const VERSION: u8 = 1;

/// What a record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Enrolment {
    /// The device's key.
    pub device: Point,
    /// The pipeline's root.
    pub root: Kid,
    /// Bit k is set when kind number k may be sent.
    pub scope: u64,
    /// What the policy made of the device's attestation: 0 none given, 1 accepted.
    pub attestation: u8,
    /// When the device was admitted.
    pub time: Micros,
}

impl Enrolment {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(SIZE);
        writer.u8(VERSION).put(&self.device.0).put(&self.root.0);
        writer.u64(self.scope).u8(self.attestation).i64(self.time.0);
        writer.into_vec()
    }
}

/// A record that was read; it is worth nothing until verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    claims: Enrolment,
    signature: Signature,
}

impl Record {
    /// Signs what `enrolment` says.
    #[must_use]
    pub fn issue(registry: &SigningKey, enrolment: &Enrolment) -> RecordBytes {
        let body = enrolment.encode();
        let signature = registry.sign(Role::Record, &NO_CONTEXT, &[&body]);
        joined(&[&body, &signature.0])
    }

    /// Reads a record without checking it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let fields = |bytes| -> Result<_, Malformed> {
            let mut reader = Reader::new(bytes);
            let version = reader.u8()?;
            let claims = Enrolment {
                device: Point(reader.array()?),
                root: Kid(reader.array()?),
                scope: reader.u64()?,
                attestation: reader.u8()?,
                time: Micros(reader.i64()?),
            };
            let signature = Signature(reader.array()?);
            reader.end()?;
            let record = Self { claims, signature };
            (version == VERSION).then_some(record).ok_or(Malformed)
        };
        fields(bytes).map_err(|Malformed| Reject::Malformed)
    }

    /// Returns what the record says when `registry`, from a certificate of use 2, signed it.
    pub fn verify(&self, registry: &VerifyingKey) -> Result<Enrolment, Reject> {
        registry.verify(
            Role::Record,
            &NO_CONTEXT,
            &[&self.claims.encode()],
            &self.signature,
        )?;
        Ok(self.claims)
    }
}

/// Returns a record's digest: the `ctx` of everything its device signs from then on.
#[must_use]
pub fn digest(record: &RecordBytes) -> Digest {
    sha256(&[record])
}
