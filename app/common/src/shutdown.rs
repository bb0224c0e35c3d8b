//! Ending in order: the first SIGINT or SIGTERM drains, the second ends at once.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code after a second signal, or a drain that outlived its grace.
pub const FORCED: i32 = 1;

/// What a person or a service manager asks of this process.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Cancelled by the first signal: end in order.
    pub drain: CancellationToken,
    /// Cancelled by the second: end at once.
    pub end: CancellationToken,
}

/// Listens to signals.
pub fn listen() -> anyhow::Result<Asked> {
    let asked = Asked {
        drain: CancellationToken::new(),
        end: CancellationToken::new(),
    };
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let cancel = asked.clone();
    tokio::spawn(async move {
        either(&mut interrupt, &mut terminate).await;
        tracing::info!("draining");
        cancel.drain.cancel();
        either(&mut interrupt, &mut terminate).await;
        tracing::warn!("second signal: ending at once");
        cancel.end.cancel();
    });
    Ok(asked)
}

async fn either(one: &mut Signal, other: &mut Signal) {
    tokio::select! {
        _ = one.recv() => {}
        _ = other.recv() => {}
    }
}

/// Returns a token that the first signal cancels. The second ends the process.
pub fn on_signals() -> anyhow::Result<CancellationToken> {
    let Asked { drain, end } = listen()?;
    tokio::spawn(async move {
        end.cancelled().await;
        std::process::exit(FORCED)
    });
    Ok(drain)
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
