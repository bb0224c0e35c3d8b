//! The event log: the one way by which the stages of the pipeline speak with each other.
//!
//! Reading order: [`Topic`] says what there is, [`Backend`] what keeps it, [`body`] what entries
//! say, [`Log`] how they are sealed, appended, opened and followed. `docs/formats/log.md` has the
//! bytes.

pub mod backend;
pub mod body;
mod ciphers;
#[cfg(any(test, feature = "test-util"))]
pub mod contract;
pub mod embedded;
mod entry;
mod follower;
#[cfg(any(test, feature = "test-util"))]
pub mod fuzzing;
#[cfg(feature = "kafka")]
pub mod kafka;
mod log;
mod metrics;
#[cfg(any(test, feature = "test-util"))]
pub mod testing;
mod topic;
mod typed;

pub use crate::{
    backend::{
        Backend, Bounds, Class, CompactionKey, LogError, MAX_ENTRY_BYTES, Pending, RawAppend,
        RawEntry, ReadLimits, TrimPoint,
    },
    body::{Body, EntryKind},
    entry::Outputs,
    follower::Follower,
    log::{Appending, Log, LogSettings},
    metrics::Metrics,
    topic::{Cause, Position, Retention, Topic},
    typed::{Compacted, Content, Entry, NewEntry, Unreadable},
};
