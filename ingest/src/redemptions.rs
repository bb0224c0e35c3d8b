//! Which device spent which ticket first. One place in the log decides it for all ingests.

use std::collections::BTreeMap;

use pulseward_base::{Kid, Offset, Partition};
use pulseward_eventlog::{Body, Content, Entry, Follower, Log, NewEntry, Topic, body::Redemption};
use tokio::sync::Mutex;

use crate::error::IngestError;

/// Where redemptions stand: one place, so that one is the first.
const PARTITION: Partition = Partition(0);

/// Which device spent which ticket first, as the log says.
pub(crate) struct Redemptions {
    /// Held over a whole redemption: they are rare, and one at a time is easy to be sure of.
    state: Mutex<State>,
}

struct State {
    follower: Follower,
    first: BTreeMap<[u8; 32], Kid>,
}

impl Redemptions {
    /// Reads all there are.
    pub(crate) async fn open(log: &Log) -> Result<Self, IngestError> {
        let mut state = State {
            follower: log.follow(Topic::Control, PARTITION, Offset(0)),
            first: BTreeMap::new(),
        };
        state.catch_up().await?;
        Ok(Self {
            state: Mutex::new(state),
        })
    }

    /// Spends a ticket for `redemption.device`, and returns the device that spent it first.
    pub(crate) async fn redeem(
        &self,
        log: &Log,
        redemption: Redemption,
    ) -> Result<Kid, IngestError> {
        let mac = redemption.ticket_mac;
        let mut state = self.state.lock().await;
        state.catch_up().await?;
        if let Some(first) = state.first.get(&mac) {
            return Ok(*first);
        }
        let device = redemption.device;
        log.append(NewEntry::for_log(PARTITION, Body::Redemption(redemption)))
            .await?;
        // Read back: another ingest may have been first.
        state.catch_up().await?;
        Ok(state.first.get(&mac).copied().unwrap_or(device))
    }
}

impl State {
    async fn catch_up(&mut self) -> Result<(), IngestError> {
        loop {
            let entries = self.follower.ready().await?;
            if entries.is_empty() {
                return Ok(());
            }
            for entry in entries {
                self.take(entry)?;
            }
        }
    }

    fn take(&mut self, entry: Entry) -> Result<(), IngestError> {
        match entry.content {
            Content::Body(Body::Redemption(redemption)) => {
                let first = self.first.entry(redemption.ticket_mac);
                first.or_insert(redemption.device);
                Ok(())
            }
            Content::Body(_) => Ok(()),
            // A ticket that may have been spent must not be spent again.
            Content::Batch(_) | Content::Erased | Content::Unreadable(_) => {
                Err(IngestError::Unreadable {
                    topic: Topic::Control.name(),
                    partition: entry.partition.0,
                    offset: entry.position.offset.0,
                })
            }
        }
    }
}
