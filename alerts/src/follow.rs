//! Follows the alerts of one partition: each counts once, in the order of their causes.

use std::{collections::BTreeMap, sync::Arc};

use pulseward_base::{AlertId, Clock, Micros, Offset, Partition};
use pulseward_eventlog::{
    Body, Cause, Content, Entry, Log, LogError, NewEntry, Position, Topic,
    body::{AlertState, Delivery, DeliveryState},
};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    error::Error,
    hub::{Delivered, Hub},
    metrics::Metrics,
    settings::{Recipient, Settings},
    view::Step,
};

/// What every partition's task has.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) log: Log,
    pub(crate) hub: Arc<Hub>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// Nothing is ever sent of this: whoever holds a sender still reads what stood in the log.
pub(crate) enum Replaying {}

/// One partition's place in the log.
pub(crate) struct Follow {
    parts: Parts,
    partition: Partition,
    /// The cause of the last alert taken.
    last: Option<Cause>,
    /// Behind the last alert taken.
    head: Position,
    /// Steps below this stood there at the start.
    stood: Offset,
    /// From here on steps are counted as new. Where nobody has followed yet, all are.
    news_from: Offset,
    delivered: BTreeMap<AlertId, Vec<(Recipient, DeliveryState)>>,
    written: Option<(Position, Option<Cause>)>,
    /// When the last alert taken was so.
    waiting_since: Micros,
}

impl Follow {
    /// Reads where the partition was left.
    pub(crate) async fn open(parts: Parts, partition: Partition) -> Result<Self, Error> {
        let start = parts.log.position(Offset(0));
        let mut follow = Self {
            parts,
            partition,
            last: None,
            head: start,
            stood: start.offset,
            news_from: start.offset,
            delivered: BTreeMap::new(),
            written: None,
            waiting_since: Micros(i64::MAX),
        };
        let compacted = follow
            .parts
            .log
            .compacted(Topic::Deliveries, partition)
            .await?;
        for entry in compacted.entries.into_values() {
            match entry.content {
                Content::Body(Body::Delivery(Delivery::Cursor { next, last }))
                    if next.generation == start.generation =>
                {
                    (follow.head, follow.last) = (next, last);
                    follow.written = Some((next, last));
                }
                Content::Body(Body::Delivery(Delivery::Sent {
                    alert,
                    recipient,
                    state,
                    ..
                })) => {
                    follow
                        .delivered
                        .entry(alert)
                        .or_default()
                        .push((Recipient(recipient), state));
                }
                _ => {}
            }
        }
        follow.stood = follow.parts.log.bounds(Topic::Alerts, partition).await?.end;
        if follow.written.is_some() {
            follow.news_from = follow.stood;
        }
        Ok(follow)
    }

    /// Follows until `stop`. `replaying` is let go when all that stood there is taken.
    pub(crate) async fn run(
        mut self,
        replaying: mpsc::Sender<Replaying>,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let mut replaying = Some(replaying);
        let mut follower = self
            .parts
            .log
            .follow(Topic::Alerts, self.partition, self.head.offset);
        let mut cursors = tokio::time::interval(self.parts.settings.cursor_every);
        let mut tries = 0;
        loop {
            if self.head.offset >= self.stood {
                drop(replaying.take());
            }
            let entries = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = cursors.tick() => {
                    self.write_cursor().await?;
                    continue;
                }
                entries = follower.next() => entries,
            };
            match entries {
                Ok(entries) => {
                    tries = 0;
                    self.take_all(entries).await?;
                }
                Err(error) if may_pass(&error) && tries < self.parts.settings.retries => {
                    tries += 1;
                    self.parts.metrics.waited();
                    tokio::time::sleep(self.parts.settings.retry_after).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.write_cursor().await
    }

    async fn take_all(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        for entry in entries {
            self.take(entry)?;
        }
        // Only shown: a log that does not say is asked again with the next alert.
        let end = match self.parts.log.bounds(Topic::Alerts, self.partition).await {
            Ok(bounds) => bounds.end,
            Err(error) if may_pass(&error) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let lag = end.0.saturating_sub(self.head.offset.0);
        let age = self
            .waiting_since
            .until(self.parts.clock.now())
            .as_secs_f64();
        let age = if lag > 0 { age } else { 0.0 };
        self.parts.metrics.behind(self.partition, lag, age);
        Ok(())
    }

    fn take(&mut self, entry: Entry) -> Result<(), Error> {
        let position = entry.position;
        self.head = position.next();
        let Some(outputs) = entry.outputs else {
            self.parts.metrics.unreadable();
            tracing::error!(
                partition = self.partition.0,
                offset = position.offset.0,
                "not an alert"
            );
            return Ok(());
        };
        if Some(outputs.cause) <= self.last {
            self.parts.metrics.repeated();
            return Ok(());
        }
        // The first ever, where older ones were trimmed, continues something that is gone.
        let trimmed = self.last.is_none() && position.offset != Offset(0);
        if outputs.previous != self.last && !trimmed {
            return Err(Error::Chain {
                partition: self.partition,
                offset: position.offset,
            });
        }
        let before = self.last.replace(outputs.cause);
        let Content::Body(Body::Alert(alert)) = entry.content else {
            // Erased, or altered: there is nothing that could be told.
            self.parts.metrics.unreadable();
            return Ok(());
        };
        let (id, state) = (alert.id, alert.state);
        let step = Step {
            alert,
            partition: self.partition,
            patient: entry.slot.zip(entry.key),
        };
        self.waiting_since = step.alert.at;
        let is_news = position.offset >= self.news_from;
        self.parts.hub.take(step, (position, before), is_news)?;
        if !is_news {
            self.recall(id, state);
        }
        Ok(())
    }

    /// Notes who had this step before the restart.
    fn recall(&self, id: AlertId, state: AlertState) {
        for (recipient, reached) in self.delivered.get(&id).into_iter().flatten() {
            if *reached == DeliveryState::Ended || state != AlertState::Cleared {
                self.parts.hub.recall(id, state, *recipient);
            }
        }
    }

    /// Writes down from where the partition must be read again, if that has moved.
    async fn write_cursor(&mut self) -> Result<(), Error> {
        let needed = self
            .parts
            .hub
            .needed(self.partition, (self.head, self.last));
        if self.written == Some(needed) {
            return Ok(());
        }
        let cursor = Delivery::Cursor {
            next: needed.0,
            last: needed.1,
        };
        let entry = NewEntry::for_log(self.partition, Body::Delivery(cursor));
        let key = self.parts.log.compaction_key(b"cursor");
        match self.parts.log.append(entry.compacted(key)).await {
            Ok(_) => self.written = Some(needed),
            // It only makes the next start read more.
            Err(error) if may_pass(&error) => self.parts.metrics.waited(),
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}

/// Writes down who was sent what.
pub(crate) async fn write_down(parts: &Parts, delivered: &[Delivered]) -> Result<(), Error> {
    let now = parts.clock.now();
    let entries = delivered
        .iter()
        .map(|delivered| delivery_entry(&parts.log, delivered, now));
    match parts.log.append_all(entries.collect()).await {
        Err(error) if may_pass(&error) => {
            parts.metrics.unwritten();
            Ok(())
        }
        appended => appended.map(|_| ()).map_err(Error::from),
    }
}

fn delivery_entry(log: &Log, delivered: &Delivered, now: Micros) -> NewEntry {
    let sent = Delivery::Sent {
        alert: delivered.alert,
        recipient: delivered.recipient.0,
        state: if delivered.state == AlertState::Cleared {
            DeliveryState::Ended
        } else {
            DeliveryState::Delivered
        },
        attempts: 1,
        time: now,
    };
    let id = [delivered.alert.0, delivered.recipient.0].concat();
    NewEntry::for_log(delivered.partition, Body::Delivery(sent)).compacted(log.compaction_key(&id))
}

const fn may_pass(error: &LogError) -> bool {
    matches!(
        error,
        LogError::Full | LogError::KeysUnavailable | LogError::Deadline
    )
}
