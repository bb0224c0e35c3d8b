use proptest::prelude::*;
use pulseward_base::{
    AlertId, Digest, Generation, GroupId, Incarnation, KeyId, Kid, Micros, ModelId, Offset,
    Partition, Pseudonym, Reject, Seq, Slot, WriterId,
};

use super::*;
use crate::{Cause, Position};

/// One body of each kind and form, every field different from its neighbours.
#[expect(clippy::too_many_lines, reason = "one value of each kind")]
fn samples() -> Vec<Body> {
    let position = Position {
        generation: Generation(3),
        offset: Offset(77),
    };
    let cause = Cause { position, index: 5 };
    let control = |kind| {
        Body::Control(Control {
            kind,
            body: vec![1, 2, 3],
        })
    };
    let mut samples = vec![
        Body::Void(Void {
            device: Kid([1; 32]),
            incarnation: Incarnation([2; 16]),
            seq: Seq(3),
            digest: Digest([4; 32]),
            code: Reject::Forked,
        }),
        Body::Tick(Tick {
            source: WriterId([5; 16]),
            role: Role::Detector,
            time: Micros(-6),
        }),
        Body::Bind(Box::new(Bind {
            certificate: [7; 148],
            record: [8; 147],
            binding: [9; 179],
            sealed_handle: [10; 44],
            group: GroupId(11),
            consent_version: 12,
        })),
        Body::Revoke(Revoke {
            device: Kid([13; 32]),
            time: Micros(14),
        }),
        Body::End(End {
            next: Generation(15),
        }),
        Body::Score(Score {
            pseudonym: Pseudonym([16; 16]),
            at: Micros(17),
            lane: Lane::Rules,
            model: ModelId([18; 16]),
            low: -19,
            high: 20,
            flags: 21,
            parts: vec![
                ScorePart {
                    kind: 22,
                    low: 23,
                    high: 24
                };
                255
            ],
        }),
        Body::Alert(Alert {
            id: AlertId([25; 16]),
            pseudonym: Pseudonym([26; 16]),
            lane: Lane::Integrity,
            what: 27,
            severity: Severity::Emergency,
            state: AlertState::Risen,
            flags: Alert::PAST | Alert::UNVERIFIED,
            at: Micros(28),
            model: ModelId([29; 16]),
            low: 30,
            high: 31,
            sealed_handle: [32; 44],
            readings: vec![AlertReading {
                kind: 33,
                value: -34,
                low: 35,
                high: 36,
            }],
        }),
        Body::State(vec![1, 37, 38]),
        Body::PartitionRecord(PartitionRecord {
            as_of: position,
            log_time: Micros(39),
            last_score: Some(cause),
            last_alert: None,
            sources: vec![40; 40],
        }),
        Body::Mark(Box::new(Mark {
            device: Kid([41; 32]),
            incarnations: vec![mark(42, 16), mark(43, 0)],
        })),
        Body::Device(Box::new(Device {
            device: Kid([44; 32]),
            point: [45; 33],
            record: Digest([46; 32]),
            pseudonym: Pseudonym([47; 16]),
            key: KeyId([48; 16]),
            slot: Slot(49),
            group: GroupId(50),
            scope: 51,
            status: DeviceStatus::Suspended,
        })),
        Body::Redemption(Redemption {
            ticket_mac: [52; 32],
            device: Kid([53; 32]),
            time: Micros(54),
        }),
        Body::Delivery(Delivery::Sent {
            alert: AlertId([55; 16]),
            recipient: [56; 16],
            state: DeliveryState::Escalated,
            attempts: 57,
            time: Micros(58),
        }),
        Body::Delivery(Delivery::Cursor {
            next: position,
            last: Some(cause),
        }),
        Body::Audit(vec![59; 60]),
        Body::Parked(Parked {
            topic: Topic::Scores,
            position,
            reason: 61,
        }),
    ];
    samples.extend(ControlKind::ALL.iter().map(|kind| control(*kind)));
    samples
}

fn mark(fill: u8, missing: usize) -> MarkIncarnation {
    let range = MissingRange {
        first: Seq(1),
        last: Seq(2),
    };
    MarkIncarnation {
        incarnation: Incarnation([fill; 16]),
        highest: Seq(u64::from(fill)),
        window: u64::MAX / 3,
        digests: [[fill; 8]; 64],
        missing: vec![range; missing],
    }
}

#[test]
fn every_body_is_read_back_as_it_was() {
    let samples = samples();
    for sample in &samples {
        let bytes = sample.encode();
        assert_eq!(Body::decode(sample.kind(), &bytes).as_ref(), Ok(sample));
    }
    for kind in EntryKind::ALL {
        let sampled = samples.iter().any(|sample| sample.kind() == *kind);
        assert!(sampled || *kind == EntryKind::Batch, "{kind:?}");
    }
}

#[test]
fn a_body_that_is_cut_or_goes_on_is_malformed() {
    // The tail of these belongs to a stage; it may have any length.
    let open = [
        EntryKind::State,
        EntryKind::Audit,
        EntryKind::Control,
        EntryKind::PartitionRecord,
    ];
    for sample in samples()
        .iter()
        .filter(|sample| !open.contains(&sample.kind()))
    {
        let mut bytes = sample.encode();
        for length in 0..bytes.len() {
            let cut = Body::decode(sample.kind(), &bytes[..length]);
            assert_eq!(cut, Err(Malformed), "{sample:?} cut to {length}");
        }
        bytes.push(0);
        assert_eq!(Body::decode(sample.kind(), &bytes), Err(Malformed));
    }
}

#[test]
fn sizes_are_as_documented() {
    let size_of = |kind| {
        samples()
            .iter()
            .find(|sample| sample.kind() == kind)
            .map(|sample| sample.encode().len())
            .unwrap()
    };
    assert_eq!(size_of(EntryKind::Void), 90);
    assert_eq!(size_of(EntryKind::Tick), 25);
    assert_eq!(size_of(EntryKind::Bind), 148 + 147 + 179 + 44 + 8);
    assert_eq!(size_of(EntryKind::Device), Device::SIZE);
    assert_eq!(size_of(EntryKind::Redemption), 72);
}

#[test]
fn debug_shows_the_kind_and_nothing_else() {
    for sample in samples() {
        assert_eq!(format!("{sample:?}"), format!("Body({:?})", sample.kind()));
    }
    let Body::Alert(alert) = samples().swap_remove(6) else {
        panic!("the seventh sample is an alert");
    };
    assert_eq!(format!("{alert:?}"), "Alert(..)");
}

#[test]
fn an_alert_has_the_same_id_in_every_replay_and_another_for_every_cause() {
    let id = |partition, index| {
        let position = Position {
            generation: Generation(1),
            offset: Offset(2),
        };
        alert_id(&[7; 16], Partition(partition), Cause { position, index })
    };
    assert_eq!(id(1, 0), id(1, 0));
    assert_ne!(id(1, 0), id(1, 1));
    assert_ne!(id(1, 0), id(2, 0));
}

proptest! {
    #[test]
    fn foreign_bytes_give_a_body_that_encodes_to_them_or_an_error(number: u8, bytes: Vec<u8>) {
        if let Some(kind) = EntryKind::from_number(number % 20)
            && let Ok(body) = Body::decode(kind, &bytes)
        {
            prop_assert_eq!(body.kind(), kind);
            prop_assert_eq!(body.encode(), bytes);
        }
    }
}

#[test]
fn a_wish_is_read_back_as_it_was_and_nothing_else_is_one() {
    let patient = Pseudonym([1; 16]);
    let snooze = Wish::Snooze {
        lane: Lane::Rules,
        seconds: 1800,
    };
    for wish in [Wish::Acknowledge(AlertId([2; 16])), snooze] {
        let control = wish.to_control(patient, [3; 16]);
        assert_eq!(Wish::of_control(&control), Some((patient, wish)));
        let with = |body: Vec<u8>| Control {
            kind: control.kind,
            body,
        };
        for length in 0..control.body.len() {
            let cut = with(control.body[..length].to_vec());
            assert_eq!(Wish::of_control(&cut), None, "{length} bytes");
        }
        let longer = with([&control.body[..], &[0]].concat());
        assert_eq!(Wish::of_control(&longer), None);
        let newer = with([&[2], &control.body[1..]].concat());
        assert_eq!(Wish::of_control(&newer), None);
        for kind in ControlKind::ALL
            .iter()
            .filter(|kind| **kind != control.kind)
        {
            let other = Control {
                kind: *kind,
                body: control.body.clone(),
            };
            assert_eq!(Wish::of_control(&other), None, "{kind:?}");
        }
    }
}
