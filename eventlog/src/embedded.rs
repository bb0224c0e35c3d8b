//! The log of one machine: one journal for all topics, in a directory of its own.
//!
//! - An append, of any number of entries to any topics, is in one frame: it is there or it is not.
//! - Appends that wait together are written as one frame and made durable by one sync.
//! - Readers never see what is not durable.
//! - Appends are refused before the disk is full, and taken again when it is not.
//! - A directory belongs to one process.
//!
//! Reading order: `frame` has the bytes, `fs` the seam to the disk, `recovery` what happens at
//! open, `plan` where an append goes, `writer` the thread that writes, `state` what is known in
//! memory, `reading` and `trimming` what their names say.

mod frame;
pub mod fs;
#[cfg(any(test, feature = "test-util"))]
pub mod memory;
mod names;
mod plan;
mod reading;
mod recovery;
mod scan;
mod state;
mod trimming;
mod writer;

use std::{
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
};

use async_trait::async_trait;
use pulseward_base::{Clock, Generation, Offset, Partition, Slot};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use self::{
    frame::{Identity, MAX_PAYLOAD, Opening},
    fs::{Directory, LogFs},
    plan::{Placed, Plan, Sizes},
    reading::Found,
    state::{State, StreamId},
    writer::{Command, Job, Writer},
};
use crate::{
    Backend, Bounds, Class, LogError, MAX_ENTRY_BYTES, Metrics, Pending, RawAppend, RawEntry,
    ReadLimits, Retention, Topic, TrimPoint,
};

/// How the embedded log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The life of the log; an existing directory must have the same.
    pub generation: Generation,
    /// How many partitions each topic has; an existing directory must have as many.
    pub partitions: u32,
    /// How large a segment is: the disk is taken, and given back, in these steps.
    pub segment_bytes: u64,
    /// How large all files together may be.
    pub max_bytes: u64,
    /// How much room each class of appends leaves to the next: ingest is refused with three times
    /// this much left, erasure with nothing.
    pub reserve_bytes: u64,
    /// About how many bytes one sync makes durable at most.
    pub group_bytes: u64,
    /// How many bytes may wait to be written.
    pub queue_bytes: u32,
    /// How many appends may wait to be written.
    pub queue_appends: usize,
    /// How many bytes of the newest entries are kept in memory.
    pub cache_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            generation: Generation(1),
            partitions: 4,
            segment_bytes: 64 << 20,
            max_bytes: 8 << 30,
            reserve_bytes: 8 << 20,
            group_bytes: 1 << 20,
            queue_bytes: 16 << 20,
            queue_appends: 4096,
            cache_bytes: 16 << 20,
        }
    }
}

impl Settings {
    fn check(&self) -> Result<(), LogError> {
        let least = 4 * Opening::largest(self.partitions);
        let wrong = if self.partitions == 0 || self.partitions > u32::from(Slot::COUNT) {
            "the log must have between 1 and 1024 partitions".to_owned()
        } else if self.segment_bytes < least {
            format!("a segment of the log must have at least {least} bytes")
        } else if self.max_bytes < 2 * self.segment_bytes {
            "the log must have room for two segments".to_owned()
        } else if self.reserve_bytes.saturating_mul(4) > self.usable() {
            "four times the log's reserve must fit into a segment".to_owned()
        } else if self.queue_bytes == 0 || self.queue_appends == 0 {
            "the log's queue must have room".to_owned()
        } else {
            return Ok(());
        };
        Err(LogError::Settings(wrong))
    }

    /// Returns how much of a segment frames may use.
    fn usable(&self) -> u64 {
        self.segment_bytes
            .saturating_sub(Opening::largest(self.partitions))
    }
}

/// The embedded log. Dropping it waits for what was taken in to be written.
pub struct EmbeddedLog {
    shared: Arc<Shared>,
    queue: Option<mpsc::Sender<Command>>,
    room: Arc<Semaphore>,
    trimming: Arc<Mutex<()>>,
    thread: Option<JoinHandle<()>>,
    /// Dropped last: until then no other process opens the directory.
    _lock: Box<dyn Send + Sync>,
}

/// What the writing thread and the readers share.
struct Shared {
    fs: Arc<dyn LogFs>,
    settings: Settings,
    identity: Identity,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    state: Mutex<State>,
    plan: Mutex<Plan>,
    plan_changed: Notify,
}

impl EmbeddedLog {
    /// Opens the log in the directory at `path`, making it where there is none.
    pub fn open(
        path: &Path,
        settings: Settings,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, LogError> {
        let directory = Directory::new(path)?;
        Self::open_on(Arc::new(directory), settings, clock, metrics)
    }

    /// Opens the log on any file system.
    pub fn open_on(
        fs: Arc<dyn LogFs>,
        settings: Settings,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, LogError> {
        settings.check()?;
        let lock = fs.lock()?.ok_or(LogError::Locked)?;
        let recovered = recovery::recover(&*fs, &settings)?;
        let tail = recovered.tail;
        let state = recovered.state;
        let file = state
            .segments
            .get(&tail.segment)
            .map(|segment| Arc::clone(&segment.file))
            .ok_or(LogError::Poisoned)?;
        let table_bytes = state.tables.values().map(|table| table.bytes).sum();
        let sizes = Sizes {
            usable: settings.usable(),
            segment_bytes: settings.segment_bytes,
            max_bytes: settings.max_bytes,
            reserve: settings.reserve_bytes,
        };
        let existing = state.segments.len() as u64;
        let plan = Plan::new(sizes, tail.segment, tail.at, existing, table_bytes);
        let shared = Arc::new(Shared {
            fs,
            settings,
            identity: recovered.identity,
            clock,
            metrics,
            state: Mutex::new(state),
            plan: Mutex::new(plan),
            plan_changed: Notify::new(),
        });
        let limit = i64::try_from(settings.max_bytes).unwrap_or(i64::MAX);
        shared.metrics.limit_bytes.set(limit);
        shared.show_used(&shared.plan());
        let (queue, commands) = mpsc::channel(settings.queue_appends);
        let writer = Writer::new(Arc::clone(&shared), commands, file, tail);
        let thread = std::thread::Builder::new()
            .name("eventlog".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self {
            room: Arc::new(Semaphore::new(settings.queue_bytes as usize)),
            shared,
            queue: Some(queue),
            trimming: Arc::default(),
            thread: Some(thread),
            _lock: lock,
        })
    }

    fn check(&self, entries: &[RawAppend], size: u64) -> Result<(), LogError> {
        for entry in entries {
            if entry.partition.0 >= self.shared.identity.partitions {
                return Err(LogError::UnknownPartition(entry.partition));
            }
            if entry.bytes.len() > MAX_ENTRY_BYTES {
                return Err(LogError::TooLarge {
                    size: entry.bytes.len(),
                    limit: MAX_ENTRY_BYTES,
                });
            }
            if (entry.topic.retention() == Retention::Compacted) != entry.key.is_some() {
                return Err(LogError::Misplaced("only compacted topics have keys"));
            }
        }
        let limit = self.shared.settings.usable().min(MAX_PAYLOAD as u64);
        if size > limit {
            return Err(LogError::TooLarge {
                size: usize::try_from(size).unwrap_or(usize::MAX),
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
            });
        }
        Ok(())
    }
}

#[async_trait]
impl Backend for EmbeddedLog {
    fn log_id(&self) -> [u8; 16] {
        self.shared.identity.log_id
    }

    fn generation(&self) -> Generation {
        self.shared.identity.generation
    }

    fn partitions(&self) -> u32 {
        self.shared.identity.partitions
    }

    async fn submit(&self, entries: Vec<RawAppend>, class: Class) -> Result<Pending, LogError> {
        let size = writer::size_of(&entries);
        self.check(&entries, size)?;
        if entries.is_empty() {
            return Ok(Pending::new(async { Ok(Vec::new()) }));
        }
        let room = u32::try_from(size)
            .unwrap_or(u32::MAX)
            .min(self.shared.settings.queue_bytes);
        let permit = Arc::clone(&self.room)
            .acquire_many_owned(room)
            .await
            .map_err(|_| LogError::Poisoned)?;
        let queue = self.queue.as_ref().ok_or(LogError::Poisoned)?;
        let seat = queue.reserve().await.map_err(|_| LogError::Poisoned)?;
        loop {
            let mut changed = std::pin::pin!(self.shared.plan_changed.notified());
            changed.as_mut().enable();
            if self.shared.state().poisoned {
                return Err(LogError::Poisoned);
            }
            {
                // Placed and queued under one lock: the queue has the plan's order.
                let mut plan = self.shared.plan();
                match plan.place(size, class) {
                    Placed::In(segment) => {
                        let (reply, answer) = oneshot::channel();
                        seat.send(Command::Append(Job {
                            segment,
                            size,
                            entries,
                            reply,
                            permit,
                        }));
                        let durable = async { answer.await.unwrap_or(Err(LogError::Poisoned)) };
                        return Ok(Pending::new(durable));
                    }
                    Placed::Full => {
                        if plan.is_stuck() {
                            seat.send(Command::Grow);
                        }
                        self.shared.metrics.refused_full.inc();
                        return Err(LogError::Full);
                    }
                    Placed::Later => {}
                }
            }
            changed.await;
        }
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limits: ReadLimits,
    ) -> Result<Vec<RawEntry>, LogError> {
        let id = StreamId { topic, partition };
        let found = self.shared.state().find(id, from, limits)?;
        match found {
            Found::Entries(entries) => Ok(entries),
            Found::OnDisk(sources) => blocking(move || sources.read()).await,
        }
    }

    async fn wait(&self, topic: Topic, partition: Partition, from: Offset) -> Result<(), LogError> {
        let id = StreamId { topic, partition };
        let mut end = self.shared.state().stream(id)?.end.subscribe();
        loop {
            if *end.borrow_and_update() > from.0 {
                return Ok(());
            }
            end.changed().await.map_err(|_| LogError::Poisoned)?;
            if self.shared.state().poisoned {
                return Err(LogError::Poisoned);
            }
        }
    }

    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, LogError> {
        let id = StreamId { topic, partition };
        Ok(self.shared.state().stream(id)?.bounds())
    }

    async fn trim(&self, points: &[TrimPoint]) -> Result<(), LogError> {
        let shared = Arc::clone(&self.shared);
        let trimming = Arc::clone(&self.trimming);
        let points = points.to_vec();
        let trimmed = blocking(move || {
            let _alone = trimming.lock().unwrap_or_else(PoisonError::into_inner);
            shared.trim(&points)
        })
        .await;
        // Room that was given back may let a segment be prepared that the bound had refused.
        if let Some(queue) = &self.queue {
            let _queue_is_busy = queue.try_send(Command::Grow);
        }
        trimmed
    }

    fn used_bytes(&self) -> u64 {
        self.shared.plan().used()
    }

    async fn newest(&self, topic: Topic, partition: Partition) -> Result<Vec<RawEntry>, LogError> {
        let shared = Arc::clone(&self.shared);
        let id = StreamId { topic, partition };
        blocking(move || shared.newest(id)).await
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has told everybody through the answers it did not give.
            let _panicked = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that holds the lock can panic half-way through a change that matters.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poison(&self) {
        self.state().poison();
        self.metrics.poisoned.set(1);
        self.plan_changed.notify_waiters();
    }

    fn show_used(&self, plan: &Plan) {
        let used = i64::try_from(plan.used()).unwrap_or(i64::MAX);
        self.metrics.used_bytes.set(used);
    }
}

/// Runs what blocks on the disk where that holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(LogError::Poisoned))
}

/// Runs recovery over a directory with these files, as a fuzzer makes them up. Returns what a log
/// that opens then has, per topic's first partition.
#[cfg(any(test, feature = "test-util"))]
pub fn recover_files(files: &[(&str, &[u8])], settings: Settings) -> Result<Vec<Bounds>, LogError> {
    let fs = memory::MemoryFs::new();
    for (name, bytes) in files {
        let file = fs.create(name, 0)?;
        file.write_at(bytes, 0)?;
    }
    let recovered = recovery::recover(&fs, &settings)?;
    let bounds = |topic: &Topic| {
        let id = StreamId {
            topic: *topic,
            partition: Partition(0),
        };
        recovered
            .state
            .streams
            .get(&id)
            .map(|stream| stream.bounds())
    };
    Ok(Topic::ALL.iter().filter_map(bounds).collect())
}

/// Returns the frames that a new log's identity and first segment begin with.
#[cfg(any(test, feature = "test-util"))]
pub(crate) fn head_frames(log_id: [u8; 16], settings: &Settings) -> (Vec<u8>, Vec<u8>) {
    let identity = Identity {
        log_id,
        generation: settings.generation,
        partitions: settings.partitions,
    };
    let opening = Opening {
        log_id,
        segment: 1,
        next_number: 0,
        ends: Vec::new(),
    };
    (identity.encode(), opening.encode())
}
