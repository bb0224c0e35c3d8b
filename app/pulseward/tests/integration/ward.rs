//! A ward for one test: both programs as real processes, each with its directory, its passphrase
//! and its ports, all of them made for this test and gone with it.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pulseward_base::bytes::hex;
use pulseward_crypto::random;
use pulseward_device::LinkSettings;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// The pipeline's program.
pub(crate) const PIPELINE: &str = env!("CARGO_BIN_EXE_pulseward");
/// How long anything may take here that should take a moment.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the vault's program, which stands beside the pipeline's.
pub(crate) fn vault_program() -> PathBuf {
    let path = Path::new(PIPELINE).with_file_name("pulseward-identity");
    assert!(
        path.exists(),
        "{} is not there: cargo build -p pulseward-identity",
        path.display()
    );
    path
}

/// Looks again and again until there is something to return.
pub(crate) fn eventually<T>(
    what: &str,
    patience: Duration,
    mut look: impl FnMut() -> Option<T>,
) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "in {patience:?}: not {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Returns whether whoever runs the tests has no `tool` and says so: `PULSEWARD_WITHOUT` names it.
pub(crate) fn left_out(tool: &str) -> bool {
    let without = std::env::var("PULSEWARD_WITHOUT").unwrap_or_default();
    let is_left_out = without
        .split([',', ' '])
        .any(|word| word.eq_ignore_ascii_case(tool));
    if is_left_out {
        println!("NOT RUN: {tool} is left out by PULSEWARD_WITHOUT");
    }
    is_left_out
}

/// Returns the Python that `./check --install` sets up, or nothing when it is left out.
pub(crate) fn python() -> Option<PathBuf> {
    if left_out("python") {
        return None;
    }
    let usual = crate::house::root().join("target/venv/bin/python");
    let path = std::env::var_os("PULSEWARD_PYTHON").map_or(usual, PathBuf::from);
    assert!(
        path.exists(),
        "{} is not there: ./check --install",
        path.display()
    );
    Some(path)
}

/// Returns `N` ports that are free now. They lie below those that systems give to outgoing
/// connections, so that a client which dials a dead service does not come to sit on its port.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [low, high] = random::bytes::<2>();
    let begin = 12_000 + u16::from_le_bytes([low, high]) % 16_000;
    // Tests of one process never share a port; those of others are told apart by chance and by asking.
    let _first = NEXT.compare_exchange(0, begin, Ordering::Relaxed, Ordering::Relaxed);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    std::array::from_fn(|_| {
        std::iter::repeat_with(|| NEXT.fetch_add(1, Ordering::Relaxed))
            .find(is_free)
            .expect("one is free")
    })
}

/// One of the two programs, with its directory and its passphrase.
pub(crate) struct Program {
    binary: PathBuf,
    /// Where its data lie.
    pub(crate) directory: PathBuf,
    passphrase: String,
}

impl Program {
    fn new(binary: PathBuf, directory: PathBuf) -> Self {
        fs::create_dir_all(&directory).unwrap();
        let passphrase = hex(&random::bytes::<32>());
        Self {
            binary,
            directory,
            passphrase,
        }
    }

    /// Returns its passphrase, for opening its stores once it has ended.
    pub(crate) fn passphrase(&self) -> &str {
        &self.passphrase
    }

    /// Returns where its own words go.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("log.txt")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--directory").arg(&self.directory);
        command.args(["--passphrase-fd", "0"]).args(arguments);
        command
    }

    fn spawn(&self, command: &mut Command, passphrase: &str) -> Child {
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        // A command that needs no passphrase may have closed its input already.
        let _closed_early = writeln!(input, "{passphrase}");
        child
    }

    /// Runs one of its commands to the end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.run_with(arguments, &self.passphrase)
    }

    /// As [`Program::run`], with another passphrase.
    pub(crate) fn run_with(&self, arguments: &[&str], passphrase: &str) -> Output {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        finished(self.spawn(&mut command, passphrase), PATIENCE)
    }

    /// As [`Program::run`]; it must succeed.
    pub(crate) fn tell(&self, arguments: &[&str]) -> String {
        let Output {
            status,
            stdout,
            stderr,
        } = self.run(arguments);
        let (said, error) = (
            String::from_utf8(stdout).unwrap(),
            String::from_utf8_lossy(&stderr),
        );
        assert!(status.success(), "{arguments:?}: {said}{error}");
        said
    }

    /// As [`Program::run`]; it must fail, and says why.
    pub(crate) fn refuse(&self, arguments: &[&str]) -> String {
        let Output { status, stderr, .. } = self.run(arguments);
        assert!(!status.success(), "{arguments:?} was not refused");
        String::from_utf8(stderr).unwrap()
    }

    /// Starts its service, and waits for nothing.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let log = File::options().create(true).append(true).open(self.log());
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(log.unwrap());
        Running {
            child: self.spawn(&mut command, &self.passphrase),
            log: self.log(),
        }
    }
}

/// A service that runs. It ends with the test, at the latest.
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Waits until the admin port says that it takes work.
    pub(crate) fn ready(mut self, port: u16) -> Self {
        eventually("ready", PATIENCE, || {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", self.said());
            page(port, "/readyz")
        });
        self
    }

    /// Returns what it said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Waits for its end.
    pub(crate) fn ended(&mut self, patience: Duration) -> ExitStatus {
        eventually("ended", patience, || self.child.try_wait().unwrap())
    }

    /// Asks it to drain, as an init system does; it must end well.
    pub(crate) fn drain(mut self) {
        self.signal(Signal::TERM);
        let status = self.ended(PATIENCE);
        assert!(status.success(), "{status}\n{}", self.said());
    }

    /// Ends it as a power cut does.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Waits for the end of a process whose output is piped, and returns what it printed.
pub(crate) fn finished(mut child: Child, patience: Duration) -> Output {
    let mut readers = [None, None];
    let pipes: [Option<Box<dyn std::io::Read + Send>>; 2] = [
        child.stdout.take().map(|pipe| Box::new(pipe) as _),
        child.stderr.take().map(|pipe| Box::new(pipe) as _),
    ];
    for (reader, pipe) in readers.iter_mut().zip(pipes) {
        *reader = pipe.map(|mut pipe| {
            std::thread::spawn(move || {
                let mut read = Vec::new();
                pipe.read_to_end(&mut read).unwrap();
                read
            })
        });
    }
    let deadline = Instant::now() + patience;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            break child.wait().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let [stdout, stderr] =
        readers.map(|reader| reader.map_or_else(Vec::new, |reader| reader.join().unwrap()));
    Output {
        status,
        stdout,
        stderr,
    }
}

/// Returns a page of an admin port, or nothing when it says no.
pub(crate) fn page(port: u16, path: &str) -> Option<String> {
    let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    // In HTTP/1.0 an answer comes in one piece.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?;
    (status == "200").then(|| body.to_owned())
}

/// Both programs, introduced to each other.
pub(crate) struct Ward {
    directory: TempDir,
    /// The pipeline.
    pub(crate) pipeline: Program,
    /// The vault.
    pub(crate) vault: Program,
    /// Where devices connect.
    pub(crate) devices: u16,
    /// Where staff connects.
    pub(crate) staff: u16,
    /// Where the pipeline is looked at.
    pub(crate) admin: u16,
    /// Where the vault's clients connect.
    pub(crate) vault_grpc: u16,
    /// Where the vault is looked at.
    pub(crate) vault_admin: u16,
}

impl Ward {
    /// Makes both programs' directories, configurations and keys.
    pub(crate) fn new() -> Self {
        Self::with("")
    }

    /// As [`Ward::new`], with more in the pipeline's configuration.
    pub(crate) fn with(more: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let pipeline = Program::new(PIPELINE.into(), at("pipeline"));
        let vault = Program::new(vault_program(), at("vault"));
        let [devices, staff, admin, vault_grpc, vault_admin] = free_ports();
        let vault_config = format!(
            "[grpc]\naddress = \"127.0.0.1:{vault_grpc}\"\n[admin]\naddress = \"127.0.0.1:{vault_admin}\"\n"
        );
        fs::write(vault.directory.join("identity.toml"), vault_config).unwrap();
        let vault_root = vault.tell(&["init"]);
        let config = format!(
            "vault_root = \"{}\"\n[listen]\ndevices = \"127.0.0.1:{devices}\"\nstaff = \"127.0.0.1:{staff}\"\n\
             admin = \"127.0.0.1:{admin}\"\n[log]\nmax_size = \"512MiB\"\nsegment = \"16MiB\"\n\
             [history]\ncommit_after = \"1s\"\n{more}",
            vault_root.trim()
        );
        fs::write(pipeline.directory.join("pulseward.toml"), config).unwrap();
        pipeline.tell(&["init"]);
        Self {
            directory,
            pipeline,
            vault,
            devices,
            staff,
            admin,
            vault_grpc,
            vault_admin,
        }
    }

    /// Returns the path of a file of this test, outside both programs' directories.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts the pipeline and waits until it takes work.
    pub(crate) fn up(&self) -> Running {
        self.pipeline.start(&["up"]).ready(self.admin)
    }

    /// Starts the vault and waits until it takes work.
    pub(crate) fn serve(&self) -> Running {
        let root = self.pipeline.tell(&["root"]);
        let vault = self.vault.start(&["serve", "--pipeline-root", root.trim()]);
        vault.ready(self.vault_admin)
    }

    /// Registers made-up persons and returns a ticket slip for each. The vault must run.
    pub(crate) fn tickets(&self, count: usize) -> Vec<Vec<u8>> {
        let count = count.to_string();
        let printed = self
            .vault
            .tell(&["register", "--synthetic", &count, "--tickets"]);
        decoded(&printed)
    }

    /// Returns where devices find the pipeline.
    pub(crate) fn link(&self) -> LinkSettings {
        let authority = fs::read_to_string(self.pipeline.directory.join("tls-ca.pem")).unwrap();
        LinkSettings::new(format!("https://localhost:{}", self.devices), authority)
    }

    /// Lets both programs log all they can.
    pub(crate) fn talk_much(&self) {
        let edit = |program: &Program, name: &str, change: &dyn Fn(String) -> String| {
            let path = program.directory.join(name);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, change(text)).unwrap();
        };
        let top = |text| format!("log_filter = \"trace\"\n{text}");
        edit(&self.pipeline, "pulseward.toml", &top);
        // The section of the vault's log is the last of its file.
        let end = |text| format!("{text}log = \"trace\"\n");
        edit(&self.vault, "identity.toml", &end);
    }

    /// Returns one sample of the pipeline's metrics, by its name with labels.
    pub(crate) fn metric(&self, name: &str) -> Option<f64> {
        let metrics = page(self.admin, "/metrics")?;
        let mut samples = metrics.lines().filter_map(|line| line.rsplit_once(' '));
        samples.find_map(|(found, value)| (found == name).then(|| value.parse().unwrap()))
    }

    /// Waits until the detector has taken in the whole feed.
    pub(crate) fn caught_up(&self) {
        eventually("caught up", PATIENCE, || {
            self.metric("pulseward_detector_lag_entries")
                .filter(|lag| *lag <= 0.0)
        });
    }

    /// Proves the history, with the pipeline ended, and returns what was found.
    pub(crate) fn verified(&self) -> Verified {
        let said = self.pipeline.tell(&["verify"]);
        let numbers: Vec<u64> = said
            .split(|letter: char| !letter.is_ascii_digit())
            .filter_map(|word| word.parse().ok())
            .collect();
        let [rows, _files, _manifests, batches, unproven, ..] = numbers[..] else {
            panic!("verify says {said}");
        };
        Verified {
            rows,
            batches,
            unproven,
        }
    }
}

/// What `verify` found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verified {
    /// Rows of all tables.
    pub(crate) rows: u64,
    /// Batches whose signature holds.
    pub(crate) batches: u64,
    /// Batches that nothing proves.
    pub(crate) unproven: u64,
}

/// Returns slips printed as base64, a line each.
pub(crate) fn decoded(printed: &str) -> Vec<Vec<u8>> {
    printed
        .lines()
        .map(|line| STANDARD.decode(line).unwrap())
        .collect()
}
