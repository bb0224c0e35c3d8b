//! What a log must be able to do, whoever keeps the bytes: the embedded journal or Kafka.
//!
//! A back end stores opaque bytes. It does not seal, open or understand them; [`crate::Log`] does.
//! Both back ends are held to the suite in `contract`.

use std::{future::Future, io, pin::Pin};

use async_trait::async_trait;
use bytes::Bytes;
use pulseward_base::{Generation, Offset, Partition};

use crate::Topic;

/// The largest entry a log takes, so that it passes a broker's default limits.
pub const MAX_ENTRY_BYTES: usize = 900_000;

/// The name under which a compacted topic keeps only the newest entry.
pub type CompactionKey = [u8; 16];

/// Where entries are kept.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// Returns the name of this log, which all entries are bound to.
    fn log_id(&self) -> [u8; 16];

    /// Returns the life of the log that is written to.
    fn generation(&self) -> Generation;

    /// Returns how many partitions each topic has.
    fn partitions(&self) -> u32;

    /// Takes entries in, waiting for room in the queue. The order of these calls' returns is the
    /// order in the log. Entries of one call become durable together on the embedded log; on Kafka
    /// each by itself. An error means that none of them was taken.
    async fn submit(&self, entries: Vec<RawAppend>, class: Class) -> Result<Pending, LogError>;

    /// Takes entries in and waits until they are durable.
    async fn append(
        &self,
        entries: Vec<RawAppend>,
        class: Class,
    ) -> Result<Vec<Option<Offset>>, LogError> {
        self.submit(entries, class).await?.durable().await
    }

    /// Returns durable entries from `from` on, at once, as many as the limits allow but at least
    /// one if there is one. Empty at the end. On a compacted topic offsets may be missing.
    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limits: ReadLimits,
    ) -> Result<Vec<RawEntry>, LogError>;

    /// Waits until an entry at or behind `from` is durable.
    async fn wait(&self, topic: Topic, partition: Partition, from: Offset) -> Result<(), LogError>;

    /// Returns where the durable entries start and end.
    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, LogError>;

    /// Allows entries below the given offsets to be deleted. What is compacted or kept stays.
    async fn trim(&self, points: &[TrimPoint]) -> Result<(), LogError>;

    /// Returns how many bytes the log takes, where that is known.
    fn used_bytes(&self) -> u64;

    /// Returns the newest entry of each key of a compacted topic, in the order of their offsets.
    async fn newest(&self, topic: Topic, partition: Partition) -> Result<Vec<RawEntry>, LogError> {
        let mut newest = std::collections::BTreeMap::new();
        let bounds = self.bounds(topic, partition).await?;
        let mut from = bounds.start;
        while from < bounds.end {
            let entries = self
                .read(topic, partition, from, ReadLimits::default())
                .await?;
            let Some(last) = entries.last() else { break };
            from = Offset(last.offset.0 + 1);
            for entry in entries {
                if let Some(key) = entry.key {
                    newest.insert(key, entry);
                }
            }
        }
        let mut entries: Vec<_> = newest.into_values().collect();
        entries.sort_by_key(|entry: &RawEntry| entry.offset);
        Ok(entries)
    }
}

/// Who appends. When space runs out, each class still has room after the one before it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// New data from devices: the first to be refused.
    Ingest,
    /// The history stage.
    History,
    /// The detector and the alerts stage.
    Stage,
    /// Erasure, revocation and the audit chain: the last to be refused.
    Erasure,
}

/// An entry to be appended.
#[derive(Clone)]
pub struct RawAppend {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: Partition,
    /// The key, on compacted topics and only there.
    pub key: Option<CompactionKey>,
    /// The sealed entry.
    pub bytes: Bytes,
}

/// An entry as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEntry {
    /// Its place.
    pub offset: Offset,
    /// Its key, on compacted topics.
    pub key: Option<CompactionKey>,
    /// The sealed entry.
    pub bytes: Bytes,
}

/// How much a read returns at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Sum of the entries' sizes; the first entry is returned whatever its size.
    pub bytes: usize,
    /// Number of entries.
    pub entries: usize,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self {
            bytes: 1 << 20,
            entries: 1024,
        }
    }
}

/// Where a partition's entries start and end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset that may still be read.
    pub start: Offset,
    /// The offset that the next entry will have at the earliest.
    pub end: Offset,
}

/// Below which offset nobody needs a partition's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TrimPoint {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: Partition,
    /// The first offset that is still needed.
    pub below: Offset,
}

/// Entries that were taken in and are on their way to the disk. Dropping it does not stop them.
#[must_use = "entries are durable only when this resolves"]
pub struct Pending {
    future: Pin<Box<dyn Future<Output = Offsets> + Send>>,
}

type Offsets = Result<Vec<Option<Offset>>, LogError>;

impl Pending {
    /// Wraps what a back end waits for.
    pub fn new(future: impl Future<Output = Offsets> + Send + 'static) -> Self {
        Self {
            future: Box::pin(future),
        }
    }

    /// Waits until the entries are durable. Returns their offsets; a Kafka broker does not tell the
    /// offset of an entry that it had already when it was sent again, so one may be missing.
    pub async fn durable(self) -> Result<Vec<Option<Offset>>, LogError> {
        self.future.await
    }
}

/// Why the log could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LogError {
    /// There is no room for this class of appends. It may come back.
    #[error("the log is full")]
    Full,
    /// A write or sync failed, so nobody knows what the disk holds. The process must end.
    #[error("a write to the log failed: the process must end and open the log again")]
    Poisoned,
    /// The directory belongs to a process that runs.
    #[error("another process has the log open")]
    Locked,
    /// Stored bytes are not what was written, and not in the way a crash leaves them.
    #[error("the log is damaged in {file} at byte {at}: {what}")]
    Damaged {
        /// The file's name.
        file: String,
        /// Where in it.
        at: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// The reader came too late.
    #[error("offset {from} is trimmed: the log starts at {start}")]
    Trimmed {
        /// What was asked for.
        from: Offset,
        /// What there is.
        start: Offset,
    },
    /// The reader knows of entries that the log does not have: it went back, or it is another log.
    #[error("offset {from} lies behind the log's end at {end}")]
    WentBack {
        /// What was asked for.
        from: Offset,
        /// What there is.
        end: Offset,
    },
    /// There is no such partition.
    #[error("partition {0} is not in this log")]
    UnknownPartition(Partition),
    /// The entry is larger than any that the log takes.
    #[error("an entry of {size} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The largest there may be.
        limit: usize,
    },
    /// The body does not belong where it was to be put: a bug in the caller.
    #[error("the entry does not belong there: {0}")]
    Misplaced(&'static str),
    /// An entry was written by a newer version: stop, do not skip.
    #[error("an entry has version {0}, which is newer than this program")]
    NewerVersion(u8),
    /// An entry was written by a newer version of this program: stop, do not skip.
    #[error("an entry has kind {0}, which this program does not know")]
    NewerKind(u8),
    /// The patient was erased: nothing more can be said about them.
    #[error("the patient's key is destroyed")]
    KeyErased,
    /// The key service could not answer; nothing may be skipped because of it.
    #[error("the keys are not at hand")]
    KeysUnavailable,
    /// The log did not answer in time. What was appended may still become durable.
    #[error("the log did not answer within its deadline")]
    Deadline,
    /// A setting, of ours or of a topic on the broker, that would break a promise.
    #[error("{0}")]
    Settings(String),
    /// The broker refused, for a reason that asking again does not mend.
    #[error("the broker refused: {0}")]
    Broker(String),
    /// The file system refused before anything was written.
    #[error("the log's files cannot be used")]
    Io(#[from] io::Error),
}
