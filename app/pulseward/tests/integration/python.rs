//! Programs in Python, written from the pages in `docs/formats` alone: a device, and a reader of
//! the history.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pulseward_app::SystemClock;
use pulseward_device::{Fleet, FleetSettings, Ledger};
use serde_json::{Value, json};

use crate::{
    house::root,
    ward::{PATIENCE, PIPELINE, Ward, eventually, finished, python},
};

/// Runs a script to its end and returns what it printed, as JSON, and whether it ended well.
fn run(python: &Path, script: &str, arguments: &[&str]) -> (bool, Value) {
    let child = Command::new(python)
        .arg("-B")
        .arg(root().join(script))
        .args(arguments)
        .env("PYTHONPATH", root().join("storage/history/python"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let output = finished(child.unwrap(), 2 * PATIENCE);
    let (said, error) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    let printed = serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{error}"));
    (output.status.success(), printed)
}

#[test]
fn the_device_in_python_keeps_its_own_promises() {
    let Some(python) = python() else { return };
    let tests = Command::new(python)
        .args(["-B", "-m", "unittest"])
        .current_dir(root().join("device/python"))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let output = finished(tests.unwrap(), PATIENCE);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("Ran "), "{said}");
}

#[test]
fn a_device_written_from_the_page_alone_enrols_and_streams() {
    let Some(python) = python() else { return };
    let ward = Ward::new();
    let _vault = ward.serve();
    let pipeline = ward.up();
    let slip = STANDARD.encode(&ward.tickets(1)[0]);
    let endpoint = format!("localhost:{}", ward.devices);
    let authority = ward
        .pipeline
        .directory
        .join("tls-ca.pem")
        .display()
        .to_string();
    let state = ward.file("device.json").display().to_string();
    let stream = |batches: &str| {
        let arguments = [
            "--endpoint",
            &endpoint,
            "--ca",
            &authority,
            "--ticket",
            &slip,
            "--batches",
            batches,
            "--state",
            &state,
        ];
        run(&python, "device/python/pulseward_device.py", &arguments)
    };
    let settled = |sent: u32, durable: u32| json!({"enrolled": true, "sent": sent, "durable": durable, "duplicate": 0, "rejected": 0});
    assert_eq!(stream("20"), (true, settled(20, 20)));
    // The second life of the same device: the same record, the numbers go on.
    assert_eq!(stream("5"), (true, settled(5, 5)));
    pipeline.drain();
    // Two kinds, five readings of each, a batch.
    let verified = ward.verified();
    assert_eq!((verified.batches, verified.unproven), (25, 0));
    assert!(verified.rows >= 250, "{verified:?}");
}

/// Streams from three devices until enough is stored, and returns how many readings that are.
async fn stored_rows(ward: &Ward) -> usize {
    let mut settings = FleetSettings::new(ward.link(), ward.tickets(3));
    settings.interval = Duration::from_millis(100);
    let fleet = Fleet::start(settings, Arc::new(SystemClock::start()));
    eventually("streaming", PATIENCE, || {
        (fleet.snapshot().total.durable >= 30).then_some(())
    });
    let ledgers = fleet.stop(PATIENCE).await;
    let acknowledged = ledgers.iter().flat_map(Ledger::acknowledged);
    let rows: usize = acknowledged.map(|entry| entry.rows).sum();
    eventually("stored", PATIENCE, || {
        let stored = ward.metric("pulseward_history_rows_total")?;
        (stored >= rows as f64).then_some(())
    });
    rows
}

/// A reader of the history: a key of its own, and what it was granted.
struct Reader {
    key: String,
    public: String,
}

impl Reader {
    fn new(python: &Path, ward: &Ward) -> Self {
        let key = ward.file("reader.key").display().to_string();
        let made = Command::new(python)
            .arg("-B")
            .arg(root().join("storage/history/python/pulseward_reader.py"))
            .args(["new-key", &key])
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "{error}");
        let public = String::from_utf8(made.stdout).unwrap();
        Self { key, public }
    }

    /// Has the running pipeline grant it `classes`; returns the grant's file.
    fn granted(&self, ward: &Ward, classes: &str) -> String {
        let path = ward.file(&format!("{classes}.grant")).display().to_string();
        let grant = ["keys", "grant", "--out", &path, "--classes", classes];
        let grant = [&grant[..], &["--reader", self.public.trim()]].concat();
        ward.pipeline.tell(&grant);
        path
    }
}

/// A grant in which somebody set the bit of the values.
fn forged(ward: &Ward, grant: &str) -> String {
    let mut bytes = fs::read(grant).unwrap();
    let classes = 148 + 1 + 16 + 65;
    bytes[classes] |= 2;
    let path = ward.file("forged.grant");
    fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pyarrow_sees_what_a_grant_covers_and_nothing_else() {
    let Some(python) = python() else { return };
    let ward = Ward::new();
    let _vault = ward.serve();
    let pipeline = ward.up();
    let rows = stored_rows(&ward).await;
    let reader = Reader::new(&python, &ward);
    let whole = reader.granted(&ward, "times,values");
    let times = reader.granted(&ward, "times");
    let forged = forged(&ward, &times);
    let at = |name: &str| ward.pipeline.directory.join(name).display().to_string();
    let (store, authority, root) = (
        at("history"),
        at("tls-ca.pem"),
        ward.pipeline.tell(&["root"]),
    );
    let keys = format!("localhost:{}", ward.staff);
    let options = [
        ("--store", &*store),
        ("--keys", &keys),
        ("--ca", &authority),
        ("--root", root.trim()),
        ("--reader-key", &reader.key),
        ("--whole", &whole),
        ("--times", &times),
        ("--forged", &forged),
    ];
    let arguments: Vec<_> = options
        .iter()
        .flat_map(|(name, value)| [*name, *value])
        .collect();
    let (is_well, seen) = run(&python, "tests/python/open_history.py", &arguments);
    assert!(is_well, "{seen}");
    for shown in [
        &seen["whole"]["rows"],
        &seen["whole"]["values"],
        &seen["times"]["rows"],
    ] {
        assert_eq!(*shown, rows, "{seen}");
    }
    let said = |value: &Value, word: &str| {
        let refused = value
            .as_str()
            .is_some_and(|said| said.starts_with("refused") && said.contains(word));
        assert!(refused, "{word} is not in {value}");
    };
    said(&seen["times"]["values"], "out_of_scope");
    said(&seen["times"]["raw"], "out_of_scope");
    said(&seen["proofs"], "out_of_scope");
    said(&seen["forged"], "PERMISSION_DENIED");
    said(&seen["other_reader"], "");
    let without = seen["without"].as_array().unwrap();
    assert!(!without.is_empty());
    without.iter().for_each(|value| said(value, "encrypted"));
    pipeline.drain();
    assert!(ward.verified().rows >= rows as u64);
}

/// Returns what stands between fences of a language in `page`.
fn fenced(page: &str, language: &str) -> String {
    let fence = format!("```{language}\n");
    let (_, rest) = page.split_once(&fence).unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_page_on_reading_works_as_it_stands() {
    let Some(python) = python() else { return };
    let ward = Ward::new();
    let _vault = ward.serve();
    let pipeline = ward.up();
    let rows = stored_rows(&ward).await;
    let page = fs::read_to_string(root().join("docs/READING.md")).unwrap();
    let page = page.replace("localhost:7444", &format!("localhost:{}", ward.staff));
    // Where somebody would stand: the project's files and the pipeline's directory side by side.
    let place = ward.file("reading");
    fs::create_dir(&place).unwrap();
    symlink(root().join("storage"), place.join("storage")).unwrap();
    symlink(&ward.pipeline.directory, place.join("pipeline")).unwrap();
    let own = [python.parent(), Path::new(PIPELINE).parent()].map(|path| path.unwrap().display());
    let path = format!("{}:{}:{}", own[0], own[1], std::env::var("PATH").unwrap());
    let run = |program: &str, argument: &str, words: &str| {
        let child = Command::new(program)
            .args([argument, words])
            .current_dir(&place)
            .env("PATH", &path)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let output = finished(child.unwrap(), 2 * PATIENCE);
        let [said, error] = [output.stdout, output.stderr].map(|s| String::from_utf8(s).unwrap());
        assert!(output.status.success(), "{said}{error}");
        said
    };
    let counted = run("bash", "-ec", &fenced(&page, "sh"));
    assert_eq!(counted.trim().parse(), Ok(rows));
    let table = run("python", "-c", &fenced(&page, "python"));
    assert!(table.contains("heart_rate"), "{table}");
    pipeline.drain();
}
