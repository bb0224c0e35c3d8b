//! The log as the stages see it: typed entries, sealed on the way in and opened on the way out.
//!
//! Every process start is a writer of its own: 16 random bytes, and a counter per topic and
//! partition from 0. The counter is the nonce of the seal, so the order in which entries are sealed
//! is the order in which they are handed to the back end; one lock holds both together. A reader
//! that sees a counter twice drops the repeat, and one that sees it jump says so.
//!
//! A batch gets in through [`Log::append_batch`] only, which takes what was verified:
//!
//! ```compile_fail,E0308
//! async fn forge(log: pulseward_eventlog::Log, stored: pulseward_batch::StoredBatch) {
//!     let _ = log.append_batch(stored).await;
//! }
//! ```

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use pulseward_base::{KeyId, Offset, Partition, Secret, Slot, WriterId};
use pulseward_batch::{PseudonymousBatch, StoredBatch};
use pulseward_crypto::{aead, hash, random};
use pulseward_custody::{KeyError, KeySource};
use pulseward_vitals::columns::Limits;
use tokio::sync::Mutex;

use crate::{
    Backend, Body, Bounds, Class, Compacted, CompactionKey, Content, Entry, EntryKind, Follower,
    LogError, MAX_ENTRY_BYTES, Metrics, NewEntry, Pending, Position, RawAppend, RawEntry,
    ReadLimits, Retention, Topic, TrimPoint, Unreadable,
    body::SealedUnder,
    ciphers::{CipherId, Ciphers},
    entry::{self, Header, Outputs, Parsed, Place},
    metrics,
};

/// The typed, sealed log. Cheap to clone; all clones are one writer.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    backend: Arc<dyn Backend>,
    keys: Arc<dyn KeySource>,
    own: Secret<32>,
    mac: Secret<32>,
    writer: WriterId,
    /// The counter of each topic and partition. Held from sealing to submission.
    sequences: Mutex<BTreeMap<(Topic, Partition), u64>>,
    ciphers: Ciphers,
    limits: Limits,
    metrics: Arc<Metrics>,
}

/// How a log is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// How many derived keys are kept at most.
    pub cached_keys: usize,
    /// How large a stored batch may be.
    pub batch: Limits,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            cached_keys: 8192,
            batch: Limits::default(),
        }
    }
}

/// Entries that were handed to the back end and are not durable yet.
#[must_use = "entries are durable only when this resolves"]
pub struct Appending {
    pending: Pending,
    log: Log,
    sizes: Vec<(Topic, usize)>,
}

impl Appending {
    /// Waits until all of them are durable. A position may be unknown on Kafka when the broker had
    /// the entry already and it was sent twice.
    pub async fn durable(self) -> Result<Vec<Option<Position>>, LogError> {
        let offsets = self.pending.durable().await?;
        let inner = &self.log.inner;
        for (topic, size) in self.sizes {
            metrics::add(&inner.metrics.appended_entries, topic, 1);
            metrics::add(&inner.metrics.appended_bytes, topic, size);
        }
        let generation = inner.backend.generation();
        let position = |offset| Position { generation, offset };
        Ok(offsets
            .into_iter()
            .map(|offset| offset.map(position))
            .collect())
    }
}

/// An entry whose key is at hand, waiting for its number.
struct Ready {
    topic: Topic,
    partition: Partition,
    slot: Option<Slot>,
    key: Option<KeyId>,
    compaction: Option<CompactionKey>,
    outputs: Option<Outputs>,
    kind: EntryKind,
    body: Vec<u8>,
    cipher: Arc<aead::Key>,
}

impl Log {
    /// Opens `backend` as a new writer. Fails when the key service does not give the log's keys.
    pub async fn open(
        backend: Arc<dyn Backend>,
        keys: Arc<dyn KeySource>,
        settings: LogSettings,
        metrics: Arc<Metrics>,
    ) -> Result<Self, LogError> {
        let log_keys = keys
            .log_key(&backend.log_id())
            .await
            .map_err(|_| LogError::KeysUnavailable)?;
        Ok(Self {
            inner: Arc::new(Inner {
                backend,
                keys,
                own: log_keys.own.clone(),
                mac: log_keys.mac.clone(),
                writer: WriterId(random::bytes()),
                sequences: Mutex::default(),
                ciphers: Ciphers::new(settings.cached_keys),
                limits: settings.batch,
                metrics,
            }),
        })
    }

    /// Returns what keeps the entries.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.inner.backend
    }

    /// Returns the name of the log.
    #[must_use]
    pub fn log_id(&self) -> [u8; 16] {
        self.inner.backend.log_id()
    }

    /// Returns the name of this process start.
    #[must_use]
    pub fn writer(&self) -> WriterId {
        self.inner.writer
    }

    /// Returns how many partitions each topic has.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.inner.backend.partitions()
    }

    /// Returns the partition that the patient at `slot` has on every topic.
    #[must_use]
    pub fn partition_of(&self, slot: Slot) -> Partition {
        slot.partition(self.partitions())
    }

    /// Returns the position at `offset` in the life that is written to.
    #[must_use]
    pub fn position(&self, offset: Offset) -> Position {
        Position {
            generation: self.inner.backend.generation(),
            offset,
        }
    }

    /// Returns the key under which a compacted topic keeps the entry about `id`: a broker cannot
    /// tell what `id` is.
    #[must_use]
    pub fn compaction_key(&self, id: &[u8]) -> CompactionKey {
        let mac = hash::hmac(self.inner.mac.expose(), &[b"pulseward/v1/compaction\0", id]);
        let mut key = CompactionKey::default();
        for (to, from) in key.iter_mut().zip(mac) {
            *to = from;
        }
        key
    }

    /// Appends a batch: the only way that one gets in. Durable when it resolves.
    pub async fn append_batch(
        &self,
        batch: PseudonymousBatch,
    ) -> Result<Option<Position>, LogError> {
        let positions = self.enqueue_batch(batch).await?.durable().await?;
        Ok(positions.into_iter().next().flatten())
    }

    /// Hands a batch to the back end without waiting for the disk. Batches stand in the log in the
    /// order in which these calls return.
    pub async fn enqueue_batch(&self, batch: PseudonymousBatch) -> Result<Appending, LogError> {
        let place = self.place(Topic::Feed, self.partition_of(batch.slot()));
        let ready = Ready {
            topic: place.topic,
            partition: place.partition,
            slot: Some(batch.slot()),
            key: Some(batch.key()),
            compaction: None,
            outputs: None,
            kind: EntryKind::Batch,
            body: batch.encode(),
            cipher: self
                .cipher(Some(batch.key()), self.inner.writer, &place)
                .await?,
        };
        self.seal_and_submit(vec![ready], Class::Ingest).await
    }

    /// Appends one entry. Durable when it resolves.
    pub async fn append(&self, entry: NewEntry) -> Result<Option<Position>, LogError> {
        let positions = self.append_all(vec![entry]).await?;
        Ok(positions.into_iter().next().flatten())
    }

    /// Appends entries in this order; on the embedded log all of them or none survive a crash.
    /// Durable when it resolves.
    pub async fn append_all(
        &self,
        entries: Vec<NewEntry>,
    ) -> Result<Vec<Option<Position>>, LogError> {
        self.enqueue_all(entries).await?.durable().await
    }

    /// Hands entries to the back end without waiting for the disk.
    pub async fn enqueue_all(&self, entries: Vec<NewEntry>) -> Result<Appending, LogError> {
        // The calmest member speaks for all: none of them may be lost for the others' sake.
        let class = entries
            .iter()
            .map(|entry| class_of(&entry.body))
            .max()
            .unwrap_or(Class::Stage);
        let mut ready = Vec::with_capacity(entries.len());
        for entry in entries {
            ready.push(self.make_ready(entry).await?);
        }
        self.seal_and_submit(ready, class).await
    }

    /// Reads durable entries from `from` on and opens them; empty at the end. Repeats and gaps are
    /// noticed by a [`Follower`] only. Keys that are not at hand are an error, never a skip.
    pub async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limits: ReadLimits,
    ) -> Result<Vec<Entry>, LogError> {
        let raw = self
            .inner
            .backend
            .read(topic, partition, from, limits)
            .await?;
        let mut entries = Vec::with_capacity(raw.len());
        for entry in raw {
            entries.push(self.open_entry(topic, partition, entry).await?);
        }
        metrics::add(&self.inner.metrics.read_entries, topic, entries.len());
        Ok(entries)
    }

    /// Returns the newest entry of each key of a compacted topic.
    pub async fn compacted(
        &self,
        topic: Topic,
        partition: Partition,
    ) -> Result<Compacted, LogError> {
        // The end comes first: what is appended meanwhile is read twice rather than not at all.
        let next = self.bounds(topic, partition).await?.end;
        let mut entries = BTreeMap::new();
        for raw in self.inner.backend.newest(topic, partition).await? {
            if let Some(key) = raw.key {
                entries.insert(key, self.open_entry(topic, partition, raw).await?);
            }
        }
        Ok(Compacted { entries, next })
    }

    /// Returns a reader that waits for entries from `from` on.
    #[must_use]
    pub fn follow(&self, topic: Topic, partition: Partition, from: Offset) -> Follower {
        Follower::new(self.clone(), topic, partition, from)
    }

    /// Returns where a partition's durable entries start and end.
    pub async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, LogError> {
        self.inner.backend.bounds(topic, partition).await
    }

    /// Waits until an entry at or behind `from` is durable.
    pub async fn wait(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
    ) -> Result<(), LogError> {
        self.inner.backend.wait(topic, partition, from).await
    }

    /// Allows entries below the given offsets to be deleted.
    pub async fn trim(&self, points: &[TrimPoint]) -> Result<(), LogError> {
        self.inner.backend.trim(points).await
    }

    /// Drops a patient's derived keys from memory. Call it when the patient is erased.
    pub fn forget(&self, key: KeyId) {
        self.inner.ciphers.forget(key);
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    fn place(&self, topic: Topic, partition: Partition) -> Place {
        Place {
            log_id: self.inner.backend.log_id(),
            topic,
            generation: self.inner.backend.generation(),
            partition,
        }
    }

    async fn make_ready(&self, entry: NewEntry) -> Result<Ready, LogError> {
        let kind = entry.body.kind();
        let topic = kind.topic();
        let partition = match (entry.partition, entry.slot) {
            (Some(partition), _) => partition,
            (None, Some(slot)) if slot.0 < Slot::COUNT => self.partition_of(slot),
            _ => return Err(LogError::Misplaced("there is no such slot")),
        };
        if partition.0 >= self.partitions() {
            return Err(LogError::UnknownPartition(partition));
        }
        let patient = entry.body.sealed_under() == SealedUnder::Patient;
        if patient != entry.key.is_some() {
            return Err(LogError::Misplaced("it must be sealed under another key"));
        }
        if (topic.retention() == Retention::Compacted) != entry.compaction.is_some() {
            return Err(LogError::Misplaced(
                "compacted topics need a compaction key, others have none",
            ));
        }
        let place = self.place(topic, partition);
        let cipher = self.cipher(entry.key, self.inner.writer, &place).await?;
        Ok(Ready {
            topic,
            partition,
            slot: entry.slot,
            key: entry.key,
            compaction: entry.compaction,
            outputs: entry.outputs,
            kind,
            body: entry.body.encode(),
            cipher,
        })
    }

    /// Numbers, seals and submits under one lock, so that the log has the numbers in order. A
    /// submission that is refused has used up no number; what was sealed for it never left memory.
    async fn seal_and_submit(
        &self,
        ready: Vec<Ready>,
        class: Class,
    ) -> Result<Appending, LogError> {
        let inner = &self.inner;
        if let Some(size) = ready
            .iter()
            .map(|ready| ready.body.len() + entry::OVERHEAD)
            .find(|size| *size > MAX_ENTRY_BYTES)
        {
            let limit = MAX_ENTRY_BYTES;
            return Err(LogError::TooLarge { size, limit });
        }
        let mut sequences = inner.sequences.lock().await;
        let mut used = BTreeMap::new();
        let mut appends = Vec::with_capacity(ready.len());
        for ready in ready {
            let place = (ready.topic, ready.partition);
            let next = used
                .entry(place)
                .or_insert_with(|| sequences.get(&place).copied().unwrap_or(0));
            appends.push(self.seal(ready, *next));
            *next += 1;
        }
        let sizes = appends
            .iter()
            .map(|append| (append.topic, append.bytes.len()))
            .collect();
        let pending = inner.backend.submit(appends, class).await?;
        sequences.extend(used);
        Ok(Appending {
            pending,
            log: self.clone(),
            sizes,
        })
    }

    fn seal(&self, ready: Ready, writer_seq: u64) -> RawAppend {
        let inner = &self.inner;
        let header = Header {
            kind: ready.kind.number(),
            slot: ready.slot,
            key: ready.key,
            writer: inner.writer,
            writer_seq,
            outputs: ready.outputs,
        };
        let place = self.place(ready.topic, ready.partition);
        let keys = (&*ready.cipher, &inner.mac);
        let bytes = entry::seal(&header, &place, ready.compaction, keys, ready.body);
        RawAppend {
            topic: ready.topic,
            partition: ready.partition,
            key: ready.compaction,
            bytes: Bytes::from(bytes),
        }
    }

    async fn open_entry(
        &self,
        topic: Topic,
        partition: Partition,
        raw: RawEntry,
    ) -> Result<Entry, LogError> {
        let mut entry = Entry {
            topic,
            partition,
            position: self.position(raw.offset),
            slot: None,
            key: None,
            writer: WriterId::ZERO,
            writer_seq: 0,
            missing: 0,
            compaction: raw.key,
            outputs: None,
            content: Content::Erased,
        };
        entry.content = match self.open_content(&mut entry, &raw.bytes).await {
            Ok(content) => content,
            Err(Closed::Erased) => {
                metrics::add(&self.inner.metrics.erased, topic, 1);
                Content::Erased
            }
            Err(Closed::Unreadable(reason)) => {
                let reasons = &self.inner.metrics.unreadable;
                reasons.with_label_values(&[reason.word()]).inc();
                Content::Unreadable(reason)
            }
            Err(Closed::Stop(error)) => return Err(error),
        };
        Ok(entry)
    }

    async fn open_content(&self, entry: &mut Entry, bytes: &[u8]) -> Result<Content, Closed> {
        let sealed = match entry::parse(bytes)
            .map_err(|_| Closed::Unreadable(Unreadable::Malformed))?
        {
            Parsed::Entry(sealed) => sealed,
            Parsed::Newer(version) => return Err(Closed::Stop(LogError::NewerVersion(version))),
        };
        let header = sealed
            .authentic(&self.inner.mac)
            .ok_or(Closed::Unreadable(Unreadable::Forged))?;
        entry.slot = header.slot;
        entry.key = header.key;
        entry.writer = header.writer;
        entry.writer_seq = header.writer_seq;
        entry.outputs = header.outputs;
        let kind = EntryKind::from_number(header.kind)
            .ok_or(Closed::Stop(LogError::NewerKind(header.kind)))?;
        if kind.topic() != entry.topic {
            return Err(Closed::Unreadable(Unreadable::Misplaced));
        }
        let place = self.place(entry.topic, entry.partition);
        let cipher = self.opener(header, &place).await?;
        let body = sealed
            .open(&place, entry.compaction, &cipher)
            .map_err(|_| Closed::Unreadable(Unreadable::BadSeal))?;
        if kind == EntryKind::Batch {
            return StoredBatch::decode(&body, self.inner.limits)
                .map(|batch| Content::Batch(Box::new(batch)))
                .map_err(|_| Closed::Unreadable(Unreadable::BadBody));
        }
        let body =
            Body::decode(kind, &body).map_err(|_| Closed::Unreadable(Unreadable::BadBody))?;
        if (body.sealed_under() == SealedUnder::Patient) != entry.key.is_some() {
            return Err(Closed::Unreadable(Unreadable::BadBody));
        }
        Ok(Content::Body(body))
    }

    async fn opener(&self, header: &Header, place: &Place) -> Result<Arc<aead::Key>, Closed> {
        match self.fetch(header.key, header.writer, place).await {
            Ok(cipher) => Ok(cipher),
            Err(KeyError::Erased) => Err(Closed::Erased),
            Err(KeyError::Refused(_)) => Err(Closed::Unreadable(Unreadable::UnknownKey)),
            Err(_) => Err(Closed::Stop(LogError::KeysUnavailable)),
        }
    }

    async fn cipher(
        &self,
        key: Option<KeyId>,
        writer: WriterId,
        place: &Place,
    ) -> Result<Arc<aead::Key>, LogError> {
        match self.fetch(key, writer, place).await {
            Ok(cipher) => Ok(cipher),
            Err(KeyError::Erased) => Err(LogError::KeyErased),
            Err(_) => Err(LogError::KeysUnavailable),
        }
    }

    async fn fetch(
        &self,
        key: Option<KeyId>,
        writer: WriterId,
        place: &Place,
    ) -> Result<Arc<aead::Key>, KeyError> {
        let id = CipherId::new(key, writer, place);
        if let Some(cipher) = self.inner.ciphers.find(&id) {
            return Ok(cipher);
        }
        let cipher = match &key {
            None => place.derive_key(&self.inner.own, writer),
            Some(key) => {
                let patient = self.inner.keys.open(key).await?;
                place.derive_key(patient.secret(), writer)
            }
        };
        let cipher = Arc::new(cipher);
        self.inner.ciphers.keep(id, Arc::clone(&cipher));
        Ok(cipher)
    }
}

/// Why an entry's content is not shown.
enum Closed {
    Erased,
    Unreadable(Unreadable),
    Stop(LogError),
}

/// Returns which reserve an entry may draw on.
const fn class_of(body: &Body) -> Class {
    match body {
        Body::Bind(_) | Body::Void(_) | Body::Redemption(_) => Class::Ingest,
        Body::Revoke(_) | Body::Control(_) | Body::Device(_) | Body::Audit(_) => Class::Erasure,
        _ => Class::Stage,
    }
}
