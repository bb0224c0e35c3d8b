//! How far each partition is: what it has committed, and how long something has waited to be.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pulseward_base::Partition;

use crate::{
    chain::Head,
    heads::ChainHead,
    manifest::{FileEntry, Positions},
    schema::FileKind,
};

/// How far each partition is committed. Cheap to clone; all clones see the same.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    partitions: Arc<Mutex<BTreeMap<Partition, Committed>>>,
    waiting: Arc<Mutex<BTreeMap<Partition, Waiting>>>,
}

/// How far a partition is behind the log.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Waiting {
    /// How long the newest tick had waited in the log when it was read.
    pub(super) delay: Duration,
    /// Since when, on the monotonic clock, something waits to be stored.
    pub(super) since: Option<Duration>,
}

/// What one partition has committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// The newest manifest.
    pub head: ChainHead,
    /// Up to where in the log everything is stored: what lies below may be trimmed.
    pub positions: Positions,
    /// Readings in the store.
    pub rows: u64,
    /// Files in the store.
    pub files: usize,
}

impl Progress {
    /// Returns what a partition has committed; none before its chain is claimed.
    #[must_use]
    pub fn of(&self, partition: Partition) -> Option<Committed> {
        self.lock().get(&partition).copied()
    }

    /// Returns what all partitions have committed.
    #[must_use]
    pub fn all(&self) -> BTreeMap<Partition, Committed> {
        self.lock().clone()
    }

    pub(super) fn set_waiting(&self, partition: Partition, waiting: Waiting) {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(partition, waiting);
    }

    /// How long the oldest entry that is not stored has waited, over all partitions.
    pub(super) fn lag(&self, now: Duration) -> Duration {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let lag = |waiting: &Waiting| {
            let since = waiting
                .since
                .map_or(Duration::ZERO, |since| now.saturating_sub(since));
            waiting.delay + since
        };
        waiting.values().map(lag).max().unwrap_or_default()
    }

    pub(super) fn set(&self, partition: Partition, head: &Head) {
        let readings = |file: &&FileEntry| file.name.kind == FileKind::Readings;
        let committed = Committed {
            head: ChainHead {
                partition,
                number: head.number,
                digest: head.digest,
            },
            positions: head.positions,
            rows: head
                .files
                .values()
                .filter(readings)
                .map(|file| file.rows)
                .sum(),
            files: head.files.len(),
        };
        self.lock().insert(partition, committed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<Partition, Committed>> {
        self.partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
