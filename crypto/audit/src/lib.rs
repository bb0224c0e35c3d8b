//! Who did what, in a chain: each record names the digest of the one before, so that none can be
//! changed, removed or put between without every later one showing it. A signed head, kept
//! elsewhere, shows also that none were cut off the end.
//!
//! Sans-I/O: a caller keeps the records where it wants and hands them back to be verified. A
//! record names persons, patients and devices by digests alone. The layout is
//! `docs/formats/audit.md`.

pub mod action;
pub mod chain;
pub mod head;

pub use action::Action;
pub use chain::{Broken, Chain, Entry, Record, SIZE, verify};
pub use head::{Head, SignedHead};
