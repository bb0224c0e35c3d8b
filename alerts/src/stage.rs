//! The stage: one task per partition that follows, one that writes deliveries down.

use std::sync::Arc;

use pulseward_base::{Clock, Partition};
use pulseward_eventlog::Log;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    follow::{self, Follow, Parts, Replaying},
    hub::{Delivered, Hub},
    metrics::Metrics,
    service::AlertsService,
    settings::{Settings, Signer},
};

/// Follows the log's alerts and brings them to those who watch.
pub struct AlertStage {
    parts: Parts,
    signer: Arc<Signer>,
    delivered: mpsc::Receiver<Delivered>,
}

/// Deliveries that are written down at once.
const AT_ONCE: usize = 256;

impl AlertStage {
    /// Returns the stage over `log`. `signer` signs the way back.
    #[must_use]
    pub fn new(
        log: Log,
        settings: Settings,
        metrics: Arc<Metrics>,
        clock: Arc<dyn Clock>,
        signer: Signer,
    ) -> Self {
        let settings = Arc::new(settings);
        let (hub, delivered) = Hub::new(Arc::clone(&settings), Arc::clone(&metrics));
        let parts = Parts {
            log,
            hub: Arc::new(hub),
            settings,
            metrics,
            clock,
        };
        Self {
            parts,
            signer: Arc::new(signer),
            delivered,
        }
    }

    /// Returns the gRPC service that streams what the stage follows.
    #[must_use]
    pub fn service(&self) -> AlertsService {
        AlertsService {
            log: self.parts.log.clone(),
            hub: Arc::clone(&self.parts.hub),
            settings: Arc::clone(&self.parts.settings),
            metrics: Arc::clone(&self.parts.metrics),
            clock: Arc::clone(&self.parts.clock),
            signer: Arc::clone(&self.signer),
        }
    }

    /// Follows `partitions` until `shutdown`; then ends all watchers and writes down where it was.
    /// The first partition that fails stops them all.
    pub async fn run(
        self,
        partitions: impl IntoIterator<Item = Partition>,
        shutdown: CancellationToken,
    ) -> Result<(), Error> {
        let stop = shutdown.child_token();
        let mut tasks = JoinSet::new();
        let (replaying, mut replayed) = mpsc::channel(1);
        for partition in partitions {
            let (parts, stop, replaying) = (self.parts.clone(), stop.clone(), replaying.clone());
            tasks.spawn(async move {
                let follow = Follow::open(parts, partition).await?;
                follow.run(replaying, stop).await
            });
        }
        drop(replaying);
        let hub = Arc::clone(&self.parts.hub);
        tasks.spawn(async move {
            // Nobody sends: it ends with the last partition that reads what stood there.
            let _none: Option<Replaying> = replayed.recv().await;
            hub.begin();
            Ok(())
        });
        let (parts, until) = (self.parts.clone(), stop.clone());
        tasks.spawn(async move { write_down(parts, self.delivered, until).await });
        let mut result = Ok(());
        while let Some(ended) = tasks.join_next().await {
            let ended = ended.unwrap_or(Err(Error::Panicked));
            if ended.is_err() {
                stop.cancel();
                result = result.and(ended);
            }
        }
        self.parts.hub.close();
        result
    }
}

async fn write_down(
    parts: Parts,
    mut delivered: mpsc::Receiver<Delivered>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut waiting = Vec::with_capacity(AT_ONCE);
    let mut stopping = false;
    while !stopping {
        tokio::select! {
            biased;
            _ = delivered.recv_many(&mut waiting, AT_ONCE) => {}
            () = stop.cancelled() => {
                delivered.close();
                while let Ok(last) = delivered.try_recv() {
                    waiting.push(last);
                }
                stopping = true;
            }
        }
        follow::write_down(&parts, &waiting).await?;
        waiting.clear();
    }
    Ok(())
}
