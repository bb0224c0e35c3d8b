//! What a history counts.

use prometheus::{
    Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};

/// The history's metrics, every label value at zero from the start.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) rows: IntCounter,
    pub(crate) scores: IntCounter,
    pub(crate) alerts: IntCounter,
    pub(crate) batches: Batches,
    pub(crate) repeated_outputs: IntCounter,
    pub(crate) erased: IntCounter,
    pub(crate) parked: IntCounter,
    pub(crate) commits: IntCounter,
    pub(crate) fenced: IntCounter,
    pub(crate) compactions: IntCounter,
    pub(crate) bytes: IntCounter,
    pub(crate) files: IntGauge,
    pub(crate) pending: IntGauge,
    pub(crate) lag: Gauge,
    pub(crate) commit_seconds: Histogram,
}

/// Batches by what they were to what had been counted.
#[derive(Clone, Debug)]
pub(crate) struct Batches {
    pub(crate) stored: IntCounter,
    pub(crate) repeated: IntCounter,
    pub(crate) old_queue: IntCounter,
    pub(crate) revoked: IntCounter,
}

// A commit is a few syncs and some thousand rows; one that takes seconds holds the log back.
const COMMIT_SECONDS: &[f64] = &[
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

impl Metrics {
    /// Registers the metrics.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name: &str, help: &str| -> prometheus::Result<IntCounter> {
            let counter = IntCounter::new(format!("pulseward_history_{name}"), help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> prometheus::Result<IntGauge> {
            let gauge = IntGauge::new(format!("pulseward_history_{name}"), help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let batches = IntCounterVec::new(
            Opts::new(
                "pulseward_history_batches_total",
                "Batches read, by what they were",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(batches.clone()))?;
        let commit_seconds = Histogram::with_opts(
            HistogramOpts::new("pulseward_history_commit_seconds", "How long a commit took")
                .buckets(COMMIT_SECONDS.to_vec()),
        )?;
        registry.register(Box::new(commit_seconds.clone()))?;
        let lag = Gauge::new(
            "pulseward_history_lag_seconds",
            "How long the oldest entry that is not stored has waited, over all partitions",
        )?;
        registry.register(Box::new(lag.clone()))?;
        Ok(Self {
            lag,
            rows: counter("rows_total", "Readings stored")?,
            scores: counter("scores_total", "Scores stored")?,
            alerts: counter("alerts_total", "Changes of alerts stored")?,
            batches: Batches {
                stored: batches.with_label_values(&["stored"]),
                repeated: batches.with_label_values(&["repeated"]),
                old_queue: batches.with_label_values(&["old_queue"]),
                revoked: batches.with_label_values(&["revoked"]),
            },
            repeated_outputs: counter("repeated_outputs_total", "Scores and alerts dropped")?,
            erased: counter(
                "erased_entries_total",
                "Entries skipped, their key destroyed",
            )?,
            parked: counter(
                "parked_entries_total",
                "Entries parked because they do not open",
            )?,
            commits: counter("commits_total", "Manifests committed")?,
            fenced: counter("fenced_total", "Times another writer took a chain over")?,
            compactions: counter("compactions_total", "Times files were rewritten")?,
            bytes: counter("written_bytes_total", "Bytes of files written")?,
            files: gauge("files", "Files in the store")?,
            pending: gauge("pending_rows", "Rows that wait for a commit")?,
            commit_seconds,
        })
    }
}
