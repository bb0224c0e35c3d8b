//! A batch on its way from sealed bytes to a row under a pseudonym, with the argument in types:
//!
//! ```text
//! OpenedBatchFrame ── OpenedBatch::parse ──> OpenedBatch ── verify ──> VerifiedBatch ── pseudonymise ──> PseudonymousBatch
//!   (a session opened it)                     (well formed)   (the device signed it, in scope)             (nobody named)
//! ```
//!
//! The whole way:
//!
//! ```
//! use pulseward_batch::{Arrival, BindingFacts, OpenedBatch, PseudonymousBatch};
//! fn accept(
//!     frame: &pulseward_crypto::session::OpenedBatchFrame,
//!     key: &pulseward_crypto::VerifyingKey,
//!     facts: &BindingFacts,
//! ) -> Result<PseudonymousBatch, pulseward_base::Reject> {
//!     OpenedBatch::parse(frame, pulseward_vitals::Limits::default())?
//!         .verify(key, &facts.record, u64::MAX)?
//!         .pseudonymise(facts, Arrival::default())
//! }
//! ```
//!
//! Each step consumes the one before, and no type has another constructor, so nothing that was not
//! opened, verified and stripped of its device's session can reach the log. A batch that was merely
//! parsed cannot be stored:
//!
//! ```compile_fail,E0599
//! fn skip(opened: pulseward_batch::OpenedBatch, facts: &pulseward_batch::BindingFacts) {
//!     let _ = opened.pseudonymise(facts, pulseward_batch::Arrival::default());
//! }
//! ```
//!
//! A verified batch cannot be made up:
//!
//! ```compile_fail,E0451
//! fn forge(contents: pulseward_batch::Contents) -> pulseward_batch::VerifiedBatch {
//!     pulseward_batch::VerifiedBatch {
//!         contents,
//!         device: pulseward_base::Kid::ZERO,
//!         ctx: pulseward_base::Digest::ZERO,
//!         digest: pulseward_base::Digest::ZERO,
//!     }
//! }
//! ```
//!
//! Nor can a pseudonymous one, from a stored body or otherwise:
//!
//! ```compile_fail,E0451
//! fn forge(stored: pulseward_batch::StoredBatch) -> pulseward_batch::PseudonymousBatch {
//!     pulseward_batch::PseudonymousBatch {
//!         stored,
//!         slot: pulseward_base::Slot(0),
//!         key: pulseward_base::KeyId::ZERO,
//!         digest: pulseward_base::Digest::ZERO,
//!     }
//! }
//! ```
//!
//! Bytes that no session opened cannot be parsed into one:
//!
//! ```compile_fail,E0308
//! fn unsealed(payload: &[u8]) {
//!     let _ = pulseward_batch::OpenedBatch::parse(payload, pulseward_vitals::Limits::default());
//! }
//! ```
//!
//! And one batch gives one: it cannot be copied.
//!
//! ```compile_fail,E0382
//! fn twice(verified: pulseward_batch::VerifiedBatch, facts: &pulseward_batch::BindingFacts) {
//!     let first = verified.pseudonymise(facts, pulseward_batch::Arrival::default());
//!     let second = verified.pseudonymise(facts, pulseward_batch::Arrival::default());
//! }
//! ```

pub mod contents;
pub mod digest;
pub mod new;
pub mod opened;
pub mod stored;

#[cfg(any(test, feature = "test-util"))]
pub mod fuzzing;

pub use contents::{Arrival, Contents};
pub use new::{NewBatch, SignedBatch};
pub use opened::{BindingFacts, OpenedBatch, PseudonymousBatch, VerifiedBatch};
pub use stored::{Proof, StoredBatch};
