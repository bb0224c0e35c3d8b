//! Bytes that are not what was written: a bit flipped, a file cut, a stretch repeated or filled
//! with garbage, at every place of every file. The log refuses with a typed error, or opens with
//! what it had up to some point and nothing else, twice the same.

use std::collections::BTreeMap;

use bytes::Bytes;
use pulseward_base::{Offset, Partition};
use pulseward_eventlog::{
    Backend, LogError, Topic, TrimPoint,
    embedded::{EmbeddedLog, fs::LogFs as _, memory::MemoryFs},
    fuzzing, testing,
};

use crate::support::{append, entry, keyed, open, read_all, small};

type Content = BTreeMap<Topic, Vec<(u64, Bytes)>>;

const TOPICS: [Topic; 3] = [Topic::Feed, Topic::Devices, Topic::Audit];

/// Returns a log with a table, a whole segment and one with few entries, and what it has.
async fn sample() -> (MemoryFs, Content) {
    let fs = MemoryFs::new();
    let log = open(&fs, small());
    for round in 0..15_u8 {
        let entries = vec![
            entry(Topic::Feed, 0, &[round; 2500]),
            keyed(Topic::Devices, 0, round % 3, &[round; 30]),
            entry(Topic::Audit, 0, &[round; 10]),
        ];
        append(&log, entries).await;
    }
    let point = TrimPoint {
        topic: Topic::Feed,
        partition: Partition(0),
        below: Offset(8),
    };
    log.trim(&[point]).await.unwrap();
    let content = content(&log).await;
    (fs, content)
}

async fn content(log: &EmbeddedLog) -> Content {
    let mut content = Content::new();
    for topic in TOPICS {
        content.insert(topic, read_all(log, topic, 0).await);
    }
    content
}

/// Opens a damaged log twice. It refuses, or has a part of what it had.
async fn check(fs: &MemoryFs, expected: &Content, what: &str) -> bool {
    let log = match testing::embedded(fs, small()) {
        Err(LogError::Damaged { .. } | LogError::Settings(_)) => return false,
        Err(error) => panic!("{what}: {error}"),
        Ok(log) => log,
    };
    let found = content(&log).await;
    for topic in TOPICS {
        let (found, expected) = (&found[&topic], &expected[&topic]);
        let known = found.iter().all(|entry| expected.contains(entry));
        assert!(known, "{what}: {topic:?} has what was never written");
        let is_prefix = expected.starts_with(found);
        assert!(is_prefix, "{what}: {topic:?} lacks something in the middle");
    }
    drop(log);
    assert!(content(&open(fs, small())).await == found, "{what}: twice");
    true
}

/// Runs a kind of damage over every file, at places that are `step` apart.
async fn damage(step: usize, how: impl Fn(&[u8], usize) -> Option<Vec<u8>>) -> (u32, u32) {
    let (fs, expected) = sample().await;
    let (mut refused, mut opened) = (0, 0);
    for name in fs.list().unwrap() {
        let whole = fs.contents(&name).unwrap();
        let used = whole
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |at| at + 1);
        for at in (0..used).step_by(step) {
            let Some(bytes) = how(&whole, at) else {
                continue;
            };
            let fs = fs.duplicate();
            fs.overwrite(&name, bytes);
            if check(&fs, &expected, &format!("{name} at {at}")).await {
                opened += 1;
            } else {
                refused += 1;
            }
        }
    }
    (refused, opened)
}

#[tokio::test]
async fn b16_a_flipped_bit_is_refused_or_cuts_the_tail() {
    let flip = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1 << (at % 8);
        Some(bytes)
    };
    let (refused, opened) = damage(29, flip).await;
    assert!(refused > opened && opened > 0, "{refused} {opened}");
}

#[tokio::test]
async fn b16_a_cut_file_is_refused_or_has_a_prefix() {
    let cut = |bytes: &[u8], at: usize| Some(bytes[..at].to_vec());
    let (refused, opened) = damage(37, cut).await;
    assert!(refused > 0 && opened > 0, "{refused} {opened}");
}

#[tokio::test]
async fn b16_a_repeated_stretch_is_refused_or_has_a_prefix() {
    let repeat = |bytes: &[u8], at: usize| {
        let count = 100.min(bytes.len() - at);
        let (before, after) = bytes.split_at(at);
        Some([before, &after[..count], after].concat())
    };
    let (refused, _) = damage(97, repeat).await;
    assert!(refused > 0, "{refused}");
}

#[tokio::test]
async fn b16_a_repeated_frame_is_refused() {
    let frame = |bytes: &[u8], at: usize| {
        let header = bytes.get(at..at + 16)?;
        if &header[..4] != b"PWJ1" || header[5] != 3 {
            return None;
        }
        let length = u32::from_le_bytes(header[8..12].try_into().ok()?) as usize;
        let frame = &bytes[at..at + 16 + length];
        // Twice in place, and once more at the very end.
        let mut twice = bytes[..at + frame.len()].to_vec();
        twice.extend_from_slice(frame);
        twice.extend_from_slice(&bytes[at + frame.len()..]);
        Some(twice)
    };
    let (refused, opened) = damage(1, frame).await;
    assert!(refused >= 7, "{refused}");
    assert_eq!(opened, 0);
}

#[tokio::test]
async fn b16_garbage_is_refused_or_cuts_the_tail() {
    let garbage = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        for (index, byte) in bytes.iter_mut().skip(at).take(64).enumerate() {
            *byte = (index * 37 + at) as u8 | 1;
        }
        Some(bytes)
    };
    let (refused, opened) = damage(41, garbage).await;
    assert!(refused > opened, "{refused} {opened}");
}

#[tokio::test]
async fn b16_a_missing_file_is_refused() {
    let (fs, expected) = sample().await;
    let names = fs.list().unwrap();
    let segments = names.iter().filter(|name| name.starts_with("segment-"));
    let mut opened = 0;
    for name in &names {
        let fs = fs.duplicate();
        fs.remove(name).unwrap();
        opened += u32::from(check(&fs, &expected, name).await);
    }
    // The segment that was only prepared is no loss. That the one before it is gone nobody can see
    // here: the stages know of later positions and are told that the log went back.
    assert!(segments.count() >= 3);
    assert!(opened <= 1, "{opened} opened");
}

#[test]
fn fuzzed_journals_entries_and_bodies_are_taken_without_a_panic() {
    let mut seed = 1_u64;
    let mut next = || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..400 {
        let length = (next() % 600) as usize;
        let mut bytes: Vec<u8> = (0..length).map(|_| next() as u8).collect();
        if round % 2 == 0 && length > 16 {
            // A believable frame, so that what is inside is looked at.
            bytes[..12].copy_from_slice(b"PWJ1\x01\x03\0\0\xff\0\0\0");
            bytes[5] = (next() % 8) as u8;
            bytes[8..12].copy_from_slice(&((length - 16) as u32).to_le_bytes());
            let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[4..12]), &bytes[16..]);
            bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        }
        fuzzing::journal(&bytes);
        fuzzing::entry(&bytes);
        fuzzing::body(&bytes);
    }
}
