//! What the detector remembers, and how it changes: pure, without I/O, clock or floating point.
//!
//! [`PartitionState::step`] is the only way in. The same entries give the same state and the same
//! outputs, to the byte, wherever a run was stopped and taken up again.

pub mod codec;
mod deadlines;
pub mod partition;
pub mod patient;
pub mod queue;
pub mod votes;
pub mod window;

pub use partition::PartitionState;
pub use patient::Patient;
