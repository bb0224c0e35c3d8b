//! One partition's task: reads the feed, steps, makes outputs durable, and now and then the state.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use pulseward_base::{Micros, Offset, Partition};
use pulseward_eventlog::{
    Body, Content, Entry, Follower, LogError, NewEntry, Position, ReadLimits, Topic,
    body::{Parked, Role, Tick},
};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::{
    Parts,
    checkpoint::{self, Marks, Ownership},
    outbox::Outbox,
    patience::{Patience, may_pass},
    takeover::{self, Taken},
};
use crate::{
    error::Error,
    facts::Fact,
    metrics::{ParkReason, Seen},
    output::{BatchOutcome, Outputs},
    probe, read,
    state::PartitionState,
};

/// The task of one partition.
pub(super) struct PartitionTask {
    parts: Parts,
    partition: Partition,
    stop: CancellationToken,
    state: PartitionState,
    outbox: Outbox,
    marks: Marks,
    parked: BTreeSet<Position>,
    /// The wall clock's time at the monotonic clock's zero: ticks never step.
    epoch: Micros,
    owned: Ownership,
    saved: Option<Position>,
    /// When the silence alarm last passed its own test, by the wall clock.
    probed: Option<Micros>,
    /// The feed's end when it was last shown, until it is reached.
    behind: Option<Offset>,
}

impl PartitionTask {
    /// Runs until `stop`, or until this life of the log ends.
    pub(super) async fn run(
        parts: Parts,
        partition: Partition,
        stop: CancellationToken,
    ) -> Result<(), Error> {
        let patience = Patience {
            drive: &parts.settings.drive,
            metrics: &parts.metrics,
            stop: &stop,
        };
        let judgement = parts.settings.judgement.clone();
        let taken = takeover::take_over(&parts.log, partition, judgement, &patience).await?;
        let Taken {
            state,
            outbox,
            marks,
            parked,
            owned,
        } = taken;
        let epoch = parts.clock.now().minus(parts.clock.monotonic());
        let task = Self {
            parts,
            partition,
            stop,
            state,
            outbox,
            marks,
            parked,
            epoch,
            owned,
            saved: None,
            probed: None,
            behind: None,
        };
        task.watch().await
    }

    async fn watch(mut self) -> Result<(), Error> {
        let drive = self.parts.settings.drive.clone();
        let mut ticks = every(drive.tick_every);
        let mut saves = every(drive.checkpoint_every.min(MOST_BETWEEN_CHECKPOINTS));
        saves.reset();
        let mut follower = self.follow();
        let stop = self.stop.clone();
        while !self.state.feed().ended {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = ticks.tick() => self.tick().await?,
                _ = saves.tick() => self.save().await?,
                entries = next(&mut follower, drive.retry_after) => match entries {
                    Ok(entries) => self.take(entries).await?,
                    Err(error) if may_pass(&error) => self.parts.metrics.waited(),
                    Err(error) => return Err(error.into()),
                },
            }
        }
        self.drain(&mut follower).await?;
        self.save().await
    }

    /// Takes in what the feed holds by now; whoever was acknowledged into it has ended already. What
    /// is not reached in time is judged after the next start.
    async fn drain(&mut self, follower: &mut Follower) -> Result<(), Error> {
        let until = Instant::now() + MOST_DRAINING;
        let drained = async {
            let end = self
                .parts
                .log
                .bounds(Topic::Feed, self.partition)
                .await?
                .end;
            let is_behind =
                |state: &PartitionState| !state.feed().ended && state.as_of().offset < end;
            while is_behind(&self.state) && Instant::now() < until {
                let entries = follower.ready().await?;
                if entries.is_empty() {
                    break;
                }
                self.take(entries).await?;
            }
            Ok(())
        };
        match drained.await {
            // Left for the next start: there is no time to wait.
            Err(Error::Log(error)) if may_pass(&error) => Ok(()),
            drained => drained,
        }
    }

    fn follow(&self) -> Follower {
        let drive = &self.parts.settings.drive;
        let limits = ReadLimits {
            bytes: drive.read_bytes,
            entries: drive.read_entries,
        };
        let from = self.state.as_of().offset;
        self.parts
            .log
            .follow(Topic::Feed, self.partition, from)
            .with_limits(limits)
    }

    /// Steps through entries and makes what they say durable.
    async fn take(&mut self, entries: Vec<Entry>) -> Result<(), Error> {
        for entry in entries {
            self.take_one(entry).await?;
        }
        let patience = self.parts.patience(&self.stop);
        let erased = self
            .outbox
            .flush(&self.parts.log, self.partition, &patience)
            .await?;
        for key in erased {
            let of_key = |(_, patient): &(&_, &crate::state::Patient)| patient.key == key;
            let gone = self
                .state
                .patients()
                .iter()
                .find(of_key)
                .map(|(pseudonym, _)| *pseudonym);
            gone.into_iter()
                .for_each(|pseudonym| self.state.forget(pseudonym));
        }
        let next = self.state.as_of().offset;
        if self.behind.take_if(|end| *end <= next).is_some() {
            self.parts.metrics.caught_up(self.partition);
        }
        Ok(())
    }

    async fn take_one(&mut self, entry: Entry) -> Result<(), Error> {
        let position = entry.position;
        if self.parked.contains(&position) {
            self.state.pass(position);
            return Ok(());
        }
        let Some(fact) = self.readable(&entry).await? else {
            return self.park(position, ParkReason::Unreadable).await;
        };
        if entry.content == Content::Erased {
            self.parts.metrics.erased();
        }
        let state = &mut self.state;
        let metrics = &self.parts.metrics;
        let tries = self.parts.settings.drive.tries;
        let Some(outputs) = try_step(tries, || state.step(&fact), || metrics.panicked()) else {
            return self.park(position, ParkReason::Panic).await;
        };
        self.keep(&fact, outputs);
        if entry.writer == self.parts.log.writer() {
            self.probe();
        }
        Ok(())
    }

    /// Tests the silence alarm, now that something of this process has come round through the feed.
    /// One that lags does not pass: silence would be told too late.
    fn probe(&mut self) {
        let (now, drive) = (self.parts.clock.now(), &self.parts.settings.drive);
        let time = self.epoch.plus(self.parts.clock.monotonic());
        let judgement = &self.parts.settings.judgement;
        let lags = |log_time: Micros| log_time.until(time) > judgement.feed_silence;
        let due = self
            .probed
            .is_none_or(|probed| probed.until(now) >= drive.probe_every);
        if due
            && self
                .state
                .feed()
                .log_time
                .is_some_and(|log_time| !lags(log_time))
        {
            if probe::silence_is_heard(judgement, time) {
                self.probed = Some(now);
            } else {
                tracing::error!("the silence alarm does not pass its own test");
            }
        }
    }

    fn keep(&mut self, fact: &Fact, outputs: Outputs) {
        let metrics = &self.parts.metrics;
        metrics.stepped(&outputs);
        if outputs
            .batch
            .is_none_or(|outcome| outcome == BatchOutcome::Applied)
        {
            self.marks.note(fact);
        }
        for output in outputs.said {
            self.outbox.take(fact.position, output, metrics);
        }
    }

    /// Returns what the entry says; an entry that does not open is read a second time.
    async fn readable(&self, entry: &Entry) -> Result<Option<Fact>, Error> {
        if let Some(fact) = read::fact(entry) {
            return Ok(Some(fact));
        }
        let patience = self.parts.patience(&self.stop);
        let place = (self.partition, entry.position.offset);
        let again = takeover::read_again(&self.parts.log, place, &patience).await?;
        Ok(again.as_ref().and_then(read::fact))
    }

    /// Says, durably and for all readers, that an entry is passed over.
    async fn park(&mut self, position: Position, reason: ParkReason) -> Result<(), Error> {
        tracing::error!(
            partition = self.partition.0,
            offset = position.offset.0,
            ?reason,
            "an entry is parked: readings in it are not judged",
        );
        let parked = Parked {
            topic: Topic::Feed,
            position,
            reason: reason.number(),
        };
        let entry = NewEntry::for_log(self.partition, Body::Parked(parked));
        let patience = self.parts.patience(&self.stop);
        patience
            .insist(|| self.parts.log.append(entry.clone()))
            .await?;
        self.parts.metrics.parked(reason);
        self.parked.insert(position);
        self.state.pass(position);
        Ok(())
    }

    /// Puts the time into the feed, and shows where the partition stands.
    async fn tick(&mut self) -> Result<(), Error> {
        let parts = &self.parts;
        let time = self.epoch.plus(parts.clock.monotonic());
        let tick = Tick {
            source: parts.log.writer(),
            role: Role::Detector,
            time,
        };
        let entry = NewEntry::for_log(self.partition, Body::Tick(tick));
        let ticked = async {
            let end = parts.log.bounds(Topic::Feed, self.partition).await?.end;
            parts.log.append(entry).await.map(|_| end)
        };
        let end = match ticked.await {
            Ok(end) => end,
            // It is made up for by the next one.
            Err(error) if may_pass(&error) => {
                parts.metrics.waited();
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let lag = end.0.saturating_sub(self.state.as_of().offset.0);
        self.behind = (lag > 0).then_some(end);
        let log_time = self.state.feed().log_time;
        let age = log_time
            .filter(|_| lag > 0)
            .map_or(Duration::ZERO, |log_time| log_time.until(time));
        let seen = Seen {
            lag,
            age_seconds: age.as_secs_f64(),
            silent_devices: self.state.silent_devices(),
            feed_silent: self.state.feed().silent.is_some(),
            patients: self.state.patients().len(),
            probed_seconds: self
                .probed
                .map_or(0.0, |at| Micros(0).until(at).as_secs_f64()),
        };
        parts.metrics.show(self.partition, seen);
        Ok(())
    }

    /// Makes the state durable, if there is anything new.
    async fn save(&mut self) -> Result<(), Error> {
        if self.saved == Some(self.state.as_of()) {
            return Ok(());
        }
        let begun = self.parts.clock.monotonic();
        let patience = self.parts.patience(&self.stop);
        let place = (&self.parts.log, self.partition);
        let beside = (&mut self.marks, &mut self.owned);
        checkpoint::save(place, &mut self.state, beside, &self.outbox, &patience).await?;
        self.saved = Some(self.state.as_of());
        let took = self.parts.clock.monotonic().saturating_sub(begun);
        self.parts.metrics.checkpointed(took.as_secs_f64());
        Ok(())
    }
}

/// How long a partition that lags goes on after it was asked to stop: less than the grace for all.
const MOST_DRAINING: Duration = Duration::from_secs(5);

/// The partition's record is never older than this while entries come.
const MOST_BETWEEN_CHECKPOINTS: Duration = Duration::from_secs(60);

impl Parts {
    fn patience<'a>(&'a self, stop: &'a CancellationToken) -> Patience<'a> {
        Patience {
            drive: &self.settings.drive,
            metrics: &self.metrics,
            stop,
        }
    }
}

async fn next(follower: &mut Follower, retry_after: Duration) -> Result<Vec<Entry>, LogError> {
    let entries = follower.next().await;
    if entries.as_ref().is_err_and(may_pass) {
        tokio::time::sleep(retry_after).await;
    }
    entries
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}

/// Tries a step that leaves no trace when it panics; none when it panicked every time.
fn try_step<T>(tries: u32, mut step: impl FnMut() -> T, mut panicked: impl FnMut()) -> Option<T> {
    for _ in 0..tries.max(1) {
        match catch_unwind(AssertUnwindSafe(&mut step)) {
            Ok(done) => return Some(done),
            Err(_) => panicked(),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b23_a_step_that_panics_three_times_is_given_up_and_one_that_recovers_is_not() {
        let check = |panics: u32, expect| {
            let (mut tried, mut counted) = (0, 0);
            let step = || {
                tried += 1;
                assert!(tried > panics, "poison");
                tried
            };
            assert_eq!(try_step(3, step, || counted += 1), expect);
            assert_eq!(counted, panics.min(3));
        };
        check(0, Some(1));
        check(2, Some(3));
        check(3, None);
    }
}
