//! Signing, sealing, sessions and slips: the bytes of `docs/formats/wire.md` and `slips.md`.
//!
//! Nothing here does I/O or reads a clock; randomness comes from [`random`] alone. Decoders are
//! total: foreign bytes give a value or a [`pulseward_base::Reject`], never a panic.
//!
//! Read in this order: the primitives, the two things built from them (a signature has one form,
//! a seal to a key has one form), then who is allowed to speak, then the session and the slips.

// Primitives, and the two things built from them.
pub mod random;

pub mod aead;
pub mod hash;

pub mod seal;
pub mod sign;

// Who may speak, enrol, ask and read.
pub mod certificate;
pub mod slips;

// A session, in the order in which it happens.
pub mod offer;

pub mod hello;

pub mod frame;
pub mod session;

pub mod client;

#[cfg(any(test, feature = "test-util"))]
pub mod fuzzing;

pub use sign::{NO_CONTEXT, Point, Role, Signature, SigningKey, VerifyingKey};
