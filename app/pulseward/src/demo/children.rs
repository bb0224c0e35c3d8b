//! The two programs as processes of their own. Each gets its passphrase over its standard input;
//! a passphrase is made for one run and lives in this process's memory alone.

use std::{
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use pulseward_base::bytes::hex;
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, Command},
};
use zeroize::Zeroizing;

/// How long a program may take to be ready, or to drain.
const PATIENCE: Duration = Duration::from_secs(30);

/// One of the two programs, with its directory and its passphrase.
pub struct Program {
    binary: PathBuf,
    directory: PathBuf,
    passphrase: Zeroizing<String>,
    running: Option<Child>,
}

impl Program {
    /// Takes the program called `name` that stands beside this one. Its data go to `directory`.
    pub fn beside(name: &str, directory: PathBuf) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("couldn't find this program's own file")?;
        let binary = own.with_file_name(name);
        ensure!(binary.exists(), "{} is not there: build both programs", binary.display());
        let passphrase = Zeroizing::new(hex(&pulseward_crypto::random::bytes::<32>()));
        Ok(Self { binary, directory, passphrase, running: None })
    }

    /// Returns its directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns its passphrase, for reading its stores once it has ended.
    #[must_use]
    pub fn passphrase(&self) -> &Zeroizing<String> {
        &self.passphrase
    }

    /// Returns its process's number while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running.as_ref().and_then(Child::id)
    }

    /// Runs one of its commands to the end and returns what it printed.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut child = self.spawn(arguments, Stdio::piped())?;
        self.hand_over(&mut child).await?;
        let Output { status, stdout, stderr } =
            tokio::time::timeout(PATIENCE, child.wait_with_output()).await.context("no end in sight")??;
        if !status.success() {
            let said = String::from_utf8_lossy(&stderr);
            bail!("{} {} failed: {}", self.binary.display(), arguments.join(" "), said.trim());
        }
        Ok(String::from_utf8(stdout)?)
    }

    /// Starts its service; `ready` is asked until it says yes.
    pub async fn start(&mut self, arguments: &[&str], ready: impl AsyncFn() -> bool) -> anyhow::Result<()> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("log.txt"))
            .context("couldn't open the program's log")?;
        let mut child = self.spawn(arguments, Stdio::from(log))?;
        self.hand_over(&mut child).await?;
        let mut child = self.running.insert(child);
        let up = tokio::time::timeout(PATIENCE, async {
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            while !ready().await {
                tick.tick().await;
                if let Some(status) = child.try_wait()? {
                    bail!("{} ended while starting: {status}; see its log.txt", self.binary.display());
                }
                child = self.running.as_mut().context("it was just started")?;
            }
            Ok(())
        });
        up.await.context("it did not become ready")?
    }

    /// Ends it as `kill -9` does.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.running.take() {
            child.kill().await.context("couldn't kill it")?;
        }
        Ok(())
    }

    /// Asks it to drain and waits for its end.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.running.take() else { return Ok(()) };
        let Some(pid) = child.id() else { return Ok(()) };
        let sent = Command::new("kill").args(["-TERM", &pid.to_string()]).status().await?;
        ensure!(sent.success(), "couldn't signal process {pid}");
        let status = tokio::time::timeout(PATIENCE, child.wait()).await.context("it did not drain")??;
        ensure!(status.success(), "it ended with {status}; see its log.txt");
        Ok(())
    }

    fn spawn(&self, arguments: &[&str], errors: Stdio) -> anyhow::Result<Child> {
        Command::new(&self.binary)
            .args(arguments)
            .args(["--passphrase-fd", "0"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("couldn't start {}", self.binary.display()))
    }

    async fn hand_over(&self, child: &mut Child) -> anyhow::Result<()> {
        let mut input = child.stdin.take().context("its standard input is a pipe")?;
        // A command that needs no passphrase may have closed its input already.
        let _closed_early = input.write_all(format!("{}\n", self.passphrase.as_str()).as_bytes()).await;
        Ok(())
    }
}
