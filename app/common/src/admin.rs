//! The two doors for operators: an HTTP port to look (`/metrics`, `/healthz`, `/readyz`), and a
//! Unix socket, mode 0600, to act: one JSON request a line, one JSON answer a line.

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, extract::State, http::StatusCode, routing::get};
use prometheus::{Registry, TextEncoder};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, UnixListener, UnixStream},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

/// The longest request or answer on the socket.
const LONGEST: u64 = 4 << 20;
/// How many requests the socket serves at once.
const AT_ONCE: usize = 8;
/// How long one request may take to arrive.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether the program takes work: false before it is up and while it drains.
#[derive(Clone, Debug, Default)]
pub struct Ready(Arc<AtomicBool>);

impl Ready {
    /// Says whether the program takes work.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Release);
    }

    /// Returns whether the program takes work.
    #[must_use]
    pub fn is(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Serves the port until `shutdown`.
pub async fn serve_http(
    listener: TcpListener,
    registry: Registry,
    ready: Ready,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let routes = Router::new()
        .route("/metrics", get(metrics).with_state(registry))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(ready));
    axum::serve(listener, routes)
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

async fn metrics(State(registry): State<Registry>) -> Result<String, StatusCode> {
    let families = registry.gather();
    TextEncoder::new()
        .encode_to_string(&families)
        .map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}

async fn readyz(State(ready): State<Ready>) -> (StatusCode, &'static str) {
    if ready.is() {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready\n")
    }
}

/// Answers requests that came over the socket.
pub trait Handler: Send + Sync + 'static {
    /// One request.
    type Request: DeserializeOwned + Send;
    /// Its answer.
    type Answer: Serialize + Send;

    /// Answers one request; an error's text goes back to the caller.
    fn handle(
        &self,
        request: Self::Request,
    ) -> impl Future<Output = anyhow::Result<Self::Answer>> + Send;
}

/// Binds the socket at `path`, replacing one that a dead process left. Nobody but its owner may connect.
pub fn bind_socket(path: &Path) -> anyhow::Result<UnixListener> {
    if path.exists() {
        std::fs::remove_file(path)
            .with_context(|| format!("couldn't replace {}", path.display()))?;
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("couldn't bind {}", path.display()))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves the socket until `shutdown`, at most `AT_ONCE` requests at a time.
pub async fn serve_socket<H: Handler>(
    listener: UnixListener,
    handler: Arc<H>,
    shutdown: CancellationToken,
) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let stream = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "couldn't accept on the admin socket");
                    continue;
                }
            },
        };
        let handler = Arc::clone(&handler);
        tokio::spawn(async move {
            if let Err(error) = answer(stream, &*handler).await {
                tracing::debug!(%error, "an admin request was cut short");
            }
            drop(permit);
        });
    }
}

async fn answer<H: Handler>(stream: UnixStream, handler: &H) -> anyhow::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(LONGEST));
    tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(request) => handler.handle(request).await,
        Err(error) => Err(anyhow::anyhow!("not a request: {error}")),
    };
    let answer = match answer {
        Ok(answer) => serde_json::json!({ "ok": answer }),
        Err(error) => serde_json::json!({ "error": format!("{error:#}") }),
    };
    write.write_all(format!("{answer}\n").as_bytes()).await?;
    Ok(())
}

/// Sends one request to the running program's socket and returns its answer.
pub async fn ask<A: DeserializeOwned>(path: &Path, request: &impl Serialize) -> anyhow::Result<A> {
    let stream = UnixStream::connect(path)
        .await
        .with_context(|| format!("no running program answers at {}", path.display()))?;
    let (read, mut write) = stream.into_split();
    write
        .write_all(format!("{}\n", serde_json::to_string(request)?).as_bytes())
        .await?;
    let mut line = String::new();
    BufReader::new(read.take(LONGEST))
        .read_line(&mut line)
        .await?;
    let mut answer: serde_json::Value = serde_json::from_str(&line).context("a cut answer")?;
    if let Some(error) = answer.get("error").and_then(serde_json::Value::as_str) {
        anyhow::bail!("{error}");
    }
    serde_json::from_value(
        answer
            .get_mut("ok")
            .map(serde_json::Value::take)
            .unwrap_or_default(),
    )
    .context("an answer of another version")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Double;

    impl Handler for Double {
        type Request = u32;
        type Answer = u32;

        async fn handle(&self, request: u32) -> anyhow::Result<u32> {
            request.checked_mul(2).context("too large")
        }
    }

    #[tokio::test]
    async fn a_request_is_answered_and_an_error_comes_back_as_text() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let shutdown = CancellationToken::new();
        let listener = bind_socket(&path).unwrap();
        let server = tokio::spawn(serve_socket(listener, Arc::new(Double), shutdown.clone()));
        assert_eq!(ask::<u32>(&path, &21).await.unwrap(), 42);
        let refused = ask::<u32>(&path, &u32::MAX).await.unwrap_err();
        assert_eq!(refused.to_string(), "too large");
        assert!(ask::<u32>(&path, &"no number").await.is_err());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        shutdown.cancel();
        server.await.unwrap();
    }
}
