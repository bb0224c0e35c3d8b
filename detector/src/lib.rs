//! The stream stage that watches over patients: windows, early warning score, silence, guards.
//!
//! The core is pure: [`state::PartitionState::step`] turns one entry of the feed into outputs.
//! Around it one task per partition reads the feed, makes outputs durable, then the state, so that
//! a run that is stopped anywhere and taken up again says the same, to the byte.

pub mod facts;
pub mod judge;
pub mod output;
pub mod settings;
pub mod state;
