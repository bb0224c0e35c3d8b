use proptest::prelude::*;
use pulseward_base::Generation;

use super::*;

fn open_alert(id: u8) -> Option<Open> {
    Some(Open {
        id: AlertId([id; 16]),
        severity: Severity::Emergency,
        acknowledged: true,
        snoozed: true,
    })
}

fn full_feed() -> Feed {
    Feed {
        log_time: Some(Micros(1)),
        ingest_heard: Some(Micros(2)),
        back: Some(Micros(3)),
        silent: open_alert(9),
        ended: true,
    }
}

fn full_episode() -> Episode {
    let vote = Vote {
        certain: Some(Severity::Urgent),
        watch: true,
        possible: Some(Severity::Emergency),
    };
    Episode {
        votes: Votes {
            votes: vec![vote; usize::from(MOfN::MOST)],
            last: Some(Micros(5)),
        },
        open: open_alert(1),
    }
}

fn full_windows(kind: Kind) -> Windows {
    let mut windows = Windows::default();
    for half_minute in 0..2 * 60 * 12 {
        windows.add(Micros(half_minute * 30_000_000), kind.spec().highest);
    }
    for ten_seconds in 0..6 {
        windows.add(
            Micros(12 * 3_600_000_000 - 60_000_000 + ten_seconds * 10_000_000),
            kind.spec().lowest,
        );
    }
    windows
}

fn full_device(number: u8) -> Device {
    let mut device = Device::new(Kid([number; 32]));
    device.heard = Some(Micros(9));
    device.silent = open_alert(2);
    device.skewed = open_alert(3);
    device.forked = open_alert(4);
    for kind in Kind::ALL {
        let silent = open_alert(5);
        device.streams.insert(
            *kind,
            Stream {
                heard: Micros(8),
                silent,
            },
        );
    }
    for start in 0..QUEUES {
        let mut incarnation = Incarnation([number; 16]);
        incarnation.0[0] = u8::try_from(start).unwrap();
        let mut queue = Queue::starting_at(incarnation, Seq(0));
        (1..=100).for_each(|seq| {
            queue.take(Seq(seq * 100));
        });
        assert_eq!(queue.missing.len(), MISSING_RANGES);
        device.queues.push(queue);
    }
    device.queues.sort_by_key(|queue| age(&queue.incarnation));
    device
}

/// A patient of whom everything there can be is remembered.
fn full() -> Patient {
    let mut patient = Patient::new(Pseudonym([1; 16]), KeyId([2; 16]), Slot(3));
    patient.as_of.offset = Offset(77);
    patient.newest = Some(Micros(6));
    patient.live = full_episode();
    patient.past = full_episode();
    for kind in Kind::ALL {
        let last = Reading {
            at: Micros(1),
            value: i32::MIN,
            unverified: true,
        };
        let vital = Vital {
            last,
            windows: full_windows(*kind),
            guard: full_episode(),
        };
        patient.vitals.insert(*kind, vital);
    }
    patient.devices = (0..DEVICES)
        .map(|number| full_device(u8::try_from(number).unwrap()))
        .collect();
    let snooze = Snooze {
        until: Micros(7),
        level: Severity::Urgent,
    };
    patient.snoozes = Lane::ALL.iter().map(|lane| (*lane, snooze)).collect();
    patient
}

#[test]
fn the_fullest_state_is_within_its_bound_and_reads_as_it_was_written() {
    let patient = full();
    let buckets: usize = patient.vitals[&Kind::HeartRate]
        .windows
        .rings
        .iter()
        .map(|ring| ring.buckets.len())
        .sum();
    assert_eq!(buckets, 6 + 15 + 12);
    let bytes = encode(&patient, &full_feed());
    assert!(bytes.len() <= MOST_BYTES, "{} bytes", bytes.len());
    assert_eq!(decode(&bytes), Ok((patient, full_feed())));
}

#[test]
fn every_kinds_plausible_range_fits_a_bucket() {
    for kind in Kind::ALL {
        let spec = kind.spec();
        assert!(u16::try_from(spec.highest - spec.lowest).is_ok(), "{kind}");
        let mut windows = Windows::default();
        for value in [spec.lowest, spec.highest] {
            (0..Ring::FULL).for_each(|_| windows.add(Micros(0), value));
        }
        let mut patient = full();
        patient.vitals.get_mut(kind).unwrap().windows = windows;
        assert_eq!(
            decode(&encode(&patient, &full_feed())),
            Ok((patient, full_feed()))
        );
    }
}

#[test]
fn every_cut_and_every_other_version_is_malformed() {
    let bytes = encode(&full(), &full_feed());
    for length in 0..bytes.len() {
        assert_eq!(decode(&bytes[..length]), Err(Malformed));
    }
    assert_eq!(decode(&[&bytes[..], &[0]].concat()), Err(Malformed));
    let newer = [&[VERSION + 1], &bytes[1..]].concat();
    assert_eq!(decode(&newer), Err(Malformed));
}

#[test]
fn the_layout_of_an_empty_state_is_frozen() {
    let mut patient = Patient::new(Pseudonym([1; 16]), KeyId([2; 16]), Slot(0x0304));
    patient.sealed_handle = [5; 44];
    patient.as_of.generation = Generation(6);
    patient.as_of.offset = Offset(7);
    let none = i64::MIN.to_le_bytes();
    let expect = [
        &[1][..],                              // version
        &[1; 16],                              // pseudonym
        &[2; 16],                              // key
        &[4, 3],                               // slot
        &[5; 44],                              // sealed handle
        &[6, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0], // as of
        &none,
        &none,
        &none,
        &[0],
        &[0],  // the feed: times, open, ended
        &none, // newest
        &none,
        &[0],
        &[0], // live: last vote, votes, open
        &none,
        &[0],
        &[0], // past
        &[0],
        &[0],
        &[0], // vitals, devices, snoozes
    ];
    assert_eq!(encode(&patient, &Feed::default()), expect.concat());
}

#[test]
fn a_bucket_that_cannot_be_is_malformed() {
    let mut patient = full();
    patient.vitals.retain(|kind, _| *kind == Kind::HeartRate);
    let mut windows = Windows::default();
    windows.add(Micros(0), 700);
    patient.vitals.get_mut(&Kind::HeartRate).unwrap().windows = windows;
    let good = encode(&patient, &full_feed());
    assert!(decode(&good).is_ok());
    // One reading of 70.0, 550 steps above the lowest there may be.
    let bucket = [1, 0, 0x26, 2, 0, 0, 0x26, 2, 0x26, 2];
    let at = good
        .windows(bucket.len())
        .position(|bytes| bytes == bucket)
        .unwrap();
    for (offset, byte) in [(0, 0), (2, 0), (6, 0xff), (8, 0)] {
        let mut bad = good.clone();
        bad[at + offset] = byte;
        assert_eq!(decode(&bad), Err(Malformed), "byte {offset}");
    }
}

proptest! {
    #[test]
    fn foreign_bytes_give_a_state_of_one_spelling_or_malformed(
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut bytes = encode(&full(), &full_feed());
        for (place, byte) in flips {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        if let Ok((patient, feed)) = decode(&bytes) {
            prop_assert_eq!(encode(&patient, &feed), bytes);
        }
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
        let versioned = [&[VERSION][..], &bytes].concat();
        for bytes in [bytes, versioned] {
            if let Ok((patient, feed)) = decode(&bytes) {
                prop_assert_eq!(encode(&patient, &feed), bytes);
            }
        }
    }
}
