//! An operator's word that a model may decide.
//!
//! ```text
//! body = model (32) | previous (32, zeros for none) | time i64 | act u8 (1 promote, 2 roll back, 3 begin) | verdict (32)
//! ```

use pulseward_base::{Digest, Kid, Micros, bytes::Reader};

use super::{
    ArtefactError,
    form::{Form, Signer, Trust, seal},
};

const BODY_BYTES: usize = 32 + 32 + 8 + 1 + 32;

const FORM: Form = Form {
    magic: *b"PWPROMO\0",
    most_bytes: 1024,
    skip: |reader| reader.take(BODY_BYTES).map(|_| ()),
};

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// A model takes over that the gate let through.
    Promote,
    /// A model that decided before takes over again.
    RollBack,
    /// The very first model: there is none to compare it with, so no verdict either.
    Begin,
}

/// A promotion whose signature holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promotion {
    model: Digest,
    previous: Option<Digest>,
    at: Micros,
    act: Act,
    verdict: Digest,
    signer: Kid,
}

impl Promotion {
    /// Signs that `model` takes over from `previous`. `verdict` is the digest of the gate's verdict
    /// and belongs to [`Act::Promote`] alone; zeros otherwise.
    #[must_use]
    pub fn issue(
        signer: &Signer<'_>,
        act: Act,
        model: &Digest,
        previous: Option<&Digest>,
        verdict: &Digest,
        at: Micros,
    ) -> Vec<u8> {
        let unsigned = FORM.unsigned(|writer| {
            writer.put(&model.0);
            writer.put(&previous.unwrap_or(&Digest::ZERO).0);
            writer.i64(at.0);
            writer.u8(match act {
                Act::Promote => 1,
                Act::RollBack => 2,
                Act::Begin => 3,
            });
            writer.put(&verdict.0);
        });
        seal(unsigned, signer)
    }

    /// Reads a promotion and checks who vouches for it.
    pub fn open(bytes: &[u8], trust: &Trust) -> Result<Self, ArtefactError> {
        let opened = FORM.open(bytes, trust)?;
        let mut reader = Reader::new(opened.body);
        let promotion = Self {
            model: Digest(reader.array()?),
            previous: Some(Digest(reader.array()?)).filter(|digest| *digest != Digest::ZERO),
            at: Micros(reader.i64()?),
            act: match reader.u8()? {
                1 => Act::Promote,
                2 => Act::RollBack,
                3 => Act::Begin,
                _ => return Err(ArtefactError::Malformed),
            },
            verdict: Digest(reader.array()?),
            signer: opened.signer,
        };
        let judged = promotion.verdict != Digest::ZERO;
        let first = promotion.previous.is_none();
        let in_order = judged == (promotion.act == Act::Promote)
            && first == (promotion.act == Act::Begin)
            && promotion.previous != Some(promotion.model);
        in_order
            .then_some(promotion)
            .ok_or(ArtefactError::Malformed)
    }

    /// Returns the model that takes over.
    #[must_use]
    pub const fn model(&self) -> Digest {
        self.model
    }

    /// Returns the model that decided before.
    #[must_use]
    pub const fn previous(&self) -> Option<Digest> {
        self.previous
    }

    /// Returns when the operator signed.
    #[must_use]
    pub const fn at(&self) -> Micros {
        self.at
    }

    /// Returns what the operator did.
    #[must_use]
    pub const fn act(&self) -> Act {
        self.act
    }

    /// Returns the digest of the gate's verdict; zeros without one.
    #[must_use]
    pub const fn verdict(&self) -> Digest {
        self.verdict
    }

    /// Returns whose key signed it.
    #[must_use]
    pub const fn signer(&self) -> Kid {
        self.signer
    }
}
