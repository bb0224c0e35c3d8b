//! A root's word for another key: 148 bytes, one use, dates.
//!
//! A root is named by its kid alone; its point travels in the certificate. A certificate holds
//! when that point has the root's kid, the signature holds, the use is the one asked for, and now
//! lies within its dates. The verified key is the only thing that comes out.

use pulseward_base::{
    Kid, Micros, Reject,
    bytes::{Malformed, Reader, Writer},
};

use crate::sign::{NO_CONTEXT, Point, Role, Signature, SigningKey, VerifyingKey};

/// How many bytes a certificate has.
pub const SIZE: usize = 148;

/// A certificate as it travels.
pub type CertificateBytes = [u8; SIZE];

const VERSION: u8 = 1;

/// What a certified key may sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Use {
    /// Offers.
    Service = 1,
    /// Records, bindings, grants, receipts.
    Registry = 2,
    /// Manifests and heads.
    History = 3,
    /// Settings and promotions.
    Operator = 4,
    /// Way-back slips.
    Delivery = 5,
    /// Tickets, consent, orders, views.
    Vault = 6,
}

impl Use {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Service,
        Self::Registry,
        Self::History,
        Self::Operator,
        Self::Delivery,
        Self::Vault,
    ];

    const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Service),
            2 => Some(Self::Registry),
            3 => Some(Self::History),
            4 => Some(Self::Operator),
            5 => Some(Self::Delivery),
            6 => Some(Self::Vault),
            _ => None,
        }
    }
}

/// What a certificate says; nothing of it is checked yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The root's key.
    pub issuer: Point,
    /// What the subject may sign.
    pub use_: Use,
    /// The certified key.
    pub subject: Point,
    /// When it begins to hold.
    pub not_before: Micros,
    /// The last moment at which it holds.
    pub not_after: Micros,
    signature: Signature,
}

impl Certificate {
    /// Reads a certificate without checking it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let fields = |bytes| -> Result<_, Malformed> {
            let mut reader = Reader::new(bytes);
            let issuer = Point(reader.array()?);
            let version = reader.u8()?;
            let use_ = Use::from_number(reader.u8()?).ok_or(Malformed)?;
            let certificate = Self {
                issuer,
                use_,
                subject: Point(reader.array()?),
                not_before: Micros(reader.i64()?),
                not_after: Micros(reader.i64()?),
                signature: Signature(reader.array()?),
            };
            reader.end()?;
            (version == VERSION).then_some(certificate).ok_or(Malformed)
        };
        fields(bytes).map_err(|Malformed| Reject::Malformed)
    }

    /// Returns the certified key when the certificate holds. Another root, use or time is
    /// [`Reject::NotAdmitted`].
    pub fn verify(&self, root: &Kid, use_: Use, now: Micros) -> Result<VerifyingKey, Reject> {
        let issuer = VerifyingKey::from_point(&self.issuer)?;
        if issuer.kid() != *root || self.use_ != use_ {
            return Err(Reject::NotAdmitted);
        }
        if now < self.not_before || self.not_after < now {
            return Err(Reject::NotAdmitted);
        }
        issuer.verify(
            Role::Certificate,
            &NO_CONTEXT,
            &[&self.body()],
            &self.signature,
        )?;
        VerifyingKey::from_point(&self.subject)
    }

    fn body(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(SIZE);
        writer
            .u8(VERSION)
            .u8(self.use_ as u8)
            .put(&self.subject.0)
            .i64(self.not_before.0)
            .i64(self.not_after.0);
        writer.into_vec()
    }
}

/// Certifies `subject` for `use_` from `not_before` to `not_after`.
#[must_use]
pub fn issue(
    root: &SigningKey,
    use_: Use,
    subject: &Point,
    not_before: Micros,
    not_after: Micros,
) -> CertificateBytes {
    let mut certificate = Certificate {
        issuer: root.point(),
        use_,
        subject: *subject,
        not_before,
        not_after,
        signature: Signature([0; 64]),
    };
    let body = certificate.body();
    certificate.signature = root.sign(Role::Certificate, &NO_CONTEXT, &[&body]);
    joined(&[&certificate.issuer.0, &body, &certificate.signature.0])
}

/// Returns the certified key when `bytes` are a certificate that holds: see [`Certificate::verify`].
pub fn verify(bytes: &[u8], root: &Kid, use_: Use, now: Micros) -> Result<VerifyingKey, Reject> {
    Certificate::decode(bytes)?.verify(root, use_, now)
}

/// Puts parts whose sizes add up to `N` behind one another.
pub(crate) fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut bytes = [0; N];
    debug_assert_eq!(parts.iter().map(|part| part.len()).sum::<usize>(), N);
    for (to, from) in bytes.iter_mut().zip(parts.iter().copied().flatten()) {
        *to = *from;
    }
    bytes
}
