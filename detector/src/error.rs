//! Why a detector stops.

use pulseward_base::{Offset, Partition};
use pulseward_eventlog::{LogError, Topic};

/// What a detector cannot go on from. A device's fault is never among it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log failed, or did not answer for longer than patience lasts.
    #[error("the log failed: {0}")]
    Log(#[from] LogError),
    /// A record of the state does not read: it is damaged, or a newer version wrote it.
    #[error("the state of partition {0} does not read")]
    State(Partition),
    /// An output is missing between two that are there.
    #[error("an output is missing in {} of partition {partition} before offset {offset}", topic.name())]
    Chain {
        /// The topic.
        topic: Topic,
        /// Its partition.
        partition: Partition,
        /// Where the gap was noticed.
        offset: Offset,
    },
    /// Another detector has taken the partition over; this one must not write its state any more.
    #[error("partition {0} was taken over by another detector")]
    TakenOver(Partition),
    /// A task ended in a panic: a bug.
    #[error("a partition's task panicked")]
    Panicked,
}
