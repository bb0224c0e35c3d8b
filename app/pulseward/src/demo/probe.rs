//! What a program says at its admin port, as Prometheus would ask.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, ensure};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// The longest answer that is read.
const LONGEST: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(2);

/// Returns whether the program at `port` takes work.
pub(super) async fn is_ready(port: u16) -> bool {
    get(port, "/readyz").await.is_ok()
}

/// Returns every metric of the program at `port`: name with labels, and value.
pub(super) async fn metrics(port: u16) -> anyhow::Result<BTreeMap<String, f64>> {
    let text = get(port, "/metrics").await?;
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    Ok(samples
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect())
}

async fn get(port: u16, path: &str) -> anyhow::Result<String> {
    tokio::time::timeout(PATIENCE, async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.take(LONGEST).read_to_string(&mut answer).await?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        ensure!(head.starts_with("HTTP/1.1 200"), "not ready");
        Ok(body.to_owned())
    })
    .await
    .context("no answer in time")?
}
