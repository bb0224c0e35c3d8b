//! The stream stage that watches over patients: windows, early warning score, silence, guards.
//!
//! The core is pure: [`state::PartitionState::step`] turns one entry of the feed into outputs.
//! Around it one task per partition reads the feed, makes outputs durable, then the state, so that
//! a run that is stopped anywhere and taken up again says the same, to the byte.

mod drive;
mod error;
pub mod facts;
pub mod judge;
pub mod metrics;
pub mod output;
pub mod probe;
pub mod read;
pub mod settings;
pub mod state;

pub use crate::{drive::Detector, error::Error, metrics::Metrics, settings::Settings};
