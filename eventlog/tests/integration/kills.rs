//! `kill -9` of a process that appends, again and again: what it was told is durable is there.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use pulseward_base::{Micros, Offset, Partition, clock::ManualClock};
use pulseward_eventlog::{
    Backend, Class, Topic, TrimPoint,
    embedded::{EmbeddedLog, Settings},
    testing,
};

use crate::support::{count, entry, keyed, read_all, runtime};

const CHILD: &str = "PULSEWARD_TEST_CHILD_LOG";
const STREAMS: u32 = 4;

fn open(path: &Path) -> EmbeddedLog {
    let settings = Settings {
        // Small, so that kills hit segments being opened, prepared and trimmed, too.
        segment_bytes: 64 << 10,
        max_bytes: 256 << 20,
        reserve_bytes: 4 << 10,
        cache_bytes: 8 << 10,
        ..testing::settings(STREAMS)
    };
    let clock = Arc::new(ManualClock::new(Micros(0)));
    EmbeddedLog::open(path, settings, clock, testing::metrics()).unwrap()
}

/// The process that is killed: this test's own program, started again with a directory to write to.
#[test]
fn a_child_appends_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    runtime().block_on(async {
        let log: Arc<dyn Backend> = Arc::new(open(Path::new(&path)));
        let mut writers = tokio::task::JoinSet::new();
        for partition in 0..STREAMS {
            writers.spawn(append_for_ever(Arc::clone(&log), partition));
        }
        writers.join_all().await;
    });
}

async fn append_for_ever(log: Arc<dyn Backend>, partition: u32) {
    let bounds = log.bounds(Topic::Feed, Partition(partition)).await.unwrap();
    let mut number = bounds.end.0;
    loop {
        let text = format!("{number:064}");
        let key = u8::try_from(number % 7).unwrap();
        let entries = vec![
            entry(Topic::Feed, partition, text.as_bytes()),
            keyed(Topic::Marks, partition, key, text.as_bytes()),
            entry(Topic::Audit, partition, text.as_bytes()),
        ];
        let offsets = log.append(entries, Class::Stage).await.unwrap();
        assert_eq!(offsets, [Some(Offset(number)); 3]);
        println!("durable {partition} {number}");
        number += 1;
        if number.is_multiple_of(200) {
            let point = TrimPoint {
                topic: Topic::Feed,
                partition: Partition(partition),
                below: Offset(number - 50),
            };
            log.trim(&[point]).await.unwrap();
        }
    }
}

#[test]
fn b16_kill_nine_loses_nothing_that_was_durable() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("log");
    let mut durable = [0_u64; STREAMS as usize];
    let kills = count("PULSEWARD_LOG_KILLS", 20);
    for kill in 0..kills {
        // Each life is a little longer than the one before, in appends, not in time.
        run_until_killed(&path, 30 + u64::from(kill) * 17 % 400, &mut durable);
        let log = open(&path);
        runtime().block_on(check(&log, &durable));
    }
    let total: u64 = durable.iter().sum();
    println!("{kills} kills, {total} durable appends, none lost");
    assert!(total > u64::from(kills) * 30);
}

fn run_until_killed(path: &Path, appends: u64, durable: &mut [u64; STREAMS as usize]) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kills::a_child_appends_until_it_is_killed"])
        .args(["--nocapture", "--test-threads", "1"])
        .env(CHILD, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    let mut seen = 0;
    while seen < appends {
        line.clear();
        let count = output.read_line(&mut line).unwrap();
        assert!(count > 0, "the child ended by itself");
        seen += u64::from(note(&line, durable));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What it had said before it died counts, too.
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    for line in rest.split_inclusive('\n') {
        note(line, durable);
    }
}

fn note(line: &str, durable: &mut [u64; STREAMS as usize]) -> bool {
    // The test program's own words may stand before the first.
    let Some((_, said)) = line.split_once("durable ") else {
        return false;
    };
    let Some((partition, number)) = said
        .strip_suffix('\n')
        .and_then(|said| said.split_once(' '))
    else {
        return false;
    };
    let partition: usize = partition.parse().unwrap();
    let number: u64 = number.parse().unwrap();
    durable[partition] = durable[partition].max(number + 1);
    true
}

async fn check(log: &EmbeddedLog, durable: &[u64; STREAMS as usize]) {
    for (partition, durable) in (0..).zip(durable) {
        let bounds = log.bounds(Topic::Feed, Partition(partition)).await.unwrap();
        assert!(bounds.end.0 >= *durable, "{bounds:?} of {durable}");
        let feed = read_all(log, Topic::Feed, partition).await;
        let offsets: Vec<_> = feed.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(offsets, (bounds.start.0..bounds.end.0).collect::<Vec<_>>());
        for (number, bytes) in feed {
            assert_eq!(bytes, format!("{number:064}"));
        }
        // One append is in three topics or in none.
        let audit = read_all(log, Topic::Audit, partition).await;
        assert_eq!(audit.len() as u64, bounds.end.0);
        let marks = log.newest(Topic::Marks, Partition(partition)).await;
        let newest: Vec<_> = marks.unwrap().iter().map(|mark| mark.offset.0).collect();
        let expect = bounds.end.0.saturating_sub(7)..bounds.end.0;
        assert_eq!(newest, expect.collect::<Vec<_>>());
    }
}
