//! Lets the log forget what every stage has made durable, and no younger than the configuration
//! keeps. What nobody can vouch for stays.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use pulseward_base::{Clock, Offset, Partition};
use pulseward_eventlog::{Body, Content, Log, LogError, Topic, TrimPoint, body::Delivery};
use pulseward_history::Progress;
use tokio_util::sync::CancellationToken;

/// How often the log is trimmed at least.
const EVERY: Duration = Duration::from_secs(60);
/// And at most, however little is kept.
const MOST_OFTEN: Duration = Duration::from_millis(100);

/// Where the three topics that are trimmed end, or may be cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    feed: Offset,
    scores: Offset,
    alerts: Offset,
}

impl Cut {
    fn least(self, other: Self) -> Self {
        Self {
            feed: self.feed.min(other.feed),
            scores: self.scores.min(other.scores),
            alerts: self.alerts.min(other.alerts),
        }
    }
}

/// Trims once a minute, or as often as the least that is kept asks for.
pub(crate) struct Trimmer {
    log: Log,
    history: Progress,
    clock: Arc<dyn Clock>,
    keep: Duration,
    /// Of each partition, where its topics ended when. A restart begins anew, which keeps more
    /// rather than less.
    ends: Vec<Ends>,
}

/// Where a partition's topics ended when, oldest first: one entry for each minute that is kept.
#[derive(Clone, Debug, Default)]
struct Ends(VecDeque<(Duration, Cut)>);

impl Ends {
    /// Notes where the topics end now, and returns where they ended when what must be kept began;
    /// none before that long ago is known.
    fn remember(&mut self, now: Duration, keep: Duration, ended: Cut) -> Option<Cut> {
        self.0.push_back((now, ended));
        let is_old = |at: Duration| now.saturating_sub(at) >= keep;
        while self.0.get(1).is_some_and(|(at, _)| is_old(*at)) {
            self.0.pop_front();
        }
        self.0
            .front()
            .filter(|(at, _)| is_old(*at))
            .map(|(_, cut)| *cut)
    }
}

impl Trimmer {
    /// Returns a trimmer of `log` that keeps at least what is younger than `keep`.
    pub(crate) fn new(log: Log, history: Progress, clock: Arc<dyn Clock>, keep: Duration) -> Self {
        let partitions = usize::try_from(log.partitions()).unwrap_or(0);
        Self {
            log,
            history,
            clock,
            keep,
            ends: vec![Ends::default(); partitions],
        }
    }

    /// Trims until `shutdown`. What fails is tried again the next time.
    pub(crate) async fn run(
        mut self,
        shutdown: CancellationToken,
    ) -> Result<(), std::convert::Infallible> {
        let every = self.keep.clamp(MOST_OFTEN, EVERY);
        let mut tick = tokio::time::interval(every);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = tick.tick() => {}
            }
            for partition in (0..self.log.partitions()).map(Partition) {
                if let Err(error) = self.trim(partition).await {
                    tracing::warn!(%error, "couldn't trim the log; trying again");
                }
            }
        }
    }

    async fn trim(&mut self, partition: Partition) -> Result<(), LogError> {
        let end = async |topic| Ok::<_, LogError>(self.log.bounds(topic, partition).await?.end);
        let ended = Cut {
            feed: end(Topic::Feed).await?,
            scores: end(Topic::Scores).await?,
            alerts: end(Topic::Alerts).await?,
        };
        let durable = self.durable(partition).await?;
        let now = self.clock.monotonic();
        let index = usize::try_from(partition.0).unwrap_or(usize::MAX);
        let old = self
            .ends
            .get_mut(index)
            .and_then(|ends| ends.remember(now, self.keep, ended));
        let Some(old) = old else { return Ok(()) };
        let Some(cut) = durable.map(|durable| durable.least(old)) else {
            return Ok(());
        };
        let point = |topic, below| TrimPoint {
            topic,
            partition,
            below,
        };
        self.log
            .trim(&[
                point(Topic::Feed, cut.feed),
                point(Topic::Scores, cut.scores),
                point(Topic::Alerts, cut.alerts),
            ])
            .await
    }

    /// Returns what the detector, the alerts stage and history have all made durable; none while
    /// one of them has said nothing yet.
    async fn durable(&self, partition: Partition) -> Result<Option<Cut>, LogError> {
        let state = self.log.compacted(Topic::State, partition).await?;
        let as_of = state
            .entries
            .values()
            .find_map(|entry| match &entry.content {
                Content::Body(Body::PartitionRecord(record)) => Some(record.as_of.offset),
                _ => None,
            });
        let deliveries = self.log.compacted(Topic::Deliveries, partition).await?;
        let delivered = deliveries
            .entries
            .values()
            .find_map(|entry| match &entry.content {
                Content::Body(Body::Delivery(Delivery::Cursor { next, .. })) => Some(next.offset),
                _ => None,
            });
        let stored = self.history.of(partition);
        Ok(as_of
            .zip(delivered)
            .zip(stored)
            .map(|((as_of, delivered), stored)| Cut {
                feed: as_of.min(Offset(stored.positions.feed)),
                scores: Offset(stored.positions.scores),
                alerts: delivered.min(Offset(stored.positions.alerts)),
            }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(at: u64) -> Cut {
        Cut {
            feed: Offset(at),
            scores: Offset(at),
            alerts: Offset(at),
        }
    }

    #[test]
    fn only_what_is_older_than_it_must_be_kept_may_go() {
        let mut ends = Ends::default();
        let keep = Duration::from_secs(120);
        let mut at = |second, end| ends.remember(Duration::from_secs(second), keep, cut(end));
        assert_eq!(at(0, 10), None);
        assert_eq!(at(60, 20), None);
        assert_eq!(at(120, 30), Some(cut(10)));
        assert_eq!(at(180, 40), Some(cut(20)));
        // After a pause in which nothing was noted, the newest that is old enough counts.
        assert_eq!(at(600, 50), Some(cut(40)));
    }

    #[test]
    fn the_slowest_reader_decides() {
        let fast = cut(9);
        let slow = Cut {
            feed: Offset(3),
            ..cut(12)
        };
        assert_eq!(
            fast.least(slow),
            Cut {
                feed: Offset(3),
                scores: Offset(9),
                alerts: Offset(9)
            }
        );
    }
}
