//! What is wrong, once a second, out of what the stages count. Each name is a heading in the
//! runbook; each number here stands there too.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use prometheus::{
    Gauge, GaugeVec, Opts, Registry,
    proto::{MetricFamily, MetricType},
};
use pulseward_app::{admin::Ready, status::Board};
use pulseward_base::{Clock, Micros};
use tokio_util::sync::CancellationToken;

use crate::{foundation::Foundation, home::Home};

/// Every name a problem may have.
pub const NAMES: &[&str] = &[
    "not_ready",
    "rejects_high",
    "ack_slow",
    "feed_silent",
    "detector_lag",
    "history_lag",
    "log_filling",
    "disk_filling",
    "key_age",
    "silence_probe",
];

/// What the program's certificates are for.
const USES: [&str; 4] = ["service", "registry", "history", "delivery"];

const EVERY: Duration = Duration::from_secs(1);
const DETECTOR_LAG: f64 = 10.0;
const HISTORY_LAG: f64 = 120.0;
const LOG_FILLING: f64 = 0.8;
const DISK_FREE: f64 = 0.1;
const KEY_LEFT: Duration = Duration::from_hours(14 * 24);
const PROBE_AGE: f64 = 60.0;
const ACK_SLOW_SECONDS: f64 = 1.0;
const REJECTS_HIGH: f64 = 0.01;

/// Looks at the numbers and writes on the board.
pub struct Checks {
    directory: PathBuf,
    metrics: Registry,
    board: Board,
    ready: Ready,
    clock: Arc<dyn Clock>,
    started: Micros,
    certificate_ends: Micros,
    disk_free: Gauge,
}

impl Checks {
    /// Registers the program's own gauges.
    pub fn new(
        home: &Home,
        foundation: &Foundation,
        board: Board,
        ready: Ready,
    ) -> anyhow::Result<Self> {
        let gauges = Gauges::register(&foundation.metrics)?;
        for use_ in USES {
            gauges
                .certificate_ends
                .with_label_values(&[use_])
                .set(seconds(foundation.certificates_end));
        }
        let checks = Self {
            directory: home.directory.clone(),
            metrics: foundation.metrics.clone(),
            board,
            ready,
            clock: Arc::clone(&foundation.clock),
            started: foundation.clock.now(),
            certificate_ends: foundation.certificates_end,
            disk_free: gauges.disk_free,
        };
        checks.look_at_disk();
        Ok(checks)
    }

    /// Checks once a second until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut tick = tokio::time::interval(EVERY);
        let mut before = Numbers::default();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = tick.tick() => {}
            }
            self.look_at_disk();
            let now = Numbers::of(&self.metrics.gather());
            self.judge(&before, &now);
            before = now;
        }
    }

    fn look_at_disk(&self) {
        if let Ok(volume) = rustix::fs::statvfs(&self.directory) {
            #[expect(clippy::cast_precision_loss, reason = "a ratio for people")]
            // As df counts: what is kept for the system is neither used nor free.
            let free = volume.f_bavail as f64;
            let used = volume.f_blocks.saturating_sub(volume.f_bfree) as f64;
            self.disk_free.set(free / (used + free).max(1.0));
        }
    }

    fn judge(&self, before: &Numbers, now: &Numbers) {
        let time = self.clock.now();
        let set = |name, detail: Option<String>| self.board.set(name, detail, time);
        readiness(&self.board, &self.ready, time);
        let rejected = now.rate(before, "pulseward_ingest_rejects_total");
        let taken = now.rate(before, "pulseward_ingest_batches_total");
        let share = rejected / (rejected + taken).max(1.0);
        set(
            "rejects_high",
            (share > REJECTS_HIGH).then(|| format!("{:.0} % refused", share * 100.0)),
        );
        let acks = now.rate(before, "pulseward_ingest_ack_seconds_count");
        let mean = now.rate(before, "pulseward_ingest_ack_seconds_sum") / acks.max(1.0);
        set(
            "ack_slow",
            (mean > ACK_SLOW_SECONDS).then(|| format!("{mean:.1} s on the mean")),
        );
        let silent = now.get("pulseward_detector_silent_partitions");
        set(
            "feed_silent",
            (silent > 0.0).then(|| format!("{silent} partition(s)")),
        );
        let lag = now.get("pulseward_detector_lag_seconds");
        set(
            "detector_lag",
            (lag > DETECTOR_LAG).then(|| format!("{lag:.0} s behind")),
        );
        let lag = now.get("pulseward_history_lag_seconds");
        set(
            "history_lag",
            (lag > HISTORY_LAG).then(|| format!("{lag:.0} s behind")),
        );
        let used = now.get("pulseward_eventlog_used_bytes")
            / now.get("pulseward_eventlog_limit_bytes").max(1.0);
        set(
            "log_filling",
            (used > LOG_FILLING).then(|| format!("{:.0} % used", used * 100.0)),
        );
        let free = now.get("pulseward_app_disk_free_ratio");
        set(
            "disk_filling",
            (free < DISK_FREE).then(|| format!("{:.0} % free", free * 100.0)),
        );
        let left = time.until(self.certificate_ends);
        set(
            "key_age",
            (left < KEY_LEFT).then(|| format!("a certificate ends in {} h", left.as_secs() / 3600)),
        );
        // Before the first test there is as much time as between two.
        let probed = now.get("pulseward_detector_silence_probe_timestamp_seconds");
        let probe = seconds(time) - probed.max(seconds(self.started));
        set(
            "silence_probe",
            (probe > PROBE_AGE).then(|| "its test has not passed for a minute".to_owned()),
        );
    }
}

/// What only the program itself can measure.
#[derive(Debug)]
pub struct Gauges {
    disk_free: Gauge,
    certificate_ends: GaugeVec,
}

impl Gauges {
    /// Registers them, every label at zero.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let disk_free = Gauge::new(
            "pulseward_app_disk_free_ratio",
            "Share of the data directory's volume that is free.",
        )?;
        registry.register(Box::new(disk_free.clone()))?;
        let options = Opts::new(
            "pulseward_app_certificate_end_timestamp_seconds",
            "When the certificate of each use ends.",
        );
        let certificate_ends = GaugeVec::new(options, &["use"])?;
        registry.register(Box::new(certificate_ends.clone()))?;
        for use_ in USES {
            certificate_ends.with_label_values(&[use_]).set(0.0);
        }
        Ok(Self {
            disk_free,
            certificate_ends,
        })
    }
}

/// Writes on the board whether the program takes work. Who asks for the status does so first, for
/// the checks look once a second only.
pub fn readiness(board: &Board, ready: &Ready, now: Micros) {
    let detail = (!ready.is()).then(|| "starting or draining".to_owned());
    board.set("not_ready", detail, now);
}

#[expect(clippy::cast_precision_loss, reason = "a time for Prometheus")]
fn seconds(time: Micros) -> f64 {
    time.0 as f64 / 1e6
}

/// Every metric's value, summed over its labels.
#[derive(Debug, Default)]
struct Numbers(BTreeMap<String, f64>);

impl Numbers {
    fn of(families: &[MetricFamily]) -> Self {
        let mut numbers = BTreeMap::new();
        for family in families {
            for metric in family.get_metric() {
                let mut add = |name: String, value: f64| *numbers.entry(name).or_default() += value;
                let name = family.name();
                match family.get_field_type() {
                    MetricType::GAUGE => add(name.to_owned(), metric.get_gauge().get_value()),
                    MetricType::COUNTER => add(name.to_owned(), metric.get_counter().get_value()),
                    MetricType::HISTOGRAM => {
                        let histogram = metric.get_histogram();
                        add(format!("{name}_sum"), histogram.get_sample_sum());
                        #[expect(clippy::cast_precision_loss, reason = "a count for a mean")]
                        add(format!("{name}_count"), histogram.get_sample_count() as f64);
                    }
                    _ => {}
                }
            }
        }
        Self(numbers)
    }

    fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    fn rate(&self, before: &Self, name: &str) -> f64 {
        (self.get(name) - before.get(name)).max(0.0)
    }
}
