//! Start, status, mistakes and the end of the pipeline's process.

use std::{
    fs,
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use pulseward_app::SystemClock;
use pulseward_device::{Fleet, FleetSettings, Ledger};
use rustix::process::Signal;
use serde_json::Value;
use tonic::{
    Request, Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

use crate::{
    kills::reconciled,
    ward::{PATIENCE, Ward, eventually},
};

/// The grace that the configuration has when it says nothing.
const GRACE: Duration = Duration::from_secs(20);

fn fleet(ward: &Ward, devices: usize) -> Fleet {
    let mut settings = FleetSettings::new(ward.link(), ward.tickets(devices));
    settings.interval = Duration::from_millis(20);
    settings.longest_wait = Duration::from_millis(200);
    Fleet::start(settings, Arc::new(SystemClock::start()))
}

fn wait_for_batches(fleet: &Fleet, count: u64) {
    eventually("acknowledged", PATIENCE, || {
        (fleet.snapshot().total.durable >= count).then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sigterm_and_sigint_drain_within_the_grace_and_what_was_acknowledged_is_there() {
    let ward = Ward::new();
    let _vault = ward.serve();
    let mut pipeline = ward.up();
    let fleet = fleet(&ward, 3);
    for (signal, enough) in [(Signal::TERM, 30), (Signal::INT, 90)] {
        wait_for_batches(&fleet, enough);
        let began = Instant::now();
        pipeline.signal(signal);
        let status = pipeline.ended(GRACE);
        assert!(status.success(), "{status}\n{}", pipeline.said());
        println!("{signal:?}: drained in {:?}", began.elapsed());
        pipeline = ward.up();
    }
    // The devices go on where they were; the end of this life is held against all their ledgers.
    let ledgers = fleet.stop(PATIENCE).await;
    pipeline.signal(Signal::TERM);
    assert!(pipeline.ended(GRACE).success());
    let acknowledged: usize = ledgers.iter().map(|l| l.acknowledged().count()).sum();
    assert!(acknowledged >= 90, "{acknowledged}");
    let found = reconciled(&ward, &ledgers).await;
    assert_eq!((found.lost, found.doubled, found.foreign), (0, 0, 0));
    assert!(found.verified);
}

/// No device helps here: what was acknowledged before the signal is all there is.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_acknowledged_before_sigterm_is_in_the_history_after_it() {
    // A commit is not due for long: only the drain can bring the rows into files.
    let ward = Ward::with("commit_rows = 131072\n[detector]\ndevice_silence = \"30s\"\n");
    let config = ward.pipeline.directory.join("pulseward.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &config,
        text.replace("commit_after = \"1s\"", "commit_after = \"10min\""),
    )
    .unwrap();
    let _vault = ward.serve();
    let pipeline = ward.up();
    let fleet = fleet(&ward, 2);
    wait_for_batches(&fleet, 20);
    let ledgers = fleet.stop(PATIENCE).await;
    pipeline.drain();
    let acknowledged: usize = ledgers.iter().map(|l| l.acknowledged().count()).sum();
    let rows: usize = ledgers
        .iter()
        .flat_map(Ledger::acknowledged)
        .map(|e| e.rows)
        .sum();
    let verified = ward.verified();
    assert_eq!(
        (verified.batches, verified.unproven),
        (acknowledged as u64, 0)
    );
    assert!(
        verified.rows >= rows as u64,
        "{verified:?}, {rows} readings"
    );
}

/// A load balancer that watches a service's health, over its door for clients.
async fn watch_health(authority_pem: &str, port: u16) -> Streaming<HealthCheckResponse> {
    let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority_pem));
    let endpoint = Endpoint::from_shared(format!("https://localhost:{port}"))
        .unwrap()
        .tls_config(tls);
    let channel: Channel = endpoint.unwrap().connect().await.unwrap();
    let service = String::new();
    let request = Request::new(HealthCheckRequest { service });
    let mut watching = HealthClient::new(channel)
        .watch(request)
        .await
        .unwrap()
        .into_inner();
    assert!(watching.message().await.unwrap().is_some());
    watching
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_peer_that_holds_a_stream_open_does_not_spoil_the_drain() {
    let ward = Ward::new();
    let (vault, pipeline) = (ward.serve(), ward.up());
    let staff = ward.file("staff.json").display().to_string();
    let add = ["staff", "add", "--name", "Somebody", "--role", "clinician"];
    ward.vault.tell(&[&add[..], &["--out", &staff]].concat());
    let staff: Value = serde_json::from_slice(&fs::read(staff).unwrap()).unwrap();
    let of_vault = staff["authority"].as_str().unwrap().to_owned();
    for (mut program, authority, port) in [
        (pipeline, ward.link().authority_pem, ward.devices),
        (vault, of_vault, ward.vault_grpc),
    ] {
        let _watching = watch_health(&authority, port).await;
        program.signal(Signal::TERM);
        let status = program.ended(GRACE);
        assert!(status.success(), "{status}\n{}", program.said());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_second_signal_ends_the_process_at_once_with_another_code() {
    let ward = Ward::new();
    let mut pipeline = ward.up();
    let _watching = watch_health(&ward.link().authority_pem, ward.devices).await;
    pipeline.signal(Signal::TERM);
    eventually("draining", PATIENCE, || {
        pipeline.said().contains("draining").then_some(())
    });
    let said = ward.pipeline.run(&["status"]);
    assert!(!said.status.success(), "it drains");
    let began = Instant::now();
    pipeline.signal(Signal::INT);
    let status = pipeline.ended(PATIENCE);
    assert_eq!(status.code(), Some(1), "{}", pipeline.said());
    assert!(
        began.elapsed() < Duration::from_secs(1),
        "{:?}",
        began.elapsed()
    );
    assert!(pipeline.said().contains("second signal"));
}

#[test]
fn status_says_that_nothing_is_wrong_and_fails_when_nobody_answers() {
    let ward = Ward::new();
    let refused = ward.pipeline.refuse(&["status"]);
    assert!(refused.contains("no running program answers"), "{refused}");
    let pipeline = ward.up();
    let said = eventually("well", PATIENCE, || {
        let output = ward.pipeline.run(&["status"]);
        output.status.success().then_some(output.stdout)
    });
    let said = String::from_utf8(said).unwrap();
    assert!(said.starts_with("pulseward ready, up "), "{said}");
    assert!(said.ends_with("nothing is wrong\n"), "{said}");
    pipeline.drain();
    ward.pipeline.refuse(&["status"]);
    // A killed one leaves its socket behind, and the next start takes it over.
    ward.up().kill();
    assert!(ward.pipeline.directory.join("admin.sock").exists());
    ward.pipeline.refuse(&["status"]);
    ward.up().drain();
}

#[test]
fn b16_a_second_up_on_the_same_directory_is_refused_and_disturbs_nothing() {
    let ward = Ward::new();
    let pipeline = ward.up();
    for command in ["up", "init", "verify"] {
        let refused = ward.pipeline.refuse(&[command]);
        assert!(refused.contains("in use"), "{command}: {refused}");
    }
    let well = ward.pipeline.tell(&["status"]);
    assert!(well.contains("ready"), "{well}");
    pipeline.drain();
}

#[test]
fn a_taken_port_is_told_by_its_number() {
    let ward = Ward::new();
    let _taken = TcpListener::bind(("127.0.0.1", ward.staff)).unwrap();
    let refused = ward.pipeline.refuse(&["up"]);
    let expected = format!("couldn't listen on 127.0.0.1:{}", ward.staff);
    assert!(refused.contains(&expected), "{refused}");
}

#[test]
fn another_passphrase_opens_nothing_and_a_short_one_is_none() {
    let ward = Ward::new();
    for (passphrase, expected) in [
        ("another passphrase, long enough", "passphrase"),
        ("short", "at least 12 characters"),
        ("", "at least 12 characters"),
    ] {
        let output = ward.pipeline.run_with(&["up"], passphrase);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && said.contains(expected),
            "{said}"
        );
    }
}

#[test]
fn all_mistakes_of_a_configuration_are_told_at_once_before_anything_is_made() {
    let ward = Ward::new();
    let config = ward.file("bad.toml");
    fs::write(
        &config,
        "vault_rot = \"00\"\n[log]\npartitions = 0\nsegment = \"much\"\n[ingest]\nmax_inflight = 3\n[listn]\nadmin = 1\n",
    )
    .unwrap();
    let config = config.display().to_string();
    for command in ["up", "init", "status"] {
        let directory = ward.file("untouched").display().to_string();
        let output = ward
            .pipeline
            .run(&["--directory", &directory, "--config", &config, command]);
        drop(output);
        let refused = ward.pipeline.refuse(&["--config", &config, command]);
        for word in [
            "5 mistake(s)",
            "vault_rot: unknown",
            "log.partitions",
            "log.segment",
            "ingest.max_inflight: unknown",
            "listn.admin: unknown",
        ] {
            assert!(refused.contains(word), "{command}: {word} in {refused}");
        }
    }
}
