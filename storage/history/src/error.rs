//! Why a history stops.

use std::io;

use pulseward_base::{Partition, bytes::Malformed};
use pulseward_custody::KeyError;
use pulseward_eventlog::LogError;

use crate::{chain::ChainError, collect::CollectError, files::FilesError};

/// Why a history stops. What it had not committed is read from the log again at the next start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HistoryError {
    /// The chain cannot be followed, or belongs to somebody else now.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The log says what cannot be stored.
    #[error(transparent)]
    Collect(#[from] CollectError),
    /// Files cannot be written or read.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// The store follows another log than the one that was handed in.
    #[error("partition {0} follows another log")]
    ForeignLog(Partition),
    /// The directory cannot be used.
    #[error("the history's directory cannot be used")]
    Io(#[from] io::Error),
    /// A key that was not destroyed was not given.
    #[error("a key was not given")]
    Key(#[from] KeyError),
    /// The log failed.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Stored rows do not fit together.
    #[error("stored rows do not fit together")]
    Malformed,
    /// A partition's task panicked.
    #[error("a partition's task panicked")]
    Panicked,
}

impl HistoryError {
    /// Returns whether keys or the log may answer when they are asked again. Nothing is skipped
    /// meanwhile.
    pub(crate) const fn may_pass(&self) -> bool {
        match self {
            Self::Key(KeyError::Unavailable)
            | Self::Files(FilesError::Key(KeyError::Unavailable)) => true,
            Self::Log(error) => log_may_pass(error),
            _ => false,
        }
    }
}

/// Returns whether the log may answer when it is asked again.
pub(crate) const fn log_may_pass(error: &LogError) -> bool {
    matches!(
        error,
        LogError::KeysUnavailable | LogError::Deadline | LogError::Full
    )
}

impl From<Malformed> for HistoryError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
