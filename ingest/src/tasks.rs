//! What runs beside the streams: reading what the log has at start, the view of the devices, fresh
//! offers, and the ticks that log time is made of.

use std::{sync::Arc, time::Duration};

use pulseward_base::{Micros, Offset, Partition, WriterId};
use pulseward_eventlog::{
    Body, Content, Entry, Log, LogError, NewEntry, ReadLimits, Topic,
    body::{Role, Tick},
};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{devices::ViewReader, error::IngestError, marks::Marks, metrics::End, shared::Core};

/// How often an offer is looked at.
const OFFER_INTERVAL: Duration = Duration::from_secs(5);
/// How often a process that waits for log time looks again.
const WAIT_INTERVAL: Duration = Duration::from_millis(200);

/// Reads what has arrived from each device: the marks, and the newest entries of each partition of
/// `feed`. Returns log time.
///
/// Marks are a lower bound. What they may lack is what was appended shortly before this process's
/// forerunner ended, some of it perhaps never answered: the tail has it.
pub(crate) async fn resume(
    log: &Log,
    marks: &Marks,
    tail: u64,
) -> Result<Option<Micros>, LogError> {
    let mut log_time = None;
    for partition in (0..log.partitions()).map(Partition) {
        let known = log.compacted(Topic::Marks, partition).await?;
        for entry in known.entries.into_values() {
            if let Content::Body(Body::Mark(mark)) = entry.content {
                marks.restore(&mark);
            }
        }
        log_time = log_time.max(read_tail(log, marks, partition, tail).await?);
    }
    Ok(log_time)
}

async fn read_tail(
    log: &Log,
    marks: &Marks,
    partition: Partition,
    tail: u64,
) -> Result<Option<Micros>, LogError> {
    let bounds = log.bounds(Topic::Feed, partition).await?;
    let from = bounds.end.0.saturating_sub(tail).max(bounds.start.0);
    let mut next = Offset(from);
    let mut log_time = None;
    while next < bounds.end {
        let entries = match log
            .read(Topic::Feed, partition, next, ReadLimits::default())
            .await
        {
            // It was trimmed while it was read.
            Err(LogError::Trimmed { start, .. }) if start > next => {
                next = start;
                continue;
            }
            read => read?,
        };
        let Some(last) = entries.last() else { break };
        next = last.position.next().offset;
        for entry in &entries {
            log_time = log_time.max(note(marks, entry));
        }
    }
    Ok(log_time)
}

fn note(marks: &Marks, entry: &Entry) -> Option<Micros> {
    match &entry.content {
        Content::Batch(batch) => {
            marks.note(batch.device, &batch.contents.place, batch.digest());
            None
        }
        Content::Body(Body::Tick(tick)) => Some(tick.time),
        // Whoever erased or cannot read a batch drops its double too.
        Content::Body(_) | Content::Erased | Content::Unreadable(_) => None,
    }
}

/// Keeps the view of the devices fresh. While it is not, no session goes on.
pub(crate) async fn keep_view(core: &Arc<Core>, mut view: ViewReader) {
    let mut ticks = interval(core.settings.view_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = core.clock.monotonic();
        let refresh = view.refresh(&core.devices, now);
        match timeout(core.settings.max_view_age, refresh).await {
            Ok(Ok(out)) => {
                for device in out {
                    core.live.end(device, End::Withdrawn);
                }
            }
            Ok(Err(error)) => core.log_failed(&error),
            Err(_late) => tracing::warn!("the view of the devices is late"),
        }
        let age = core.devices.age(core.clock.monotonic());
        core.metrics.set_view(core.devices.len(), age);
        if !core.view_is_fresh() {
            core.live.end_all(End::Unavailable);
        }
    }
}

/// Makes new offers and drops old ones.
pub(crate) async fn keep_offers(core: &Arc<Core>) {
    let mut ticks = interval(OFFER_INTERVAL);
    loop {
        ticks.tick().await;
        core.offers.rotate(&core.settings, core.now());
    }
}

/// Writes log time, once a second to every partition. Runs on the monotonic clock from this
/// process's start, so that a stepped wall clock moves nothing.
pub(crate) async fn tick(
    core: &Arc<Core>,
    source: WriterId,
    log_time: Option<Micros>,
) -> Result<(), IngestError> {
    let start = start_time(core, log_time).await;
    let begun = core.clock.monotonic();
    let mut ticks = interval(core.settings.tick_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let time = start.plus(core.clock.monotonic().saturating_sub(begun));
        let entry = |partition| {
            let tick = Tick {
                source,
                role: Role::Ingest,
                time,
            };
            NewEntry::for_log(Partition(partition), Body::Tick(tick))
        };
        let entries = (0..core.log.partitions()).map(entry).collect();
        match core.log.append_all(entries).await {
            Ok(_) => core.metrics.tick(),
            Err(LogError::Poisoned) => return Err(LogError::Poisoned.into()),
            Err(error) => tracing::warn!(%error, "a tick was not written"),
        }
    }
}

/// Returns where this process's time starts: its clock's, once that is not far behind log time.
async fn start_time(core: &Core, log_time: Option<Micros>) -> Micros {
    let Some(log_time) = log_time else {
        return core.now();
    };
    while core.now().plus(core.settings.max_clock_lag) < log_time {
        tracing::warn!("this machine's clock is behind the log: waiting");
        tokio::time::sleep(WAIT_INTERVAL).await;
    }
    core.now().max(log_time)
}
