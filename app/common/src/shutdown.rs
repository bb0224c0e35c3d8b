//! Ending in order: the first SIGINT or SIGTERM drains, the second ends at once.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code after a second signal, or a drain that outlived its grace.
pub const FORCED: i32 = 1;

/// Returns a token that the first signal cancels. Later signals end the process.
pub fn on_signals() -> anyhow::Result<CancellationToken> {
    let token = CancellationToken::new();
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let cancel = token.clone();
    tokio::spawn(async move {
        for first in [true, false] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            if first {
                tracing::info!("draining");
                cancel.cancel();
            } else {
                tracing::warn!("second signal: ending at once");
                std::process::exit(FORCED);
            }
        }
    });
    Ok(token)
}

/// Waits for `drain`; ends the process when it outlives `grace`.
pub async fn within<T>(grace: Duration, drain: impl Future<Output = T>) -> T {
    tokio::time::timeout(grace, drain)
        .await
        .unwrap_or_else(|_| {
            tracing::warn!("the grace period is over: ending with work undone");
            std::process::exit(FORCED)
        })
}
