//! What the detector counts. Labels are lanes, severities, outcomes and guards, never who.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use prometheus::{
    Error, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
};
use pulseward_base::Partition;
use pulseward_eventlog::body::{Alert, AlertState, Lane, Severity};

use crate::output::{BatchOutcome, Guard, Outputs, Subject};

/// The detector's counters, registered once by the program.
#[derive(Debug)]
pub struct Metrics {
    entries: IntCounter,
    batches: IntCounterVec,
    guarded: IntCounterVec,
    scores: IntCounter,
    alerts: IntCounterVec,
    subjects: IntCounterVec,
    repeated: IntCounter,
    erased: IntCounter,
    panics: IntCounter,
    parked: IntCounterVec,
    waits: IntCounter,
    checkpoints: Histogram,
    lag: IntGauge,
    age: Gauge,
    silent_devices: IntGauge,
    silent_partitions: IntGauge,
    patients: IntGauge,
    probe: Gauge,
    partitions: Mutex<BTreeMap<Partition, Seen>>,
}

/// What one partition shows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) lag: u64,
    pub(crate) age_seconds: f64,
    pub(crate) silent_devices: usize,
    pub(crate) feed_silent: bool,
    pub(crate) patients: usize,
    /// When the silence alarm last passed its own test there; zero: not yet.
    pub(crate) probed_seconds: f64,
}

/// Why an entry was parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParkReason {
    /// It does not open.
    Unreadable,
    /// It made the step panic.
    Panic,
}

impl ParkReason {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Unreadable, Self::Panic];

    /// Returns the number that is stored.
    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::Unreadable => 1,
            Self::Panic => 2,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Panic => "panic",
        }
    }
}

// A checkpoint is some appends: a millisecond each on good storage; above 10 s it eats its interval.
const CHECKPOINT_SECONDS: &[f64] = &[0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];

impl Metrics {
    /// Registers the detector's counters, every label at zero.
    pub fn new(registry: &Registry) -> Result<Arc<Self>, Error> {
        let make = Maker { registry };
        let metrics = Self {
            entries: make.counter("entries_total", "Entries processed.")?,
            batches: make.counters("batches_total", "What became of batches.", &["outcome"])?,
            guarded: make.counters(
                "guarded_readings_total",
                "Readings a guard does not trust.",
                &["guard"],
            )?,
            scores: make.counter("scores_total", "Scores made durable.")?,
            alerts: make.counters(
                "alerts_total",
                "Steps of alerts made durable.",
                &["lane", "severity", "state"],
            )?,
            subjects: make.counters(
                "raised_alerts_total",
                "Alerts raised, by what they are about.",
                &["subject"],
            )?,
            repeated: make.counter(
                "repeated_outputs_total",
                "Outputs of a replay that the log has already.",
            )?,
            erased: make.counter("erased_entries_total", "Entries of destroyed keys.")?,
            panics: make.counter("step_panics_total", "Steps that panicked.")?,
            parked: make.counters("parked_entries_total", "Entries passed over.", &["reason"])?,
            waits: make.counter("log_retries_total", "Waits for a silent log.")?,
            checkpoints: make.histogram(
                "checkpoint_seconds",
                "Saving the state.",
                CHECKPOINT_SECONDS,
            )?,
            lag: make.gauge("lag_entries", "Entries not processed yet.")?,
            age: make.float("lag_seconds", "Age of the oldest entry not processed.")?,
            silent_devices: make
                .gauge("silent_devices", "Devices that were live and send nothing.")?,
            silent_partitions: make.gauge(
                "silent_partitions",
                "Partitions in which no ingest is heard.",
            )?,
            patients: make.gauge("patients", "Patients watched over.")?,
            probe: make.float(
                "silence_probe_timestamp_seconds",
                "When the silence alarm last passed its own test in every partition.",
            )?,
            partitions: Mutex::default(),
        };
        metrics.start_at_zero();
        Ok(Arc::new(metrics))
    }

    fn start_at_zero(&self) {
        for outcome in BatchOutcome::ALL {
            self.batches.with_label_values(&[outcome.word()]).inc_by(0);
        }
        for guard in Guard::ALL {
            self.guarded.with_label_values(&[guard.word()]).inc_by(0);
        }
        for subject in Subject::ALL {
            self.subjects.with_label_values(&[subject.word()]).inc_by(0);
        }
        for reason in ParkReason::ALL {
            self.parked.with_label_values(&[reason.word()]).inc_by(0);
        }
        for lane in Lane::ALL {
            for severity in Severity::ALL {
                for state in AlertState::ALL {
                    let labels = [lane.word(), severity.word(), state.word()];
                    self.alerts.with_label_values(&labels).inc_by(0);
                }
            }
        }
    }

    pub(crate) fn stepped(&self, outputs: &Outputs) {
        self.entries.inc();
        if let Some(outcome) = outputs.batch {
            self.batches.with_label_values(&[outcome.word()]).inc();
        }
        for (guard, count) in &outputs.guarded {
            self.guarded
                .with_label_values(&[guard.word()])
                .inc_by(*count);
        }
    }

    pub(crate) fn scored(&self) {
        self.scores.inc();
    }

    pub(crate) fn alerted(&self, alert: &Alert) {
        let labels = [alert.lane.word(), alert.severity.word(), alert.state.word()];
        self.alerts.with_label_values(&labels).inc();
        if alert.state == AlertState::Raised
            && let Some(subject) = Subject::from_number(alert.what)
        {
            self.subjects.with_label_values(&[subject.word()]).inc();
        }
    }

    pub(crate) fn repeated(&self) {
        self.repeated.inc();
    }

    pub(crate) fn erased(&self) {
        self.erased.inc();
    }

    pub(crate) fn panicked(&self) {
        self.panics.inc();
    }

    pub(crate) fn parked(&self, reason: ParkReason) {
        self.parked.with_label_values(&[reason.word()]).inc();
    }

    pub(crate) fn waited(&self) {
        self.waits.inc();
    }

    pub(crate) fn checkpointed(&self, seconds: f64) {
        self.checkpoints.observe(seconds);
    }

    /// Shows one partition beside the others.
    pub(crate) fn show(&self, partition: Partition, seen: Seen) {
        let mut partitions = self.partitions();
        partitions.insert(partition, seen);
        self.show_lag(&partitions);
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.silent_devices.set(whole(
            partitions.values().map(|seen| seen.silent_devices).sum(),
        ));
        self.silent_partitions.set(whole(
            partitions.values().filter(|seen| seen.feed_silent).count(),
        ));
        self.patients
            .set(whole(partitions.values().map(|seen| seen.patients).sum()));
        let probed = partitions.values().map(|seen| seen.probed_seconds);
        self.probe.set(probed.reduce(f64::min).unwrap_or(0.0));
    }

    /// Shows that a partition has processed what was there when it was last shown.
    pub(crate) fn caught_up(&self, partition: Partition) {
        let mut partitions = self.partitions();
        if let Some(seen) = partitions.get_mut(&partition) {
            (seen.lag, seen.age_seconds) = (0, 0.0);
        }
        self.show_lag(&partitions);
    }

    fn show_lag(&self, partitions: &BTreeMap<Partition, Seen>) {
        let lag = partitions.values().map(|seen| seen.lag);
        let lag = lag.fold(0, u64::saturating_add);
        self.lag.set(i64::try_from(lag).unwrap_or(i64::MAX));
        let ages = partitions.values().map(|seen| seen.age_seconds);
        self.age.set(ages.fold(0.0, f64::max));
    }

    fn partitions(&self) -> MutexGuard<'_, BTreeMap<Partition, Seen>> {
        self.partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

struct Maker<'a> {
    registry: &'a Registry,
}

impl Maker<'_> {
    fn name(name: &str) -> String {
        format!("pulseward_detector_{name}")
    }

    fn kept<T: prometheus::core::Collector + Clone + 'static>(&self, made: T) -> Result<T, Error> {
        self.registry.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        self.kept(IntCounter::new(Self::name(name), help)?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
        self.kept(IntCounterVec::new(
            Opts::new(Self::name(name), help),
            labels,
        )?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        self.kept(IntGauge::new(Self::name(name), help)?)
    }

    fn float(&self, name: &str, help: &str) -> Result<Gauge, Error> {
        self.kept(Gauge::new(Self::name(name), help)?)
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Result<Histogram, Error> {
        let options = HistogramOpts::new(Self::name(name), help).buckets(buckets.to_vec());
        self.kept(Histogram::with_opts(options)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_is_there_from_the_start_at_zero() {
        let registry = Registry::new();
        Metrics::new(&registry).unwrap();
        let families = registry.gather();
        let series = |name: &str| {
            let family = families
                .iter()
                .find(|family| family.name() == name)
                .unwrap();
            family.get_metric().len()
        };
        assert_eq!(
            series("pulseward_detector_alerts_total"),
            4 * 3 * AlertState::ALL.len()
        );
        assert_eq!(
            series("pulseward_detector_raised_alerts_total"),
            Subject::ALL.len()
        );
        assert_eq!(
            series("pulseward_detector_batches_total"),
            BatchOutcome::ALL.len()
        );
        assert!(
            families
                .iter()
                .all(|family| family.name().starts_with("pulseward_detector_"))
        );
    }
}
