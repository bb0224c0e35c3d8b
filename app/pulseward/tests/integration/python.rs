//! Programs in Python, written from the pages in `docs/formats` alone: a device, and a reader of
//! the history.

use std::{
    fs,
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
    ward::{PATIENCE, Ward, eventually, finished, python},
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

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn pyarrow_sees_what_a_grant_covers_and_nothing_else() {
    let Some(python) = python() else { return };
    let ward = Ward::new();
    let _vault = ward.serve();
    let pipeline = ward.up();
    let mut settings = FleetSettings::new(ward.link(), ward.tickets(3));
    settings.interval = Duration::from_millis(100);
    let fleet = Fleet::start(settings, Arc::new(SystemClock::start()));
    eventually("streaming", PATIENCE, || {
        (fleet.snapshot().total.durable >= 30).then_some(())
    });
    let ledgers = fleet.stop(PATIENCE).await;
    let rows: usize = ledgers
        .iter()
        .flat_map(Ledger::acknowledged)
        .map(|e| e.rows)
        .sum();
    eventually("stored", PATIENCE, || {
        ward.metric("pulseward_history_rows_total")
            .filter(|stored| *stored >= rows as f64)
    });

    let key = ward.file("reader.key").display().to_string();
    let reader = "storage/history/python/pulseward_reader.py";
    let made = Command::new(&python)
        .arg("-B")
        .arg(root().join(reader))
        .args(["new-key", &key])
        .output();
    let made = made.unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    let public = String::from_utf8(made.stdout).unwrap();
    let grants = [("whole", "times,values"), ("times", "times")].map(|(name, classes)| {
        let path = ward.file(name).display().to_string();
        let grant = [
            "keys",
            "grant",
            "--reader",
            public.trim(),
            "--classes",
            classes,
            "--out",
            &path,
        ];
        ward.pipeline.tell(&grant);
        path
    });
    let mut forged = fs::read(&grants[1]).unwrap();
    // The bit of the values, in the classes of the times-only grant.
    forged[148 + 1 + 16 + 65] |= 2;
    let forgery = ward.file("forged").display().to_string();
    fs::write(&forgery, forged).unwrap();

    let store = ward
        .pipeline
        .directory
        .join("history")
        .display()
        .to_string();
    let keys = format!("localhost:{}", ward.staff);
    let authority = ward
        .pipeline
        .directory
        .join("tls-ca.pem")
        .display()
        .to_string();
    let root = ward.pipeline.tell(&["root"]);
    let [whole, times] = &grants;
    let arguments = [
        "--store",
        &store,
        "--keys",
        &keys,
        "--ca",
        &authority,
        "--root",
        root.trim(),
        "--reader-key",
        &key,
        "--whole",
        whole,
        "--times",
        times,
        "--forged",
        &forgery,
    ];
    let (is_well, seen) = run(&python, "tests/python/open_history.py", &arguments);
    assert!(is_well, "{seen}");
    assert_eq!(seen["whole"]["rows"], rows, "{seen}");
    assert_eq!(seen["whole"]["values"], rows, "{seen}");
    assert_eq!(seen["times"]["rows"], rows, "{seen}");
    for refused in ["values", "raw"] {
        let said = seen["times"][refused].as_str().unwrap();
        assert!(said.contains("out_of_scope"), "{said}");
    }
    assert!(
        seen["proofs"].as_str().unwrap().contains("out_of_scope"),
        "{seen}"
    );
    assert!(
        seen["forged"]
            .as_str()
            .unwrap()
            .contains("PERMISSION_DENIED"),
        "{seen}"
    );
    assert!(
        seen["other_reader"].as_str().unwrap().contains("refused"),
        "{seen}"
    );
    let without = seen["without"].as_array().unwrap();
    assert!(
        !without.is_empty()
            && without
                .iter()
                .all(|said| said.as_str().unwrap().contains("encrypted")),
        "{seen}"
    );
    pipeline.drain();
    assert!(ward.verified().rows >= rows as u64);
}
