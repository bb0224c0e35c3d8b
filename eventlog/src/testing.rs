//! A log for the tests of the stages: the embedded one, whole, on a disk in memory.

#![allow(clippy::expect_used, reason = "for tests only")]

use std::sync::Arc;

use async_trait::async_trait;
use prometheus::Registry;
use pulseward_base::{Generation, Micros, Offset, Partition, clock::ManualClock};
use pulseward_custody::KeySource;

use crate::{
    Backend, Bounds, Class, Log, LogError, LogSettings, Metrics, Pending, RawAppend, RawEntry,
    ReadLimits, Topic, TrimPoint,
    embedded::{EmbeddedLog, Settings, memory::MemoryFs},
};

/// Returns settings for small, quick logs.
#[must_use]
pub fn settings(partitions: u32) -> Settings {
    Settings {
        partitions,
        segment_bytes: 4 << 20,
        max_bytes: 256 << 20,
        reserve_bytes: 64 << 10,
        ..Settings::default()
    }
}

/// Opens an embedded log on `fs`.
pub fn embedded(fs: &MemoryFs, settings: Settings) -> Result<EmbeddedLog, crate::LogError> {
    let clock = Arc::new(ManualClock::new(Micros(0)));
    EmbeddedLog::open_on(Arc::new(fs.clone()), settings, clock, metrics())
}

/// Returns a new, typed log in memory, whose patients' keys are `keys`.
///
/// # Panics
/// When `keys` do not give the log's own.
pub async fn log(partitions: u32, keys: Arc<dyn KeySource>) -> Log {
    let backend = embedded(&MemoryFs::new(), settings(partitions)).expect("memory has room");
    log_on(Arc::new(backend), keys).await
}

/// Returns a typed log on `backend`: a writer of its own, as after a restart.
///
/// # Panics
/// When `keys` do not give the log's own.
pub async fn log_on(backend: Arc<dyn Backend>, keys: Arc<dyn KeySource>) -> Log {
    Log::open(backend, keys, LogSettings::default(), metrics())
        .await
        .expect("the log's own keys are at hand")
}

/// What becomes of entries that are read.
pub type Filter = dyn Fn(Vec<RawEntry>) -> Result<Vec<RawEntry>, LogError> + Send + Sync;

/// A back end whose readers are given what `filter` leaves them.
pub struct Filtered {
    /// What keeps the entries.
    pub inner: Arc<dyn Backend>,
    /// What becomes of those that are read.
    pub filter: Box<Filter>,
}

#[async_trait]
impl Backend for Filtered {
    fn log_id(&self) -> [u8; 16] {
        self.inner.log_id()
    }

    fn generation(&self) -> Generation {
        self.inner.generation()
    }

    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    async fn submit(&self, entries: Vec<RawAppend>, class: Class) -> Result<Pending, LogError> {
        self.inner.submit(entries, class).await
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limits: ReadLimits,
    ) -> Result<Vec<RawEntry>, LogError> {
        (self.filter)(self.inner.read(topic, partition, from, limits).await?)
    }

    async fn wait(&self, topic: Topic, partition: Partition, from: Offset) -> Result<(), LogError> {
        self.inner.wait(topic, partition, from).await
    }

    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, LogError> {
        self.inner.bounds(topic, partition).await
    }

    async fn trim(&self, points: &[TrimPoint]) -> Result<(), LogError> {
        self.inner.trim(points).await
    }

    fn used_bytes(&self) -> u64 {
        self.inner.used_bytes()
    }
}

/// Returns metrics in a registry of their own.
///
/// # Panics
/// Never: the registry is new.
#[must_use]
pub fn metrics() -> Arc<Metrics> {
    Metrics::new(&Registry::new()).expect("a new registry has no duplicates")
}
