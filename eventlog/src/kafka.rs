//! The log on an Apache Kafka cluster.
//!
//! Topics are called `pulseward.<name>.g<generation>`. Offsets are the broker's; nothing is kept in
//! consumer groups and no transactions are used. What the broker guarantees only if its topics are
//! set so is checked at the start, topic by topic.
//!
//! Metadata is eventually consistent: "unknown partition" right after a topic was made and "not the
//! leader" right after a broker died mean *ask again*, up to a deadline.

mod reading;
mod topics;
mod writing;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use pulseward_base::{Generation, Offset, Partition};
use pulseward_crypto::hash;
use rdkafka::{
    ClientConfig, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    error::{KafkaError, RDKafkaErrorCode},
    producer::{FutureProducer, Producer as _},
};
use tokio::time::{Instant, sleep};

use self::{reading::Readers, writing::Writing};
use crate::{
    Backend, Bounds, Class, LogError, MAX_ENTRY_BYTES, Metrics, Pending, RawAppend, RawEntry,
    ReadLimits, Retention, Topic, TrimPoint,
};

/// How the cluster is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KafkaSettings {
    /// Where to ask first: `host:port,host:port`.
    pub bootstrap: String,
    /// The life of the log, part of the topics' names.
    pub generation: Generation,
    /// How many partitions each topic has.
    pub partitions: u32,
    /// What makes an acknowledged entry survive a power cut.
    pub durability: Durability,
    /// Whether topics that are missing are made.
    pub create_topics: bool,
    /// How long the cluster may take to answer.
    pub deadline: Duration,
    /// How long an entry waits for others to travel with.
    pub linger: Duration,
    /// How many bytes may wait to be acknowledged.
    pub queue_bytes: u32,
    /// How many readers are kept at most; each is a connection of its own.
    pub readers: usize,
    /// More settings of librdkafka: how to log in, which certificates hold.
    pub properties: BTreeMap<String, String>,
}

/// What makes an acknowledged entry survive a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// So many copies on brokers that do not lose power together, of which so many have it.
    Replicas {
        /// How many copies.
        copies: u16,
        /// How many must have an entry before it is acknowledged.
        in_sync: u16,
    },
    /// One copy, written through to the disk with each entry: slower, for one broker.
    FlushEach,
}

impl KafkaSettings {
    /// Returns settings for a cluster of three brokers or more.
    #[must_use]
    pub fn new(bootstrap: impl Into<String>) -> Self {
        Self {
            bootstrap: bootstrap.into(),
            generation: Generation(1),
            partitions: 64,
            durability: Durability::Replicas {
                copies: 3,
                in_sync: 2,
            },
            create_topics: true,
            deadline: Duration::from_secs(30),
            linger: Duration::from_millis(2),
            queue_bytes: 64 << 20,
            readers: 256,
            properties: BTreeMap::new(),
        }
    }

    fn client(&self) -> Result<ClientConfig, LogError> {
        let mut config = ClientConfig::new();
        for (name, value) in &self.properties {
            if !OPEN_PROPERTIES.iter().any(|open| name.starts_with(open)) {
                let text = format!("the Kafka property {name} is not open to settings");
                return Err(LogError::Settings(text));
            }
            config.set(name, value);
        }
        config
            .set("bootstrap.servers", &self.bootstrap)
            .set("client.id", "pulseward")
            .set("allow.auto.create.topics", "false")
            .set("reconnect.backoff.max.ms", "1000");
        Ok(config)
    }

    fn topic(&self, topic: Topic) -> String {
        format!("pulseward.{}.g{}", topic.name(), self.generation)
    }
}

/// What a program's settings may say to librdkafka. All else is what the log's promises rest on.
const OPEN_PROPERTIES: &[&str] = &[
    "security.protocol",
    "sasl.",
    "ssl.",
    "enable.ssl.",
    "client.dns.lookup",
    "broker.address.family",
    "socket.",
    "client.rack",
];

/// The log on a Kafka cluster.
pub struct KafkaLog {
    client: Arc<Client>,
    writing: Writing,
    readers: Readers,
}

/// What asks the cluster about itself.
struct Client {
    settings: KafkaSettings,
    log_id: [u8; 16],
    names: BTreeMap<Topic, String>,
    producer: FutureProducer,
    admin: AdminClient<DefaultClientContext>,
}

impl KafkaLog {
    /// Connects, makes the topics that are missing if that is allowed, and checks all of them.
    pub async fn connect(settings: KafkaSettings, metrics: Arc<Metrics>) -> Result<Self, LogError> {
        topics::check(&settings)?;
        let config = settings.client()?;
        let producer = writing::producer(&settings, config.clone())?;
        let admin = config.create().map_err(broker)?;
        let log_id = log_id(producer.clone(), &settings).await?;
        let names = Topic::ALL
            .iter()
            .map(|topic| (*topic, settings.topic(*topic)))
            .collect();
        let client = Arc::new(Client {
            log_id,
            names,
            producer,
            admin,
            settings,
        });
        client.prepare_topics().await?;
        Ok(Self {
            writing: Writing::new(Arc::clone(&client), metrics),
            readers: Readers::new(Arc::clone(&client), config),
            client,
        })
    }

    fn check(&self, entries: &[RawAppend]) -> Result<(), LogError> {
        for entry in entries {
            self.client.known(entry.partition)?;
            if entry.bytes.len() > MAX_ENTRY_BYTES {
                return Err(LogError::TooLarge {
                    size: entry.bytes.len(),
                    limit: MAX_ENTRY_BYTES,
                });
            }
            if (entry.topic.retention() == Retention::Compacted) != entry.key.is_some() {
                return Err(LogError::Misplaced("only compacted topics have keys"));
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Backend for KafkaLog {
    fn log_id(&self) -> [u8; 16] {
        self.client.log_id
    }

    fn generation(&self) -> Generation {
        self.client.settings.generation
    }

    fn partitions(&self) -> u32 {
        self.client.settings.partitions
    }

    async fn submit(&self, entries: Vec<RawAppend>, _class: Class) -> Result<Pending, LogError> {
        self.check(&entries)?;
        self.writing.submit(entries).await
    }

    async fn read(
        &self,
        topic: Topic,
        partition: Partition,
        from: Offset,
        limits: ReadLimits,
    ) -> Result<Vec<RawEntry>, LogError> {
        self.client.known(partition)?;
        self.readers.read(topic, partition, from, limits).await
    }

    async fn wait(&self, topic: Topic, partition: Partition, from: Offset) -> Result<(), LogError> {
        self.client.known(partition)?;
        self.readers.wait(topic, partition, from).await
    }

    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, LogError> {
        self.client.known(partition)?;
        self.client.bounds(topic, partition).await
    }

    async fn trim(&self, points: &[TrimPoint]) -> Result<(), LogError> {
        let mut below = TopicPartitionList::new();
        for point in points {
            self.client.known(point.partition)?;
            if point.topic.retention() != Retention::Trimmed {
                continue;
            }
            let bounds = self.client.bounds(point.topic, point.partition).await?;
            let offset = point.below.min(bounds.end);
            if offset > bounds.start {
                below
                    .add_partition_offset(
                        self.client.name(point.topic),
                        wire_partition(point.partition)?,
                        rdkafka::Offset::Offset(wire_offset(offset)?),
                    )
                    .map_err(broker)?;
            }
        }
        if below.count() == 0 {
            return Ok(());
        }
        self.client.delete_below(below).await
    }

    fn used_bytes(&self) -> u64 {
        0
    }
}

impl Client {
    fn known(&self, partition: Partition) -> Result<(), LogError> {
        if partition.0 < self.settings.partitions {
            Ok(())
        } else {
            Err(LogError::UnknownPartition(partition))
        }
    }

    fn name(&self, topic: Topic) -> &str {
        self.names.get(&topic).map_or("", String::as_str)
    }

    /// Asks where a partition starts and ends, and asks again while the cluster is busy finding
    /// out who has it.
    async fn bounds(&self, topic: Topic, partition: Partition) -> Result<Bounds, LogError> {
        let number = wire_partition(partition)?;
        let deadline = Instant::now() + self.settings.deadline;
        loop {
            let producer = self.producer.clone();
            let name = self.name(topic).to_owned();
            let timeout = self.settings.deadline;
            let asked =
                blocking(move || producer.client().fetch_watermarks(&name, number, timeout));
            match asked.await? {
                Ok((start, end)) => {
                    return Ok(Bounds {
                        start: own_offset(start)?,
                        end: own_offset(end)?,
                    });
                }
                Err(error) if !passes(&error) => return Err(broker(error)),
                Err(_) if Instant::now() >= deadline => return Err(LogError::Deadline),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }

    async fn delete_below(&self, below: TopicPartitionList) -> Result<(), LogError> {
        let deadline = Instant::now() + self.settings.deadline;
        loop {
            let options = AdminOptions::new().operation_timeout(Some(self.settings.deadline));
            let asked = self.admin.delete_records(&below, &options).await;
            let deleted = asked.and_then(|partitions| {
                partitions
                    .elements()
                    .iter()
                    .try_for_each(|element| element.error())
            });
            match deleted {
                Ok(()) => return Ok(()),
                Err(error) if !passes(&error) => return Err(broker(error)),
                Err(_) if Instant::now() >= deadline => return Err(LogError::Deadline),
                Err(_) => sleep(PAUSE).await,
            }
        }
    }
}

/// How long to wait before asking again.
const PAUSE: Duration = Duration::from_millis(50);

/// Names the log after the cluster, so that another cluster is another log.
async fn log_id(producer: FutureProducer, settings: &KafkaSettings) -> Result<[u8; 16], LogError> {
    let deadline = settings.deadline;
    let asked = blocking(move || producer.client().fetch_cluster_id(deadline));
    let cluster = asked.await?.ok_or(LogError::Deadline)?;
    let digest = hash::sha256(&[b"pulseward/v1/kafka-log\0", cluster.as_bytes()]);
    let mut id = [0; 16];
    for (to, from) in id.iter_mut().zip(digest.0) {
        *to = from;
    }
    Ok(id)
}

/// Returns whether an error passes by itself: the cluster is finding out who has what.
fn passes(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::NotLeaderForPartition
                | RDKafkaErrorCode::LeaderNotAvailable
                | RDKafkaErrorCode::ReplicaNotAvailable
                | RDKafkaErrorCode::BrokerNotAvailable
                | RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::AllBrokersDown
                | RDKafkaErrorCode::NetworkException
                | RDKafkaErrorCode::KafkaStorageError
                | RDKafkaErrorCode::NotEnoughReplicas
                | RDKafkaErrorCode::OffsetNotAvailable
                | RDKafkaErrorCode::EligibleLeadersNotAvailable
                | RDKafkaErrorCode::OperationTimedOut
                // A question that waited behind others for a broker that does not answer.
                | RDKafkaErrorCode::TimedOutQueue
                | RDKafkaErrorCode::MessageTimedOut
                // The library has heard of other brokers while it asked.
                | RDKafkaErrorCode::BrokerDestroy
                | RDKafkaErrorCode::DestroyBroker
                | RDKafkaErrorCode::NodeUpdate
                | RDKafkaErrorCode::UnknownBroker
                | RDKafkaErrorCode::WaitCache
                | RDKafkaErrorCode::ISRInsufficient
                | RDKafkaErrorCode::Retry
                | RDKafkaErrorCode::RequestTimedOut
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::FencedLeaderEpoch
                | RDKafkaErrorCode::UnknownLeaderEpoch
                | RDKafkaErrorCode::NotController
        )
    )
}

fn broker(error: KafkaError) -> LogError {
    LogError::Broker(error.to_string())
}

fn wire_partition(partition: Partition) -> Result<i32, LogError> {
    i32::try_from(partition.0).map_err(|_| LogError::UnknownPartition(partition))
}

fn wire_offset(offset: Offset) -> Result<i64, LogError> {
    i64::try_from(offset.0).map_err(|_| LogError::Broker("an offset is too large".to_owned()))
}

fn own_offset(offset: i64) -> Result<Offset, LogError> {
    u64::try_from(offset)
        .map(Offset)
        .map_err(|_| LogError::Broker("an offset is below zero".to_owned()))
}

/// Runs what blocks on the network where that holds nobody up.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, LogError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| LogError::Broker("a call to the client library failed".to_owned()))
}
