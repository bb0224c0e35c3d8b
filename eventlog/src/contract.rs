//! What every back end must do: the same suite for the embedded log and for a real broker.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a suite of assertions"
)]

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use pulseward_base::{Offset, Partition};

use crate::{
    Backend, Bounds, Class, CompactionKey, LogError, MAX_ENTRY_BYTES, RawAppend, RawEntry,
    ReadLimits, Topic, TrimPoint,
};

/// Makes logs of one kind.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Returns an empty log with [`PARTITIONS`] partitions.
    async fn fresh(&self) -> Arc<dyn Backend>;

    /// Closes a log and opens it again.
    async fn reopen(&self, log: Arc<dyn Backend>) -> Arc<dyn Backend>;
}

/// How many partitions the suite needs.
pub const PARTITIONS: u32 = 2;

/// No step of the suite takes longer on a back end in order.
const DEADLINE: Duration = Duration::from_secs(60);

/// Runs the whole suite.
pub async fn run(fixture: &dyn Fixture) {
    let log = fixture.fresh().await;
    entries_are_read_back_in_their_own_stream_and_order(&*log).await;
    limits_bound_a_read_and_let_one_entry_through(&*log).await;
    the_end_is_empty_and_beyond_it_the_log_went_back(&*log).await;
    waiting_ends_when_an_entry_is_durable(&log).await;
    one_append_may_go_to_many_topics(&*log).await;
    the_order_of_submission_is_the_order_in_the_log(&*log).await;
    appends_at_once_are_all_there_and_each_callers_in_order(&log).await;
    what_does_not_belong_is_refused_whole(&*log).await;
    the_largest_entry_fits_and_a_larger_one_does_not(&*log).await;
    compacted_topics_have_the_newest_of_each_key(&*log).await;
    let log = what_was_durable_is_there_after_opening_again(fixture, log).await;
    trimming_moves_the_start_and_leaves_the_rest(&*log).await;
}

/// A stream that no other case uses.
#[derive(Clone, Copy)]
struct Stream(Topic, u32);

impl Stream {
    fn entry(self, bytes: &[u8]) -> RawAppend {
        self.keyed(None, bytes)
    }

    fn keyed(self, key: Option<CompactionKey>, bytes: &[u8]) -> RawAppend {
        RawAppend {
            topic: self.0,
            partition: Partition(self.1),
            key,
            bytes: Bytes::copy_from_slice(bytes),
        }
    }

    async fn read(self, log: &dyn Backend, from: u64) -> Vec<RawEntry> {
        let limits = ReadLimits::default();
        within(log.read(self.0, Partition(self.1), Offset(from), limits))
            .await
            .unwrap()
    }

    /// Reads to the end.
    async fn read_all(self, log: &dyn Backend, mut from: u64) -> Vec<RawEntry> {
        let mut all = Vec::new();
        loop {
            let entries = self.read(log, from).await;
            let Some(last) = entries.last() else {
                return all;
            };
            from = last.offset.0 + 1;
            all.extend(entries);
        }
    }

    async fn bounds(self, log: &dyn Backend) -> Bounds {
        within(log.bounds(self.0, Partition(self.1))).await.unwrap()
    }
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, work)
        .await
        .expect("the log must answer in time")
}

async fn append(log: &dyn Backend, entries: Vec<RawAppend>) -> Vec<Option<Offset>> {
    within(log.append(entries, Class::Stage)).await.unwrap()
}

fn texts(entries: &[RawEntry]) -> Vec<&[u8]> {
    entries.iter().map(|entry| &entry.bytes[..]).collect()
}

async fn entries_are_read_back_in_their_own_stream_and_order(log: &dyn Backend) {
    let streams = [
        Stream(Topic::Feed, 0),
        Stream(Topic::Feed, 1),
        Stream(Topic::Scores, 0),
    ];
    for round in 0..3_u8 {
        for (index, stream) in (0_u8..).zip(streams) {
            let offsets = append(log, vec![stream.entry(&[index, round])]).await;
            assert_eq!(offsets, [Some(Offset(u64::from(round)))]);
        }
    }
    for (index, stream) in (0_u8..).zip(streams) {
        let entries = stream.read_all(log, 0).await;
        assert_eq!(texts(&entries), [[index, 0], [index, 1], [index, 2]]);
        let offsets: Vec<_> = entries.iter().map(|entry| entry.offset.0).collect();
        assert_eq!(offsets, [0, 1, 2]);
        assert_eq!(texts(&stream.read_all(log, 2).await), [[index, 2]]);
        let bounds = Bounds {
            start: Offset(0),
            end: Offset(3),
        };
        assert_eq!(stream.bounds(log).await, bounds);
    }
}

async fn limits_bound_a_read_and_let_one_entry_through(log: &dyn Backend) {
    let stream = Stream(Topic::Scores, 1);
    let entries = (0..10).map(|index| stream.entry(&[index; 100])).collect();
    append(log, entries).await;
    let read = async |bytes, entries| {
        let limits = ReadLimits { bytes, entries };
        let read = log.read(stream.0, Partition(stream.1), Offset(0), limits);
        within(read).await.unwrap().len()
    };
    assert_eq!(read(1, 10).await, 1);
    assert_eq!(read(350, 10).await, 3);
    assert_eq!(read(10_000, 4).await, 4);
    assert_eq!(read(10_000, 100).await, 10);
}

async fn the_end_is_empty_and_beyond_it_the_log_went_back(log: &dyn Backend) {
    let stream = Stream(Topic::Alerts, 1);
    assert_eq!(stream.read(log, 0).await, []);
    append(log, vec![stream.entry(b"one")]).await;
    assert_eq!(stream.read(log, 1).await, []);
    let beyond = log.read(
        stream.0,
        Partition(stream.1),
        Offset(2),
        ReadLimits::default(),
    );
    let error = within(beyond).await.unwrap_err();
    assert!(matches!(error, LogError::WentBack { .. }), "{error}");
}

async fn waiting_ends_when_an_entry_is_durable(log: &Arc<dyn Backend>) {
    let stream = Stream(Topic::Alerts, 0);
    within(log.wait(Topic::Feed, Partition(0), Offset(0)))
        .await
        .unwrap();
    let waiting = tokio::spawn({
        let log = Arc::clone(log);
        async move {
            log.wait(stream.0, Partition(stream.1), Offset(1)).await?;
            Ok::<_, LogError>(stream.read(&*log, 1).await)
        }
    });
    append(&**log, vec![stream.entry(b"before")]).await;
    append(&**log, vec![stream.entry(b"awaited")]).await;
    let entries = within(waiting).await.unwrap().unwrap();
    assert_eq!(texts(&entries), [b"awaited"]);
}

async fn one_append_may_go_to_many_topics(log: &dyn Backend) {
    let audit = Stream(Topic::Audit, 0);
    let parked = Stream(Topic::Parked, 1);
    let entries = vec![audit.entry(b"a"), parked.entry(b"b"), audit.entry(b"c")];
    assert_eq!(append(log, entries).await.len(), 3);
    assert_eq!(texts(&audit.read_all(log, 0).await), [b"a", b"c"]);
    assert_eq!(texts(&parked.read_all(log, 0).await), [b"b"]);
    assert_eq!(append(log, Vec::new()).await, []);
}

async fn the_order_of_submission_is_the_order_in_the_log(log: &dyn Backend) {
    let stream = Stream(Topic::Audit, 1);
    let mut pending = Vec::new();
    for index in 0..200_u8 {
        let submitted = log.submit(vec![stream.entry(&[index])], Class::Stage);
        pending.push(within(submitted).await.unwrap());
    }
    for pending in pending.into_iter().rev() {
        within(pending.durable()).await.unwrap();
    }
    let entries = stream.read_all(log, 0).await;
    let order: Vec<_> = entries.iter().map(|entry| entry.bytes[0]).collect();
    assert_eq!(order, (0..200).collect::<Vec<_>>());
}

async fn appends_at_once_are_all_there_and_each_callers_in_order(log: &Arc<dyn Backend>) {
    const CALLERS: u8 = 16;
    const EACH: u8 = 25;
    let stream = Stream(Topic::Control, 0);
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let log = Arc::clone(log);
        callers.spawn(async move {
            for index in 0..EACH {
                append(&*log, vec![stream.entry(&[caller, index])]).await;
            }
        });
    }
    within(callers.join_all()).await;
    let mut next = BTreeMap::<u8, u8>::new();
    for entry in stream.read_all(&**log, 0).await {
        let next = next.entry(entry.bytes[0]).or_default();
        assert_eq!(entry.bytes[1], *next);
        *next += 1;
    }
    assert_eq!(next, (0..CALLERS).map(|caller| (caller, EACH)).collect());
}

async fn what_does_not_belong_is_refused_whole(log: &dyn Backend) {
    let stream = Stream(Topic::Control, 1);
    let wrong = [
        Stream(Topic::Control, PARTITIONS).entry(b"no such partition"),
        Stream(Topic::Control, 0).keyed(Some([1; 16]), b"a key where none belongs"),
        Stream(Topic::Devices, 0).entry(b"no key where one belongs"),
    ];
    for wrong in wrong {
        let both = vec![stream.entry(b"right"), wrong];
        let refused = within(log.append(both, Class::Stage)).await;
        assert!(
            matches!(
                refused,
                Err(LogError::UnknownPartition(_) | LogError::Misplaced(_))
            ),
            "{refused:?}"
        );
    }
    let limits = ReadLimits::default();
    let unknown = log.read(Topic::Feed, Partition(PARTITIONS), Offset(0), limits);
    let error = within(unknown).await.unwrap_err();
    assert!(matches!(error, LogError::UnknownPartition(_)), "{error}");
    assert_eq!(stream.read_all(log, 0).await, []);
}

async fn the_largest_entry_fits_and_a_larger_one_does_not(log: &dyn Backend) {
    let stream = Stream(Topic::Control, 1);
    let largest = vec![7; MAX_ENTRY_BYTES];
    append(log, vec![stream.entry(&largest)]).await;
    let entries = stream.read_all(log, 0).await;
    assert_eq!(entries.len(), 1);
    assert!(entries[0].bytes == largest, "other bytes came back");
    let larger = vec![stream.entry(&vec![7; MAX_ENTRY_BYTES + 1])];
    let error = within(log.append(larger, Class::Stage)).await.unwrap_err();
    assert!(matches!(error, LogError::TooLarge { .. }), "{error}");
}

async fn compacted_topics_have_the_newest_of_each_key(log: &dyn Backend) {
    let stream = Stream(Topic::Devices, 1);
    let key = |index: u8| Some([index; 16]);
    for round in 0..3_u8 {
        let entries = (0..4).map(|index| stream.keyed(key(index), &[index, round]));
        append(log, entries.collect()).await;
    }
    append(log, vec![stream.keyed(key(1), b"last")]).await;
    let newest = within(log.newest(stream.0, Partition(stream.1)))
        .await
        .unwrap();
    assert_eq!(texts(&newest), [&[0, 2][..], &[2, 2], &[3, 2], b"last"]);
    assert_eq!(newest[3].key, key(1));
    let other = within(log.newest(stream.0, Partition(0))).await.unwrap();
    assert_eq!(other, []);
}

async fn what_was_durable_is_there_after_opening_again(
    fixture: &dyn Fixture,
    log: Arc<dyn Backend>,
) -> Arc<dyn Backend> {
    let all = async |log: &dyn Backend| {
        let mut all = BTreeMap::new();
        for topic in Topic::ALL {
            for partition in 0..PARTITIONS {
                let entries = Stream(*topic, partition).read_all(log, 0).await;
                all.insert((*topic, partition), entries);
            }
        }
        all
    };
    let before = all(&*log).await;
    let (id, generation) = (log.log_id(), log.generation());
    let log = within(fixture.reopen(log)).await;
    assert_eq!((log.log_id(), log.generation()), (id, generation));
    assert_eq!(log.partitions(), PARTITIONS);
    assert!(all(&*log).await == before, "the log has other entries");
    let stream = Stream(Topic::Feed, 0);
    let end = stream.bounds(&*log).await.end;
    let offsets = append(&*log, vec![stream.entry(b"after")]).await;
    assert_eq!(offsets, [Some(end)]);
    log
}

async fn trimming_moves_the_start_and_leaves_the_rest(log: &dyn Backend) {
    let stream = Stream(Topic::Feed, 1);
    let kept = Stream(Topic::Audit, 0).read_all(log, 0).await;
    let end = stream.bounds(log).await.end;
    let point = TrimPoint {
        topic: stream.0,
        partition: Partition(stream.1),
        below: Offset(end.0 - 1),
    };
    within(log.trim(&[point])).await.unwrap();
    // The embedded log trims by whole segments, so the start may stay where it was.
    let bounds = stream.bounds(log).await;
    assert!(bounds.start <= point.below, "{bounds:?}");
    assert_eq!(bounds.end, end);
    assert_eq!(stream.read_all(log, point.below.0).await.len(), 1);
    assert_eq!(Stream(Topic::Audit, 0).read_all(log, 0).await, kept);
    if bounds.start > Offset(0) {
        let limits = ReadLimits::default();
        let read = log.read(stream.0, Partition(stream.1), Offset(0), limits);
        let error = within(read).await.unwrap_err();
        assert!(matches!(error, LogError::Trimmed { .. }), "{error}");
    }
}
