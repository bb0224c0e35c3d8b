//! Why the stage stops.

use pulseward_base::{Offset, Partition};
use pulseward_eventlog::LogError;

/// What the stage cannot go on from.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log failed, or did not answer for longer than patience lasts.
    #[error("the log failed: {0}")]
    Log(#[from] LogError),
    /// An alert is missing between two that are there.
    #[error("an alert is missing in partition {partition} before offset {offset}")]
    Chain {
        /// Its partition.
        partition: Partition,
        /// Where the gap was noticed.
        offset: Offset,
    },
    /// More alerts are open than the setting allows: somebody must look at why.
    #[error("more than {limit} alerts are open")]
    TooManyOpen {
        /// The setting.
        limit: usize,
    },
    /// A task ended in a panic: a bug.
    #[error("a partition's task panicked")]
    Panicked,
}
