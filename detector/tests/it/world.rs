//! A log with patients and devices, and detectors that are started and killed on it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use prometheus::Registry;
use pulseward_base::{
    Clock as _, Digest, Incarnation, KeyId, Kid, Micros, Offset, Partition, Pseudonym, Seq, Slot,
    WriterId, clock::ManualClock,
};
use pulseward_batch::{Arrival, BindingFacts, NewBatch, OpenedBatch, digest};
use pulseward_crypto::{
    SigningKey,
    certificate::{self, Use},
    client::ClientSession,
    frame::{AdmissionToken, Status, UpFrame},
    hello::Resume,
    offer::{ClientOffer, ServiceOffer},
    random,
    session::{OpenedFrame, ServerSession},
};
use pulseward_custody::memory::MemoryKeys;
use pulseward_detector::{
    Detector, Metrics, Settings,
    output::Output,
    read,
    settings::{Drive, Judgement},
    state::PartitionState,
};
use pulseward_eventlog::{
    Backend, Body, Cause, Content, Entry, Log, NewEntry, Position, ReadLimits, Topic,
    body::{AlertState, Bind, Role, Tick},
    embedded::memory::MemoryFs,
    testing,
};
use pulseward_vitals::{Columns, Kind, Leaf, Limits, Row};
use tokio_util::sync::CancellationToken;

use crate::scene::{SECOND, START};

pub const PARTITION: Partition = Partition(0);
pub const SLOT: Slot = Slot(3);

/// A device in a session that never ends.
struct Device {
    key: SigningKey,
    facts: BindingFacts,
    seq: u64,
    session: (ClientSession, ServerSession),
}

pub struct World {
    pub keys: Arc<MemoryKeys>,
    pub backend: Arc<dyn Backend>,
    pub log: Log,
    pub clock: Arc<ManualClock>,
    devices: BTreeMap<u8, Device>,
}

impl World {
    pub async fn new() -> Self {
        Self::with_partitions(1).await
    }

    pub async fn with_partitions(count: u32) -> Self {
        let keys = Arc::new(MemoryKeys::new(Kid([0; 32])));
        let embedded = testing::embedded(&MemoryFs::new(), testing::settings(count)).unwrap();
        let backend: Arc<dyn Backend> = Arc::new(embedded);
        let log = testing::log_on(Arc::clone(&backend), Arc::clone(&keys) as _).await;
        let clock = Arc::new(ManualClock::new(Micros(START)));
        Self {
            keys,
            backend,
            log,
            clock,
            devices: BTreeMap::new(),
        }
    }

    /// Returns the log as a process that was just started has it.
    pub async fn fresh_log(&self) -> Log {
        testing::log_on(Arc::clone(&self.backend), Arc::clone(&self.keys) as _).await
    }

    pub fn key(&self, number: u8) -> KeyId {
        self.devices[&number].facts.key
    }

    pub fn now(&self) -> i64 {
        self.clock.now().0
    }

    pub async fn bind(&mut self, number: u8) -> KeyId {
        let key = self.keys.patient();
        let device = Device::new(number, key);
        let facts = device.facts;
        let mut binding = vec![1];
        binding.extend(facts.device.0);
        binding.extend(facts.record.0);
        binding.extend(facts.pseudonym.0);
        binding.extend(key.0);
        let bind = Bind {
            certificate: [0; 148],
            record: [0; 147],
            binding: padded(&binding),
            sealed_handle: [number; 44],
            group: pulseward_base::GroupId(0),
            consent_version: 1,
        };
        let slot = device.facts.slot;
        let entry = NewEntry::for_patient(slot, key, Body::Bind(Box::new(bind)));
        self.log.append(entry).await.unwrap();
        self.devices.insert(number, device);
        key
    }

    /// A second passes, as an ingest and a detector see it.
    pub async fn pass(&self) {
        self.clock.advance(Duration::from_secs(1));
        for role in [Role::Ingest, Role::Detector] {
            let tick = Tick {
                source: WriterId([role.number(); 16]),
                role,
                time: self.clock.now(),
            };
            let ticks = (0..self.log.partitions())
                .map(|partition| NewEntry::for_log(Partition(partition), Body::Tick(tick.clone())));
            self.log.append_all(ticks.collect()).await.unwrap();
        }
    }

    pub async fn send(&mut self, number: u8, values: &[(Kind, i32)]) {
        let now = self.now();
        let device = self.devices.get_mut(&number).unwrap();
        let leaf = |(kind, value): &(Kind, i32)| Leaf {
            kind: *kind,
            channel: 0,
            rows: vec![Row {
                time: Micros(now),
                value: *value,
                quality: 0,
            }],
        };
        let mut leaves: Vec<_> = values.iter().map(leaf).collect();
        leaves.sort_by_key(|leaf| leaf.kind.spec().number);
        let batch = device.batch(now, &Columns::new(leaves).unwrap());
        self.log.append_batch(batch).await.unwrap();
    }

    pub async fn feed(&self) -> Vec<Entry> {
        read_all(&self.log, Topic::Feed).await
    }

    /// What a run that was never stopped says of the feed as it stands.
    pub async fn oracle(&self) -> (PartitionState, Vec<(Cause, Output)>) {
        let origin = pulseward_detector::output::Origin {
            log: self.log.log_id(),
            partition: PARTITION,
        };
        let mut state = PartitionState::new(origin, Judgement::default());
        let mut said = Vec::new();
        for entry in self.feed().await {
            match read::fact(&entry) {
                Some(fact) => said.extend(state.step(&fact).said.into_iter().map(|output| {
                    (
                        Cause {
                            position: fact.position,
                            index: output.index,
                        },
                        output,
                    )
                })),
                None => state.pass(entry.position),
            }
        }
        (state, said)
    }

    /// What those who read the topics of outputs take.
    pub async fn taken(&self) -> Vec<(Cause, Body)> {
        let mut taken = Vec::new();
        for topic in [Topic::Scores, Topic::Alerts] {
            let mut last: Option<Cause> = None;
            for entry in read_all(&self.log, topic).await {
                let outputs = entry.outputs.unwrap();
                if Some(outputs.cause) <= last {
                    continue;
                }
                assert_eq!(outputs.previous, last, "a gap in {}", topic.name());
                last = Some(outputs.cause);
                if let Content::Body(body) = entry.content {
                    taken.push((outputs.cause, body));
                }
            }
        }
        taken.sort_by_key(|(cause, _)| *cause);
        taken
    }

    pub async fn expect(&self) -> Vec<(Cause, Body)> {
        let said = self.oracle().await.1.into_iter();
        said.map(|(cause, output)| (cause, output.body)).collect()
    }

    /// Starts a detector; it runs until the token is cancelled or the future is dropped.
    pub async fn detector(
        &self,
        stop: CancellationToken,
    ) -> impl Future<Output = Result<(), pulseward_detector::Error>> + use<> {
        let drive = Drive {
            checkpoint_every: Duration::from_millis(3),
            tick_every: Duration::from_secs(3600),
            read_entries: 5,
            retry_after: Duration::from_millis(1),
            ..Drive::default()
        };
        self.detector_with(drive, &Registry::new(), stop).await
    }

    /// Lets a detector live for so long and kills it. As of a process that is killed nothing of it goes
    /// on: an entry that it had handed over may still land, but none that it would have made next.
    /// Whoever goes on is a zombie, which other tests raise.
    pub async fn kill_after(&self, life: Duration) {
        let detector = self.detector(CancellationToken::new()).await;
        let lived = tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .enable_time()
                .build()
                .unwrap();
            // A detector that is killed has no time to say why.
            let _killed = runtime.block_on(async { tokio::time::timeout(life, detector).await });
            // Dropped, the runtime has let go of every task.
        });
        lived.await.unwrap();
    }

    /// Starts a detector of one partition alone.
    pub async fn detector_of(
        &self,
        partition: Partition,
        stop: CancellationToken,
    ) -> impl Future<Output = Result<(), pulseward_detector::Error>> + use<> {
        let metrics = Metrics::new(&Registry::new()).unwrap();
        let clock = Arc::clone(&self.clock) as _;
        let log = self.fresh_log().await;
        let detector = Detector::new(log, Settings::default(), metrics, clock);
        async move { detector.run([partition], stop).await }
    }

    /// Whose alerts stand in a partition, and what happened to them.
    pub async fn alerts_in(&self, partition: Partition) -> Vec<(u8, AlertState)> {
        let read = self
            .log
            .read(Topic::Alerts, partition, Offset(0), ReadLimits::default());
        let entries = read.await.unwrap().into_iter();
        let alerts = entries.filter_map(|entry| match entry.content {
            Content::Body(Body::Alert(alert)) => Some((alert.pseudonym.0[0], alert.state)),
            _ => None,
        });
        alerts.collect()
    }

    pub async fn detector_with(
        &self,
        drive: Drive,
        registry: &Registry,
        stop: CancellationToken,
    ) -> impl Future<Output = Result<(), pulseward_detector::Error>> + use<> {
        let settings = Settings {
            judgement: Judgement::default(),
            drive,
        };
        let metrics = Metrics::new(registry).unwrap();
        let clock = Arc::clone(&self.clock) as _;
        let detector = Detector::new(self.fresh_log().await, settings, metrics, clock);
        async move { detector.run([PARTITION], stop).await }
    }

    /// Runs a detector until everything has been said, then stops it in order.
    pub async fn finish(&self) {
        let stop = CancellationToken::new();
        let mut running = tokio::spawn(self.detector(stop.clone()).await);
        tokio::select! {
            () = self.until_said() => {}
            ended = &mut running => panic!("it ended by itself: {ended:?}"),
        }
        stop.cancel();
        running.await.unwrap().unwrap();
    }

    /// Waits until the partition's record has passed every entry.
    pub async fn until_said(&self) {
        let said = async {
            loop {
                let end = self.log.bounds(Topic::Feed, PARTITION).await.unwrap().end;
                if self.as_of().await.is_some_and(|as_of| as_of.offset >= end) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(60), said)
            .await
            .is_err()
        {
            let feed = self.log.bounds(Topic::Feed, PARTITION).await.unwrap();
            let record = self.as_of().await;
            panic!("the detector does not keep up: the record stands at {record:?} of {feed:?}");
        }
    }

    async fn as_of(&self) -> Option<Position> {
        let state = self.log.compacted(Topic::State, PARTITION).await.unwrap();
        state
            .entries
            .into_values()
            .find_map(|entry| match entry.content {
                Content::Body(Body::PartitionRecord(record)) => Some(record.as_of),
                _ => None,
            })
    }

    /// The patients' states as the log keeps them.
    pub async fn states(&self) -> BTreeMap<Pseudonym, Vec<u8>> {
        let state = self.log.compacted(Topic::State, PARTITION).await.unwrap();
        let bytes = state
            .entries
            .into_values()
            .filter_map(|entry| match entry.content {
                Content::Body(Body::State(bytes)) => Some(bytes),
                _ => None,
            });
        bytes
            .map(|bytes| {
                (
                    pulseward_detector::state::codec::decode(&bytes)
                        .unwrap()
                        .0
                        .pseudonym,
                    bytes,
                )
            })
            .collect()
    }
}

impl Device {
    fn new(number: u8, key: KeyId) -> Self {
        let signer = SigningKey::generate();
        let facts = BindingFacts {
            device: signer.kid(),
            record: Digest([number; 32]),
            pseudonym: Pseudonym([number; 16]),
            key,
            // Of two partitions, those from a hundred on are in the second.
            slot: if number < 100 { SLOT } else { Slot(600) },
        };
        let session = session(&signer, &facts.record);
        Self {
            key: signer,
            facts,
            seq: 0,
            session,
        }
    }

    fn batch(&mut self, now: i64, columns: &Columns) -> pulseward_batch::PseudonymousBatch {
        let place = digest::Place {
            incarnation: Incarnation([1; 16]),
            seq: Seq(self.seq),
            time: Micros(now),
        };
        self.seq += 1;
        let signed = NewBatch::new(place, columns).sign(&self.key, &self.facts.record);
        let sealed = self
            .session
            .0
            .seal(&UpFrame::Batch(signed.payload))
            .unwrap();
        let OpenedFrame::Batch(frame) = self.session.1.open(&sealed).unwrap() else {
            panic!("a batch was sent");
        };
        let opened = OpenedBatch::parse(&frame, Limits::default()).unwrap();
        let verified = opened
            .verify(&self.key.verifying_key(), &self.facts.record, u64::MAX)
            .unwrap();
        let arrival = Arrival {
            received: Micros(now),
            clock_offset: 0,
        };
        verified.pseudonymise(&self.facts, arrival).unwrap()
    }
}

fn session(key: &SigningKey, ctx: &Digest) -> (ClientSession, ServerSession) {
    let (now, until) = (Micros(START), Micros(START + 3600 * SECOND));
    let (root, service) = (SigningKey::generate(), SigningKey::generate());
    let certificate = certificate::issue(&root, Use::Service, &service.point(), now, until);
    let offer = ServiceOffer::new(&root.kid(), &certificate, &service, now, until);
    let checked = ClientOffer::check(offer.message(), &root.kid(), now).unwrap();
    let resume = Resume {
        incarnation: Incarnation([1; 16]),
        last_acknowledged: None,
    };
    let (hello, pending) = checked
        .hello_stream(key, ctx, now, resume, AdmissionToken::NONE)
        .unwrap();
    let verified = offer
        .open_hello(&hello)
        .unwrap()
        .verify(&key.verifying_key(), ctx)
        .unwrap();
    let status = Status {
        time: now,
        last_durable: None,
        max_in_flight: 32,
        max_batch_bytes: 65_536,
        max_backlog_age_seconds: 60,
        tokens: vec![],
    };
    let (welcome, server) = verified.welcome(random::bytes(), &status).unwrap();
    (pending.welcome(&welcome).unwrap().0, server)
}

async fn read_all(log: &Log, topic: Topic) -> Vec<Entry> {
    let mut all = Vec::new();
    let mut from = Offset(0);
    loop {
        let entries = log
            .read(topic, PARTITION, from, ReadLimits::default())
            .await
            .unwrap();
        let Some(last) = entries.last() else {
            return all;
        };
        from = last.position.next().offset;
        all.extend(entries);
    }
}

fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut padded = [0; N];
    padded[..bytes.len()].copy_from_slice(bytes);
    padded
}
