//! What the tests share.

use std::sync::Arc;

use bytes::Bytes;
use pulseward_base::{Offset, Partition};
use pulseward_eventlog::{
    Backend, Class, RawAppend, ReadLimits, Topic,
    embedded::{EmbeddedLog, Settings, memory::MemoryFs},
    testing,
};

/// A log so small that a few appends fill a segment.
pub(crate) fn small() -> Settings {
    Settings {
        segment_bytes: 16 << 10,
        max_bytes: 1 << 20,
        reserve_bytes: 1 << 10,
        cache_bytes: 2 << 10,
        ..testing::settings(2)
    }
}

pub(crate) fn open(fs: &MemoryFs, settings: Settings) -> EmbeddedLog {
    testing::embedded(fs, settings).unwrap()
}

pub(crate) fn entry(topic: Topic, partition: u32, bytes: &[u8]) -> RawAppend {
    RawAppend {
        topic,
        partition: Partition(partition),
        key: None,
        bytes: Bytes::copy_from_slice(bytes),
    }
}

pub(crate) fn keyed(topic: Topic, partition: u32, key: u8, bytes: &[u8]) -> RawAppend {
    RawAppend {
        key: Some([key; 16]),
        ..entry(topic, partition, bytes)
    }
}

pub(crate) async fn append(log: &EmbeddedLog, entries: Vec<RawAppend>) -> Vec<u64> {
    let offsets = log.append(entries, Class::Stage).await.unwrap();
    offsets
        .into_iter()
        .map(|offset| offset.unwrap().0)
        .collect()
}

/// Reads a stream to its end.
pub(crate) async fn read_all(log: &dyn Backend, topic: Topic, partition: u32) -> Vec<(u64, Bytes)> {
    let partition = Partition(partition);
    let mut from = log.bounds(topic, partition).await.unwrap().start;
    let mut all = Vec::new();
    loop {
        let limits = ReadLimits {
            bytes: 3000,
            entries: 7,
        };
        let entries = log.read(topic, partition, from, limits).await.unwrap();
        let Some(last) = entries.last() else {
            return all;
        };
        from = Offset(last.offset.0 + 1);
        all.extend(
            entries
                .into_iter()
                .map(|entry| (entry.offset.0, entry.bytes)),
        );
    }
}

pub(crate) fn segments(fs: &MemoryFs) -> Vec<String> {
    use pulseward_eventlog::embedded::fs::LogFs as _;
    let names = fs.list().unwrap();
    names
        .into_iter()
        .filter(|name| name.starts_with("segment-"))
        .collect()
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

pub(crate) fn shared(log: EmbeddedLog) -> Arc<dyn Backend> {
    Arc::new(log)
}

/// Returns how often a campaign wants something done.
pub(crate) fn count(name: &str, smoke: u32) -> u32 {
    std::env::var_os(name)
        .and_then(|text| text.to_str()?.parse().ok())
        .unwrap_or(smoke)
}
