//! Reading: consumers that are assigned a place, never subscribed.
//!
//! A stage reads a stream forward, so a consumer that stands where the next read begins is kept and
//! used again. Dropping a read or a wait puts it back with what it had fetched.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use pulseward_base::{Offset, Partition};
use rdkafka::{
    ClientConfig, Message as _, TopicPartitionList,
    consumer::{Consumer as _, StreamConsumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::BorrowedMessage,
};
use tokio::time::{Instant, sleep, timeout_at};

use super::{Client, PAUSE, broker, own_offset, passes, wire_offset, wire_partition};
use crate::{Bounds, LogError, RawEntry, ReadLimits, Retention, Topic};

type Stream = (Topic, Partition);

/// The consumers that wait for the next read.
pub(super) struct Readers {
    client: Arc<Client>,
    config: ClientConfig,
    idle: Arc<Mutex<Idle>>,
}

#[derive(Default)]
struct Idle {
    count: usize,
    readers: BTreeMap<Stream, Vec<Reader>>,
}

/// A consumer of one stream.
struct Reader {
    consumer: StreamConsumer,
    /// The offset of what comes after what was fetched.
    next: Offset,
    fetched: VecDeque<RawEntry>,
}

/// A reader in use. Put back when dropped.
struct Lease {
    idle: Arc<Mutex<Idle>>,
    limit: usize,
    stream: Stream,
    reader: Option<Reader>,
}

impl Readers {
    pub(super) fn new(client: Arc<Client>, mut config: ClientConfig) -> Self {
        config
            // Named because the library wants one; nothing is ever committed to it.
            .set("group.id", "pulseward")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("enable.partition.eof", "false")
            .set("check.crcs", "true")
            .set("queued.min.messages", "1000")
            .set("queued.max.messages.kbytes", "4096");
        Self {
            client,
            config,
            idle: Arc::default(),
        }
    }

    pub(super) async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limits: ReadLimits,
    ) -> Result<Vec<RawEntry>, LogError> {
        let bounds = self.client.bounds(topic, partition).await?;
        check(from, bounds, topic)?;
        if from == bounds.end {
            return Ok(Vec::new());
        }
        let mut lease = self.lease((topic, partition), from)?;
        let deadline = Instant::now() + self.client.settings.deadline;
        let mut entries = Vec::new();
        let mut bytes = 0;
        loop {
            let Some(reader) = lease.reader.as_mut() else {
                return Ok(entries);
            };
            while let Some(entry) = reader.fetched.pop_front() {
                let fits =
                    bytes + entry.bytes.len() <= limits.bytes && entries.len() < limits.entries;
                if !fits && !entries.is_empty() {
                    reader.fetched.push_front(entry);
                    return Ok(entries);
                }
                bytes += entry.bytes.len();
                entries.push(entry);
            }
            if reader.next >= bounds.end || entries.len() >= limits.entries {
                return Ok(entries);
            }
            match timeout_at(deadline, reader.fetch()).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return Err(lease.discard(error)),
                Err(_) if entries.is_empty() => return Err(LogError::Deadline),
                Err(_) => return Ok(entries),
            }
        }
    }

    pub(super) async fn wait(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
    ) -> Result<(), LogError> {
        loop {
            let bounds = self.client.bounds(topic, partition).await?;
            if bounds.end > from {
                return Ok(());
            }
            if bounds.end == from {
                break;
            }
            // Nobody can be assigned a place that is not there yet.
            sleep(PAUSE).await;
        }
        let mut lease = self.lease((topic, partition), from)?;
        match lease.reader.as_mut() {
            Some(reader) if reader.fetched.is_empty() => match reader.fetch().await {
                Ok(()) => Ok(()),
                Err(error) => Err(lease.discard(error)),
            },
            _ => Ok(()),
        }
    }

    /// Takes a reader that stands at `from`, or makes one stand there.
    fn lease(&self, stream: Stream, from: Offset) -> Result<Lease, LogError> {
        let mut lease = Lease {
            idle: Arc::clone(&self.idle),
            limit: self.client.settings.readers,
            stream,
            reader: None,
        };
        if let Some(reader) = lock(&self.idle).take(stream, from) {
            lease.reader = Some(reader);
            return Ok(lease);
        }
        let consumer: StreamConsumer = self.config.create().map_err(broker)?;
        let mut place = TopicPartitionList::new();
        place
            .add_partition_offset(
                self.client.name(stream.0),
                wire_partition(stream.1)?,
                rdkafka::Offset::Offset(wire_offset(from)?),
            )
            .map_err(broker)?;
        consumer.assign(&place).map_err(broker)?;
        lease.reader = Some(Reader {
            consumer,
            next: from,
            fetched: VecDeque::new(),
        });
        Ok(lease)
    }
}

impl Reader {
    /// Returns the offset that a read must begin at to use this reader.
    fn stands_at(&self) -> Offset {
        self.fetched.front().map_or(self.next, |entry| entry.offset)
    }

    /// Waits for one entry and keeps it.
    async fn fetch(&mut self) -> Result<(), LogError> {
        loop {
            match self.consumer.recv().await {
                Ok(message) => {
                    let entry = entry_of(&message)?;
                    self.next = Offset(entry.offset.0 + 1);
                    self.fetched.push_back(entry);
                    return Ok(());
                }
                Err(error) if went_away(&error) => return Err(LogError::Deadline),
                // The library goes on by itself.
                Err(error) if passes(&error) => {}
                Err(error) => return Err(broker(error)),
            }
        }
    }
}

impl Idle {
    fn take(&mut self, stream: Stream, from: Offset) -> Option<Reader> {
        let readers = self.readers.get_mut(&stream)?;
        let index = readers
            .iter()
            .position(|reader| reader.stands_at() == from)?;
        self.count -= 1;
        Some(readers.swap_remove(index))
    }

    /// Keeps a reader, dropping the one that waited longest in the fullest stream when there are
    /// too many.
    fn put(&mut self, stream: Stream, reader: Reader, limit: usize) -> Option<Reader> {
        self.readers.entry(stream).or_default().push(reader);
        self.count += 1;
        if self.count <= limit {
            return None;
        }
        let fullest = self
            .readers
            .values_mut()
            .max_by_key(|readers| readers.len())
            .filter(|readers| !readers.is_empty())?;
        self.count -= 1;
        Some(fullest.remove(0))
    }
}

impl Lease {
    /// Gives up a reader that does not know where it stands any more.
    fn discard(&mut self, error: LogError) -> LogError {
        self.reader = None;
        error
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(reader) = self.reader.take() {
            let too_many = lock(&self.idle).put(self.stream, reader, self.limit);
            // Closed outside the lock: it takes a while.
            drop(too_many);
        }
    }
}

fn lock(idle: &Mutex<Idle>) -> MutexGuard<'_, Idle> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

fn check(from: Offset, bounds: Bounds, topic: Topic) -> Result<(), LogError> {
    if from > bounds.end {
        let end = bounds.end;
        return Err(LogError::WentBack { from, end });
    }
    if from < bounds.start && topic.retention() == Retention::Trimmed {
        let start = bounds.start;
        return Err(LogError::Trimmed { from, start });
    }
    Ok(())
}

/// Returns whether the place that the consumer stood at is gone: the next read says how.
fn went_away(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(RDKafkaErrorCode::AutoOffsetReset | RDKafkaErrorCode::OffsetOutOfRange)
    )
}

fn entry_of(message: &BorrowedMessage<'_>) -> Result<RawEntry, LogError> {
    // A key that is none of ours makes an entry that does not open.
    let key = message.key().and_then(|key| key.try_into().ok());
    Ok(RawEntry {
        offset: own_offset(message.offset())?,
        key,
        bytes: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
    })
}
