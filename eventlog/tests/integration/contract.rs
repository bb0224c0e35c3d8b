//! The suite that every back end is held to.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use pulseward_base::{Micros, clock::ManualClock};
use pulseward_eventlog::{
    Backend,
    contract::{self, Fixture, PARTITIONS},
    embedded::{EmbeddedLog, Settings},
    testing,
};

struct InDirectory {
    root: tempfile::TempDir,
}

impl InDirectory {
    fn open(&self) -> Arc<dyn Backend> {
        let settings = Settings {
            // Small enough that the suite fills several segments and reads from disk and memory.
            segment_bytes: 2 << 20,
            reserve_bytes: 64 << 10,
            cache_bytes: 4 << 10,
            partitions: PARTITIONS,
            ..Settings::default()
        };
        let path: PathBuf = self.root.path().join("log");
        let clock = Arc::new(ManualClock::new(Micros(0)));
        Arc::new(EmbeddedLog::open(&path, settings, clock, testing::metrics()).unwrap())
    }
}

#[async_trait]
impl Fixture for InDirectory {
    async fn fresh(&self) -> Arc<dyn Backend> {
        self.open()
    }

    async fn reopen(&self, log: Arc<dyn Backend>) -> Arc<dyn Backend> {
        assert_eq!(Arc::strong_count(&log), 1);
        drop(log);
        self.open()
    }
}

#[tokio::test]
async fn the_embedded_log_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    contract::run(&InDirectory { root }).await;
}
