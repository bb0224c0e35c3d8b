//! The pipeline's audit chain, kept in the log's `audit` topic. Each start continues the chain it
//! finds, after checking that it holds; a record is durable before what it tells of is answered.

use std::sync::{Arc, OnceLock};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use pulseward_audit::{Action, Chain, Entry, Head, verify};
use pulseward_base::{Clock, Digest, Kid, Offset, Partition};
use pulseward_crypto::hash::sha256;
use pulseward_eventlog::{Body, Content, Log, LogError, NewEntry, ReadLimits, Topic};
use pulseward_keys::{AuditSink, Event, NotRecorded};
use tokio::sync::Mutex;

/// The chain stands in one partition, so that it has one order.
const PARTITION: Partition = Partition(0);

/// The chain and the log it stands in. The key registry needs it before the log is open, since the
/// log's entries are sealed under the registry's keys; until then it records nothing.
pub struct AuditTrail {
    clock: Arc<dyn Clock>,
    /// Who acts: this pipeline, by its root.
    actor: Digest,
    open: OnceLock<(Log, Mutex<Option<Chain>>)>,
}

impl AuditTrail {
    /// Returns a trail that [`AuditTrail::continue_in`] opens.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, root: Kid) -> Self {
        Self {
            clock,
            actor: Digest(root.0),
            open: OnceLock::new(),
        }
    }

    /// Checks the chain in `log` from its begin and goes on behind it.
    pub async fn continue_in(&self, log: Log) -> anyhow::Result<()> {
        let mut records: Vec<Vec<u8>> = Vec::new();
        let mut from = Offset(0);
        loop {
            let entries = log
                .read(Topic::Audit, PARTITION, from, ReadLimits::default())
                .await?;
            let Some(last) = entries.last() else { break };
            from = Offset(last.position.offset.0 + 1);
            for entry in entries {
                match entry.content {
                    Content::Body(Body::Audit(record)) => records.push(record),
                    _ => bail!("the audit topic holds something else than records"),
                }
            }
        }
        let head = verify(Head::EMPTY, records.iter().map(Vec::as_slice))
            .context("the audit chain does not hold")?;
        let opened = self.open.set((log, Mutex::new(Some(Chain::resume(head)))));
        opened.map_err(|_| anyhow::anyhow!("the audit trail is open already"))
    }

    /// Writes down one act, durably.
    pub async fn write(&self, action: Action, subject: &[&[u8]]) -> Result<(), NotRecorded> {
        let (log, chain) = self.open.get().ok_or(NotRecorded)?;
        let entry = Entry {
            time: self.clock.now(),
            actor: self.actor,
            action,
            subject: sha256(subject),
        };
        // Held until it is durable: records stand in the log in the order of the chain.
        let mut held = chain.lock().await;
        let mut chain = held.take().ok_or(NotRecorded)?;
        let before = chain.head();
        let record = chain.append(entry);
        match log
            .append(NewEntry::for_log(PARTITION, Body::Audit(record)))
            .await
        {
            Ok(_) => *held = Some(chain),
            // The log refused it, so it is not there: the chain goes on from where it stood.
            Err(LogError::Full) => *held = Some(Chain::resume(before)),
            // Nobody knows whether it is there: only the next start can tell, by reading.
            Err(error) => {
                tracing::error!(%error, "the audit chain stops until the next start");
            }
        }
        held.as_ref()
            .filter(|chain| chain.head() != before)
            .map(|_| ())
            .ok_or(NotRecorded)
    }
}

#[async_trait]
impl AuditSink for AuditTrail {
    async fn record(&self, event: Event) -> Result<(), NotRecorded> {
        match event {
            Event::Admitted { device } => self.write(Action::DeviceAdmitted, &[&device.0]).await,
            Event::TicketReused { device } => self.write(Action::TicketReused, &[&device.0]).await,
            Event::Erased { key } => self.write(Action::KeysDestroyed, &[&key.0]).await,
            Event::Granted { grant, purpose } => {
                self.write(Action::GrantIssued, &[&grant.0, &[purpose as u8]])
                    .await
            }
            Event::Unwrapped {
                grant,
                purpose,
                handles,
            } => {
                let mut subject: Vec<&[u8]> = vec![&grant.0];
                let purpose = [purpose as u8];
                subject.push(&purpose);
                let words: Vec<_> = handles
                    .iter()
                    .map(|(file, class)| (file, class.word()))
                    .collect();
                for (file, word) in &words {
                    subject.push(file.as_slice());
                    subject.push(word.as_bytes());
                }
                self.write(Action::KeysUnwrapped, &subject).await
            }
        }
    }
}
