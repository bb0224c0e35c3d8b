//! Apache Kafka under a pipeline that runs: real brokers, paused and killed under load.

use std::{
    fs,
    io::{BufRead, BufReader, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use pulseward_app::SystemClock;
use pulseward_device::{Fleet, FleetSettings, Ledger};

use crate::{
    house::root,
    kills::reconciled,
    ward::{PATIENCE, Running, Ward, eventually, left_out},
};

/// How long a cluster may take to serve again.
const RECOVERY: Duration = Duration::from_secs(30);
/// Three brokers, both programs and a fleet may share two cores with other tests.
const LONG: Duration = Duration::from_secs(240);
/// What ingest says to devices while the log does not answer: to send a batch again, or, once it
/// cannot see who may send, to come back later.
const REFUSALS: [&str; 2] = [
    "pulseward_ingest_retries_total{why=\"log\"}",
    "pulseward_ingest_session_ends_total{why=\"unavailable\"}",
];

/// Brokers on loopback that end with this value, and with this process however it ends.
pub(crate) struct Brokers {
    pub(crate) bootstrap: String,
    process: Child,
    /// The script obeys what is written here, and runs until it ends.
    input: Option<ChildStdin>,
}

impl Brokers {
    pub(crate) fn start(count: u8) -> Self {
        let mut process = Command::new(root().join("deploy/kafka/run"))
            .arg(count.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take();
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let bootstrap = line.trim().strip_prefix("ready ");
        Self {
            bootstrap: bootstrap.expect("brokers: ./check --install").to_owned(),
            process,
            input,
        }
    }

    /// Says what is to happen to which broker, as `deploy/kafka/run` has it.
    fn tell(&mut self, word: &str, number: u8) {
        writeln!(self.input.as_mut().unwrap(), "{word} {number}").unwrap();
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        self.input = None;
        let _they_have_ended = self.process.wait();
    }
}

/// A ward whose log lies on these brokers, and which gives up on them after `deadline`.
fn ward_on(brokers: &Brokers, replicas: u8, deadline: &str) -> Ward {
    let ward = Ward::with("");
    let path = ward.pipeline.directory.join("pulseward.toml");
    let config = fs::read_to_string(&path).unwrap();
    let log = format!(
        "[log]\nkafka = \"{}\"\nreplicas = {replicas}\ndeadline = \"{deadline}\"\n",
        brokers.bootstrap
    );
    fs::write(&path, config.replace("[log]\n", &log)).unwrap();
    ward
}

/// Four devices that send twenty batches a second each.
fn fleet(ward: &Ward) -> Fleet {
    let mut settings = FleetSettings::new(ward.link(), ward.tickets(4));
    settings.interval = Duration::from_millis(50);
    settings.longest_wait = Duration::from_millis(200);
    // All of them send to the end, which a slow machine puts off.
    settings.silent = 0;
    Fleet::start(settings, Arc::new(SystemClock::start()))
}

/// Waits until every device has had more batches acknowledged. Returns how long that took.
fn acknowledges(fleet: &Fleet, what: &str, patience: Duration) -> Duration {
    let begun = Instant::now();
    let answered = || {
        let devices = fleet.snapshot().devices.into_iter();
        let counts = devices.map(|device| device.counts.durable + device.counts.duplicate);
        counts.collect::<Vec<_>>()
    };
    let before = answered();
    eventually(what, patience, || {
        let mut both = before.iter().zip(answered());
        both.all(|(before, now)| now >= before + 10).then_some(())
    });
    println!("{what} after {:.1} s", begun.elapsed().as_secs_f64());
    begun.elapsed()
}

/// Waits until ingest has refused devices so much more often.
fn refuses(ward: &Ward, more: f64) {
    let refused = || {
        let counts = REFUSALS.iter().map(|name| ward.metric(name));
        counts.sum::<Option<f64>>()
    };
    let before = eventually("counting", PATIENCE, refused);
    eventually("devices are refused", PATIENCE, || {
        refused().filter(|now| *now >= before + more)
    });
}

/// Ends it all, in order, and holds what the devices know against log, scores and history.
async fn settle(ward: &Ward, pipeline: Running, fleet: Fleet) {
    let ledgers = fleet.stop(2 * PATIENCE).await;
    ward.caught_up();
    pipeline.drain();
    let entries = || ledgers.iter().flat_map(Ledger::entries);
    let acknowledged: usize = ledgers.iter().map(|l| l.acknowledged().count()).sum();
    assert_eq!((ledgers.len(), acknowledged), (4, entries().count()));
    let found = reconciled(ward, &ledgers).await;
    assert_eq!((found.lost, found.doubled, found.foreign), (0, 0, 0));
    assert!(found.verified);
    let rows: u64 = entries().map(|entry| entry.rows as u64).sum();
    assert_eq!(found.stored_rows, rows);
    println!("{acknowledged} batches");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b1_a_broker_paused_under_load_while_devices_retry_loses_and_doubles_nothing() {
    if left_out("kafka") {
        return;
    }
    let mut brokers = Brokers::start(1);
    // Shorter than the pause, so that what is in flight is refused and comes a second time.
    let ward = ward_on(&brokers, 1, "1s");
    let vault = ward.serve();
    let pipeline = ward.up();
    let fleet = fleet(&ward);
    acknowledges(&fleet, "acknowledging", PATIENCE);
    brokers.tell("pause", 1);
    refuses(&ward, 10.0);
    tokio::time::sleep(Duration::from_secs(5)).await;
    brokers.tell("resume", 1);
    acknowledges(&fleet, "acknowledging again", PATIENCE);
    settle(&ward, pipeline, fleet).await;
    drop(vault);
}

/// A broker that is stopped stands for one that is cut off: it answers nobody, and comes back
/// believing what it believed.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn b25_one_broker_stopped_as_if_cut_off_and_then_a_leader_killed_loses_nothing_and_recovers()
{
    if left_out("kafka") {
        return;
    }
    let mut brokers = Brokers::start(3);
    let ward = ward_on(&brokers, 3, "2s");
    let vault = ward.serve();
    let pipeline = ward.up();
    let fleet = fleet(&ward);
    acknowledges(&fleet, "acknowledging", PATIENCE);
    brokers.tell("pause", 2);
    let without_one = acknowledges(&fleet, "two brokers serve", LONG);
    // Every broker leads some partitions. Of three, one alone must not acknowledge.
    brokers.tell("kill", 1);
    refuses(&ward, 4.0);
    brokers.tell("resume", 2);
    let returned = acknowledges(&fleet, "two brokers serve again", LONG);
    brokers.tell("start", 1);
    settle(&ward, pipeline, fleet).await;
    drop(vault);
    if std::env::var_os("PULSEWARD_CAMPAIGN").is_some() {
        assert!(without_one.max(returned) <= RECOVERY);
    }
}
