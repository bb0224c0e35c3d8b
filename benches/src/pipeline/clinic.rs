//! Both programs as a hospital starts them, each with its own directory and passphrase, and
//! introduced to each other. They stand beside this program; without them there is no figure.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use pulseward_base::bytes::hex;
use pulseward_crypto::random;
use pulseward_device::LinkSettings;
use tempfile::TempDir;

use super::timing::now;
use crate::figure::CannotRun;

/// How long anything may take that should take a moment.
const PATIENCE: Duration = Duration::from_secs(30);
/// How often a program is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(1);
/// In what parts of a second Linux tells processor time, on every machine that we run on.
const USER_HZ: u64 = 100;

/// Both programs with their directories, introduced to each other.
pub(crate) struct Clinic {
    pipeline: Program,
    vault: Program,
    pipeline_root: String,
    devices: u16,
    _directory: TempDir,
}

/// Both programs, running.
pub(crate) struct Up {
    pub(crate) pipeline: Running,
    pub(crate) vault: Running,
    pub(crate) pipeline_ready: Duration,
    pub(crate) vault_ready: Duration,
}

impl Clinic {
    /// Has the running vault register so many made-up persons; returns a ticket for each.
    pub(crate) fn tickets(&self, count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
        let count = count.to_string();
        let printed = self
            .vault
            .tell(&["register", "--synthetic", &count, "--tickets"])?;
        let slips = printed.lines().map(|line| STANDARD.decode(line));
        Ok(slips.collect::<Result<_, _>>()?)
    }

    /// Returns where devices find the service.
    pub(crate) fn link(&self) -> anyhow::Result<LinkSettings> {
        let authority = fs::read_to_string(self.pipeline.directory.join("tls-ca.pem"))?;
        Ok(LinkSettings::new(
            format!("https://localhost:{}", self.devices),
            authority,
        ))
    }

    pub(crate) fn new() -> anyhow::Result<Self> {
        let directory = TempDir::with_prefix("figures-")?;
        let vault = Program::new("pulseward-identity", directory.path())?;
        let config = format!(
            "[grpc]\naddress = \"127.0.0.1:{}\"\n[admin]\naddress = \"127.0.0.1:{}\"\n",
            free_port()?,
            vault.admin
        );
        fs::write(vault.directory.join("identity.toml"), config)?;
        let vault_root = vault.tell(&["init"])?;
        let pipeline = Program::new("pulseward", directory.path())?;
        let devices = free_port()?;
        let config = format!(
            "vault_root = \"{}\"\n[listen]\ndevices = \"127.0.0.1:{}\"\nstaff = \"127.0.0.1:{}\"\nadmin = \"127.0.0.1:{}\"\n",
            vault_root.trim(),
            devices,
            free_port()?,
            pipeline.admin
        );
        fs::write(pipeline.directory.join("pulseward.toml"), config)?;
        pipeline.tell(&["init"])?;
        Ok(Self {
            pipeline_root: pipeline.tell(&["root"])?.trim().to_owned(),
            pipeline,
            vault,
            devices,
            _directory: directory,
        })
    }

    pub(crate) fn start(&self) -> anyhow::Result<Up> {
        let began = now();
        let mut pipeline = self.pipeline.spawn(&["up"])?;
        let mut vault = self
            .vault
            .spawn(&["serve", "--pipeline-root", &self.pipeline_root])?;
        let (mut pipeline_ready, mut vault_ready) = (None, None);
        loop {
            for (program, running, ready) in [
                (&self.pipeline, &mut pipeline, &mut pipeline_ready),
                (&self.vault, &mut vault, &mut vault_ready),
            ] {
                running.still_runs(began)?;
                if ready.is_none() && is_ready(program.admin) {
                    *ready = Some(began.elapsed());
                }
            }
            if let (Some(pipeline_ready), Some(vault_ready)) = (pipeline_ready, vault_ready) {
                return Ok(Up {
                    pipeline,
                    vault,
                    pipeline_ready,
                    vault_ready,
                });
            }
            wait(ASK_EVERY);
        }
    }
}

/// One of the two programs.
struct Program {
    binary: PathBuf,
    directory: PathBuf,
    passphrase: String,
    admin: u16,
}

impl Program {
    fn new(name: &str, beside: &Path) -> anyhow::Result<Self> {
        let binary = std::env::current_exe()?.with_file_name(name);
        if !binary.exists() {
            let build =
                format!("{name} is not beside this program: cargo build --release -p {name}");
            bail!(CannotRun(build));
        }
        let directory = beside.join(name);
        fs::create_dir_all(&directory)?;
        Ok(Self {
            binary,
            directory,
            passphrase: hex(&random::bytes::<32>()),
            admin: free_port()?,
        })
    }

    fn spawn(&self, arguments: &[&str]) -> anyhow::Result<Running> {
        let words = self.directory.join("words.txt");
        let file = File::options().create(true).append(true).open(&words)?;
        let child = self
            .command(arguments)
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()?;
        let mut running = Running { child, words };
        let mut input = running.child.stdin.take().context("its input is piped")?;
        writeln!(input, "{}", self.passphrase)?;
        Ok(running)
    }

    /// Runs a command to its end and returns what it printed.
    fn tell(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.command(arguments);
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(mut input) = child.stdin.take() {
            // A command that needs no passphrase may have closed its input already.
            let _closed_early = writeln!(input, "{}", self.passphrase);
        }
        let output = child.wait_with_output()?;
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{arguments:?}: {words}");
        Ok(String::from_utf8(output.stdout)?)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--directory").arg(&self.directory);
        command.args(["--passphrase-fd", "0"]).args(arguments);
        command.stdin(Stdio::piped());
        command
    }
}

/// A program that ends with the measurement.
pub(crate) struct Running {
    child: Child,
    words: PathBuf,
}

impl Running {
    /// Returns how much of it is in memory, in KiB.
    pub(crate) fn resident_kib(&self) -> anyhow::Result<f64> {
        resident_kib(&self.child.id().to_string())
    }

    /// Returns how much of the processor it has taken since it began.
    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))?;
        // The program's name, in brackets, may hold anything.
        let (_, fields) = stat.rsplit_once(')').context("a process has a name")?;
        let mut ticks = fields.split_whitespace().skip(11).take(2);
        let mut next = || anyhow::Ok(ticks.next().context("it has times")?.parse::<u64>()?);
        let ticks = next()? + next()?;
        Ok(Duration::from_millis(ticks * 1_000 / USER_HZ))
    }

    fn still_runs(&mut self, began: Instant) -> anyhow::Result<()> {
        let ended = self.child.try_wait()?;
        if ended.is_none() && began.elapsed() < PATIENCE {
            return Ok(());
        }
        let words = fs::read_to_string(&self.words).unwrap_or_default();
        bail!("not ready in {PATIENCE:?}, or ended ({ended:?}):\n{words}")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Returns how much of a process is in memory, in KiB: by its number, or `self`.
pub(crate) fn resident_kib(process: &str) -> anyhow::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"))
        .context("the system says how much memory a process holds")?;
    Ok(kibibytes.trim().parse::<f64>()?)
}

fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /readyz HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.split(' ').nth(1) == Some("200"))
    };
    ask().unwrap_or(false)
}

/// Returns a port that was free a moment ago.
fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Ok(listener.local_addr()?.port())
}

#[expect(clippy::disallowed_methods, reason = "other processes are waited for")]
pub(crate) fn wait(time: Duration) {
    thread::sleep(time);
}
