//! Models as files: what is in them, who vouches for them, and a loader that refuses all else.
//!
//! The layouts are in docs/formats/artefact.md. A file is a *draft* (card and parameters under a
//! checksum) and the signature of whoever trained it. It decides nothing before a *promotion*, a small
//! file of its own, names it. Invariants:
//! - A draft knows no time and no chance: the same training on the same rows gives the same bytes, and
//!   their digest is the model's name.
//! - What is unsigned, unpromoted, promoted by the key that made it, cut, lengthened or altered in one
//!   bit does not load. So a machine that trains cannot promote what it trained.
//! - Decoding is total, and goes through the constructors that fitting uses.

mod card;
mod form;
mod parameters;
mod promotion;
mod shipped;

pub use card::{Card, MOST_TEXT, Purpose};
pub(crate) use form::{Form, seal};
pub use form::{Signer, Trust};
pub use promotion::{Act, Promotion};
pub use shipped::{SHIPPED, Shipped, shipped, shipped_root};

use pulseward_base::{
    Digest, Kid, ModelId,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_crypto::hash::sha256;

use crate::{additive::Additive, anchor::Anchor, partition::Gaussians, rhythm::RhythmModel};

/// The most bytes a file may have.
pub const MOST_BYTES: usize = 1 << 20;

const FORM: Form = Form {
    magic: *b"PWMODEL\0",
    most_bytes: MOST_BYTES,
    skip: |reader| {
        reader.prefixed(MOST_BYTES)?;
        reader.prefixed(MOST_BYTES).map(|_| ())
    },
};

/// What a file's parameters are.
#[derive(Clone, Debug, PartialEq)]
pub enum Parameters {
    /// The certified anomaly score.
    Anchor(Anchor),
    /// The partition ensemble beside it.
    Gaussians(Gaussians),
    /// A sum of curves.
    Additive(Additive),
    /// The rhythm model.
    Rhythm(RhythmModel),
}

/// A model with its card, not vouched for by anybody.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// What the model is, where it comes from and what it is for.
    pub card: Card,
    /// What it computes with.
    pub parameters: Parameters,
}

/// A model whose signature holds. It may be judged, compared and attacked; it decides nothing.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    digest: Digest,
    signer: Kid,
    draft: Draft,
}

/// A model that an operator promoted. There is no other way to make one than [`load`].
#[derive(Clone, Debug, PartialEq)]
pub struct Promoted {
    candidate: Candidate,
    promotion: Promotion,
}

/// Why a file is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArtefactError {
    /// It does not begin like such a file.
    #[error("this is another kind of file")]
    OtherFile,
    /// It has a version that this program does not know.
    #[error("the file has an unknown version")]
    Version,
    /// It is larger than such a file may be.
    #[error("the file is too large")]
    TooLarge,
    /// Its bytes are not those that were written.
    #[error("the file is damaged")]
    Damaged,
    /// It says what no such file can say.
    #[error("the file is malformed")]
    Malformed,
    /// Nobody signed it.
    #[error("the file is not signed")]
    Unsigned,
    /// The signer has no operator's certificate of this root that holds now.
    #[error("the signer is no operator of this root")]
    NotCertified,
    /// The signature does not hold.
    #[error("the signature does not hold")]
    BadSignature,
    /// There is no promotion.
    #[error("the model is not promoted")]
    Unpromoted,
    /// The promotion names another model.
    #[error("the promotion is of another model")]
    OfAnother,
    /// The key that signed the model signed its promotion too.
    #[error("the promotion is signed by whoever signed the model")]
    ByItsMaker,
}

impl From<Malformed> for ArtefactError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Draft {
    /// Writes the draft, not signed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        FORM.unsigned(|writer| {
            let mut card = Writer::new();
            self.card.encode(&mut card);
            writer.prefixed(card.as_slice());
            let mut parameters = Writer::new();
            self.parameters.encode(&mut parameters);
            writer.prefixed(parameters.as_slice());
        })
    }

    /// Reads a draft without a signature: for training and tests, never for deciding.
    pub fn decode(bytes: &[u8]) -> Result<Self, ArtefactError> {
        let parts = FORM.split(bytes)?;
        if parts.seal.is_empty() {
            Self::decode_body(parts.body)
        } else {
            Err(ArtefactError::Malformed)
        }
    }

    /// Returns the digest that names the model.
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256(&[&self.encode()])
    }

    /// Returns the name that scores and alerts carry.
    #[must_use]
    pub fn id(&self) -> ModelId {
        model_id(&self.digest())
    }

    /// Signs the draft: whoever trained it vouches for how that was done.
    #[must_use]
    pub fn sign(&self, trainer: &Signer<'_>) -> Vec<u8> {
        seal(self.encode(), trainer)
    }

    fn decode_body(body: &[u8]) -> Result<Self, ArtefactError> {
        let mut reader = Reader::new(body);
        let mut card = Reader::new(reader.prefixed(MOST_BYTES)?);
        let mut parameters = Reader::new(reader.prefixed(MOST_BYTES)?);
        reader.end()?;
        let decoded = Self {
            card: Card::decode(&mut card)?,
            parameters: Parameters::decode(&mut parameters)?,
        };
        card.end()?;
        parameters.end()?;
        Ok(decoded)
    }
}

impl Candidate {
    /// Reads a model and checks who signed it.
    pub fn open(bytes: &[u8], trust: &Trust) -> Result<Self, ArtefactError> {
        let opened = FORM.open(bytes, trust)?;
        Ok(Self {
            digest: opened.digest,
            signer: opened.signer,
            draft: Draft::decode_body(opened.body)?,
        })
    }

    /// Returns what it says.
    #[must_use]
    pub const fn draft(&self) -> &Draft {
        &self.draft
    }

    /// Returns the digest that names it.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// Returns whose key signed it.
    #[must_use]
    pub const fn signer(&self) -> Kid {
        self.signer
    }

    /// Returns the model that decides, when `promotion` is of this one and by another key.
    pub fn promoted(self, promotion: &Promotion) -> Result<Promoted, ArtefactError> {
        if promotion.model() != self.digest {
            return Err(ArtefactError::OfAnother);
        }
        if promotion.signer() == self.signer {
            return Err(ArtefactError::ByItsMaker);
        }
        Ok(Promoted {
            candidate: self,
            promotion: *promotion,
        })
    }
}

/// Loads a model that an operator promoted.
pub fn load(
    model: &[u8],
    promotion: Option<&[u8]>,
    trust: &Trust,
) -> Result<Promoted, ArtefactError> {
    let candidate = Candidate::open(model, trust)?;
    let promotion = promotion.ok_or(ArtefactError::Unpromoted)?;
    candidate.promoted(&Promotion::open(promotion, trust)?)
}

/// Returns the name that scores and alerts carry for the model with this digest.
#[must_use]
pub fn model_id(digest: &Digest) -> ModelId {
    ModelId(*digest.0.first_chunk().unwrap_or(&[0; ModelId::SIZE]))
}

impl Promoted {
    /// Returns the model's name: the first half of its draft's digest.
    #[must_use]
    pub fn id(&self) -> ModelId {
        model_id(&self.candidate.digest)
    }

    /// Returns the digest that names it in full.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.candidate.digest
    }

    /// Returns the promotion that lets it decide.
    #[must_use]
    pub const fn promotion(&self) -> &Promotion {
        &self.promotion
    }

    /// Returns its card.
    #[must_use]
    pub const fn card(&self) -> &Card {
        &self.candidate.draft.card
    }

    /// Returns what it computes with.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.candidate.draft.parameters
    }
}

#[cfg(test)]
mod tests;
