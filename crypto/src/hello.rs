//! A device's first message: one HPKE seal around who it is and a signature that proves it.
//!
//! ```text
//! message = offer id (16) | suite u8 | admission token (16) | enc (65) | ciphertext (271)
//! ```
//! All hellos have one size. The signature covers the offer that the service signed and the
//! encapsulation, so a hello made for one service holds at no other. Whatever is wrong with who
//! speaks is one answer, [`Reject::NotAdmitted`], and costs the service the same.

use std::{fmt, sync::LazyLock};

use pulseward_base::{
    Digest, Incarnation, Kid, Micros, Reject, Secret, Seq,
    bytes::{Malformed, Reader, Writer},
};
use zeroize::Zeroizing;

use crate::{
    frame::{AdmissionToken, decode_last, encode_last},
    hash::sha256,
    offer::{OfferFacts, OfferId, ServiceOffer},
    seal::{self, PublicKey},
    sign::{NO_CONTEXT, Point, Role, Signature, SigningKey, VerifyingKey},
};

/// How many bytes a hello's plaintext has.
const PLAIN_SIZE: usize = 255;

/// How many bytes a hello has.
pub const SIZE: usize = 16 + 1 + 16 + seal::KEY_SIZE + PLAIN_SIZE + 16;

/// The HPKE purpose of a hello.
pub(crate) const PURPOSE: &str = "hello";

const MODE_EACH_BATCH: u8 = 1;
const RESERVED: [u8; 28] = [0; 28];

/// What a session is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Purpose {
    /// Sending batches.
    Stream = 1,
    /// Enrolling, once.
    Enrol = 2,
}

/// Where a device's queue stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The queue that will be sent.
    pub incarnation: Incarnation,
    /// The last batch of it that the device knows to be durable, with its D.
    pub last_acknowledged: Option<(Seq, Digest)>,
}

/// The parts of a hello that lie in the clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope<'a> {
    /// The offer it was made for.
    pub offer: OfferId,
    /// Leave to be heard when hellos are many.
    pub token: AdmissionToken,
    suite: u8,
    enc: &'a PublicKey,
    ciphertext: &'a [u8],
}

impl<'a> Envelope<'a> {
    /// Reads the clear parts, at no cost: what a service looks at before public-key work.
    pub fn decode(message: &'a [u8]) -> Result<Self, Reject> {
        let fields = |message: &'a [u8]| -> Result<_, Malformed> {
            let mut reader = Reader::new(message);
            let offer = OfferId(reader.array()?);
            let suite = reader.u8()?;
            let token = AdmissionToken(reader.array()?);
            let enc = reader.take(seal::KEY_SIZE)?;
            Ok(Self {
                offer,
                token,
                suite,
                enc: enc.try_into().map_err(|_| Malformed)?,
                ciphertext: reader.rest(),
            })
        };
        if message.len() == SIZE {
            fields(message).map_err(|Malformed| Reject::Malformed)
        } else {
            Err(Reject::Malformed)
        }
    }
}

/// Returns the name of the offer that a hello was made for.
pub fn offer_id_of(message: &[u8]) -> Result<OfferId, Reject> {
    Ok(Envelope::decode(message)?.offer)
}

impl ServiceOffer {
    /// Opens a hello that was made for this offer. One for another is [`Reject::WrongSession`].
    pub fn open_hello(&self, message: &[u8]) -> Result<OpenedHello, Reject> {
        let envelope = Envelope::decode(message)?;
        if envelope.offer != self.id() {
            return Err(Reject::WrongSession);
        }
        if envelope.suite != seal::SUITE_P256 {
            return Err(Reject::BadSeal);
        }
        let plain = self.pair.open(
            PURPOSE,
            &self.facts.digest,
            envelope.enc,
            envelope.ciphertext,
        )?;
        let fields = Fields::decode(&plain).map_err(|Malformed| Reject::Malformed)?;
        Ok(OpenedHello {
            fields,
            signed: signed_part(&self.facts, envelope.enc, &plain)?,
            transcript: sha256(&[self.offer(), message]),
        })
    }
}

/// A hello whose seal held. Who speaks is a claim until [`OpenedHello::verify`].
pub struct OpenedHello {
    fields: Fields,
    signed: Zeroizing<Vec<u8>>,
    transcript: Digest,
}

impl OpenedHello {
    /// Returns what the session would be for.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        self.fields.purpose
    }

    /// Returns the kid that the device says it has.
    #[must_use]
    pub const fn kid(&self) -> Kid {
        self.fields.kid
    }

    /// Returns the point of a device that enrols; zeros otherwise.
    #[must_use]
    pub const fn point(&self) -> Point {
        self.fields.point
    }

    /// Returns whether the device that `key` belongs to said this hello, in the context `ctx` of
    /// its enrolment record.
    pub fn verify(self, key: &VerifyingKey, ctx: &Digest) -> Result<VerifiedHello, Reject> {
        if self.fields.purpose != Purpose::Stream || key.kid() != self.fields.kid {
            return Err(self.refuse());
        }
        self.verify_signature(key, ctx)
    }

    /// Returns whether whoever wants to enrol holds the key that it shows.
    pub fn verify_enrolling(self) -> Result<VerifiedHello, Reject> {
        if self.fields.purpose != Purpose::Enrol {
            return Err(self.refuse());
        }
        let Ok(key) = VerifyingKey::from_point(&self.fields.point) else {
            return Err(self.refuse());
        };
        if key.kid() != self.fields.kid {
            return Err(self.refuse());
        }
        self.verify_signature(&key, &NO_CONTEXT)
    }

    /// Refuses the hello of an unknown or revoked device at the cost of a forged one, so that the
    /// time tells nothing about who is known.
    #[must_use]
    pub fn refuse(self) -> Reject {
        // Parsed once, as a known device's key is.
        static NOBODY: LazyLock<Result<VerifyingKey, Reject>> =
            LazyLock::new(|| VerifyingKey::from_point(&GENERATOR));
        let _cost_only = NOBODY.as_ref().map(|key| {
            let signature = &NEVER_HOLDS;
            key.verify(Role::Hello, &NO_CONTEXT, &[&self.signed], signature)
        });
        Reject::NotAdmitted
    }

    fn verify_signature(self, key: &VerifyingKey, ctx: &Digest) -> Result<VerifiedHello, Reject> {
        let Self {
            fields,
            signed,
            transcript,
        } = self;
        match key.verify(Role::Hello, ctx, &[&signed], &fields.signature) {
            Ok(()) => Ok(VerifiedHello {
                fields,
                key: key.clone(),
                transcript,
            }),
            Err(_) => Err(Reject::NotAdmitted),
        }
    }
}

impl fmt::Debug for OpenedHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OpenedHello({:?})", self.fields.purpose)
    }
}

/// A hello that holds: the device that it names said it, to this service. It may still be a
/// replay: only an opened frame of the session shows that the device is there.
pub struct VerifiedHello {
    pub(crate) fields: Fields,
    pub(crate) key: VerifyingKey,
    pub(crate) transcript: Digest,
}

impl VerifiedHello {
    /// Returns what the session is for.
    #[must_use]
    pub const fn purpose(&self) -> Purpose {
        self.fields.purpose
    }

    /// Returns the device's key.
    #[must_use]
    pub const fn device(&self) -> &VerifyingKey {
        &self.key
    }

    /// Returns the device's clock.
    #[must_use]
    pub const fn time(&self) -> Micros {
        self.fields.time
    }

    /// Returns where the device's queue stands.
    #[must_use]
    pub const fn resume(&self) -> Resume {
        self.fields.resume
    }
}

impl fmt::Debug for VerifiedHello {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifiedHello({:?})", self.key.kid())
    }
}

/// What a hello says.
pub(crate) struct Fields {
    pub(crate) purpose: Purpose,
    pub(crate) point: Point,
    pub(crate) kid: Kid,
    pub(crate) secret: Secret<32>,
    pub(crate) time: Micros,
    pub(crate) resume: Resume,
    signature: Signature,
}

impl Fields {
    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::with_capacity(PLAIN_SIZE);
        writer
            .u8(self.purpose as u8)
            .put(&self.point.0)
            .put(&self.kid.0)
            .put(self.secret.expose())
            .i64(self.time.0)
            .u8(MODE_EACH_BATCH)
            .put(&self.resume.incarnation.0);
        encode_last(self.resume.last_acknowledged, &mut writer);
        writer.put(&RESERVED).put(&self.signature.0);
        writer.into_vec()
    }

    fn decode(plain: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(plain);
        let purpose = match reader.u8()? {
            1 => Purpose::Stream,
            2 => Purpose::Enrol,
            _ => return Err(Malformed),
        };
        let point = Point(reader.array()?);
        let kid = Kid(reader.array()?);
        let secret = Secret::new(reader.array()?);
        let time = Micros(reader.i64()?);
        let mode = reader.u8()?;
        let resume = Resume {
            incarnation: Incarnation(reader.array()?),
            last_acknowledged: decode_last(&mut reader)?,
        };
        let reserved: [u8; 28] = reader.array()?;
        let signature = Signature(reader.array()?);
        reader.end()?;
        let fits = match purpose {
            Purpose::Stream => point == Point::ZERO,
            Purpose::Enrol => {
                resume.incarnation == Incarnation::ZERO && resume.last_acknowledged.is_none()
            }
        };
        if !fits || mode != MODE_EACH_BATCH || reserved != RESERVED {
            return Err(Malformed);
        }
        Ok(Self {
            purpose,
            point,
            kid,
            secret,
            time,
            resume,
            signature,
        })
    }
}

/// Reads `plain` as what is inside a hello: written again, it must be the same.
#[cfg(any(test, feature = "test-util"))]
pub(crate) fn fuzz_plaintext(plain: &[u8]) {
    if let Ok(fields) = Fields::decode(plain) {
        assert_eq!(plain.len(), PLAIN_SIZE);
        assert_eq!(fields.encode(), plain, "one hello, one spelling");
    }
}

/// What a device puts into a hello.
pub(crate) struct NewHello {
    pub(crate) purpose: Purpose,
    pub(crate) time: Micros,
    pub(crate) resume: Resume,
}

/// Returns the plaintext of a hello that `key` signs for the offer of `facts`.
pub(crate) fn signed_plaintext(
    new: &NewHello,
    secret: &Secret<32>,
    key: &SigningKey,
    ctx: &Digest,
    (facts, enc): (&OfferFacts, &PublicKey),
) -> Result<Zeroizing<Vec<u8>>, Reject> {
    let point = match new.purpose {
        Purpose::Stream => Point::ZERO,
        Purpose::Enrol => key.point(),
    };
    let mut fields = Fields {
        purpose: new.purpose,
        point,
        kid: key.kid(),
        secret: secret.clone(),
        time: new.time,
        resume: new.resume,
        signature: Signature([0; Signature::SIZE]),
    };
    let unsigned = Zeroizing::new(fields.encode());
    fields.signature = key.sign(Role::Hello, ctx, &[&signed_part(facts, enc, &unsigned)?]);
    Ok(Zeroizing::new(fields.encode()))
}

/// Returns `D_offer | SHA-256(enc) | plaintext before the signature`.
fn signed_part(
    facts: &OfferFacts,
    enc: &PublicKey,
    plain: &[u8],
) -> Result<Zeroizing<Vec<u8>>, Reject> {
    let (before, _) = plain
        .split_last_chunk::<{ Signature::SIZE }>()
        .ok_or(Reject::Malformed)?;
    Ok(Zeroizing::new(
        [&facts.signed.0[..], &sha256(&[enc]).0, before].concat(),
    ))
}

/// The curve's generator: a key that nobody signs hellos with.
const GENERATOR: Point = Point([
    0x03, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40,
    0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2,
    0x96,
]);

/// A canonical signature that is not worth its name.
const NEVER_HOLDS: Signature = Signature([0x11; 64]);
