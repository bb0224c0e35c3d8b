//! The program's configuration: one TOML file, by default `identity.toml` in the vault's directory.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use pulseward_app::config::{KeyDoc, Source};
use pulseward_base::Kid;
use pulseward_identity_store::Settings;

/// The configuration's name within the vault's directory.
pub(crate) const FILE: &str = "identity.toml";

pulseward_app::section! {
    /// The store.
    pub(crate) struct Store in "store" {
        /// How many persons may be registered.
        max_persons: usize = 200_000,
    }
}

pulseward_app::section! {
    /// What is believed and issued.
    pub(crate) struct Slips in "slips" {
        /// The root of the pipeline whose way-back slips are opened and which tickets pin. Without it, neither works.
        pipeline_root: Option<Kid> = None,
        /// How long a ticket may wait for its device.
        ticket_life: Duration = Duration::from_secs(7 * 24 * 60 * 60),
        /// The longest a way-back slip may hold, counted from when it is shown.
        slip_life: Duration = Duration::from_secs(24 * 60 * 60),
        /// How many way-back slips one staff member may show in an hour.
        ways_back_per_hour: u32 = 60,
    }
}

pulseward_app::section! {
    /// The gRPC port.
    pub(crate) struct Grpc in "grpc" {
        /// Where it listens; port 0 takes a free one.
        address: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 7453)),
        /// The names its TLS certificate is for, separated by commas.
        names: String = "localhost,127.0.0.1".to_owned(),
        /// How many connections may be open at once.
        max_connections: usize = 256,
        /// How many calls may be under way on one connection.
        calls_per_connection: usize = 8,
        /// How many calls may wait for the store; more are turned away.
        max_calls: usize = 64,
        /// How long a call may take.
        call_time: Duration = Duration::from_secs(10),
        /// How long a connection may stay open.
        connection_life: Duration = Duration::from_secs(3600),
    }
}

pulseward_app::section! {
    /// The doors for operators, and the end.
    pub(crate) struct Admin in "admin" {
        /// Where `/metrics`, `/healthz` and `/readyz` are served; port 0 takes a free one.
        address: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 9465)),
        /// How long calls under way may take to finish after the first signal.
        grace: Duration = Duration::from_secs(10),
        /// What is logged: a level, or levels by module.
        log: String = "info".to_owned(),
        /// Whether log lines are JSON.
        log_json: bool = false,
    }
}

/// All sections.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) store: Store,
    pub(crate) slips: Slips,
    pub(crate) grpc: Grpc,
    pub(crate) admin: Admin,
}

impl Config {
    /// Reads the file at `path`, or the one in the vault's directory if there is one.
    pub(crate) fn read(path: Option<&PathBuf>, directory: &Path) -> anyhow::Result<Self> {
        let usual = directory.join(FILE);
        let path = path.cloned().or_else(|| usual.exists().then_some(usual));
        Self::take(Source::read(path.as_deref())?)
    }

    fn take(mut source: Source) -> anyhow::Result<Self> {
        let config = Self {
            store: Store::take(&mut source),
            slips: Slips::take(&mut source),
            grpc: Grpc::take(&mut source),
            admin: Admin::take(&mut source),
        };
        let rules = [
            (
                config.grpc.max_connections > 0
                    && config.grpc.calls_per_connection > 0
                    && config.grpc.max_calls > 0,
                "grpc: connections and calls must be at least 1",
            ),
            (
                config.slips.ticket_life <= Duration::from_secs(365 * 24 * 60 * 60),
                "slips.ticket_life: at most 365d, within the vault's certificate",
            ),
            (
                config.store.max_persons <= 5_000_000,
                "store.max_persons: at most 5000000",
            ),
        ];
        for (holds, rule) in rules {
            source.require(holds, rule);
        }
        source.finish()?;
        Ok(config)
    }

    /// Returns what the vault itself is told.
    pub(crate) const fn settings(&self) -> Settings {
        Settings {
            pipeline_root: self.slips.pipeline_root,
            ticket_life: self.slips.ticket_life,
            slip_life: self.slips.slip_life,
            max_persons: self.store.max_persons,
            ways_back_per_hour: self.slips.ways_back_per_hour,
        }
    }

    /// Returns the documentation of every key.
    pub(crate) fn docs() -> Vec<KeyDoc> {
        [Store::docs(), Slips::docs(), Grpc::docs(), Admin::docs()].concat()
    }
}

#[cfg(test)]
mod tests {
    use pulseward_app::config;

    use super::*;

    #[test]
    fn all_mistakes_of_a_file_are_reported_at_once() {
        let text = "[slips]\npipeline_root = \"no hex\"\nticket_life = \"366d\"\n\
                    [grpc]\nmax_calls = 0\nport = 1\n[store]\nmax_persons = 6000000\n[else]\nkey = 1\n";
        let error = Config::take(Source::parse(text).unwrap()).unwrap_err();
        let text = error.to_string();
        for word in [
            "pipeline_root",
            "ticket_life",
            "at least 1",
            "grpc.port",
            "max_persons",
            "else.key",
        ] {
            assert!(text.contains(word), "{word} in {text}");
        }
    }

    #[test]
    fn every_key_has_a_default_and_is_documented() {
        Config::take(Source::parse("").unwrap()).unwrap();
        let docs = Config::docs();
        assert_eq!(docs.len(), 16);
        assert!(docs.iter().all(|doc| doc.text.ends_with('.')));
    }

    fn at_root(file: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .join(file)
    }

    /// Compares a file with what it must be, or writes it when PULSEWARD_BLESS is set.
    fn keep(file: &str, content: &str) {
        let path = at_root(file);
        if std::env::var_os("PULSEWARD_BLESS").is_some() {
            std::fs::write(&path, content).unwrap();
        }
        let kept = std::fs::read_to_string(&path).unwrap();
        assert!(
            kept == content,
            "{file} is stale: PULSEWARD_BLESS=1 writes it"
        );
    }

    #[test]
    fn the_page_and_the_example_of_the_configuration_are_those_of_the_code() {
        let (begin, end) = (
            "<!-- pulseward-identity: begin -->\n",
            "<!-- pulseward-identity: end -->",
        );
        let page = std::fs::read_to_string(at_root("docs/CONFIG.md")).unwrap();
        let (head, rest) = page.split_once(begin).unwrap();
        let (_, tail) = rest.split_once(end).unwrap();
        let part = config::page("pulseward-identity", &Config::docs());
        let page = format!("{head}{begin}\n{part}\n{end}{tail}");
        keep("docs/CONFIG.md", &page);
        keep(
            "deploy/config/identity.advanced.toml",
            &config::example("pulseward-identity", &Config::docs()),
        );
        for form in ["basic", "advanced"] {
            let path = at_root(&format!("deploy/config/identity.{form}.toml"));
            let read = Config::read(Some(&path), Path::new("nowhere"));
            assert!(read.is_ok(), "{form}: {read:?}");
        }
    }
}
