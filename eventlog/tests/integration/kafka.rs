//! The log on a real broker, which the tests start themselves.

use std::{
    path::Path,
    process::{ChildStdin, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use pulseward_base::{Generation, Offset, Partition};
use pulseward_eventlog::{
    Backend, Class, LogError, Topic,
    contract::{self, Fixture, PARTITIONS},
    kafka::{Durability, KafkaLog, KafkaSettings},
    testing,
};

use crate::{sealed, support::entry};

/// A broker on loopback that ends with this value, and with this process however it ends.
struct Broker {
    bootstrap: String,
    process: std::process::Child,
    /// The script runs until this ends.
    input: Option<ChildStdin>,
}

impl Broker {
    /// Starts one broker. None, said aloud: the environment says to do without.
    fn start() -> Option<Self> {
        let without = std::env::var_os("PULSEWARD_WITHOUT").unwrap_or_default();
        if without
            .to_string_lossy()
            .split([',', ' '])
            .any(|word| word == "kafka")
        {
            println!("NOT RUN: PULSEWARD_WITHOUT says to do without Kafka");
            return None;
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut process = Command::new(root.join("deploy/kafka/run"))
            .arg("1")
            .arg("--jars")
            .arg(root.join("target/kafka"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash runs deploy/kafka/run");
        let input = process.stdin.take();
        let mut line = String::new();
        let mut output = std::io::BufReader::new(process.stdout.take().unwrap());
        std::io::BufRead::read_line(&mut output, &mut line).unwrap();
        let bootstrap = line.trim().strip_prefix("ready ").unwrap_or_else(|| {
            panic!(
                "no broker. It needs: apt-get install openjdk-17-jre-headless maven \
                 (or PULSEWARD_WITHOUT=kafka to do without this test)"
            )
        });
        Some(Self {
            bootstrap: bootstrap.to_owned(),
            process,
            input,
        })
    }

    /// Returns settings for one broker: a life of the log is a set of topics of its own.
    fn settings(&self, generation: u32) -> KafkaSettings {
        KafkaSettings {
            generation: Generation(generation),
            partitions: PARTITIONS,
            durability: Durability::FlushEach,
            linger: Duration::from_millis(1),
            ..KafkaSettings::new(&self.bootstrap)
        }
    }

    async fn connect(&self, generation: u32) -> KafkaLog {
        KafkaLog::connect(self.settings(generation), testing::metrics())
            .await
            .unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.input = None;
        let _it_has_ended = self.process.wait();
    }
}

struct OnBroker {
    broker: Broker,
    generation: AtomicU32,
}

#[async_trait]
impl Fixture for OnBroker {
    async fn fresh(&self) -> Arc<dyn Backend> {
        let generation = self.generation.fetch_add(1, Ordering::SeqCst);
        Arc::new(self.broker.connect(generation).await)
    }

    async fn reopen(&self, log: Arc<dyn Backend>) -> Arc<dyn Backend> {
        let generation = log.generation();
        drop(log);
        Arc::new(self.broker.connect(generation.0).await)
    }
}

/// One broker serves all of these: starting one takes seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_on_a_real_broker_keeps_the_contract() {
    let Some(broker) = Broker::start() else {
        return;
    };
    let fixture = OnBroker {
        broker,
        generation: AtomicU32::new(1),
    };
    contract::run(&fixture).await;
    trimmed_entries_are_gone(&fixture).await;
    sealed::what_is_appended_is_followed_by_a_reader(fixture.fresh().await).await;
    topics_that_break_a_promise_are_refused(&fixture.broker).await;
    a_log_that_does_not_answer_is_given_up_in_time(&fixture.broker).await;
}

async fn trimmed_entries_are_gone(fixture: &OnBroker) {
    let log = fixture.fresh().await;
    let entries = (0..5).map(|index| entry(Topic::Feed, 0, &[index]));
    log.append(entries.collect(), Class::Stage).await.unwrap();
    let point = pulseward_eventlog::TrimPoint {
        topic: Topic::Feed,
        partition: Partition(0),
        below: Offset(3),
    };
    log.trim(&[point]).await.unwrap();
    let bounds = log.bounds(Topic::Feed, Partition(0)).await.unwrap();
    assert_eq!((bounds.start, bounds.end), (Offset(3), Offset(5)));
}

async fn topics_that_break_a_promise_are_refused(broker: &Broker) {
    let generation = 900;
    drop(broker.connect(generation).await);
    let refused =
        async |settings: KafkaSettings| match KafkaLog::connect(settings, testing::metrics()).await
        {
            Err(LogError::Settings(text)) => text,
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("it was taken"),
        };
    let good = broker.settings(generation);
    let text = refused(KafkaSettings {
        partitions: PARTITIONS + 1,
        ..good.clone()
    })
    .await;
    assert!(text.contains("has 2 partitions"), "{text}");
    let text = refused(KafkaSettings {
        durability: Durability::Replicas {
            copies: 3,
            in_sync: 2,
        },
        ..good.clone()
    })
    .await;
    assert!(text.contains("fewer than 3 copies"), "{text}");
    let text = refused(KafkaSettings {
        generation: Generation(901),
        create_topics: false,
        ..good.clone()
    })
    .await;
    assert!(text.contains("pulseward.feed.g901"), "{text}");
    let mut meddling = good;
    meddling
        .properties
        .insert("acks".to_owned(), "0".to_owned());
    let text = refused(meddling).await;
    assert!(text.contains("acks"), "{text}");
}

async fn a_log_that_does_not_answer_is_given_up_in_time(broker: &Broker) {
    let nobody = KafkaSettings {
        bootstrap: "127.0.0.1:9".to_owned(),
        deadline: Duration::from_millis(300),
        ..broker.settings(1)
    };
    let connected = KafkaLog::connect(nobody, testing::metrics()).await;
    assert!(matches!(connected.err(), Some(LogError::Deadline)));
}
