//! How soon both programs take work after their start, and how much memory they hold when idle.
//!
//! The programs that stand beside this one are started as a hospital starts them, each with its own
//! directory and passphrase, both at once, again and again. Without them there is no figure.

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
use pulseward_base::bytes::hex;
use pulseward_crypto::random;
use tempfile::TempDir;

use super::timing::{median, now};
use crate::figure::{CannotRun, Figure, Lines, Target};

const STARTS: usize = 7;
/// How long anything may take that should take a moment.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long both run before their memory counts as idle.
const IDLE: Duration = Duration::from_secs(5);
/// How often a program is asked whether it is ready.
const ASK_EVERY: Duration = Duration::from_millis(1);
const MIB: f64 = 1024.0;

/// From start to ready, of the slower of the two.
pub(crate) fn time() -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let clinic = Clinic::new()?;
    let mut slower = Vec::new();
    for _ in 0..STARTS {
        let up = clinic.start()?;
        slower.push(up.vault_ready.max(up.pipeline_ready).as_secs_f64());
        let millis = |ready: Duration| ready.as_millis();
        lines.say(format!(
            "pipeline {:5} ms, vault {:5} ms",
            millis(up.pipeline_ready),
            millis(up.vault_ready)
        ));
    }
    let figure = Figure::new(
        "start",
        "s from start to ready, the slower of both programs",
        median(slower),
        0.0,
        Target::AtMost(1.0),
    );
    Ok(figure.with_lines(lines.into_vec()))
}

/// What both hold in memory when nothing happens.
pub(crate) fn memory() -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let clinic = Clinic::new()?;
    let up = clinic.start()?;
    wait(IDLE);
    let (pipeline, vault) = (resident(&up.pipeline)?, resident(&up.vault)?);
    lines.say(format!(
        "pipeline {pipeline:.1} MiB, vault {vault:.1} MiB, {IDLE:?} after both were ready"
    ));
    let figure = Figure::new(
        "memory",
        "MiB resident, both programs idle",
        pipeline + vault,
        0.0,
        Target::AtMost(120.0),
    );
    Ok(figure.with_lines(lines.into_vec()))
}

/// Both programs with their directories, introduced to each other.
struct Clinic {
    pipeline: Program,
    vault: Program,
    pipeline_root: String,
    _directory: TempDir,
}

struct Up {
    pipeline: Running,
    vault: Running,
    pipeline_ready: Duration,
    vault_ready: Duration,
}

impl Clinic {
    fn new() -> anyhow::Result<Self> {
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
        let config = format!(
            "vault_root = \"{}\"\n[listen]\ndevices = \"127.0.0.1:{}\"\nstaff = \"127.0.0.1:{}\"\nadmin = \"127.0.0.1:{}\"\n",
            vault_root.trim(),
            free_port()?,
            free_port()?,
            pipeline.admin
        );
        fs::write(pipeline.directory.join("pulseward.toml"), config)?;
        pipeline.tell(&["init"])?;
        Ok(Self {
            pipeline_root: pipeline.tell(&["root"])?.trim().to_owned(),
            pipeline,
            vault,
            _directory: directory,
        })
    }

    fn start(&self) -> anyhow::Result<Up> {
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
struct Running {
    child: Child,
    words: PathBuf,
}

impl Running {
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

/// Returns how much of a program is in memory, in MiB.
fn resident(running: &Running) -> anyhow::Result<f64> {
    Ok(resident_kib(&running.child.id().to_string())? / MIB)
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
fn wait(time: Duration) {
    thread::sleep(time);
}
