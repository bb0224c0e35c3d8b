//! Models as files: what is in them, who vouches for them, and a loader that refuses all else.
//!
//! The layout is in docs/formats/model.md. A file is a *draft* (card and parameters under a checksum)
//! and a *seal*: an operator's signature, as "model", over the draft's digest and its state. A model
//! without a seal, with one that says candidate, with another operator's, cut, lengthened or altered
//! in one bit does not load. The draft of the same training on the same rows is the same to the byte;
//! only the seal knows a time.

mod card;
mod parameters;

pub use card::{Card, MOST_TEXT, Purpose};

use pulseward_base::{
    Digest, Kid, Micros, ModelId,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_crypto::{
    hash::sha256,
    sign::{NO_CONTEXT, Role, Signature, SigningKey, VerifyingKey},
};

use crate::{additive::Additive, anchor::Anchor, partition::Gaussians, rhythm::RhythmModel};

/// How a file begins.
pub const MAGIC: [u8; 8] = *b"PWMODEL\0";

/// The version of the layout.
pub const VERSION: u16 = 1;

/// The most bytes a file may have.
pub const MOST_BYTES: usize = 1 << 20;

/// How many bytes a seal has: state, time, signer, signature.
const SEAL_BYTES: usize = 1 + 8 + 32 + 64;

const CHECKSUM_BYTES: usize = 4;

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

/// What an operator says of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// It may be compared and attacked; it decides nothing.
    Candidate,
    /// It decides.
    Promoted,
}

/// A model that an operator promoted. There is no other way to make one than [`load`].
#[derive(Clone, Debug, PartialEq)]
pub struct Promoted {
    id: ModelId,
    at: Micros,
    draft: Draft,
}

/// Why a file does not load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArtefactError {
    /// It does not begin like a model.
    #[error("this is no model file")]
    NotAModel,
    /// It has a version that this program does not know.
    #[error("the model file has an unknown version")]
    Version,
    /// It is larger than a model may be.
    #[error("the model file is too large")]
    TooLarge,
    /// Its bytes are not those that were written.
    #[error("the model file is damaged")]
    Damaged,
    /// It says what no model can be.
    #[error("the model file is malformed")]
    Malformed,
    /// Nobody signed it.
    #[error("the model is not signed")]
    Unsigned,
    /// Somebody else than the operator signed it, or the signature does not hold.
    #[error("the model is not signed by the operator")]
    BadSignature,
    /// The operator signed it as a candidate only.
    #[error("the model is not promoted")]
    Unpromoted,
}

impl From<Malformed> for ArtefactError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

impl Draft {
    /// Writes the draft, ready to be sealed.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.put(&MAGIC).u16(VERSION);
        let mut card = Writer::new();
        self.card.encode(&mut card);
        writer.prefixed(card.as_slice());
        let mut parameters = Writer::new();
        self.parameters.encode(&mut parameters);
        writer.prefixed(parameters.as_slice());
        let checksum = crc32c::crc32c(writer.as_slice());
        writer.u32(checksum);
        writer.into_vec()
    }

    /// Reads a draft without a seal: for training, comparing and attacking, never for deciding.
    pub fn decode(bytes: &[u8]) -> Result<Self, ArtefactError> {
        let (draft, rest) = split(bytes)?;
        if rest.is_empty() {
            Self::decode_checked(draft)
        } else {
            Err(ArtefactError::Malformed)
        }
    }

    /// Returns the name of the model that `bytes` hold.
    #[must_use]
    pub fn id(&self) -> ModelId {
        model_id(&sha256(&[&self.encode()]))
    }

    fn decode_checked(draft: &[u8]) -> Result<Self, ArtefactError> {
        let mut reader = Reader::new(draft);
        let _magic = reader.array::<8>()?;
        let _version = reader.u16()?;
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

/// Splits a file into its draft, without the checksum that was checked, and the rest.
fn split(bytes: &[u8]) -> Result<(&[u8], &[u8]), ArtefactError> {
    if bytes.len() > MOST_BYTES {
        return Err(ArtefactError::TooLarge);
    }
    let mut reader = Reader::new(bytes);
    if reader.array::<8>() != Ok(MAGIC) {
        return Err(ArtefactError::NotAModel);
    }
    if reader.u16() != Ok(VERSION) {
        return Err(ArtefactError::Version);
    }
    let damaged = |_| ArtefactError::Damaged;
    reader.prefixed(MOST_BYTES).map_err(damaged)?;
    reader.prefixed(MOST_BYTES).map_err(damaged)?;
    let length = bytes.len() - reader.rest().len();
    let checksum = reader.u32().map_err(damaged)?;
    let (draft, _) = bytes
        .split_at_checked(length)
        .ok_or(ArtefactError::Damaged)?;
    if crc32c::crc32c(draft) == checksum {
        Ok((draft, reader.rest()))
    } else {
        Err(ArtefactError::Damaged)
    }
}

/// Puts an operator's seal on a draft or, in place of the old one, on a sealed file.
pub fn seal(
    bytes: &[u8],
    state: State,
    at: Micros,
    operator: &SigningKey,
) -> Result<Vec<u8>, ArtefactError> {
    let (draft, _) = split(bytes)?;
    Draft::decode_checked(draft)?;
    let (unsealed, _) = bytes
        .split_at_checked(draft.len() + CHECKSUM_BYTES)
        .ok_or(ArtefactError::Damaged)?;
    let digest = sha256(&[unsealed]);
    let kid = operator.verifying_key().kid();
    let signed = signed_part(state, at, &kid);
    let signature = operator.sign(Role::Model, &NO_CONTEXT, &[&digest.0, &signed]);
    let mut sealed = unsealed.to_vec();
    sealed.extend(signed);
    sealed.extend(signature.0);
    Ok(sealed)
}

fn signed_part(state: State, at: Micros, kid: &Kid) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u8(match state {
        State::Candidate => 1,
        State::Promoted => 2,
    });
    writer.i64(at.0).put(&kid.0);
    writer.into_vec()
}

/// Loads a model that `operator` promoted.
pub fn load(bytes: &[u8], operator: &VerifyingKey) -> Result<Promoted, ArtefactError> {
    let (draft, seal) = split(bytes)?;
    if seal.is_empty() {
        return Err(ArtefactError::Unsigned);
    }
    if seal.len() != SEAL_BYTES {
        return Err(ArtefactError::Damaged);
    }
    let mut reader = Reader::new(seal);
    let state = match reader.u8()? {
        1 => State::Candidate,
        2 => State::Promoted,
        _ => return Err(ArtefactError::Damaged),
    };
    let at = Micros(reader.i64()?);
    let kid = Kid(reader.array()?);
    let signature = Signature(reader.array()?);
    if kid != operator.kid() {
        return Err(ArtefactError::BadSignature);
    }
    let (unsealed, _) = bytes
        .split_at_checked(bytes.len() - SEAL_BYTES)
        .ok_or(ArtefactError::Damaged)?;
    let digest = sha256(&[unsealed]);
    operator
        .verify(
            Role::Model,
            &NO_CONTEXT,
            &[&digest.0, &signed_part(state, at, &kid)],
            &signature,
        )
        .map_err(|_| ArtefactError::BadSignature)?;
    // Only what the operator vouches for is decoded.
    if state == State::Candidate {
        return Err(ArtefactError::Unpromoted);
    }
    Ok(Promoted {
        id: model_id(&digest),
        at,
        draft: Draft::decode_checked(draft)?,
    })
}

fn model_id(digest: &Digest) -> ModelId {
    let mut id = [0; ModelId::SIZE];
    for (slot, byte) in id.iter_mut().zip(digest.0) {
        *slot = byte;
    }
    ModelId(id)
}

impl Promoted {
    /// Returns the model's name: the first half of its draft's digest.
    #[must_use]
    pub const fn id(&self) -> ModelId {
        self.id
    }

    /// Returns when it was promoted.
    #[must_use]
    pub const fn at(&self) -> Micros {
        self.at
    }

    /// Returns its card.
    #[must_use]
    pub const fn card(&self) -> &Card {
        &self.draft.card
    }

    /// Returns what it computes with.
    #[must_use]
    pub const fn parameters(&self) -> &Parameters {
        &self.draft.parameters
    }
}

#[cfg(test)]
mod tests;
