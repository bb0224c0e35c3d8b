//! Appends outputs past the end of those that the log has already, each naming its cause and the
//! cause of the one before it.

use std::collections::BTreeSet;

use pulseward_base::{KeyId, Partition};
use pulseward_eventlog::{Body, Cause, Log, LogError, NewEntry, Position, Topic};

use super::patience::Patience;
use crate::{error::Error, metrics::Metrics, output::Output, state::codec::Trail};

/// What was said of each topic of outputs, and what is to be said.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    pub(super) scores: Trail,
    pub(super) alerts: Trail,
    waiting: Vec<(Cause, Output)>,
}

/// Outputs that go into one append at most.
const AT_ONCE: usize = 512;

impl Outbox {
    pub(super) fn new(scores: Trail, alerts: Trail) -> Self {
        Self {
            scores,
            alerts,
            waiting: Vec::new(),
        }
    }

    /// Takes an output, unless the log has it already.
    pub(super) fn take(&mut self, position: Position, output: Output, metrics: &Metrics) {
        let cause = Cause {
            position,
            index: output.index,
        };
        let last = if output.is_alert() {
            self.alerts.last
        } else {
            self.scores.last
        };
        if Some(cause) > last {
            self.waiting.push((cause, output));
        } else {
            metrics.repeated();
        }
    }

    /// Makes all that was taken durable. Returns the keys that were found destroyed.
    pub(super) async fn flush(
        &mut self,
        log: &Log,
        partition: Partition,
        patience: &Patience<'_>,
    ) -> Result<BTreeSet<KeyId>, Error> {
        let mut erased = BTreeSet::new();
        let waiting = std::mem::take(&mut self.waiting);
        for chunk in waiting.chunks(AT_ONCE) {
            let entries = || {
                let mut trails = (self.scores.last, self.alerts.last);
                chunk
                    .iter()
                    .map(|(cause, output)| entry(partition, *cause, output, &mut trails))
                    .collect()
            };
            let appended = patience.insist(|| log.append_all(entries())).await;
            match appended {
                Ok(positions) => {
                    for ((cause, output), position) in chunk.iter().zip(positions) {
                        self.said(*cause, output, position, patience.metrics);
                    }
                }
                Err(Error::Log(LogError::KeyErased)) => {
                    self.one_by_one(chunk, (log, partition), patience, &mut erased)
                        .await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(erased)
    }

    /// Somebody among them was erased: says what can still be said, in the same order.
    async fn one_by_one(
        &mut self,
        chunk: &[(Cause, Output)],
        (log, partition): (&Log, Partition),
        patience: &Patience<'_>,
        erased: &mut BTreeSet<KeyId>,
    ) -> Result<(), Error> {
        for (cause, output) in chunk {
            let entry = || {
                let mut trails = (self.scores.last, self.alerts.last);
                entry(partition, *cause, output, &mut trails)
            };
            match patience.insist(|| log.append(entry())).await {
                Ok(position) => self.said(*cause, output, position, patience.metrics),
                Err(Error::Log(LogError::KeyErased)) => {
                    erased.extend(output.key);
                    patience.metrics.erased();
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn said(
        &mut self,
        cause: Cause,
        output: &Output,
        position: Option<Position>,
        metrics: &Metrics,
    ) {
        let trail = if output.is_alert() {
            &mut self.alerts
        } else {
            &mut self.scores
        };
        trail.last = Some(cause);
        if let Some(position) = position {
            trail.next = position.next().offset;
        }
        match &output.body {
            Body::Alert(alert) => metrics.alerted(alert),
            _ => metrics.scored(),
        }
    }
}

fn entry(
    partition: Partition,
    cause: Cause,
    output: &Output,
    trails: &mut (Option<Cause>, Option<Cause>),
) -> NewEntry {
    let trail = if output.is_alert() {
        &mut trails.1
    } else {
        &mut trails.0
    };
    let previous = trail.replace(cause);
    let entry = match output.key {
        Some(key) => NewEntry::for_patient(output.slot, key, output.body.clone()),
        None => NewEntry::for_log(partition, output.body.clone()),
    };
    entry.caused_by(cause, previous)
}

/// Returns the topics of outputs, with the trail of each.
pub(super) const fn topics(scores: Trail, alerts: Trail) -> [(Topic, Trail); 2] {
    [(Topic::Scores, scores), (Topic::Alerts, alerts)]
}
