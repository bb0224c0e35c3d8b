//! Identifiers, time, secrets and rejections: what every part of Pulseward speaks of.
//!
//! Nothing here does I/O, reads a clock or draws a random number; the programs hand those in.

pub mod bytes;
pub mod clock;
pub mod ids;
pub mod reject;
pub mod secret;

pub use clock::{Clock, Micros};
pub use ids::{
    AlertId, Digest, Epoch, Generation, GroupId, Incarnation, KeyId, Kid, ModelId, Offset,
    Partition, Pseudonym, Seq, SlipId, Slot, TicketId, WriterId,
};
pub use reject::Reject;
pub use secret::Secret;
