//! The Python reader before a real store and a real key service, over TLS.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use pulseward_base::{Clock, Micros, bytes::hex};
use pulseward_crypto::{
    SigningKey,
    certificate::{self, Use},
    seal::KeyPair,
    slips::{Classes, GrantPurpose},
};
use pulseward_custody::{Custodian, FileKeys};
use pulseward_history::schema::FileKind;
use pulseward_keys::{
    AuditSink, Event, KeysService, KeysSettings, Metrics, NotRecorded, Registry, RegistryIdentity,
    RegistrySettings, RegistryTools,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Identity, Server, ServerTlsConfig, server::TcpIncoming};

use crate::world::{ROWS, World, columns};

const INSTALL: &str = "python3 -m venv target/venv && \
                       target/venv/bin/pip install -r tests/python/requirements.txt";

/// Returns the interpreter that has what the reader needs; none where Python is left out.
#[expect(clippy::disallowed_methods, reason = "tests may read the environment")]
fn python() -> Option<PathBuf> {
    let without = std::env::var("PULSEWARD_WITHOUT").unwrap_or_default();
    if without.split([',', ' ']).any(|word| word == "python") {
        println!("NOT RUN: PULSEWARD_WITHOUT names python");
        return None;
    }
    let home = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let found = std::env::var("PULSEWARD_PYTHON")
        .map_or_else(|_| home.join("target/venv/bin/python"), PathBuf::from);
    assert!(
        found.exists(),
        "no {}; install with: {INSTALL}",
        found.display()
    );
    Some(found)
}

struct Unheard;

#[tonic::async_trait]
impl AuditSink for Unheard {
    async fn record(&self, _event: Event) -> Result<(), NotRecorded> {
        Ok(())
    }
}

/// A store whose file keys lie in a registry that serves.
struct Desk {
    world: World,
    registry: Registry,
    service: KeysService,
    reader: KeyPair,
    python: PathBuf,
    target: String,
    stop: CancellationToken,
    _pages: tempfile::TempDir,
}

impl Desk {
    async fn new(python: PathBuf) -> Self {
        let mut world = World::new().await;
        let pages = tempfile::tempdir().unwrap();
        let registry = registry(&world, pages.path());
        world.registry = Some(Arc::new(registry.clone()) as Arc<dyn FileKeys>);
        let service = KeysService::new(registry.clone(), KeysSettings::default());
        let (target, stop) = serve(&service, world.home.path()).await;
        let reader = KeyPair::generate();
        std::fs::write(
            world.home.path().join("reader.key"),
            reader.secret().expose(),
        )
        .unwrap();
        Self {
            world,
            registry,
            service,
            reader,
            python,
            target,
            stop,
            _pages: pages,
        }
    }

    /// Runs the reader under a new grant; its output, or its error's text.
    async fn read(&self, classes: Classes, more: &[&str]) -> Result<String, String> {
        let (purpose, hour) = (GrantPurpose::Research, Duration::from_secs(3600));
        let grant = self
            .service
            .issue_grant(self.reader.public(), classes, purpose, hour);
        let home = self.world.home.path();
        std::fs::write(home.join("grant"), grant.await.unwrap()).unwrap();
        self.read_again(more).await
    }

    /// Runs the reader under the grant of the last time.
    async fn read_again(&self, more: &[&str]) -> Result<String, String> {
        let home = self.world.home.path();
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/pulseward_reader.py");
        let run = tokio::process::Command::new(&self.python)
            .arg(script)
            .arg("read")
            .arg(home)
            .args(["--keys", &self.target, "--root", &hex(&self.world.root().0)])
            .arg("--ca")
            .arg(home.join("ca.pem"))
            .arg("--grant")
            .arg(home.join("grant"))
            .arg("--reader-key")
            .arg(home.join("reader.key"))
            .args(more)
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(Duration::from_secs(120), run)
            .await
            .unwrap()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() {
            Ok(text(output.stdout))
        } else {
            Err(text(output.stderr))
        }
    }
}

fn registry(world: &World, pages: &Path) -> Registry {
    let root: &SigningKey = world.keys.root();
    let key = SigningKey::generate();
    let until = Micros(i64::MAX);
    let certificate = certificate::issue(root, Use::Registry, &key.point(), Micros(0), until);
    let tools = RegistryTools {
        identity: Arc::new(RegistryIdentity {
            root: root.kid(),
            certificate,
            key,
        }),
        audit: Arc::new(Unheard),
        clock: Arc::clone(&world.clock) as Arc<dyn Clock>,
        metrics: Metrics::new(&prometheus::Registry::new()).unwrap(),
    };
    let settings = RegistrySettings::new(root.kid());
    Registry::open(pages, &Custodian::in_memory(), settings, tools).unwrap()
}

async fn serve(service: &KeysService, home: &Path) -> (String, CancellationToken) {
    let tls = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(home.join("ca.pem"), tls.cert.pem()).unwrap();
    let identity = Identity::from_pem(tls.cert.pem(), tls.signing_key.serialize_pem());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("localhost:{}", listener.local_addr().unwrap().port());
    let stop = CancellationToken::new();
    let server = Server::builder()
        .tls_config(ServerTlsConfig::new().identity(identity))
        .unwrap()
        .add_service(service.clone().into_server())
        .serve_with_incoming_shutdown(TcpIncoming::from(listener), stop.clone().cancelled_owned());
    tokio::spawn(server);
    (target, stop)
}

const RESEARCH: Classes = Classes::TIMES.and(Classes::VALUES);

/// Times and values: every reading, to the bit.
async fn check_every_reading(desk: &Desk) {
    let lines = desk
        .read(RESEARCH, &["--columns", "kind,unit,raw,value"])
        .await
        .unwrap();
    let rows: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(rows.len() as u64, 5 * ROWS);
    let coldest = rows.iter().filter(|row| row["raw"] == i32::MIN);
    for row in coldest {
        assert_eq!(
            (row["kind"].as_str(), row["unit"].as_str()),
            (Some("temperature"), Some("Cel"))
        );
        assert_eq!(row["value"], f64::from(i32::MIN) / 100.0);
    }
    assert_eq!(
        desk.read(RESEARCH, &["--count"]).await.unwrap().trim(),
        "35"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pyarrow_reads_what_its_grant_covers_and_nothing_else() {
    let Some(python) = python() else { return };
    let desk = Desk::new(python).await;
    let device = desk.world.enrol(1).await;
    for seq in 0..5 {
        desk.world
            .log
            .append_batch(device.batch(seq, &columns(seq)))
            .await
            .unwrap();
    }
    desk.world.store_all(desk.world.settings()).await.unwrap();
    assert!(desk.world.verify().await.holds());

    check_every_reading(&desk).await;

    // Times alone: when and what, but not how much.
    let times = desk
        .read(Classes::TIMES, &["--columns", "ts,kind,pseudonym"])
        .await
        .unwrap();
    assert_eq!(times.lines().count() as u64, 5 * ROWS);
    let refused = desk
        .read(Classes::TIMES, &["--columns", "value"])
        .await
        .unwrap_err();
    assert!(refused.contains("out_of_scope"), "{refused}");
    let proofs = ["--kind", "proofs", "--columns", "batch,seq,signature"];
    assert!(
        desk.read(RESEARCH, &proofs)
            .await
            .unwrap_err()
            .contains("out_of_scope")
    );
    assert_eq!(
        desk.read(Classes::PROOFS, &proofs)
            .await
            .unwrap()
            .lines()
            .count(),
        5
    );

    // Another reader's key opens nothing; a late grant is worth nothing.
    let home = desk.world.home.path();
    std::fs::write(
        home.join("reader.key"),
        KeyPair::generate().secret().expose(),
    )
    .unwrap();
    assert!(desk.read_again(&["--count"]).await.is_err());
    std::fs::write(home.join("reader.key"), desk.reader.secret().expose()).unwrap();
    assert!(desk.read(RESEARCH, &["--count"]).await.is_ok());
    desk.world.clock.advance(Duration::from_secs(3601));
    let late = desk.read_again(&["--count"]).await.unwrap_err();
    assert!(late.contains("PERMISSION_DENIED"), "{late}");

    // A destroyed key ends every copy of its file.
    for (_, file) in desk.world.open().await.files() {
        if file.name.kind == FileKind::Readings {
            desk.registry.destroy(file.name.id).await.unwrap();
        }
    }
    let erased = desk.read(RESEARCH, &["--count"]).await.unwrap_err();
    assert!(erased.contains("erased"), "{erased}");
    desk.stop.cancel();
}
