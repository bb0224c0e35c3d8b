//! What the registry counts.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// The registry's metrics, every label value at zero from the start.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) patients: IntGauge,
    pub(crate) erasures: IntCounter,
    pub(crate) admissions: Admissions,
    pub(crate) unwraps: Unwraps,
}

/// Admissions by what came of them.
#[derive(Clone, Debug)]
pub(crate) struct Admissions {
    pub(crate) new: IntCounter,
    pub(crate) again: IntCounter,
    pub(crate) reused: IntCounter,
    pub(crate) full: IntCounter,
    pub(crate) refused: IntCounter,
}

/// Keys asked for by readers, by what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Unwraps {
    pub(crate) given: IntCounter,
    pub(crate) erased: IntCounter,
    pub(crate) out_of_scope: IntCounter,
    pub(crate) malformed: IntCounter,
    pub(crate) bad_grant: IntCounter,
    pub(crate) over_limit: IntCounter,
}

impl Metrics {
    /// Registers the metrics.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str| -> prometheus::Result<IntCounterVec> {
            let counters = IntCounterVec::new(Opts::new(name, help), &["outcome"])?;
            registry.register(Box::new(counters.clone()))?;
            Ok(counters)
        };
        let admissions = counters(
            "pulseward_keys_admissions_total",
            "Wishes to be admitted, by outcome",
        )?;
        let unwraps = counters(
            "pulseward_keys_unwraps_total",
            "File keys asked for by readers, by outcome",
        )?;
        let patients = IntGauge::new("pulseward_keys_patients", "Patients that have a key")?;
        registry.register(Box::new(patients.clone()))?;
        let erasures =
            IntCounter::new("pulseward_keys_erasures_total", "Patients' keys destroyed")?;
        registry.register(Box::new(erasures.clone()))?;
        Ok(Self {
            patients,
            erasures,
            admissions: Admissions {
                new: admissions.with_label_values(&["new"]),
                again: admissions.with_label_values(&["again"]),
                reused: admissions.with_label_values(&["reused"]),
                full: admissions.with_label_values(&["full"]),
                refused: admissions.with_label_values(&["refused"]),
            },
            unwraps: Unwraps {
                given: unwraps.with_label_values(&["given"]),
                erased: unwraps.with_label_values(&["erased"]),
                out_of_scope: unwraps.with_label_values(&["out_of_scope"]),
                malformed: unwraps.with_label_values(&["malformed"]),
                bad_grant: unwraps.with_label_values(&["bad_grant"]),
                over_limit: unwraps.with_label_values(&["over_limit"]),
            },
        })
    }
}
