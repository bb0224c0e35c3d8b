//! B16 and B17 on the embedded log: a disk that fails, is full, or loses power.

use std::{sync::Arc, time::Duration};

use pulseward_base::{Micros, Offset, Partition, clock::ManualClock};
use pulseward_eventlog::{
    Backend, Class, LogError, RawAppend, Topic, TrimPoint,
    embedded::{
        EmbeddedLog, Settings,
        memory::{Crash, Faults, MemoryFs},
    },
    testing,
};

use crate::support::{append, entry, keyed, open, read_all, segments, shared, small};

async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), work)
        .await
        .expect("it must not hang")
}

fn feed(bytes: &[u8]) -> Vec<RawAppend> {
    vec![entry(Topic::Feed, 0, bytes)]
}

#[tokio::test]
async fn b16_a_failed_sync_poisons_the_log_and_all_who_wait_hear_of_it() {
    let fs = MemoryFs::new();
    let log = shared(open(&fs, small()));
    log.append(feed(b"kept"), Class::Stage).await.unwrap();
    let waiting = tokio::spawn({
        let log = Arc::clone(&log);
        async move { log.wait(Topic::Feed, Partition(0), Offset(1)).await }
    });
    fs.set_faults(Faults {
        sync_fails: true,
        ..Faults::default()
    });
    let failed = within(log.append(feed(b"lost"), Class::Stage)).await;
    assert!(matches!(failed, Err(LogError::Poisoned)), "{failed:?}");
    let waited = within(waiting).await.unwrap();
    assert!(matches!(waited, Err(LogError::Poisoned)), "{waited:?}");
    // The disk is well again; the log is not, because nobody knows what the disk holds.
    fs.set_faults(Faults::default());
    let after = within(log.append(feed(b"after"), Class::Erasure)).await;
    assert!(matches!(after, Err(LogError::Poisoned)), "{after:?}");
    let bounds = within(log.bounds(Topic::Feed, Partition(0))).await;
    assert!(matches!(bounds, Err(LogError::Poisoned)), "{bounds:?}");
    drop(log);
    fs.crash(Crash::PowerCut(1));
    let log = open(&fs, small());
    let read = read_all(&log, Topic::Feed, 0).await;
    assert_eq!(read[0].1, "kept");
    assert!(read.len() <= 2);
}

#[tokio::test]
async fn b16_at_open_the_tail_is_durable_before_it_is_read() {
    let fs = MemoryFs::new();
    let log = open(&fs, small());
    append(&log, feed(b"synced")).await;
    // The write gets to the page cache, its sync does not succeed, the process ends.
    fs.set_faults(Faults {
        sync_fails: true,
        ..Faults::default()
    });
    let failed = log.append(feed(b"in the page cache"), Class::Stage).await;
    assert!(matches!(failed, Err(LogError::Poisoned)));
    drop(log);
    fs.crash(Crash::Kill);
    let log = open(&fs, small());
    let seen = read_all(&log, Topic::Feed, 0).await;
    assert_eq!(seen.len(), 2);
    drop(log);
    // What a reader has seen stays, whatever the power does.
    for seed in 0..20 {
        let fs = fs.duplicate();
        fs.crash(Crash::PowerCut(seed));
        assert_eq!(read_all(&open(&fs, small()), Topic::Feed, 0).await, seen);
    }
}

#[tokio::test]
async fn b16_a_crash_at_every_step_of_opening_loses_nothing() {
    let fs = MemoryFs::new();
    // Stopped at each step of making a new log, too.
    for stop in 0..12 {
        let fs = MemoryFs::new();
        let opened = open_and_stop(&fs, stop);
        fs.crash(Crash::PowerCut(stop));
        let log = open(&fs, small());
        assert_eq!(append(&log, feed(b"new")).await, [0], "stopped at {stop}");
        drop(opened);
    }
    let log = open(&fs, small());
    for index in 0..40_u8 {
        append(&log, feed(&[index; 900])).await;
        append(&log, vec![keyed(Topic::Devices, 0, index % 3, &[index])]).await;
    }
    let point = TrimPoint {
        topic: Topic::Feed,
        partition: Partition(0),
        below: Offset(30),
    };
    log.trim(&[point]).await.unwrap();
    let expected = read_all(&log, Topic::Feed, 0).await;
    let newest = log.newest(Topic::Devices, Partition(0)).await.unwrap();
    drop(log);
    for stop in 0..12 {
        for seed in 0..8 {
            let fs = fs.duplicate();
            drop(open_and_stop(&fs, stop));
            fs.crash(Crash::PowerCut(seed));
            let log = open(&fs, small());
            let read = read_all(&log, Topic::Feed, 0).await;
            assert!(read == expected, "stopped at {stop}, power cut {seed}");
            let found = log.newest(Topic::Devices, Partition(0)).await.unwrap();
            assert!(found == newest, "stopped at {stop}, power cut {seed}");
        }
    }
}

/// Opens a log on a disk that stops after so many operations.
fn open_and_stop(fs: &MemoryFs, after: u64) -> Result<EmbeddedLog, LogError> {
    fs.set_faults(Faults {
        stop_at: Some(fs.operations() + after),
        ..Faults::default()
    });
    testing::embedded(fs, small())
}

#[tokio::test]
async fn b16_two_logs_do_not_share_a_directory() {
    let root = tempfile::tempdir().unwrap();
    let open = || {
        let clock = Arc::new(ManualClock::new(Micros(0)));
        let settings = testing::settings(1);
        EmbeddedLog::open(root.path(), settings, clock, testing::metrics())
    };
    let first = open().unwrap();
    assert!(matches!(open().err(), Some(LogError::Locked)));
    drop(first);
    assert!(open().is_ok());
}

#[tokio::test]
async fn b16_a_torn_tail_is_cut_off_at_every_length() {
    let fs = MemoryFs::new();
    let log = open(&fs, small());
    append(&log, feed(b"first")).await;
    append(&log, feed(b"second")).await;
    drop(log);
    let [segment] = &segments(&fs)[..1] else {
        panic!("there is a segment");
    };
    let whole = fs.contents(segment).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let last = memory_find_last(&whole[..end]);
    for cut in last..end {
        let fs = fs.duplicate();
        let mut torn = whole.clone();
        torn[cut..end].fill(0);
        fs.overwrite(segment, torn);
        let log = open(&fs, small());
        let read = read_all(&log, Topic::Feed, 0).await;
        assert_eq!(read.len(), 1, "cut at {cut}");
        // The number that was lost is given again, and the log goes on.
        assert_eq!(append(&log, feed(b"third")).await, [1]);
    }
}

/// Returns where the last frame begins.
fn memory_find_last(bytes: &[u8]) -> usize {
    bytes
        .windows(4)
        .rposition(|window| window == b"PWJ1")
        .unwrap()
}

#[tokio::test]
async fn b16_rot_before_a_valid_frame_refuses_to_open() {
    let fs = MemoryFs::new();
    let log = open(&fs, small());
    for index in 0..5 {
        append(&log, feed(&[index; 50])).await;
    }
    drop(log);
    let segment = &segments(&fs)[0];
    let whole = fs.contents(segment).unwrap();
    let end = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let last = memory_find_last(&whole[..end]);
    for at in 0..last {
        let fs = fs.duplicate();
        let mut rotten = whole.clone();
        rotten[at] ^= 0x10;
        fs.overwrite(segment, rotten);
        let opened = testing::embedded(&fs, small());
        let error = opened.err().unwrap_or_else(|| panic!("rot at {at} opened"));
        assert!(matches!(error, LogError::Damaged { .. }), "{at}: {error}");
    }
}

#[tokio::test]
async fn b17_the_log_is_full_at_its_bound_and_takes_more_once_it_is_trimmed() {
    let settings = Settings {
        max_bytes: 4 * small().segment_bytes,
        ..small()
    };
    let fs = MemoryFs::new();
    let log = open(&fs, settings);
    let mut last = 0;
    loop {
        match within(log.append(feed(&[1; 1000]), Class::Ingest)).await {
            Ok(offsets) => last = offsets[0].unwrap().0,
            Err(LogError::Full) => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(log.used_bytes() <= settings.max_bytes);
    assert_eq!(segments(&fs).len(), 4);
    // Ingest is refused; who comes after it in the order still has room, erasure to the end.
    for class in [Class::History, Class::Stage, Class::Erasure] {
        within(log.append(feed(&[2; 500]), class)).await.unwrap();
    }
    let point = TrimPoint {
        topic: Topic::Feed,
        partition: Partition(0),
        below: Offset(last),
    };
    within(log.trim(&[point])).await.unwrap();
    assert!(segments(&fs).len() < 4);
    let more = within(log.append(feed(&[3; 1000]), Class::Ingest)).await;
    assert_eq!(more.unwrap(), [Some(Offset(last + 4))]);
}

#[tokio::test]
async fn b17_a_full_disk_refuses_and_harms_nothing_and_is_noticed_when_it_has_room() {
    let fs = MemoryFs::new();
    let log = open(&fs, small());
    append(&log, feed(b"before")).await;
    fs.set_faults(Faults {
        no_room: true,
        ..Faults::default()
    });
    let mut taken = 1;
    while let Ok(offsets) = within(log.append(feed(&[1; 1000]), Class::Ingest)).await {
        assert_eq!(offsets, [Some(Offset(taken))]);
        taken += 1;
        assert!(taken < 100, "the disk is full and the log takes more");
    }
    fs.set_faults(Faults::default());
    // Each refusal asks for another try; the first that finds a new segment is taken.
    let offset = within(async {
        loop {
            match log.append(feed(&[2; 1000]), Class::Ingest).await {
                Ok(offsets) => break offsets[0],
                Err(LogError::Full) => tokio::task::yield_now().await,
                Err(error) => panic!("{error}"),
            }
        }
    });
    assert_eq!(offset.await, Some(Offset(taken)));
    assert_eq!(read_all(&log, Topic::Feed, 0).await.len() as u64, taken + 1);
}

#[tokio::test]
async fn trimming_keeps_what_is_compacted_and_kept_with_its_offsets() {
    let fs = MemoryFs::new();
    let mut log = open(&fs, small());
    let mut audit = Vec::new();
    for round in 0..60_u8 {
        let device = keyed(Topic::Devices, 1, round % 5, &[round; 200]);
        let record = entry(Topic::Audit, 0, &[round; 20]);
        append(
            &log,
            vec![device, record.clone(), entry(Topic::Feed, 0, &[0; 700])],
        )
        .await;
        audit.push((u64::from(round), record.bytes));
        if round % 20 == 19 {
            let point = TrimPoint {
                topic: Topic::Feed,
                partition: Partition(0),
                below: Offset(u64::from(round)),
            };
            log.trim(&[point]).await.unwrap();
        }
        if round % 25 == 24 {
            drop(log);
            fs.crash(Crash::PowerCut(u64::from(round)));
            log = open(&fs, small());
        }
    }
    assert_eq!(read_all(&log, Topic::Audit, 0).await, audit);
    let newest = log.newest(Topic::Devices, Partition(1)).await.unwrap();
    let offsets: Vec<_> = newest.iter().map(|entry| entry.offset.0).collect();
    assert_eq!(offsets, [55, 56, 57, 58, 59]);
    let start = log.bounds(Topic::Feed, Partition(0)).await.unwrap().start;
    assert!(start > Offset(30), "{start}");
    let read = log.read(Topic::Feed, Partition(0), Offset(0), Default::default());
    assert!(matches!(read.await, Err(LogError::Trimmed { .. })));
    let devices = read_all(&log, Topic::Devices, 1).await;
    assert!(
        devices.len() < 60,
        "superseded entries go with their segments"
    );
    assert!(devices.is_sorted_by_key(|(offset, _)| *offset));
}

/// An alert may stay open for weeks; the readings since must be able to go.
#[tokio::test]
async fn b11_alerts_that_are_still_needed_hold_no_segment_back_and_stay_readable() {
    let fs = MemoryFs::new();
    let settings = Settings {
        max_bytes: 4 * small().segment_bytes,
        ..small()
    };
    let mut log = open(&fs, settings);
    let trim = async |log: &EmbeddedLog, topic, below| {
        let point = TrimPoint {
            topic,
            partition: Partition(0),
            below: Offset(below),
        };
        log.trim(&[point]).await.unwrap();
    };
    let mut alerts = Vec::new();
    for round in 0..200_u64 {
        let alert = entry(Topic::Alerts, 0, &[u8::try_from(round % 251).unwrap(); 30]);
        append(&log, vec![alert.clone(), entry(Topic::Feed, 0, &[0; 700])]).await;
        alerts.push((round, alert.bytes));
        // All of the feed is past; of the alerts none but the first three, once.
        trim(&log, Topic::Feed, round).await;
        if round == 100 {
            trim(&log, Topic::Alerts, 3).await;
        }
        if round % 60 == 59 {
            drop(log);
            fs.crash(Crash::PowerCut(round));
            log = open(&fs, settings);
        }
    }
    assert_eq!(read_all(&log, Topic::Alerts, 0).await, alerts[3..]);
    assert!(log.used_bytes() < 3 * settings.segment_bytes);
    trim(&log, Topic::Alerts, 190).await;
    for round in 200..260 {
        let alert = entry(Topic::Alerts, 0, b"more");
        append(&log, vec![alert, entry(Topic::Feed, 0, &[0; 700])]).await;
        trim(&log, Topic::Feed, round).await;
    }
    let start = log.bounds(Topic::Alerts, Partition(0)).await.unwrap().start;
    assert_eq!(
        start,
        Offset(190),
        "what is past goes with the next segments"
    );
}

#[tokio::test]
async fn settings_that_break_a_promise_are_refused() {
    let fs = MemoryFs::new();
    drop(open(&fs, small()));
    let wrong = [
        Settings {
            partitions: 0,
            ..small()
        },
        Settings {
            partitions: 3,
            ..small()
        },
        Settings {
            generation: pulseward_base::Generation(9),
            ..small()
        },
        Settings {
            segment_bytes: 100,
            ..small()
        },
        Settings {
            max_bytes: small().segment_bytes,
            ..small()
        },
        Settings {
            reserve_bytes: small().segment_bytes,
            ..small()
        },
        Settings {
            queue_bytes: 0,
            ..small()
        },
    ];
    for wrong in wrong {
        let error = testing::embedded(&fs, wrong).err();
        assert!(matches!(error, Some(LogError::Settings(_))), "{wrong:?}");
    }
}
