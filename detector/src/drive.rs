//! Drives the pure core over the log: one task per partition.
//!
//! The order is what makes a stop harmless: an entry's outputs are durable before any state that
//! holds it, and every patient's state before the partition's record that says so.

mod checkpoint;
mod outbox;
mod partition;
mod patience;
mod takeover;

use std::sync::Arc;

use pulseward_base::{Clock, Partition};
use pulseward_eventlog::Log;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::partition::PartitionTask;
use crate::{error::Error, metrics::Metrics, settings::Settings};

/// The stream stage that watches over patients.
pub struct Detector {
    parts: Parts,
}

/// What every partition's task has.
#[derive(Clone)]
struct Parts {
    log: Log,
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
}

impl Detector {
    /// Returns a detector over `log`. `clock` makes its ticks; nothing is judged by it.
    #[must_use]
    pub fn new(log: Log, settings: Settings, metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        Self {
            parts: Parts {
                log,
                settings: Arc::new(settings),
                metrics,
                clock,
            },
        }
    }

    /// Watches over `partitions` until `shutdown`, then makes their state durable. The first
    /// partition that fails stops them all.
    pub async fn run(
        self,
        partitions: impl IntoIterator<Item = Partition>,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let stop = shutdown.child_token();
        let mut tasks = JoinSet::new();
        for partition in partitions {
            let (parts, stop) = (self.parts.clone(), stop.clone());
            tasks.spawn(async move { PartitionTask::run(parts, partition, stop).await });
        }
        let mut result = Ok(());
        while let Some(ended) = tasks.join_next().await {
            let ended = ended.unwrap_or(Err(Error::Panicked));
            if ended.is_err() {
                stop.cancel();
                result = result.and(ended);
            }
        }
        result
    }
}
