//! One partition: reads the feed, the scores and the alerts, and commits what they say.

use std::{collections::BTreeSet, sync::Arc};

use pulseward_base::{Clock, KeyId, Offset, Partition};
use pulseward_eventlog::{
    Body, Content, Entry, Follower, Log, LogError, NewEntry, Position, ReadLimits, Topic,
    body::{ControlKind, Parked},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::progress::{Progress, Waiting};
use crate::{
    chain::Head,
    collect::Collector,
    error::{HistoryError, log_may_pass},
    manifest::Positions,
    metrics::Metrics,
    owner::{Owner, OwnerTools},
    settings::Settings,
};

/// The reason under which history parks an entry that does not open.
const PARKED_UNREADABLE: u16 = 1;

/// Follows one partition until `stop`, then stores what is in the log by then.
pub(super) async fn follow(
    partition: Partition,
    log: Log,
    tools: OwnerTools,
    progress: Progress,
    stop: CancellationToken,
) -> Result<(), HistoryError> {
    let owner = patiently(&tools.settings, &stop, || {
        Owner::claim(partition, tools.clone())
    });
    let Some(owner) = owner.await? else {
        return Ok(());
    };
    let head = owner.head()?;
    let positions = patiently(&tools.settings, &stop, || {
        where_to_go_on(partition, &log, head)
    });
    let Some(positions) = positions.await? else {
        return Ok(());
    };
    let mut follow = Follow::new(partition, log, &tools, progress, owner, positions)?;
    follow.progress.set(partition, follow.owner.head()?);
    while !stop.is_cancelled() {
        follow.turn(&stop).await?;
    }
    follow.drain().await
}

/// Returns where the chain says to go on in the log, which must be the log that it followed and
/// must not have gone back behind it. A chain that has followed none begins where the log does.
async fn where_to_go_on(
    partition: Partition,
    log: &Log,
    head: &Head,
) -> Result<Positions, HistoryError> {
    let generation = log.position(Offset(0)).generation.0;
    let begun = head.log != [0; 16];
    if begun && (head.log != log.log_id() || head.positions.generation != generation) {
        return Err(HistoryError::ForeignLog(partition));
    }
    let mut positions = Positions {
        generation,
        ..head.positions
    };
    for (topic, next) in [
        (Topic::Feed, &mut positions.feed),
        (Topic::Scores, &mut positions.scores),
        (Topic::Alerts, &mut positions.alerts),
    ] {
        let bounds = log.bounds(topic, partition).await?;
        if !begun {
            *next = bounds.start.0;
        }
        if *next > bounds.end.0 {
            return Err(LogError::WentBack {
                from: Offset(*next),
                end: bounds.end,
            }
            .into());
        }
    }
    Ok(positions)
}

/// Asks again while keys or the log do not answer; none when it is time to stop.
async fn patiently<T, F: Future<Output = Result<T, HistoryError>>>(
    settings: &Settings,
    stop: &CancellationToken,
    mut ask: impl FnMut() -> F,
) -> Result<Option<T>, HistoryError> {
    loop {
        match ask().await {
            Err(error) if error.may_pass() => {}
            other => return other.map(Some),
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(None),
            () = tokio::time::sleep(settings.retry_after) => {}
        }
    }
}

/// One partition being followed.
struct Follow {
    partition: Partition,
    log: Log,
    settings: Arc<Settings>,
    metrics: Metrics,
    progress: Progress,
    owner: Owner,
    collector: Collector,
    feed: Follower,
    scores: Follower,
    alerts: Follower,
    /// When the first row that waits was read.
    since: Option<Instant>,
    /// When positions were last committed.
    committed: Instant,
    /// The same as `since`, for others to see, and how late ticks are read.
    waiting: Waiting,
    clock: Arc<dyn Clock>,
}

impl Follow {
    fn new(
        partition: Partition,
        log: Log,
        tools: &OwnerTools,
        progress: Progress,
        owner: Owner,
        positions: Positions,
    ) -> Result<Self, HistoryError> {
        let head = owner.head()?;
        let follow = |topic, from| log.follow(topic, partition, Offset(from));
        Ok(Self {
            feed: follow(Topic::Feed, positions.feed),
            scores: follow(Topic::Scores, positions.scores),
            alerts: follow(Topic::Alerts, positions.alerts),
            collector: Collector::new(
                positions,
                head.marks.clone(),
                tools.settings.max_devices,
                tools.metrics.clone(),
            ),
            partition,
            settings: Arc::clone(&tools.settings),
            metrics: tools.metrics.clone(),
            progress,
            owner,
            log,
            since: None,
            committed: Instant::now(),
            waiting: Waiting::default(),
            clock: Arc::clone(&tools.clock),
        })
    }

    /// Waits for entries or for the time to commit.
    async fn turn(&mut self, stop: &CancellationToken) -> Result<(), HistoryError> {
        let due = self.due();
        let entries = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep_until(due) => return self.commit().await,
            entries = self.feed.next() => entries,
            entries = self.scores.next() => entries,
            entries = self.alerts.next() => entries,
        };
        match entries {
            Ok(entries) => self.take(entries).await,
            Err(error) if log_may_pass(&error) => {
                tracing::debug!(%error, "history waits for the log");
                // Nothing is skipped: the follower stands where it stood.
                self.wait_since_now();
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(self.settings.retry_after) => {}
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn due(&self) -> Instant {
        match self.since {
            Some(since) => since + self.settings.commit_age,
            None => self.committed + self.settings.idle_commit_age,
        }
    }

    async fn take(&mut self, entries: Vec<Entry>) -> Result<(), HistoryError> {
        let mut erased = BTreeSet::new();
        for entry in entries {
            let mut entry = self.readable(entry).await?;
            // It was opened when it was read, before the erasure in front of it was known.
            if entry.key.is_some_and(|key| erased.contains(&key)) {
                entry.content = Content::Erased;
            }
            self.see_tick(&entry);
            if is_erasure(&entry) {
                // What came before is committed before; the erasure is a commit of its own.
                self.commit().await?;
                self.collector.take(&entry)?;
                erased.extend(self.erase().await?);
                continue;
            }
            self.collector.take(&entry)?;
            if self.collector.pending.len() >= self.settings.commit_rows {
                self.commit().await?;
            }
        }
        self.metrics
            .pending
            .set(i64::try_from(self.collector.pending.len()).unwrap_or(i64::MAX));
        if self.collector.pending.is_empty() {
            // The log answers again, and had nothing to store.
            self.caught_up();
        } else if self.since.is_none() {
            self.since = Some(Instant::now());
            self.wait_since_now();
        } else {
            self.progress.set_waiting(self.partition, self.waiting);
        }
        Ok(())
    }

    fn wait_since_now(&mut self) {
        let now = self.clock.monotonic();
        self.waiting.since.get_or_insert(now);
        self.progress.set_waiting(self.partition, self.waiting);
    }

    /// A tick tells when it was written; how late it is read is how late everything is.
    fn see_tick(&mut self, entry: &Entry) {
        if let Content::Body(Body::Tick(tick)) = &entry.content {
            self.waiting.delay = tick.time.until(self.clock.now());
        }
    }

    /// An entry that does not open is read once more; if that does not help, it is parked, durably,
    /// before anything behind it is taken.
    async fn readable(&self, entry: Entry) -> Result<Entry, HistoryError> {
        if !matches!(entry.content, Content::Unreadable(_)) {
            return Ok(entry);
        }
        let one = ReadLimits {
            entries: 1,
            ..ReadLimits::default()
        };
        let offset = entry.position.offset;
        let again = || self.log.read(entry.topic, self.partition, offset, one);
        let again = self.insist(again).await?;
        let again = again
            .into_iter()
            .find(|again| again.position == entry.position);
        if let Some(again) = again.filter(|again| !matches!(again.content, Content::Unreadable(_)))
        {
            return Ok(again);
        }
        self.park(entry.topic, entry.position).await?;
        Ok(entry)
    }

    async fn park(&self, topic: Topic, position: Position) -> Result<(), HistoryError> {
        tracing::error!(
            topic = topic.name(),
            partition = self.partition.0,
            offset = position.offset.0,
            "an entry does not open and is parked",
        );
        let parked = Parked {
            topic,
            position,
            reason: PARKED_UNREADABLE,
        };
        let entry = NewEntry::for_log(self.partition, Body::Parked(parked));
        self.insist(|| self.log.append(entry.clone())).await?;
        self.metrics.parked.inc();
        Ok(())
    }

    /// Asks the log again while it may yet answer: as often, at most, as a file's key is asked for.
    async fn insist<T, F: Future<Output = Result<T, LogError>>>(
        &self,
        mut ask: impl FnMut() -> F,
    ) -> Result<T, LogError> {
        let mut tries = 1;
        loop {
            match ask().await {
                Err(error) if log_may_pass(&error) && tries < self.settings.key_tries => tries += 1,
                answered => return answered,
            }
            tokio::time::sleep(self.settings.retry_after).await;
        }
    }

    async fn commit(&mut self) -> Result<(), HistoryError> {
        self.since = None;
        self.committed = Instant::now();
        let moved = self.collector.positions != self.owner.head()?.positions;
        if !moved && self.collector.pending.is_empty() {
            self.caught_up();
            return Ok(());
        }
        let log = self.log.log_id();
        self.owner.commit(log, &mut self.collector).await?;
        while self.owner.compact(log, &mut self.collector).await? {}
        self.progress.set(self.partition, self.owner.head()?);
        self.metrics.pending.set(0);
        self.caught_up();
        Ok(())
    }

    fn caught_up(&mut self) {
        self.waiting.since = None;
        self.progress.set_waiting(self.partition, self.waiting);
    }

    /// Erases those whose erasure was read, and returns their keys.
    async fn erase(&mut self) -> Result<Vec<KeyId>, HistoryError> {
        let keys = std::mem::take(&mut self.collector.pending.erase);
        for key in &keys {
            self.log.forget(*key);
        }
        self.owner
            .erase(&keys, self.log.log_id(), &mut self.collector)
            .await?;
        self.progress.set(self.partition, self.owner.head()?);
        Ok(keys)
    }

    /// Takes what is in the log by now, and commits. Whoever writes to it has ended already.
    async fn drain(&mut self) -> Result<(), HistoryError> {
        for topic in [Topic::Feed, Topic::Scores, Topic::Alerts] {
            let end = match self.log.bounds(topic, self.partition).await {
                Ok(bounds) => bounds.end,
                // Left for the next start: there is no time to wait.
                Err(error) if log_may_pass(&error) => continue,
                Err(error) => return Err(error.into()),
            };
            loop {
                let follower = match topic {
                    Topic::Scores => &mut self.scores,
                    Topic::Alerts => &mut self.alerts,
                    _ => &mut self.feed,
                };
                if follower.position().offset >= end {
                    break;
                }
                let entries = match follower.ready().await {
                    Ok(entries) if entries.is_empty() => break,
                    Ok(entries) => entries,
                    Err(error) if log_may_pass(&error) => break,
                    Err(error) => return Err(error.into()),
                };
                self.take(entries).await?;
            }
        }
        self.commit().await
    }
}

fn is_erasure(entry: &Entry) -> bool {
    matches!(&entry.content, Content::Body(Body::Control(control)) if control.kind == ControlKind::Erase)
}
