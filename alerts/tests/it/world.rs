//! A log that alerts are written to, and a stage that serves them on a socket.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use prometheus::Registry;
use pulseward_alerts::{AlertStage, CareTeam, Metrics, Recipient, Settings, Signer};
use pulseward_base::{
    AlertId, Clock as _, Generation, KeyId, Kid, Micros, ModelId, Offset, Partition, Pseudonym,
    Slot, clock::ManualClock,
};
use pulseward_crypto::{
    SigningKey,
    certificate::{self, Use},
};
use pulseward_custody::memory::MemoryKeys;
use pulseward_eventlog::{
    Backend, Body, Cause, Log, NewEntry, Position,
    body::{Alert, AlertReading, AlertState, Lane, Severity},
    embedded::memory::MemoryFs,
    testing,
};
use pulseward_proto_pipeline::v1::{AlertEvent, WatchRequest, alerts_client::AlertsClient};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status, Streaming,
    transport::{Channel, Server},
};

pub const TOKEN: &str = "a care team's token";
pub const NOW: Micros = Micros(1_800_000_000_000_000);

pub struct World {
    pub keys: Arc<MemoryKeys>,
    pub backend: Arc<dyn Backend>,
    pub log: Log,
    pub key: KeyId,
    pub root: SigningKey,
    pub clock: Arc<ManualClock>,
    last: Option<Cause>,
}

/// A stage that runs.
pub struct Running {
    pub registry: Registry,
    pub client: AlertsClient<Channel>,
    stop: CancellationToken,
    stage: tokio::task::JoinHandle<Result<(), pulseward_alerts::Error>>,
    server: tokio::task::JoinHandle<()>,
}

impl World {
    pub async fn new() -> Self {
        let keys = Arc::new(MemoryKeys::new(Kid([0; 32])));
        let embedded = testing::embedded(&MemoryFs::new(), testing::settings(1)).unwrap();
        let backend: Arc<dyn Backend> = Arc::new(embedded);
        let log = testing::log_on(Arc::clone(&backend), Arc::clone(&keys) as _).await;
        Self {
            key: keys.patient(),
            keys,
            backend,
            log,
            root: SigningKey::generate(),
            clock: Arc::new(ManualClock::new(NOW)),
            last: None,
        }
    }

    /// Appends a step of an alert, as a detector does.
    pub async fn say(&mut self, id: u8, state: AlertState, severity: Severity) {
        self.step(alert(id, state, severity)).await;
    }

    /// Appends a step, as a detector does.
    pub async fn step(&mut self, alert: Alert) {
        let next = self.last.map_or(0, |last| last.position.offset.0 + 1);
        self.say_because(next, self.last, alert).await;
    }

    pub async fn say_because(&mut self, offset: u64, previous: Option<Cause>, alert: Alert) {
        let position = Position {
            generation: Generation(0),
            offset: Offset(offset),
        };
        let cause = Cause { position, index: 0 };
        let entry = if alert.pseudonym == Pseudonym::ZERO {
            NewEntry::for_log(Partition(0), Body::Alert(alert))
        } else {
            NewEntry::for_patient(Slot(0), self.key, Body::Alert(alert))
        };
        self.log
            .append(entry.caused_by(cause, previous))
            .await
            .unwrap();
        self.last = self.last.max(Some(cause));
    }

    /// Starts a stage, as after a restart.
    pub async fn start(&self, change: impl FnOnce(&mut Settings)) -> Running {
        let delivery = SigningKey::generate();
        let until = NOW.plus(Duration::from_secs(86_400));
        let certificate =
            certificate::issue(&self.root, Use::Delivery, &delivery.point(), NOW, until);
        let team = CareTeam {
            recipient: Recipient([1; 16]),
            token: CareTeam::digest(TOKEN),
        };
        let mut settings = Settings {
            care_teams: vec![team],
            cursor_every: Duration::from_millis(2),
            ..Settings::default()
        };
        change(&mut settings);
        let registry = Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let log = testing::log_on(Arc::clone(&self.backend), Arc::clone(&self.keys) as _).await;
        let signer = Signer {
            certificate,
            key: delivery,
        };
        let stage = AlertStage::new(log, settings, metrics, Arc::clone(&self.clock) as _, signer);
        let service = stage.service().into_server();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let incoming = TcpListenerStream::new(listener);
        let server = Server::builder()
            .add_service(service)
            .serve_with_incoming(incoming);
        let server = tokio::spawn(async move { server.await.unwrap() });
        let client = AlertsClient::connect(format!("http://{address}"))
            .await
            .unwrap();
        let stop = CancellationToken::new();
        let stage = tokio::spawn(stage.run([Partition(0)], stop.clone()));
        Running {
            registry,
            client,
            stop,
            stage,
            server,
        }
    }

    pub fn now(&self) -> Micros {
        self.clock.now()
    }
}

impl Running {
    pub async fn watch(&mut self) -> Streaming<AlertEvent> {
        let request = authorised(WatchRequest::default(), TOKEN);
        self.client.watch(request).await.unwrap().into_inner()
    }

    pub async fn stop(self) -> Result<(), pulseward_alerts::Error> {
        self.stop.cancel();
        let ended = self.stage.await.unwrap();
        self.server.abort();
        ended
    }

    /// Waits for the stage to stop by itself.
    pub async fn ended(self) -> Result<(), pulseward_alerts::Error> {
        let ended = tokio::time::timeout(Duration::from_secs(30), self.stage)
            .await
            .unwrap()
            .unwrap();
        self.server.abort();
        ended
    }

    pub fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == name)
            .unwrap();
        let metrics = family.get_metric().iter();
        metrics
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }

    /// Waits until a metric has at least this value.
    pub async fn until(&self, name: &str, value: f64) {
        let there = async {
            while self.metric(name) < value {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), there)
            .await
            .expect(name);
    }
}

pub fn authorised<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

pub async fn next(stream: &mut Streaming<AlertEvent>) -> Result<Option<AlertEvent>, Status> {
    tokio::time::timeout(Duration::from_secs(30), stream.message())
        .await
        .expect("in time")
}

/// The first byte of the id, and the state.
pub async fn told(stream: &mut Streaming<AlertEvent>) -> (u8, i32) {
    let event = next(stream).await.unwrap().unwrap();
    (event.alert_id[0], event.state)
}

pub fn alert(id: u8, state: AlertState, severity: Severity) -> Alert {
    Alert {
        id: AlertId([id; 16]),
        pseudonym: Pseudonym([4; 16]),
        lane: Lane::Rules,
        what: 1,
        severity,
        state,
        flags: 0,
        at: NOW,
        model: ModelId(*b"NEWS2/2017\0\0\0\0\0\0"),
        low: 7,
        high: 9,
        sealed_handle: [9; 44],
        readings: vec![AlertReading {
            kind: 1,
            value: 1350,
            low: 3,
            high: 3,
        }],
    }
}
