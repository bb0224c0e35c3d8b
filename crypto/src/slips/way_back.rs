//! Delivery's leave to ask the vault for the person behind one alert, 297 bytes, without vitals.
//!
//! The vault accepts each slip once; it keeps the ids of those it has seen until they expire.

use pulseward_base::{
    AlertId, Kid, Micros, Reject, SlipId,
    bytes::{Malformed, Reader, Writer},
};

use super::SealedHandle;
use crate::{
    certificate::{self, CertificateBytes, Use},
    sign::{NO_CONTEXT, Role, Signature, SigningKey},
};

/// How many bytes a way-back slip has.
pub const SIZE: usize = 297;

const VERSION: u8 = 1;

/// What a way-back slip says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WayBackTerms {
    /// The slip's name; it is used once.
    pub id: SlipId,
    /// The alert that the reader answers.
    pub alert: AlertId,
    /// The person, as only the vault can read it.
    pub sealed_handle: SealedHandle,
    /// The last moment at which it holds.
    pub expiry: Micros,
}

impl WayBackTerms {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(SIZE);
        writer.u8(VERSION).put(&self.id.0).put(&self.alert.0);
        writer.put(&self.sealed_handle.0).i64(self.expiry.0);
        writer.into_vec()
    }
}

/// A way-back slip that was read; it is worth nothing until verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WayBack {
    certificate: CertificateBytes,
    claims: WayBackTerms,
    signature: Signature,
}

impl WayBack {
    /// Signs what `terms` say.
    #[must_use]
    pub fn issue(
        certificate: &CertificateBytes,
        delivery: &SigningKey,
        terms: &WayBackTerms,
    ) -> Vec<u8> {
        let body = terms.encode();
        let signature = delivery.sign(Role::WayBack, &NO_CONTEXT, &[&body]);
        [&certificate[..], &body, &signature.0].concat()
    }

    /// Reads a way-back slip without checking it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let fields = |bytes| -> Result<_, Malformed> {
            let mut reader = Reader::new(bytes);
            let certificate = reader.array()?;
            let version = reader.u8()?;
            let claims = WayBackTerms {
                id: SlipId(reader.array()?),
                alert: AlertId(reader.array()?),
                sealed_handle: SealedHandle(reader.array()?),
                expiry: Micros(reader.i64()?),
            };
            let slip = Self {
                certificate,
                claims,
                signature: Signature(reader.array()?),
            };
            reader.end()?;
            (version == VERSION).then_some(slip).ok_or(Malformed)
        };
        fields(bytes).map_err(|Malformed| Reject::Malformed)
    }

    /// Returns what the slip says when a delivery under `pipeline_root` signed it and it has not
    /// expired. Whether it was used before is for the vault to know.
    pub fn verify(&self, pipeline_root: &Kid, now: Micros) -> Result<WayBackTerms, Reject> {
        let delivery = certificate::verify(&self.certificate, pipeline_root, Use::Delivery, now)?;
        let body = self.claims.encode();
        delivery.verify(Role::WayBack, &NO_CONTEXT, &[&body], &self.signature)?;
        if now <= self.claims.expiry {
            Ok(self.claims)
        } else {
            Err(Reject::NotAdmitted)
        }
    }
}
