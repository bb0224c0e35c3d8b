//! Signing, sealing, sessions and slips: the bytes of `docs/formats/wire.md` and `slips.md`.
//!
//! Nothing here does I/O or reads a clock; randomness comes from [`random`] alone. Decoders are
//! total: foreign bytes give a value or a [`pulseward_base::Reject`], never a panic.
//!
//! Read in this order: the primitives, the two things built from them (a signature has one form,
//! a seal to a key has one form), then who is allowed to speak, then the session and the slips.

pub mod aead;
pub mod certificate;
pub mod client;
pub mod frame;
pub mod hash;
pub mod hello;
pub mod offer;
pub mod random;
pub mod seal;
pub mod session;
pub mod sign;
pub mod slips;

pub use sign::{NO_CONTEXT, Point, Role, Signature, SigningKey, VerifyingKey};
