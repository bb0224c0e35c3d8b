//! A log for the tests of the stages: the embedded one, whole, on a disk in memory.

#![allow(clippy::expect_used, reason = "for tests only")]

use std::sync::Arc;

use prometheus::Registry;
use pulseward_base::{Micros, clock::ManualClock};
use pulseward_custody::KeySource;

use crate::{
    Backend, Log, LogSettings, Metrics,
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

/// Returns metrics in a registry of their own.
///
/// # Panics
/// Never: the registry is new.
#[must_use]
pub fn metrics() -> Arc<Metrics> {
    Metrics::new(&Registry::new()).expect("a new registry has no duplicates")
}
