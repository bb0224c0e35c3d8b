//! A vault's process, a pipeline's keys, and the commands that a person would type.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread::JoinHandle,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pulseward_app::SystemClock;
use pulseward_base::{AlertId, Clock as _, Kid, Micros, SlipId, bytes};
use pulseward_crypto::{
    certificate::{self, CertificateBytes, Use},
    random,
    sign::SigningKey,
    slips::{SealedHandle, Ticket, TicketSlip, WayBack, WayBackTerms},
};
use serde_json::Value;

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_pulseward-identity");

pub(crate) fn now() -> Micros {
    SystemClock::start().now()
}

pub(crate) fn minutes(count: i64) -> i64 {
    count * 60_000_000
}

/// A pipeline's side of the slips.
pub(crate) struct Pipeline {
    pub(crate) root: SigningKey,
    delivery: SigningKey,
    certificate: CertificateBytes,
}

impl Pipeline {
    pub(crate) fn new() -> Self {
        let root = SigningKey::generate();
        let delivery = SigningKey::generate();
        let certificate = certificate::issue(
            &root,
            Use::Delivery,
            &delivery.point(),
            Micros(now().0 - minutes(60)),
            Micros(now().0 + minutes(60)),
        );
        Self {
            root,
            delivery,
            certificate,
        }
    }

    /// Signs a slip that expires so many minutes from now.
    pub(crate) fn slip(&self, sealed_handle: SealedHandle, expires_in: i64) -> Vec<u8> {
        let terms = WayBackTerms {
            id: SlipId(random::bytes()),
            alert: AlertId(random::bytes()),
            sealed_handle,
            expiry: Micros(now().0 + minutes(expires_in)),
        };
        WayBack::issue(&self.certificate, &self.delivery, &terms)
    }

    pub(crate) fn root_hex(&self) -> String {
        bytes::hex(&self.root.kid().0)
    }
}

/// One vault: a directory, a passphrase, a pipeline that it believes.
pub(crate) struct House {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) pipeline: Pipeline,
    passphrase: String,
}

/// A running vault.
pub(crate) struct Running {
    child: Child,
    /// What it said when it was up.
    pub(crate) said: Value,
    log: Option<JoinHandle<String>>,
}

impl House {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            pipeline: Pipeline::new(),
            passphrase: bytes::hex(&random::bytes::<16>()),
        }
    }

    pub(crate) fn vault(&self) -> PathBuf {
        self.directory.path().join("vault")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command.arg("--directory").arg(self.vault()).args(arguments);
        command
    }

    /// Runs a command that asks the running program.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// As [`House::run`]; it must succeed.
    pub(crate) fn tell(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{arguments:?}: {error}");
        text
    }

    /// As [`House::run`]; it must fail, and says why.
    pub(crate) fn refuse(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} was not refused");
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        let mut child = self
            .command(&["--passphrase-fd", "0"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        writeln!(stdin, "{}", self.passphrase).unwrap();
        child
    }

    pub(crate) fn serve(&self) -> Running {
        let config = self.file("test.toml");
        let text = "[grpc]\naddress = \"127.0.0.1:0\"\n[admin]\naddress = \"127.0.0.1:0\"\nlog = \"debug\"\n";
        std::fs::write(&config, text).unwrap();
        let root = self.pipeline.root_hex();
        let config = config.display().to_string();
        let mut child = self.spawn(&["serve", "--pipeline-root", &root, "--config", &config]);
        let mut stderr = child.stderr.take().unwrap();
        let log = std::thread::spawn(move || {
            let mut log = String::new();
            stderr.read_to_string(&mut log).unwrap();
            log
        });
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let said = serde_json::from_str(&line).unwrap_or_else(|_| {
            panic!("it did not come up: {}", log_of(&mut child));
        });
        Running {
            child,
            said,
            log: Some(log),
        }
    }

    /// Registers made-up persons and returns their tickets, checked.
    pub(crate) fn tickets(&self, running: &Running, count: u32) -> Vec<Ticket> {
        let count = count.to_string();
        let lines = self.tell(&[
            "register",
            "--synthetic",
            &count,
            "--tickets",
            "--project",
            "3",
        ]);
        let check = |line: &str| {
            let slip = STANDARD.decode(line).unwrap();
            TicketSlip::decode(&slip)
                .unwrap()
                .verify(&running.root(), &self.pipeline.root.kid(), now())
                .unwrap()
        };
        lines.lines().map(check).collect()
    }

    /// Adds a clinician and returns the staff file.
    pub(crate) fn clinician(&self) -> String {
        self.clinician_in("staff.json")
    }

    pub(crate) fn clinician_in(&self, file: &str) -> String {
        let path = self.file(file).display().to_string();
        self.tell(&[
            "staff",
            "add",
            "--name",
            "Dr. Vantablack",
            "--role",
            "clinician",
            "--out",
            &path,
        ]);
        path
    }

    /// Writes a slip to a file, base64, and returns where.
    pub(crate) fn keep(&self, name: &str, slip: &[u8]) -> String {
        let path = self.file(name);
        std::fs::write(&path, format!("{}\n", STANDARD.encode(slip))).unwrap();
        path.display().to_string()
    }

    /// Asks over the admin socket; nothing if the program is gone or went meanwhile.
    pub(crate) fn ask(&self, request: &Value) -> Option<Value> {
        ask(&self.vault(), request)
    }
}

pub(crate) fn ask(vault: &Path, request: &Value) -> Option<Value> {
    let mut stream = UnixStream::connect(vault.join("admin.sock")).ok()?;
    writeln!(stream, "{request}").ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    serde_json::from_str::<Value>(&line)
        .ok()?
        .get("ok")
        .cloned()
}

fn log_of(child: &mut Child) -> String {
    let status = child.wait().unwrap();
    format!("{status}")
}

impl Running {
    pub(crate) fn root(&self) -> Kid {
        Kid(bytes::unhex_digest(self.said["root"].as_str().unwrap())
            .unwrap()
            .0)
    }

    /// Reads a page of the admin port.
    pub(crate) fn page(&self, path: &str) -> String {
        let mut stream =
            std::net::TcpStream::connect(self.said["admin"].as_str().unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        page
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends SIGTERM and returns the exit code and all it logged.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().unwrap();
        assert!(sent.success());
        let code = self.child.wait().unwrap().code();
        (code, self.log.take().unwrap().join().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}
