//! The stage: one task per partition follows the log and commits, one task signs the heads.

mod follow;
mod progress;

use std::{sync::Arc, time::Duration};

use pulseward_base::{Clock, Kid, Partition, bytes::Malformed};
use pulseward_custody::FileKeys;
use pulseward_eventlog::Log;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::follow::follow;
pub use self::progress::{Committed, Progress};
use crate::{
    error::HistoryError,
    files::{FilesError, blocking},
    heads::{self, Heads},
    manifest::Signer,
    metrics::Metrics,
    owner::OwnerTools,
    settings::Settings,
    shelf::{Directory, Shelf as _},
};

/// What a history works with.
pub struct HistorianTools {
    /// The log it follows.
    pub log: Log,
    /// Where files get their keys.
    pub keys: Arc<dyn FileKeys>,
    /// Who signs manifests and heads: a key with a certificate of use *history*.
    pub signer: Signer,
    /// The pipeline's root.
    pub root: Kid,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Metrics,
}

/// The history stage.
pub struct Historian {
    log: Log,
    tools: OwnerTools,
    progress: Progress,
}

impl Historian {
    /// Puts a history together; nothing is touched before [`Historian::run`].
    #[must_use]
    pub fn new(settings: Settings, tools: HistorianTools) -> Self {
        let HistorianTools {
            log,
            keys,
            signer,
            root,
            clock,
            metrics,
        } = tools;
        let (signer, settings) = (Arc::new(signer), Arc::new(settings));
        let tools = OwnerTools {
            keys,
            signer,
            root,
            clock,
            settings,
            metrics,
        };
        Self {
            log,
            tools,
            progress: Progress::default(),
        }
    }

    /// Returns where to see how far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Follows `partitions` until `shutdown`, then stores what is in the log by then and commits.
    /// An error of one partition ends all; whatever was not committed is read again next time.
    pub async fn run(
        self,
        partitions: Vec<Partition>,
        shutdown: CancellationToken,
    ) -> Result<(), HistoryError> {
        let mut tasks = JoinSet::new();
        // Of its own, so that a failing task can end the others without ending the program's.
        let stop = shutdown.child_token();
        for partition in partitions {
            let (log, tools) = (self.log.clone(), self.tools.clone());
            let (progress, stop) = (self.progress.clone(), stop.clone());
            tasks.spawn(async move { follow(partition, log, tools, progress, stop).await });
        }
        let (tools, progress, end) = (self.tools.clone(), self.progress.clone(), stop.clone());
        let signing = CancellationToken::new();
        let signed = signing.clone();
        let heads = tokio::spawn(async move { sign_heads(tools, progress, signed).await });
        let (tools, progress, signed) =
            (self.tools.clone(), self.progress.clone(), signing.clone());
        let lag = tokio::spawn(async move { show_lag(&tools, &progress, &signed).await });
        let mut outcome = Ok(());
        while let Some(task) = tasks.join_next().await {
            let ended = task.unwrap_or(Err(HistoryError::Panicked));
            if ended.is_err() {
                end.cancel();
            }
            outcome = outcome.and(ended);
        }
        // The last heads are signed once every partition has made its last commit.
        signing.cancel();
        let heads = heads.await.unwrap_or(Err(HistoryError::Panicked));
        let lag = lag.await.map_err(|_| HistoryError::Panicked);
        outcome.and(heads).and(lag)
    }
}

/// Signs all heads together from time to time, and once more at the end.
async fn sign_heads(
    tools: OwnerTools,
    progress: Progress,
    stop: CancellationToken,
) -> Result<(), HistoryError> {
    let every = tools.settings.heads_every.max(Duration::from_millis(100));
    let mut last = None;
    loop {
        let ended = tokio::select! {
            () = stop.cancelled() => true,
            () = tokio::time::sleep(every) => false,
        };
        let chains: Vec<_> = progress
            .all()
            .values()
            .map(|committed| committed.head)
            .collect();
        if !chains.is_empty() && last.as_ref() != Some(&chains) {
            let heads = Heads {
                time: tools.clock.now(),
                chains: chains.clone(),
            };
            put_heads(&tools, heads.sign(&tools.signer)).await?;
            last = Some(chains);
        }
        if ended {
            return Ok(());
        }
    }
}

/// Shows once a second how far behind the slowest partition is, also while it is busy or stuck.
async fn show_lag(tools: &OwnerTools, progress: &Progress, stop: &CancellationToken) {
    loop {
        tools
            .metrics
            .lag
            .set(progress.lag(tools.clock.monotonic()).as_secs_f64());
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LAG_SHOWN_EVERY) => {}
        }
    }
}

const LAG_SHOWN_EVERY: Duration = Duration::from_secs(1);

/// Where signed heads lie.
pub(crate) const HEADS: &str = "heads";

async fn put_heads(tools: &OwnerTools, bytes: Vec<u8>) -> Result<(), HistoryError> {
    let home = tools.settings.directory.join(HEADS);
    let keep = tools.settings.heads_kept.max(1);
    let work = move || -> Result<(), FilesError> {
        let shelf = Directory::open(&home)?;
        let numbers = heads::numbers(&shelf)?;
        let next = numbers.last().map_or(0, |last| last.saturating_add(1));
        // Two programs that keep different partitions of one directory each sign what they know;
        // whoever finds the number taken signs the next time.
        let _created = shelf.create(&heads::heads_name(next), &bytes)?;
        for old in numbers
            .into_iter()
            .filter(|old| old.saturating_add(keep) <= next)
        {
            shelf.remove(&heads::heads_name(old))?;
        }
        Ok(())
    };
    Ok(blocking(work).await?)
}

impl From<Malformed> for FilesError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}
