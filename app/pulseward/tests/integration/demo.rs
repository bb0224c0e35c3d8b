//! The demo, as somebody would run it.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::ward::{PIPELINE, eventually, finished, vault_program};

/// The keys of the demo's line, in their order. They are frozen.
const KEYS: [&str; 11] = [
    "devices",
    "batches",
    "readings",
    "accepted",
    "rejected",
    "lost",
    "doubled",
    "attacks",
    "alerts",
    "ack_ms",
    "stored_rows",
];

/// A finished demo.
pub(crate) struct Demo {
    /// Its line of JSON.
    pub(crate) line: Value,
    /// What it logged, a JSON object each.
    pub(crate) log: Vec<Value>,
}

impl Demo {
    /// Runs `demo --json` with more arguments, to the end.
    pub(crate) fn run(arguments: &[&str], patience: Duration) -> Self {
        vault_program();
        let directory = tempfile::tempdir().unwrap();
        let demo = Command::new(PIPELINE)
            .args(["--log-format", "json", "demo", "--json"])
            .args(arguments)
            .env("TMPDIR", directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let Output {
            status,
            stdout,
            stderr,
        } = finished(demo.unwrap(), patience);
        let (printed, log) = (
            String::from_utf8(stdout).unwrap(),
            String::from_utf8(stderr).unwrap(),
        );
        assert!(status.success(), "{status}\n{printed}{log}");
        assert_eq!(printed.lines().count(), 1, "{printed}");
        let left = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(left, 0, "it leaves something behind");
        let json = |line: &str| serde_json::from_str(line).unwrap();
        assert_keys_in_order(&printed);
        Self {
            line: json(&printed),
            log: log.lines().map(json).collect(),
        }
    }

    /// Returns a field of what it logged under `message`, of each time it did.
    pub(crate) fn logged(&self, message: &str, field: &str) -> Vec<f64> {
        let fields = self.log.iter().map(|line| &line["fields"]);
        fields
            .filter(|fields| fields["message"] == message)
            .filter_map(|fields| fields[field].as_f64())
            .collect()
    }

    /// Checks what must hold of every demo.
    pub(crate) fn assert_whole(&self) {
        let line = &self.line;
        assert_eq!((&line["lost"], &line["doubled"]), (&0.into(), &0.into()));
        assert!(line["attacks"]["tried"].as_u64().unwrap() > 100, "{line}");
        assert_eq!(line["attacks"]["tried"], line["attacks"]["refused"]);
        // Every batch was acknowledged, and every reading of it is stored once.
        assert_eq!(line["accepted"], line["batches"], "{line}");
        assert_eq!(line["stored_rows"], line["readings"], "{line}");
        assert!(line["accepted"].as_u64().unwrap() > 20, "{line}");
    }
}

/// Text is compared, since a parsed object forgets its order.
fn assert_keys_in_order(printed: &str) {
    let mut rest = printed;
    for key in KEYS {
        let quoted = format!("\"{key}\":");
        let (_, after) = rest
            .split_once(&quoted)
            .unwrap_or_else(|| panic!("{key} is missing or out of order in {printed}"));
        rest = after;
    }
    let parsed: Value = serde_json::from_str(printed).unwrap();
    assert_eq!(parsed.as_object().unwrap().len(), KEYS.len(), "{printed}");
    let inner = |key: &str| parsed[key].as_object().unwrap().keys().cloned().collect();
    let [attacks, times]: [Vec<String>; 2] = ["attacks", "ack_ms"].map(inner);
    assert_eq!((attacks.len(), times.len()), (2, 2), "{printed}");
}

/// One run carries all the claims, for each costs a quarter of a minute.
#[test]
fn a_demo_loses_nothing_refuses_every_attack_and_alerts_within_20_seconds() {
    let demo = Demo::run(&["--for", "15s"], Duration::from_secs(120));
    demo.assert_whole();
    assert_eq!(demo.line["devices"], 8);
    assert!(demo.line["alerts"].as_u64().unwrap() >= 2, "{}", demo.line);
    assert!(demo.line["rejected"].as_object().unwrap().len() >= 5);
    let first = demo.logged("first alert", "seconds");
    assert!(
        matches!(first[..], [seconds] if seconds <= 20.0),
        "{first:?}"
    );
    let memory = demo.logged("memory", "resident_kib");
    assert_eq!(memory.len(), 2, "one of each program");
    let together: f64 = memory.iter().sum();
    assert!(together <= 120.0 * 1024.0, "{together} KiB");
}

/// A terminal sends Ctrl-C to all processes of its foreground group, not to the demo alone.
#[test]
fn ctrl_c_at_a_terminal_ends_a_demo_in_order_and_leaves_nothing_running() {
    vault_program();
    let directory = tempfile::tempdir().unwrap();
    let demo = Command::new(PIPELINE)
        .args(["demo", "--json"])
        .env("TMPDIR", directory.path())
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let group = Pid::from_child(&demo);
    eventually("both programs", Duration::from_secs(60), || {
        let running = running_in(directory.path());
        let runs = |word: &str| running.iter().any(|line| line.contains(word));
        (runs("\0up\0") && runs("\0serve\0")).then_some(())
    });
    rustix::process::kill_process_group(group, Signal::INT).unwrap();
    let Output {
        status,
        stdout,
        stderr,
    } = finished(demo, Duration::from_secs(60));
    let said = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{status}\n{said}");
    let line: Value = serde_json::from_slice(&stdout).unwrap();
    assert_eq!((&line["lost"], &line["doubled"]), (&0.into(), &0.into()));
    assert_eq!(running_in(directory.path()), Vec::<String>::new());
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
}

/// Returns the command lines of the processes that keep their data below `directory`.
fn running_in(directory: &Path) -> Vec<String> {
    let below = directory.to_str().unwrap();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .filter(|line| line.contains(below))
        .collect()
}

#[test]
fn a_demo_tells_mistakes_of_its_command_line() {
    let cases: [(&[&str], &str); 3] = [
        (&["--devices", "0"], "0 is not in"),
        (&["--for", "soon"], "takes duration"),
        (&["--kafka-replicas", "3"], "--kafka"),
    ];
    for (arguments, expected) in cases {
        let output = Command::new(PIPELINE)
            .arg("demo")
            .args(arguments)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    }
}
