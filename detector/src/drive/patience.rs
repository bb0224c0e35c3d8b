//! Waiting for a log or key service that does not answer: it may come back, and nothing may be
//! skipped meanwhile.

use std::future::Future;

use pulseward_eventlog::LogError;
use tokio_util::sync::CancellationToken;

use crate::{error::Error, metrics::Metrics, settings::Drive};

/// How long a log is asked again.
pub(super) struct Patience<'a> {
    pub(super) drive: &'a Drive,
    pub(super) metrics: &'a Metrics,
    pub(super) stop: &'a CancellationToken,
}

impl Patience<'_> {
    /// Does what `ask` asks for, again and again while the log may yet answer.
    pub(super) async fn insist<T, F>(&self, mut ask: impl FnMut() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, LogError>>,
    {
        let mut tries = 0;
        loop {
            match ask().await {
                Ok(answer) => return Ok(answer),
                Err(error) if may_pass(&error) && tries < self.drive.retries => {
                    tries += 1;
                    self.metrics.waited();
                    if tries == 1 {
                        tracing::warn!(%error, "the log does not answer: asking again");
                    }
                    tokio::select! {
                        () = self.stop.cancelled() => return Err(error.into()),
                        () = tokio::time::sleep(self.drive.retry_after) => {}
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Returns whether the log may answer when it is asked again.
pub(super) const fn may_pass(error: &LogError) -> bool {
    matches!(
        error,
        LogError::Full | LogError::KeysUnavailable | LogError::Deadline
    )
}
