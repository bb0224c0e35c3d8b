//! The service's first word: a signed offer of a sealing key, the same for everybody.
//!
//! The private key lives in one [`ServiceOffer`], in memory, and is wiped with it: that is the
//! forward secrecy. A device takes the service key only through the root that it pins.

use std::fmt;

use pulseward_base::{
    Digest, Kid, Micros, Reject,
    bytes::{Malformed, Reader, Writer},
};

use crate::{
    certificate::{self, CertificateBytes, Use},
    hash::sha256,
    seal::{self, KeyPair, PublicKey},
    sign::{NO_CONTEXT, Role, Signature, SigningKey, prehash},
};

const VERSION: u8 = 1;

/// The most keys an offer may carry: a bound for its reader.
const MAX_KEYS: u8 = 8;

/// The longest key of any suite, X-Wing's, with room to spare.
const MAX_KEY_SIZE: usize = 4096;

/// An offer's name: the first half of its digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OfferId(pub [u8; 16]);

/// What both sides know an offer by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OfferFacts {
    /// SHA-256 of the offer with its signature.
    pub(crate) digest: Digest,
    /// The prehash that the service signed.
    pub(crate) signed: Digest,
}

impl OfferFacts {
    pub(crate) const fn id(&self) -> OfferId {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, ..] = self.digest.0;
        OfferId([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p])
    }
}

/// An offer with the private key that opens the hellos made for it.
pub struct ServiceOffer {
    pub(crate) facts: OfferFacts,
    pub(crate) pair: KeyPair,
    message: Vec<u8>,
    offer: Vec<u8>,
    not_after: Micros,
}

impl ServiceOffer {
    /// Makes an offer under `root`, good from `not_before` to `not_after`. `certificate` is the
    /// root's for `service`.
    #[must_use]
    pub fn new(
        root: &Kid,
        certificate: &CertificateBytes,
        service: &SigningKey,
        not_before: Micros,
        not_after: Micros,
    ) -> Self {
        let pair = KeyPair::generate();
        let mut writer = Writer::new();
        writer
            .u8(VERSION)
            .put(&root.0)
            .i64(not_before.0)
            .i64(not_after.0)
            .u8(1);
        writer.u8(seal::SUITE_P256).u16(65).put(pair.public());
        let body = writer.into_vec();
        let signed = prehash(Role::Offer, &service.kid(), &NO_CONTEXT, &[&body]);
        let offer = [&body[..], &service.sign_prehash(&signed).0].concat();
        let digest = sha256(&[&offer]);
        Self {
            facts: OfferFacts { digest, signed },
            pair,
            message: [&certificate[..], &offer].concat(),
            offer,
            not_after,
        }
    }

    /// Returns the message that opens a stream.
    #[must_use]
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Returns the offer's name.
    #[must_use]
    pub const fn id(&self) -> OfferId {
        self.facts.id()
    }

    /// Returns the last moment at which a hello for it may come.
    #[must_use]
    pub const fn not_after(&self) -> Micros {
        self.not_after
    }

    /// Returns the offer without its certificate, as it goes into the session's transcript.
    pub(crate) fn offer(&self) -> &[u8] {
        &self.offer
    }
}

impl fmt::Debug for ServiceOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServiceOffer({:?})", self.id())
    }
}

/// An offer that a device has checked.
#[derive(Clone)]
pub struct ClientOffer {
    pub(crate) facts: OfferFacts,
    pub(crate) offer: Vec<u8>,
    pub(crate) key: PublicKey,
    service: Kid,
    not_after: Micros,
}

impl ClientOffer {
    /// Checks an offer message: certificate and offer under the root that the device `pinned`,
    /// the service's signature, and the dates against the device's clock.
    pub fn check(message: &[u8], pinned: &Kid, now: Micros) -> Result<Self, Reject> {
        let (certificate, offer) = message
            .split_at_checked(certificate::SIZE)
            .ok_or(Reject::Malformed)?;
        let fields = Fields::decode(offer).map_err(|Malformed| Reject::Malformed)?;
        let key = fields.key.ok_or(Reject::NotAdmitted)?;
        let service = certificate::verify(certificate, pinned, Use::Service, now)?;
        let in_time = fields.not_before <= now && now <= fields.not_after;
        if fields.root != *pinned || !in_time {
            return Err(Reject::NotAdmitted);
        }
        let signed = prehash(Role::Offer, &service.kid(), &NO_CONTEXT, &[fields.body]);
        service.verify_prehash(&signed, &fields.signature)?;
        Ok(Self {
            facts: OfferFacts {
                digest: sha256(&[offer]),
                signed,
            },
            offer: offer.to_vec(),
            key,
            service: service.kid(),
            not_after: fields.not_after,
        })
    }

    /// Returns the offer's name.
    #[must_use]
    pub const fn id(&self) -> OfferId {
        self.facts.id()
    }

    /// Returns the kid of the service's key.
    #[must_use]
    pub const fn service(&self) -> Kid {
        self.service
    }

    /// Returns the last moment at which a hello for it may be sent.
    #[must_use]
    pub const fn not_after(&self) -> Micros {
        self.not_after
    }
}

impl fmt::Debug for ClientOffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientOffer({:?})", self.id())
    }
}

/// An offer's fields; suites that this version does not know are skipped.
struct Fields<'a> {
    root: Kid,
    not_before: Micros,
    not_after: Micros,
    key: Option<PublicKey>,
    body: &'a [u8],
    signature: Signature,
}

impl<'a> Fields<'a> {
    fn decode(offer: &'a [u8]) -> Result<Self, Malformed> {
        let (body, signature) = offer
            .split_last_chunk::<{ Signature::SIZE }>()
            .ok_or(Malformed)?;
        let mut reader = Reader::new(body);
        if reader.u8()? != VERSION {
            return Err(Malformed);
        }
        let root = Kid(reader.array()?);
        let not_before = Micros(reader.i64()?);
        let not_after = Micros(reader.i64()?);
        let key = decode_keys(&mut reader)?;
        reader.end()?;
        Ok(Self {
            root,
            not_before,
            not_after,
            key,
            body,
            signature: Signature(*signature),
        })
    }
}

/// Reads the keys; suites strictly ascend, so that each has one place.
fn decode_keys(reader: &mut Reader<'_>) -> Result<Option<PublicKey>, Malformed> {
    let count = reader.u8()?;
    if count > MAX_KEYS {
        return Err(Malformed);
    }
    let mut last = 0;
    let mut found = None;
    for _ in 0..count {
        let suite = reader.u8()?;
        let length = usize::from(reader.u16()?);
        if suite <= last || length > MAX_KEY_SIZE {
            return Err(Malformed);
        }
        let key = reader.take(length)?;
        if suite == seal::SUITE_P256 {
            found = Some(key.try_into().map_err(|_| Malformed)?);
        }
        last = suite;
    }
    Ok(found)
}
