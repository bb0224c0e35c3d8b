//! What the log counts. Labels are topics and reasons, never who or what an entry is about.

use std::sync::Arc;

use prometheus::{
    Error, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

use crate::{Topic, Unreadable};

/// The log's counters, registered once by the program.
#[derive(Debug)]
pub struct Metrics {
    pub(crate) appended_entries: IntCounterVec,
    pub(crate) appended_bytes: IntCounterVec,
    pub(crate) refused_full: IntCounter,
    pub(crate) commits: Histogram,
    pub(crate) commit_entries: Histogram,
    pub(crate) used_bytes: IntGauge,
    pub(crate) limit_bytes: IntGauge,
    pub(crate) poisoned: IntGauge,
    pub(crate) read_entries: IntCounterVec,
    pub(crate) erased: IntCounterVec,
    pub(crate) unreadable: IntCounterVec,
    pub(crate) repeated: IntCounterVec,
    pub(crate) missing: IntCounterVec,
}

// A sync takes 0.1 ms on good storage and 10 ms on a poor disk; above 1 s something is broken.
const COMMIT_SECONDS: &[f64] = &[
    0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0,
];
const COMMIT_ENTRIES: &[f64] = &[1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0];

impl Metrics {
    /// Registers the log's counters, every label at zero.
    pub fn new(registry: &Registry) -> Result<Arc<Self>, Error> {
        let make = Maker { registry };
        Ok(Arc::new(Self {
            appended_entries: make.by_topic("appended_entries_total", "Durable entries.")?,
            appended_bytes: make.by_topic("appended_bytes_total", "Bytes of durable entries.")?,
            refused_full: make
                .counter("refused_full_total", "Appends refused for want of room.")?,
            commits: make.histogram("commit_seconds", "One write and sync.", COMMIT_SECONDS)?,
            commit_entries: make.histogram(
                "commit_entries",
                "Entries that one sync made durable.",
                COMMIT_ENTRIES,
            )?,
            used_bytes: make.gauge("used_bytes", "Bytes that the log's files take.")?,
            limit_bytes: make.gauge("limit_bytes", "Bytes that the log's files may take.")?,
            poisoned: make.gauge("poisoned", "1 after a failed write or sync.")?,
            read_entries: make.by_topic("read_entries_total", "Entries read and opened.")?,
            erased: make.by_topic("erased_entries_total", "Entries whose key is destroyed.")?,
            unreadable: make.by_reason("unreadable_entries_total", "Entries that do not open.")?,
            repeated: make.by_topic("repeated_entries_total", "Entries dropped as repeats.")?,
            missing: make.by_topic(
                "missing_entries_total",
                "Entries of a writer that are not where they must be.",
            )?,
        }))
    }
}

struct Maker<'a> {
    registry: &'a Registry,
}

impl Maker<'_> {
    fn opts(name: &str, help: &str) -> Opts {
        Opts::new(format!("pulseward_eventlog_{name}"), help)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        let counter = IntCounter::with_opts(Self::opts(name, help))?;
        self.registry.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        let gauge = IntGauge::with_opts(Self::opts(name, help))?;
        self.registry.register(Box::new(gauge.clone()))?;
        Ok(gauge)
    }

    fn histogram(&self, name: &str, help: &str, bounds: &[f64]) -> Result<Histogram, Error> {
        let opts = HistogramOpts::from(Self::opts(name, help)).buckets(bounds.to_vec());
        let histogram = Histogram::with_opts(opts)?;
        self.registry.register(Box::new(histogram.clone()))?;
        Ok(histogram)
    }

    fn vec<'a>(
        &self,
        opts: Opts,
        label: &str,
        values: impl Iterator<Item = &'a str>,
    ) -> Result<IntCounterVec, Error> {
        let vec = IntCounterVec::new(opts, &[label])?;
        for value in values {
            vec.with_label_values(&[value]).inc_by(0);
        }
        self.registry.register(Box::new(vec.clone()))?;
        Ok(vec)
    }

    fn by_topic(&self, name: &str, help: &str) -> Result<IntCounterVec, Error> {
        let topics = Topic::ALL.iter().map(|topic| topic.name());
        self.vec(Self::opts(name, help), "topic", topics)
    }

    fn by_reason(&self, name: &str, help: &str) -> Result<IntCounterVec, Error> {
        let reasons = Unreadable::ALL.iter().map(|reason| reason.word());
        self.vec(Self::opts(name, help), "reason", reasons)
    }
}

/// Adds to a topic's counter.
pub(crate) fn add(vec: &IntCounterVec, topic: Topic, count: usize) {
    vec.with_label_values(&[topic.name()])
        .inc_by(u64::try_from(count).unwrap_or(u64::MAX));
}
