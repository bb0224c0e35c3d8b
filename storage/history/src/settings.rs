//! What a history is told.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use pulseward_vitals::Kind;

/// How history is kept.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where partitions and heads lie.
    pub directory: PathBuf,
    /// A commit is made once this many rows wait.
    pub commit_rows: usize,
    /// A commit is made once the first row has waited this long.
    pub commit_age: Duration,
    /// Positions are committed without rows once they are this old, so that the log can be trimmed.
    pub idle_commit_age: Duration,
    /// How many commits' files of one level are merged into one of the next.
    pub compact_commits: usize,
    /// How many rows a merged file has at most.
    pub compact_rows: u64,
    /// How long rows of a kind are kept, by the device's time; for ever where none is said.
    pub retention: BTreeMap<Kind, Duration>,
    /// How old what a dead writer left behind must be before it is removed.
    pub garbage_grace: Duration,
    /// How often the heads of all chains are signed together.
    pub heads_every: Duration,
    /// How many signed heads are kept.
    pub heads_kept: u64,
    /// How many devices a partition may have.
    pub max_devices: usize,
    /// How long to wait before keys or the log are asked again.
    pub retry_after: Duration,
    /// How often a file's key is asked for, or the log to park an entry, before the stage gives up.
    pub key_tries: u32,
}

impl Settings {
    /// Returns the defaults for a history in `directory`.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            commit_rows: 131_072,
            commit_age: Duration::from_secs(60),
            idle_commit_age: Duration::from_secs(300),
            compact_commits: 64,
            compact_rows: 1 << 20,
            retention: BTreeMap::new(),
            garbage_grace: Duration::from_secs(3600),
            heads_every: Duration::from_secs(60),
            heads_kept: 1440,
            max_devices: 100_000,
            retry_after: Duration::from_millis(200),
            key_tries: 3000,
        }
    }
}
