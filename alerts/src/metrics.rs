//! What the stage counts. Labels are lanes, severities, states and reasons, never who.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use prometheus::{Error, Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};
use pulseward_base::Partition;
use pulseward_eventlog::body::{Alert, AlertState, Lane, Severity};

/// The stage's counters, registered once by the program.
#[derive(Debug)]
pub struct Metrics {
    steps: IntCounterVec,
    repeated: IntCounter,
    unreadable: IntCounter,
    open: IntGaugeVec,
    unheard: IntGauge,
    watchers: IntGauge,
    ended: IntCounterVec,
    delivered: IntCounter,
    unwritten: IntCounter,
    way_backs: IntCounterVec,
    wishes: IntCounterVec,
    refused_tokens: IntCounter,
    waits: IntCounter,
    lag: IntGauge,
    age: Gauge,
    partitions: Mutex<BTreeMap<Partition, (u64, f64)>>,
}

/// Why a watcher's stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It left.
    Left,
    /// It did not keep up.
    Slow,
    /// The program stops.
    Shutdown,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Left, Self::Slow, Self::Shutdown];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Slow => "slow",
            Self::Shutdown => "shutdown",
        }
    }
}

/// What became of a wish for the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WayBackOutcome {
    /// A slip was signed.
    Signed,
    /// There is no such alert.
    Unknown,
    /// The alert is about a whole partition.
    Nobody,
    /// The recipient has had too many.
    OverLimit,
}

impl WayBackOutcome {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Signed, Self::Unknown, Self::Nobody, Self::OverLimit];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Unknown => "unknown_alert",
            Self::Nobody => "nobody",
            Self::OverLimit => "over_limit",
        }
    }
}

/// What became of a wish to acknowledge or to snooze.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WishOutcome {
    /// It stands in the feed.
    Written,
    /// There is no such alert, or it is over.
    Unknown,
    /// The alert is about a whole partition.
    Nobody,
    /// The recipient has had too many.
    OverLimit,
    /// The log did not take it.
    Log,
}

impl WishOutcome {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Written,
        Self::Unknown,
        Self::Nobody,
        Self::OverLimit,
        Self::Log,
    ];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Unknown => "unknown_alert",
            Self::Nobody => "nobody",
            Self::OverLimit => "over_limit",
            Self::Log => "log",
        }
    }
}

impl Metrics {
    /// Registers the stage's counters, every label at zero.
    pub fn new(registry: &Registry) -> Result<Arc<Self>, Error> {
        let make = Maker { registry };
        let metrics = Self {
            steps: make.counters(
                "steps_total",
                "Steps of alerts taken from the log.",
                &["lane", "severity", "state"],
            )?,
            repeated: make.counter(
                "repeated_steps_total",
                "Steps that the log holds twice, dropped.",
            )?,
            unreadable: make.counter(
                "unreadable_steps_total",
                "Steps that do not open, or are erased.",
            )?,
            open: make.gauges("open_alerts", "Alerts that are open.", &["severity"])?,
            unheard: make.gauge(
                "unheard_pages",
                "Open alerts that page and that nobody has been sent.",
            )?,
            watchers: make.gauge("watchers", "Care teams that watch now.")?,
            ended: make.counters("ended_watchers_total", "Watchers that ended.", &["reason"])?,
            delivered: make.counter(
                "delivered_steps_total",
                "Steps handed to a recipient for the first time.",
            )?,
            unwritten: make.counter(
                "unwritten_deliveries_total",
                "Deliveries not written down: sent again after a restart.",
            )?,
            way_backs: make.counters(
                "way_backs_total",
                "Wishes for the way back.",
                &["outcome"],
            )?,
            wishes: make.counters(
                "wishes_total",
                "Wishes to acknowledge an alert or to snooze its lane.",
                &["outcome"],
            )?,
            refused_tokens: make
                .counter("refused_tokens_total", "Calls without a care team's token.")?,
            waits: make.counter(
                "log_retries_total",
                "Waits for a log or key service that did not answer.",
            )?,
            lag: make.gauge("lag_entries", "Steps that are not taken yet.")?,
            age: make.float("lag_seconds", "For how long steps have been waiting.")?,
            partitions: Mutex::default(),
        };
        metrics.start_at_zero();
        Ok(Arc::new(metrics))
    }

    fn start_at_zero(&self) {
        for lane in Lane::ALL {
            for severity in Severity::ALL {
                for state in AlertState::ALL {
                    let labels = [lane.word(), severity.word(), state.word()];
                    self.steps.with_label_values(&labels).inc_by(0);
                }
            }
        }
        for severity in Severity::ALL {
            self.open.with_label_values(&[severity.word()]).set(0);
        }
        for end in End::ALL {
            self.ended.with_label_values(&[end.word()]).inc_by(0);
        }
        for outcome in WishOutcome::ALL {
            self.wishes.with_label_values(&[outcome.word()]).inc_by(0);
        }
        for outcome in WayBackOutcome::ALL {
            self.way_backs
                .with_label_values(&[outcome.word()])
                .inc_by(0);
        }
    }

    pub(crate) fn wish(&self, outcome: WishOutcome) {
        self.wishes.with_label_values(&[outcome.word()]).inc();
    }

    pub(crate) fn taken(&self, alert: &Alert) {
        let labels = [alert.lane.word(), alert.severity.word(), alert.state.word()];
        self.steps.with_label_values(&labels).inc();
    }

    pub(crate) fn repeated(&self) {
        self.repeated.inc();
    }

    pub(crate) fn unreadable(&self) {
        self.unreadable.inc();
    }

    pub(crate) fn open(&self, open: &BTreeMap<Severity, usize>) {
        for (severity, count) in open {
            self.open
                .with_label_values(&[severity.word()])
                .set(whole(*count));
        }
    }

    pub(crate) fn unheard(&self, count: usize) {
        self.unheard.set(whole(count));
    }

    pub(crate) fn watchers(&self, count: usize) {
        self.watchers.set(whole(count));
    }

    pub(crate) fn ended(&self, end: End) {
        self.ended.with_label_values(&[end.word()]).inc();
    }

    pub(crate) fn delivered(&self) {
        self.delivered.inc();
    }

    pub(crate) fn unwritten(&self) {
        self.unwritten.inc();
    }

    pub(crate) fn way_back(&self, outcome: WayBackOutcome) {
        self.way_backs.with_label_values(&[outcome.word()]).inc();
    }

    pub(crate) fn refused_token(&self) {
        self.refused_tokens.inc();
    }

    pub(crate) fn waited(&self) {
        self.waits.inc();
    }

    /// Shows how far one partition is behind, beside the others.
    pub(crate) fn behind(&self, partition: Partition, lag: u64, seconds: f64) {
        let mut partitions = self
            .partitions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        partitions.insert(partition, (lag, seconds));
        let lag = partitions
            .values()
            .fold(0_u64, |sum, (lag, _)| sum.saturating_add(*lag));
        self.lag.set(i64::try_from(lag).unwrap_or(i64::MAX));
        self.age.set(
            partitions
                .values()
                .map(|(_, seconds)| *seconds)
                .fold(0.0, f64::max),
        );
    }
}

fn whole(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

struct Maker<'a> {
    registry: &'a Registry,
}

impl Maker<'_> {
    fn options(name: &str, help: &str) -> Opts {
        Opts::new(format!("pulseward_alerts_{name}"), help)
    }

    fn kept<T: prometheus::core::Collector + Clone + 'static>(&self, made: T) -> Result<T, Error> {
        self.registry.register(Box::new(made.clone()))?;
        Ok(made)
    }

    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        self.kept(IntCounter::with_opts(Self::options(name, help))?)
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
        self.kept(IntCounterVec::new(Self::options(name, help), labels)?)
    }

    fn gauge(&self, name: &str, help: &str) -> Result<IntGauge, Error> {
        self.kept(IntGauge::with_opts(Self::options(name, help))?)
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Error> {
        self.kept(IntGaugeVec::new(Self::options(name, help), labels)?)
    }

    fn float(&self, name: &str, help: &str) -> Result<Gauge, Error> {
        self.kept(Gauge::with_opts(Self::options(name, help))?)
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
            families
                .iter()
                .find(|family| family.name() == name)
                .unwrap()
                .get_metric()
                .len()
        };
        assert_eq!(
            series("pulseward_alerts_steps_total"),
            4 * 3 * AlertState::ALL.len()
        );
        assert_eq!(series("pulseward_alerts_open_alerts"), 3);
        assert_eq!(
            series("pulseward_alerts_way_backs_total"),
            WayBackOutcome::ALL.len()
        );
        assert!(
            families
                .iter()
                .all(|family| family.name().starts_with("pulseward_alerts_"))
        );
    }
}
