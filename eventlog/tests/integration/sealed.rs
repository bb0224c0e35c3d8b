//! The typed log: what is sealed, who can open it, what readers notice.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use pulseward_base::{
    Digest, GroupId, KeyId, Kid, Micros, Offset, Partition, Pseudonym, Slot, WriterId,
};
use pulseward_custody::{KeySource as _, memory::MemoryKeys};
use pulseward_eventlog::{
    Backend, Body, Cause, Class, Content, Entry, Follower, Log, LogError, NewEntry, RawAppend,
    ReadLimits, Topic, Unreadable,
    body::{Device, DeviceStatus, Lane, Revoke, Role, Score, Tick},
    embedded::memory::{Crash, MemoryFs},
    testing,
};

use crate::support::{open, shared, small};

const SLOT: Slot = Slot(7);

fn keys() -> Arc<MemoryKeys> {
    Arc::new(MemoryKeys::new(Kid([0; 32])))
}

async fn log_in_memory(keys: &Arc<MemoryKeys>) -> Log {
    let backend = shared(open(&MemoryFs::new(), small()));
    testing::log_on(backend, Arc::clone(keys) as _).await
}

fn tick(time: i64) -> Body {
    Body::Tick(Tick {
        source: WriterId([1; 16]),
        role: Role::Ingest,
        time: Micros(time),
    })
}

fn score(at: i64) -> Body {
    Body::Score(Score {
        pseudonym: Pseudonym([2; 16]),
        at: Micros(at),
        lane: Lane::Rules,
        model: pulseward_base::ModelId([3; 16]),
        low: 4,
        high: 5,
        flags: 0,
        parts: Vec::new(),
    })
}

fn device(kid: u8, status: DeviceStatus) -> Body {
    Body::Device(Box::new(Device {
        device: Kid([kid; 32]),
        point: [2; 33],
        record: Digest([3; 32]),
        pseudonym: Pseudonym([4; 16]),
        key: KeyId([5; 16]),
        slot: SLOT,
        group: GroupId(6),
        scope: 7,
        status,
    }))
}

async fn next(follower: &mut Follower) -> Vec<Entry> {
    tokio::time::timeout(Duration::from_secs(60), follower.next())
        .await
        .expect("there is an entry")
        .unwrap()
}

fn contents(entries: Vec<Entry>) -> Vec<Content> {
    entries.into_iter().map(|entry| entry.content).collect()
}

/// Run on every back end.
pub(crate) async fn what_is_appended_is_followed_by_a_reader(backend: Arc<dyn Backend>) {
    let keys = keys();
    let patient = keys.patient();
    let log = testing::log_on(Arc::clone(&backend), Arc::clone(&keys) as _).await;
    let partition = log.partition_of(SLOT);
    let mut follower = log.follow(Topic::Feed, partition, Offset(0));
    log.append(NewEntry::for_log(partition, tick(1)))
        .await
        .unwrap();
    assert_eq!(
        contents(next(&mut follower).await),
        [Content::Body(tick(1))]
    );
    let cause = Cause {
        position: log.position(Offset(0)),
        index: 0,
    };
    let outputs = (0..3).map(|at| {
        NewEntry::for_patient(SLOT, patient, score(at)).caused_by(
            Cause {
                index: at as u32,
                ..cause
            },
            None,
        )
    });
    log.append_all(outputs.collect()).await.unwrap();
    // Another process reads the same.
    let other = testing::log_on(backend, keys as _).await;
    let mut scores = other.follow(Topic::Scores, partition, Offset(0));
    let mut read = Vec::new();
    while read.len() < 3 {
        read.extend(next(&mut scores).await);
    }
    for (at, entry) in (0..).zip(read) {
        assert_eq!(entry.content, Content::Body(score(at)));
        assert_eq!((entry.slot, entry.key), (Some(SLOT), Some(patient)));
        assert_eq!(entry.writer, log.writer());
        assert_eq!(entry.writer_seq, at as u64);
        assert_eq!(entry.outputs.unwrap().cause.index, at as u32);
        assert_eq!(entry.missing, 0);
    }
}

#[tokio::test]
async fn what_is_appended_is_followed_on_the_embedded_log() {
    what_is_appended_is_followed_by_a_reader(shared(open(&MemoryFs::new(), small()))).await;
}

#[tokio::test]
async fn b20_an_erased_patients_entries_are_told_as_erased_and_others_stay() {
    let keys = keys();
    let (erased, other) = (keys.patient(), keys.patient());
    let log = log_in_memory(&keys).await;
    for key in [erased, other] {
        let entry = NewEntry::for_patient(SLOT, key, score(1));
        log.append(entry).await.unwrap();
    }
    keys.erase(&erased).await.unwrap();
    log.forget(erased);
    let partition = log.partition_of(SLOT);
    let read = log.read(Topic::Scores, partition, Offset(0), ReadLimits::default());
    let read = contents(read.await.unwrap());
    assert_eq!(read, [Content::Erased, Content::Body(score(1))]);
    let refused = log.append(NewEntry::for_patient(SLOT, erased, score(2)));
    assert!(matches!(refused.await, Err(LogError::KeyErased)));
}

#[tokio::test]
async fn b21_keys_that_are_not_at_hand_stop_a_reader_and_skip_nothing() {
    let keys = keys();
    let patient = keys.patient();
    let log = log_in_memory(&keys).await;
    let partition = log.partition_of(SLOT);
    log.append(NewEntry::for_patient(SLOT, patient, score(1)))
        .await
        .unwrap();
    log.forget(patient);
    let mut follower = log.follow(Topic::Scores, partition, Offset(0));
    keys.set_unavailable(true);
    for _ in 0..2 {
        let refused = follower.next().await;
        assert!(matches!(refused, Err(LogError::KeysUnavailable)));
    }
    let refused = log.append(NewEntry::for_patient(SLOT, patient, score(2)));
    assert!(matches!(refused.await, Err(LogError::KeysUnavailable)));
    keys.set_unavailable(false);
    let read = contents(next(&mut follower).await);
    assert_eq!(read, [Content::Body(score(1))]);
}

/// Plays a broker that alters what it was given: writes raw entries of one log again.
async fn replay(log: &Log, topic: Topic, order: &[(u64, Topic, u32)]) {
    let backend = log.backend();
    let from = Partition(0);
    let raw = backend
        .read(topic, from, Offset(0), ReadLimits::default())
        .await
        .unwrap();
    for (offset, to, partition) in order {
        let entry = raw.iter().find(|entry| entry.offset.0 == *offset).unwrap();
        let append = RawAppend {
            topic: *to,
            partition: Partition(*partition),
            key: entry.key,
            bytes: entry.bytes.clone(),
        };
        backend.append(vec![append], Class::Stage).await.unwrap();
    }
}

async fn read_from(log: &Log, topic: Topic, partition: u32, from: u64) -> Vec<Entry> {
    let limits = ReadLimits::default();
    log.read(topic, Partition(partition), Offset(from), limits)
        .await
        .unwrap()
}

#[tokio::test]
async fn a24_what_a_broker_repeats_is_dropped_and_what_it_removes_is_counted() {
    let keys = keys();
    let log = log_in_memory(&keys).await;
    for time in 0..4 {
        let entry = NewEntry::for_log(Partition(0), tick(time));
        log.append(entry).await.unwrap();
    }
    let mut follower = log.follow(Topic::Feed, Partition(0), Offset(0));
    assert_eq!(next(&mut follower).await.len(), 4);
    replay(
        &log,
        Topic::Feed,
        &[(1, Topic::Feed, 0), (0, Topic::Feed, 0)],
    )
    .await;
    log.append(NewEntry::for_log(Partition(0), tick(4)))
        .await
        .unwrap();
    let mut read = Vec::new();
    while read.is_empty() {
        read = next(&mut follower).await;
    }
    assert_eq!(contents(read), [Content::Body(tick(4))]);
    let mut late = log.follow(Topic::Feed, Partition(0), Offset(2));
    let read = next(&mut late).await;
    assert!(read.iter().all(|entry| entry.missing == 0));
}

#[tokio::test]
async fn a24_a_gap_in_a_writers_entries_is_told_with_the_entry_behind_it() {
    let keys = keys();
    let log = log_in_memory(&keys).await;
    for time in 0..4 {
        let entry = NewEntry::for_log(Partition(0), tick(time));
        log.append(entry).await.unwrap();
    }
    // The altered copy: the same log id, because a journal is copied, cut and written again.
    let cut = testing::Filtered {
        inner: Arc::clone(log.backend()),
        filter: Box::new(|mut read| {
            read.retain(|entry| entry.offset.0 != 2);
            Ok(read)
        }),
    };
    let log = testing::log_on(Arc::new(cut), keys as _).await;
    let mut follower = log.follow(Topic::Feed, Partition(0), Offset(0));
    let read = next(&mut follower).await;
    let missing: Vec<_> = read.iter().map(|entry| entry.missing).collect();
    assert_eq!(missing, [0, 0, 1]);
}

#[tokio::test]
async fn a24_what_a_broker_moves_or_alters_does_not_open() {
    let keys = keys();
    let log = log_in_memory(&keys).await;
    let entry = NewEntry::for_log(Partition(0), tick(1));
    log.append(entry).await.unwrap();
    let moves = [(0, Topic::Feed, 1), (0, Topic::Audit, 0)];
    replay(&log, Topic::Feed, &moves).await;
    let moved = contents(read_from(&log, Topic::Feed, 1, 0).await);
    assert_eq!(moved, [Content::Unreadable(Unreadable::BadSeal)]);
    let moved = contents(read_from(&log, Topic::Audit, 0, 0).await);
    assert_eq!(moved, [Content::Unreadable(Unreadable::Misplaced)]);
    // One bit of the ciphertext, and garbage.
    let limits = ReadLimits::default();
    let raw = log
        .backend()
        .read(Topic::Feed, Partition(0), Offset(0), limits);
    let mut bytes = raw.await.unwrap()[0].bytes.to_vec();
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    for bytes in [bytes, vec![0; 200], Vec::new()] {
        let append = RawAppend {
            topic: Topic::Feed,
            partition: Partition(0),
            key: None,
            bytes: Bytes::from(bytes),
        };
        let append = log.backend().append(vec![append], Class::Stage);
        append.await.unwrap();
    }
    let altered = contents(read_from(&log, Topic::Feed, 0, 1).await);
    // The MAC covers header and tag; the ciphertext is the seal's.
    let expect = [
        Unreadable::BadSeal,
        Unreadable::Malformed,
        Unreadable::Malformed,
    ];
    assert_eq!(altered, expect.map(Content::Unreadable));
}

#[tokio::test]
async fn another_logs_keys_open_nothing() {
    let backend = shared(open(&MemoryFs::new(), small()));
    let log = testing::log_on(Arc::clone(&backend), keys() as _).await;
    log.append(NewEntry::for_log(Partition(0), tick(1)))
        .await
        .unwrap();
    let other = testing::log_on(backend, keys() as _).await;
    let read = contents(read_from(&other, Topic::Feed, 0, 0).await);
    assert_eq!(read, [Content::Unreadable(Unreadable::Forged)]);
}

#[tokio::test]
async fn compacted_topics_give_the_newest_by_key_and_where_to_go_on() {
    let keys = keys();
    let log = log_in_memory(&keys).await;
    let put = async |kid: u8, status| {
        let key = log.compaction_key(&[kid; 32]);
        let entry = NewEntry::for_log(Partition(0), device(kid, status)).compacted(key);
        log.append(entry).await.unwrap();
    };
    put(1, DeviceStatus::Active).await;
    put(2, DeviceStatus::Active).await;
    put(1, DeviceStatus::Revoked).await;
    let compacted = log.compacted(Topic::Devices, Partition(0)).await.unwrap();
    assert_eq!(compacted.next, Offset(3));
    assert_eq!(compacted.entries.len(), 2);
    let found = &compacted.entries[&log.compaction_key(&[1; 32])];
    let revoked = device(1, DeviceStatus::Revoked);
    assert_eq!(found.content, Content::Body(revoked));
    put(3, DeviceStatus::Active).await;
    let mut follower = log.follow(Topic::Devices, Partition(0), compacted.next);
    let read = contents(next(&mut follower).await);
    assert_eq!(read, [Content::Body(device(3, DeviceStatus::Active))]);
}

#[tokio::test]
async fn an_entry_under_the_wrong_key_or_name_is_refused() {
    let keys = keys();
    let patient = keys.patient();
    let log = log_in_memory(&keys).await;
    let revoke = Body::Revoke(Revoke {
        device: Kid([1; 32]),
        time: Micros(1),
    });
    let wrong = [
        NewEntry::for_log(Partition(0), score(1)),
        NewEntry::for_patient(SLOT, patient, revoke),
        NewEntry::for_patient(Slot(1024), patient, score(1)),
        NewEntry::for_log(Partition(0), tick(1)).compacted([1; 16]),
        NewEntry::for_log(Partition(0), device(1, DeviceStatus::Active)),
    ];
    for wrong in wrong {
        let text = format!("{wrong:?}");
        let refused = log.append(wrong).await;
        assert!(matches!(refused, Err(LogError::Misplaced(_))), "{text}");
    }
    let large = Body::Audit(vec![0; 1_000_000]);
    let refused = log.append(NewEntry::for_log(Partition(0), large)).await;
    assert!(matches!(refused, Err(LogError::TooLarge { .. })));
}

#[tokio::test]
async fn nothing_of_a_body_is_in_the_journals_files() {
    let keys = keys();
    let patient = keys.patient();
    let fs = MemoryFs::new();
    let log = testing::log_on(shared(open(&fs, small())), keys as _).await;
    let planted = Pseudonym([0xa5; 16]);
    let Body::Score(score) = score(1) else {
        panic!("a score");
    };
    let body = Body::Score(Score {
        pseudonym: planted,
        ..score
    });
    log.append(NewEntry::for_patient(SLOT, patient, body))
        .await
        .unwrap();
    for name in crate::support::segments(&fs) {
        let bytes = fs.contents(&name).unwrap();
        let found = bytes.windows(16).any(|window| window == planted.as_bytes());
        assert!(!found, "{name}");
    }
}

#[tokio::test]
async fn a_restart_is_a_new_writer_and_no_gap() {
    let keys = keys();
    let fs = MemoryFs::new();
    for start in 0..3 {
        let log = testing::log_on(shared(open(&fs, small())), Arc::clone(&keys) as _).await;
        for time in 0..3 {
            let entry = NewEntry::for_log(Partition(0), tick(start * 10 + time));
            log.append(entry).await.unwrap();
        }
        drop(log);
        fs.crash(Crash::Kill);
    }
    let log = testing::log_on(shared(open(&fs, small())), keys as _).await;
    let mut follower = log.follow(Topic::Feed, Partition(0), Offset(0));
    let mut read = Vec::new();
    while read.len() < 9 {
        read.extend(next(&mut follower).await);
    }
    assert!(read.iter().all(|entry| entry.missing == 0));
    let expect = [0, 1, 2, 10, 11, 12, 20, 21, 22];
    let expect: Vec<_> = expect.map(|time| Content::Body(tick(time))).into();
    assert_eq!(contents(read), expect);
}
