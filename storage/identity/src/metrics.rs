//! What the vault counts. No label can name anybody.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::error::{Refusal, VaultError};

/// What is counted when nobody was refused.
const DONE: &str = "done";
/// What is counted when the store failed.
const FAILED: &str = "failed";

/// The vault's metrics.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub(crate) persons: IntGauge,
    pub(crate) staff: IntGauge,
    pub(crate) tickets: IntCounter,
    pub(crate) consents: IntCounter,
    way_backs: IntCounterVec,
    second_factors: IntCounterVec,
}

impl Metrics {
    /// Registers them, all at zero.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            persons: IntGauge::new("pulseward_identity_persons", "Persons who are registered.")?,
            staff: IntGauge::new("pulseward_identity_staff_accounts", "Accounts of staff.")?,
            tickets: IntCounter::new(
                "pulseward_identity_tickets_total",
                "Tickets issued since the start.",
            )?,
            consents: IntCounter::new(
                "pulseward_identity_consents_total",
                "Consents written down since the start.",
            )?,
            way_backs: outcomes(
                "pulseward_identity_way_backs_total",
                "Way-back slips since the start, by outcome.",
            )?,
            second_factors: outcomes(
                "pulseward_identity_second_factors_total",
                "Second factors shown since the start, by outcome.",
            )?,
        };
        registry.register(Box::new(metrics.persons.clone()))?;
        registry.register(Box::new(metrics.staff.clone()))?;
        registry.register(Box::new(metrics.tickets.clone()))?;
        registry.register(Box::new(metrics.consents.clone()))?;
        registry.register(Box::new(metrics.way_backs.clone()))?;
        registry.register(Box::new(metrics.second_factors.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn way_back<T>(&self, outcome: &Result<T, VaultError>) {
        self.way_backs.with_label_values(&[word(outcome)]).inc();
    }

    pub(crate) fn second_factor<T>(&self, outcome: &Result<T, VaultError>) {
        self.second_factors
            .with_label_values(&[word(outcome)])
            .inc();
    }
}

fn word<T>(outcome: &Result<T, VaultError>) -> &'static str {
    match outcome {
        Ok(_) => DONE,
        Err(VaultError::Refused(refusal)) => refusal.word(),
        Err(VaultError::Store(_)) => FAILED,
    }
}

fn outcomes(name: &str, help: &str) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(Opts::new(name, help), &["outcome"])?;
    let refusals = Refusal::ALL.iter().map(|refusal| refusal.word());
    for outcome in [DONE, FAILED].into_iter().chain(refusals) {
        counters.with_label_values(&[outcome]).inc_by(0);
    }
    Ok(counters)
}
