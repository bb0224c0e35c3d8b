//! What ingest counts. Labels come from closed lists, and every one of them starts at zero.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use pulseward_base::Reject;

/// From a loopback's best to what a person would call stuck.
const ACK_SECONDS: &[f64] = &[
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Declares a closed list of label values.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$variant_doc])* $variant,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the word that is the label.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    };
}

labels! {
    /// How a batch that holds was answered.
    Taken {
        /// It is in the log.
        Durable = "durable",
        /// It already was.
        Duplicate = "duplicate",
    }
}

labels! {
    /// Why a device was told to wait.
    Wait {
        /// An earlier batch of the stream was told to wait.
        Behind = "behind",
        /// The same batch is on its way to the log.
        Busy = "busy",
        /// Too many batches wait for the log.
        InFlight = "in_flight",
        /// The log could not take it.
        Log = "log",
        /// The log is full.
        LogFull = "log_full",
        /// The device's queue has more holes than are remembered.
        Scattered = "scattered",
    }
}

labels! {
    /// Why a session ended.
    End {
        /// The device closed it.
        Closed = "closed",
        /// The service is ending.
        Drained = "drained",
        /// A newer session of the device took its place.
        Displaced = "displaced",
        /// It was as old as a session may be.
        Expired = "expired",
        /// It sent something that ends a session.
        Refused = "refused",
        /// It was silent, or read no answers.
        Silent = "silent",
        /// The service could not go on with it.
        Unavailable = "unavailable",
        /// Its device is not admitted any more.
        Withdrawn = "withdrawn",
    }
}

/// All of ingest's metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    accepted: IntCounterVec,
    readings: IntCounter,
    rejects: IntCounterVec,
    retries: IntCounterVec,
    ends: IntCounterVec,
    ahead: IntCounter,
    hellos: IntCounter,
    enrolled: IntCounter,
    suspended: IntCounter,
    ticks: IntCounter,
    streams: IntGauge,
    sessions: IntGauge,
    devices: IntGauge,
    view_age: prometheus::Gauge,
    ack: Histogram,
}

impl Metrics {
    /// Registers them all.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            accepted: family("batches_total", "Batches that hold, by answer.", "answer")?,
            readings: counter("readings_total", "Readings that became durable.")?,
            rejects: family("rejects_total", "What was refused, by code.", "code")?,
            retries: family(
                "retries_total",
                "Batches told to come again, by why.",
                "why",
            )?,
            ends: family("session_ends_total", "Sessions that ended, by why.", "why")?,
            ahead: counter(
                "batches_ahead_total",
                "Batches whose time lies further ahead than clocks differ.",
            )?,
            hellos: counter("hellos_total", "Hellos that hold.")?,
            enrolled: counter("enrolments_total", "Enrolments that were answered.")?,
            suspended: counter(
                "suspensions_total",
                "Devices suspended for a fork or a ticket used twice.",
            )?,
            ticks: counter("ticks_total", "Ticks that became durable.")?,
            streams: gauge("streams", "Open streams.")?,
            sessions: gauge("sessions", "Devices with a live session.")?,
            devices: gauge("devices", "Enrolled devices in view.")?,
            view_age: prometheus::Gauge::new(
                "pulseward_ingest_view_age_seconds",
                "Age of the view of the devices.",
            )?,
            ack: Histogram::with_opts(
                HistogramOpts::new(
                    "pulseward_ingest_ack_seconds",
                    "From a batch's arrival to its durable answer.",
                )
                .buckets(ACK_SECONDS.to_vec()),
            )?,
        };
        metrics.start_at_zero();
        metrics.register_all(registry)?;
        Ok(metrics)
    }

    fn start_at_zero(&self) {
        for taken in Taken::ALL {
            self.accepted.with_label_values(&[taken.word()]);
        }
        for reject in Reject::ALL {
            self.rejects.with_label_values(&[reject.code()]);
        }
        for wait in Wait::ALL {
            self.retries.with_label_values(&[wait.word()]);
        }
        for end in End::ALL {
            self.ends.with_label_values(&[end.word()]);
        }
    }

    fn register_all(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        for family in [&self.accepted, &self.rejects, &self.retries, &self.ends] {
            registry.register(Box::new(family.clone()))?;
        }
        for counter in [
            &self.readings,
            &self.ahead,
            &self.hellos,
            &self.enrolled,
            &self.suspended,
            &self.ticks,
        ] {
            registry.register(Box::new(counter.clone()))?;
        }
        for gauge in [&self.streams, &self.sessions, &self.devices] {
            registry.register(Box::new(gauge.clone()))?;
        }
        registry.register(Box::new(self.view_age.clone()))?;
        registry.register(Box::new(self.ack.clone()))
    }

    /// Returns how many batches were answered so.
    #[must_use]
    pub fn accepted(&self, taken: Taken) -> u64 {
        self.accepted.with_label_values(&[taken.word()]).get()
    }

    /// Returns how often a code was the answer.
    #[must_use]
    pub fn rejected(&self, reject: Reject) -> u64 {
        self.rejects.with_label_values(&[reject.code()]).get()
    }

    /// Returns how often a device was told to wait.
    #[must_use]
    pub fn retried(&self, wait: Wait) -> u64 {
        self.retries.with_label_values(&[wait.word()]).get()
    }

    /// Returns how many devices have a live session.
    #[must_use]
    pub fn live_sessions(&self) -> i64 {
        self.sessions.get()
    }

    pub(crate) fn durable(&self, readings: usize, took: Duration) {
        self.accepted
            .with_label_values(&[Taken::Durable.word()])
            .inc();
        self.readings
            .inc_by(u64::try_from(readings).unwrap_or(u64::MAX));
        self.ack.observe(took.as_secs_f64());
    }

    pub(crate) fn duplicate(&self) {
        self.accepted
            .with_label_values(&[Taken::Duplicate.word()])
            .inc();
    }

    pub(crate) fn reject(&self, reject: Reject) {
        self.rejects.with_label_values(&[reject.code()]).inc();
    }

    pub(crate) fn retry(&self, wait: Wait) {
        self.retries.with_label_values(&[wait.word()]).inc();
    }

    pub(crate) fn ended(&self, end: End) {
        self.ends.with_label_values(&[end.word()]).inc();
    }

    pub(crate) fn ahead(&self) {
        self.ahead.inc();
    }

    pub(crate) fn hello(&self) {
        self.hellos.inc();
    }

    pub(crate) fn enrolled(&self) {
        self.enrolled.inc();
    }

    pub(crate) fn suspended(&self) {
        self.suspended.inc();
    }

    pub(crate) fn tick(&self) {
        self.ticks.inc();
    }

    pub(crate) fn set_streams(&self, count: usize) {
        self.streams.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn set_sessions(&self, count: usize) {
        self.sessions.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    pub(crate) fn set_view(&self, devices: usize, age: Duration) {
        self.devices.set(i64::try_from(devices).unwrap_or(i64::MAX));
        self.view_age.set(age.as_secs_f64());
    }
}

fn name(rest: &str) -> String {
    format!("pulseward_ingest_{rest}")
}

fn counter(rest: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    IntCounter::new(name(rest), help)
}

fn gauge(rest: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    IntGauge::new(name(rest), help)
}

fn family(rest: &str, help: &str, label: &str) -> Result<IntCounterVec, prometheus::Error> {
    IntCounterVec::new(Opts::new(name(rest), help), &[label])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_value_is_there_at_zero() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let values = |name: &str| {
            let families = registry.gather();
            let family = families.iter().find(|family| family.name() == name);
            family.unwrap().get_metric().len()
        };
        assert_eq!(values("pulseward_ingest_rejects_total"), Reject::ALL.len());
        assert_eq!(values("pulseward_ingest_retries_total"), Wait::ALL.len());
        assert_eq!(metrics.rejected(Reject::Forked), 0);
    }
}
