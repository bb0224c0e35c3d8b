//! The registry's word on whose device it is, 179 bytes, kept in the log and never sent to it.

use pulseward_base::{
    Digest, KeyId, Kid, Micros, Pseudonym, Reject, Slot,
    bytes::{Malformed, Reader, Writer},
};

use crate::{
    certificate::joined,
    sign::{NO_CONTEXT, Role, Signature, SigningKey, VerifyingKey},
};

/// How many bytes a binding has.
pub const SIZE: usize = 179;

/// A binding as it is kept.
pub type BindingBytes = [u8; SIZE];

const VERSION: u8 = 1;

/// What a binding says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The device's key.
    pub device: Kid,
    /// The digest of the device's enrolment record.
    pub record: Digest,
    /// The patient, as the pipeline knows one.
    pub pseudonym: Pseudonym,
    /// The name of the patient's key.
    pub key: KeyId,
    /// The patient's slot.
    pub slot: Slot,
    /// From when readings are the patient's.
    pub from: Micros,
    /// Until when.
    pub until: Micros,
}

impl Bound {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(SIZE);
        writer.u8(VERSION).put(&self.device.0).put(&self.record.0);
        writer
            .put(&self.pseudonym.0)
            .put(&self.key.0)
            .u16(self.slot.0)
            .i64(self.from.0)
            .i64(self.until.0);
        writer.into_vec()
    }
}

/// A binding that was read; it is worth nothing until verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Binding {
    claims: Bound,
    signature: Signature,
}

impl Binding {
    /// Signs what `bound` says.
    #[must_use]
    pub fn issue(registry: &SigningKey, bound: &Bound) -> BindingBytes {
        let body = bound.encode();
        let signature = registry.sign(Role::Binding, &NO_CONTEXT, &[&body]);
        joined(&[&body, &signature.0])
    }

    /// Reads a binding without checking it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let fields = |bytes| -> Result<_, Malformed> {
            let mut reader = Reader::new(bytes);
            let version = reader.u8()?;
            let claims = Bound {
                device: Kid(reader.array()?),
                record: Digest(reader.array()?),
                pseudonym: Pseudonym(reader.array()?),
                key: KeyId(reader.array()?),
                slot: Slot(reader.u16()?),
                from: Micros(reader.i64()?),
                until: Micros(reader.i64()?),
            };
            let signature = Signature(reader.array()?);
            reader.end()?;
            let good = version == VERSION && claims.slot.0 < Slot::COUNT;
            good.then_some(Self { claims, signature }).ok_or(Malformed)
        };
        fields(bytes).map_err(|Malformed| Reject::Malformed)
    }

    /// Returns what the binding says when `registry`, from a certificate of use 2, signed it.
    pub fn verify(&self, registry: &VerifyingKey) -> Result<Bound, Reject> {
        registry.verify(
            Role::Binding,
            &NO_CONTEXT,
            &[&self.claims.encode()],
            &self.signature,
        )?;
        Ok(self.claims)
    }
}
