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

use super::probe;

/// Where a program's own words go, in its directory.
const LOG: &str = "log.txt";
/// How long a program may take to be ready, or to drain.
const PATIENCE: Duration = Duration::from_secs(30);

/// One of the two programs, with its directory and its passphrase.
pub(super) struct Program {
    binary: PathBuf,
    directory: PathBuf,
    passphrase: Zeroizing<String>,
    running: Option<Child>,
}

impl Program {
    /// Takes the program called `name` that stands beside this one. Its data go to `directory`.
    pub(super) fn beside(name: &str, directory: PathBuf) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("couldn't find this program's own file")?;
        let binary = own.with_file_name(name);
        ensure!(
            binary.exists(),
            "{} is not there: build both programs",
            binary.display()
        );
        let passphrase = Zeroizing::new(hex(&pulseward_crypto::random::bytes::<32>()));
        Ok(Self {
            binary,
            directory,
            passphrase,
            running: None,
        })
    }

    /// Returns its directory.
    #[must_use]
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns its passphrase, for reading its stores once it has ended.
    #[must_use]
    pub(super) fn passphrase(&self) -> &Zeroizing<String> {
        &self.passphrase
    }

    /// Returns how much memory its process has in use, in KiB, while it runs.
    #[must_use]
    pub(super) fn resident_kib(&self) -> Option<u64> {
        let pid = self.running.as_ref().and_then(Child::id)?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))?;
        line.trim().trim_end_matches(" kB").parse().ok()
    }

    /// Runs one of its commands to the end and returns what it printed.
    pub(super) async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut child = self.spawn(arguments, Stdio::piped(), Stdio::piped())?;
        self.hand_over(&mut child).await?;
        let Output {
            status,
            stdout,
            stderr,
        } = tokio::time::timeout(PATIENCE, child.wait_with_output())
            .await
            .context("no end in sight")??;
        if !status.success() {
            let said = String::from_utf8_lossy(&stderr);
            bail!(
                "{} {} failed: {}",
                self.binary.display(),
                arguments.join(" "),
                said.trim()
            );
        }
        Ok(String::from_utf8(stdout)?)
    }

    /// Starts its service and waits until its admin port, on this machine, says that it is ready.
    pub(super) async fn start(
        &mut self,
        arguments: &[&str],
        admin_port: u16,
    ) -> anyhow::Result<()> {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.directory.join(LOG))
            .context("couldn't open the program's log")?;
        let mut child = self.spawn(arguments, Stdio::null(), Stdio::from(log))?;
        self.hand_over(&mut child).await?;
        let up = tokio::time::timeout(PATIENCE, async {
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            while !probe::is_ready(admin_port).await {
                tick.tick().await;
                if let Some(status) = child.try_wait()? {
                    bail!(
                        "{} ended while starting: {status}; see its {LOG}",
                        self.binary.display()
                    );
                }
            }
            Ok(())
        });
        up.await.context("it did not become ready")??;
        self.running = Some(child);
        Ok(())
    }

    /// Ends it as `kill -9` does.
    pub(super) async fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.running.take() {
            child.kill().await.context("couldn't kill it")?;
        }
        Ok(())
    }

    /// Asks it to drain and waits for its end.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        let Some(mut child) = self.running.take() else {
            return Ok(());
        };
        let pid = child
            .id()
            .and_then(|pid| i32::try_from(pid).ok())
            .and_then(rustix::process::Pid::from_raw);
        let Some(pid) = pid else { return Ok(()) };
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)
            .context("couldn't signal it")?;
        let status = tokio::time::timeout(PATIENCE, child.wait())
            .await
            .context("it did not drain")??;
        ensure!(status.success(), "it ended with {status}; see its {LOG}");
        Ok(())
    }

    fn spawn(&self, arguments: &[&str], output: Stdio, errors: Stdio) -> anyhow::Result<Child> {
        Command::new(&self.binary)
            .arg("--directory")
            .arg(&self.directory)
            .args(["--passphrase-fd", "0"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            // Ctrl-C at a terminal reaches the demo alone, which then drains both in their order.
            .process_group(0)
            .spawn()
            .with_context(|| format!("couldn't start {}", self.binary.display()))
    }

    async fn hand_over(&self, child: &mut Child) -> anyhow::Result<()> {
        let mut input = child.stdin.take().context("its standard input is a pipe")?;
        // A command that needs no passphrase may have closed its input already.
        let _closed_early = input
            .write_all(format!("{}\n", self.passphrase.as_str()).as_bytes())
            .await;
        Ok(())
    }
}
