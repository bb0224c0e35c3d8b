//! The pipeline's configuration: one TOML file, by default `pulseward.toml` in its directory.

use std::{net::SocketAddr, path::Path, time::Duration};

use pulseward_app::{
    config::{ByteSize, KeyDoc, Source},
    section,
};
use pulseward_base::Kid;

/// The configuration's name within the program's directory.
pub const FILE: &str = "pulseward.toml";

section! {
    /// What stands at the top of the file.
    pub struct Top in "" {
        /// The vault whose tickets are honoured: `pulseward-identity root` prints it. Without one nobody can enrol.
        vault_root: Option<Kid> = None,
        /// How long a drain may take after the first signal.
        shutdown_grace: Duration = Duration::from_secs(20),
        /// What is logged: a level, or levels per module.
        log_filter: String = "info".to_owned(),
    }
}

section! {
    /// The doors.
    pub struct Listen in "listen" {
        /// Where devices connect.
        devices: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 7443)),
        /// Where care teams and data scientists connect: alerts and keys.
        staff: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 7444)),
        /// Where Prometheus and load balancers look: /metrics, /healthz, /readyz. No TLS: keep it inside.
        admin: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 9464)),
        /// The host name clients use, beside localhost and 127.0.0.1.
        name: String = "localhost".to_owned(),
    }
}

section! {
    /// The event log.
    pub struct LogSection in "log" {
        /// Kafka's bootstrap servers; empty for the embedded log.
        kafka: String = String::new(),
        /// Which life of the log this is. Another number is another, empty log.
        generation: u32 = 1,
        /// How many partitions a new log has.
        partitions: u32 = 4,
        /// How large the embedded log may grow before ingest refuses.
        max_size: ByteSize = ByteSize::mib(4096),
        /// How large one segment of the embedded log is.
        segment: ByteSize = ByteSize::mib(64),
        /// How long entries are kept at least, after every stage has made them durable.
        keep: Duration = Duration::from_hours(48),
        /// How long Kafka may take to answer before devices are told to come again.
        deadline: Duration = Duration::from_secs(30),
        /// Copies of each topic on Kafka, on brokers that do not lose power together; 1 writes each entry through to the disk instead.
        replicas: u16 = 3,
    }
}

section! {
    /// What devices may do.
    pub struct IngestSection in "ingest" {
        /// Batches of one session that may wait for their answers.
        max_in_flight: u16 = 32,
        /// Batches of all sessions that may wait for the log.
        max_total_in_flight: usize = 8_192,
        /// The largest frame; a power of two.
        max_frame: ByteSize = ByteSize(256 << 10),
        /// How old a batch may be.
        max_backlog_age: Duration = Duration::from_hours(30 * 24),
        /// Sessions at once.
        max_sessions: usize = 16_384,
        /// Devices that may be enrolled.
        max_devices: usize = 1_000_000,
        /// Hellos a second that get public-key work, over all peers.
        hellos_per_second: u32 = 500,
        /// Hellos that may come at once before that rate counts.
        hello_burst: u32 = 1_000,
        /// How long an offer is given to devices; its keys live twice as long, at most an hour.
        offer_life: Duration = Duration::from_mins(30),
        /// How long a session may be without a frame.
        idle: Duration = Duration::from_mins(10),
        /// How many rejected batches end a session.
        faults: u32 = 16,
        /// What a device is told to wait when something is full.
        retry_after: Duration = Duration::from_millis(500),
    }
}

section! {
    /// Scores and silence. What stands here decides outcomes: keep it equal on all detectors of one log.
    pub struct DetectorSection in "detector" {
        /// Of the newest scores, how many must reach a threshold before it alerts.
        votes_needed: u8 = 2,
        /// How many newest scores are looked at.
        votes_of: u8 = 3,
        /// Use the second saturation scale of NEWS2, for patients with hypercapnic failure.
        saturation_scale_two: bool = false,
        /// A device that was live is silent after so long.
        device_silence: Duration = Duration::from_secs(30),
        /// A stream of a vital that is measured all the time is silent after so long.
        stream_silence: Duration = Duration::from_secs(120),
        /// No ingest is alive when none was heard for so long.
        feed_silence: Duration = Duration::from_secs(5),
        /// A reading older than this when it arrives is past: its alerts call nobody.
        past_after: Duration = Duration::from_mins(15),
        /// How often state is made durable; at most every 60 s.
        checkpoint_every: Duration = Duration::from_secs(10),
    }
}

section! {
    /// Delivery to people.
    pub struct AlertsSection in "alerts" {
        /// How long a way-back slip may be used.
        way_back_life: Duration = Duration::from_mins(10),
        /// Watchers at once.
        max_watchers: usize = 256,
    }
}

section! {
    /// The encrypted history.
    pub struct HistorySection in "history" {
        /// A file is committed at the latest after so long.
        commit_after: Duration = Duration::from_secs(30),
        /// Or when it has so many rows.
        commit_rows: usize = 131_072,
    }
}

/// The whole file.
#[derive(Clone, Debug)]
pub struct Config {
    /// The top.
    pub top: Top,
    /// The doors.
    pub listen: Listen,
    /// The event log.
    pub log: LogSection,
    /// What devices may do.
    pub ingest: IngestSection,
    /// Scores and alerts.
    pub detector: DetectorSection,
    /// Delivery to people.
    pub alerts: AlertsSection,
    /// The encrypted history.
    pub history: HistorySection,
}

impl Config {
    /// Reads `path`, or the file in `directory` if there is one, or the defaults; reports every
    /// mistake at once.
    pub fn read(directory: &Path, path: Option<&Path>) -> anyhow::Result<Self> {
        let own = directory.join(FILE);
        let path = path.or_else(|| own.exists().then_some(own.as_path()));
        Self::take(Source::read(path)?)
    }

    fn take(mut source: Source) -> anyhow::Result<Self> {
        let config = Self {
            top: Top::take(&mut source),
            listen: Listen::take(&mut source),
            log: LogSection::take(&mut source),
            ingest: IngestSection::take(&mut source),
            detector: DetectorSection::take(&mut source),
            alerts: AlertsSection::take(&mut source),
            history: HistorySection::take(&mut source),
        };
        config.check(&mut source);
        source.finish()?;
        Ok(config)
    }

    fn check(&self, source: &mut Source) {
        source.require(
            (1..=1024).contains(&self.log.partitions),
            "log.partitions: is not from 1 to 1024",
        );
        source.require(
            self.ingest.offer_life <= Duration::from_mins(30) && !self.ingest.offer_life.is_zero(),
            "ingest.offer_life: is not above zero and at most 30min",
        );
        source.require(
            (1..=32).contains(&self.ingest.max_in_flight),
            "ingest.max_in_flight: is not from 1 to 32",
        );
        source.require(
            self.detector.votes_needed >= 1
                && self.detector.votes_needed <= self.detector.votes_of
                && self.detector.votes_of <= 8,
            "detector.votes_needed: is not from 1 to votes_of, which is at most 8",
        );
        source.require(
            self.log.replicas == 1 || (3..=9).contains(&self.log.replicas),
            "log.replicas: is neither 1 nor from 3 to 9",
        );
        source.require(
            self.log.keep >= Duration::from_mins(10),
            "log.keep: is below 10min",
        );
        source.require(
            self.log.deadline >= Duration::from_millis(100),
            "log.deadline: is below 100ms",
        );
        source.require(
            self.log.max_size.0 >= 4 * self.log.segment.0,
            "log.max_size: is below four segments",
        );
    }

    /// Returns the documentation of every key.
    #[must_use]
    pub fn docs() -> Vec<KeyDoc> {
        [
            Top::docs(),
            Listen::docs(),
            LogSection::docs(),
            IngestSection::docs(),
            DetectorSection::docs(),
            AlertsSection::docs(),
            HistorySection::docs(),
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> anyhow::Result<Config> {
        Config::take(Source::parse(text).unwrap())
    }

    #[test]
    fn the_defaults_hold_their_own_rules() {
        assert_eq!(read("").unwrap().log.partitions, 4);
    }

    #[test]
    fn each_rule_between_keys_has_its_boundary() {
        let refused = [
            "[log]\npartitions = 0",
            "[log]\npartitions = 1025",
            "[log]\nmax_size = \"255MiB\"",
            "[log]\nkeep = \"9min\"",
            "[log]\ndeadline = \"99ms\"",
            "[ingest]\noffer_life = \"31min\"",
            "[ingest]\nmax_in_flight = 33",
            "[detector]\nvotes_needed = 4",
        ];
        for text in refused {
            assert!(read(text).is_err(), "{text}");
        }
        let accepted = [
            "[log]\npartitions = 1024",
            "[ingest]\noffer_life = \"30min\"",
            "[log]\nmax_size = \"256MiB\"",
        ];
        for text in accepted {
            assert!(read(text).is_ok(), "{text}");
        }
    }
}
