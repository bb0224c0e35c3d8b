//! Why ingest stops, and how a stream ends.

use pulseward_base::Reject;
use pulseward_eventlog::LogError;
use tonic::Status;

use crate::SettingsError;

/// Why ingest stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IngestError {
    /// The settings contradict each other.
    #[error("the settings do not hold: {0}")]
    Settings(#[from] SettingsError),
    /// The log cannot be read, or must be opened again.
    #[error("the log cannot be used")]
    Log(#[from] LogError),
    /// An entry that ingest must understand does not open.
    #[error("{topic} holds an entry that does not open, at {offset} in partition {partition}")]
    Unreadable {
        /// The topic.
        topic: &'static str,
        /// The partition.
        partition: u32,
        /// The place in it.
        offset: u64,
    },
}

/// Returns the status that ends a stream for a rejection; its message is the rejection's code.
pub(crate) fn status_of(reject: Reject) -> Status {
    let code = reject.code();
    match reject {
        Reject::OverLimit => Status::resource_exhausted(code),
        Reject::NotAdmitted => Status::unauthenticated(code),
        // Whatever else a peer did wrong, it can only do better.
        _ => Status::invalid_argument(code),
    }
}
