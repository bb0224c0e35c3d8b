//! The integrity lane: silence, clocks, clones, revocation, and numbers that count once.

use pulseward_base::{Incarnation, Micros, Reject};
use pulseward_detector::{
    facts::{Batch, What},
    output::{BatchOutcome, Subject},
};
use pulseward_eventlog::body::{AlertState, Severity};
use pulseward_vitals::Kind;

use crate::scene::{HOUR, ILL, MINUTE, SECOND, Scene, WELL};

fn fleet(devices: u8, seconds: i64) -> Scene {
    let mut scene = Scene::new();
    (1..=devices).for_each(|number| scene.bind(number, number));
    live(&mut scene, devices, seconds);
    scene
}

fn live(scene: &mut Scene, devices: u8, seconds: i64) {
    for _ in 0..seconds {
        scene.pass(1);
        (1..=devices).for_each(|number| {
            scene.send(number, number, &WELL);
        });
    }
}

#[test]
fn a_device_that_was_live_and_stops_is_called_silent_until_it_returns() {
    let mut scene = fleet(2, 5);
    for _ in 0..40 {
        scene.pass(1);
        scene.send(2, 2, &WELL);
    }
    let story = scene.run().story();
    assert_eq!(
        story,
        [(Subject::DeviceSilent, AlertState::Raised, Severity::Urgent)]
    );
    assert_eq!(scene.run().state.silent_devices(), 1);
    live(&mut scene, 2, 5);
    let run = scene.run();
    let alerts = run.alerts();
    assert_eq!(alerts.len(), 2);
    assert_eq!(
        (alerts[1].id, alerts[1].state),
        (alerts[0].id, AlertState::Cleared)
    );
}

#[test]
fn a_device_that_never_sent_is_not_called_silent() {
    let mut scene = Scene::new();
    scene.bind(1, 1);
    scene.pass(300);
    assert!(scene.run().story().is_empty());
}

#[test]
fn c12_a_vital_that_stops_alone_is_called_silent_within_its_limit() {
    let mut scene = fleet(1, 5);
    let rest: Vec<_> = WELL
        .into_iter()
        .filter(|(kind, _)| *kind != Kind::SpO2)
        .collect();
    let stopped = scene.now;
    for _ in 0..150 {
        scene.pass(1);
        scene.send(1, 1, &rest);
    }
    let run = scene.run();
    assert_eq!(
        run.story(),
        [(Subject::StreamSilent, AlertState::Raised, Severity::Urgent)]
    );
    let alert = run.alerts()[0];
    assert_eq!(alert.at, Micros(stopped + 120 * SECOND));
    assert_eq!(
        (alert.readings[0].kind, alert.readings[0].value),
        (Kind::SpO2.spec().number, 975)
    );
}

#[test]
fn b10_a_detector_that_lags_ten_minutes_calls_nobody_silent() {
    // The feed goes on while the detector is down: it only lacks the detector's own ticks.
    let mut scene = fleet(5, 5);
    for _ in 0..600 {
        scene.now += SECOND;
        scene.tick_of(true);
        (1..=5).for_each(|number| {
            scene.send(number, number, &WELL);
        });
    }
    // Behind all of it stands the tick of the detector that was started again.
    scene.tick_of(false);
    assert!(scene.run().story().is_empty());
}

#[test]
fn b10_when_all_ingests_are_down_there_is_one_alert_a_partition_and_nobody_is_silent() {
    let mut scene = fleet(5, 5);
    for _ in 0..600 {
        scene.now += SECOND;
        scene.tick_of(false);
    }
    let feed = |state| (Subject::FeedSilent, state, Severity::Emergency);
    assert_eq!(scene.run().story(), [feed(AlertState::Raised)]);
    // The ingests return, and the devices some seconds later.
    scene.pass(10);
    live(&mut scene, 5, 20);
    assert_eq!(
        scene.run().story(),
        [feed(AlertState::Raised), feed(AlertState::Cleared)]
    );
}

#[test]
fn b10_when_everything_was_down_the_first_ticks_call_nobody_silent() {
    for ingest_first in [true, false] {
        let mut scene = fleet(5, 5);
        scene.now += 600 * SECOND;
        scene.tick_of(ingest_first);
        scene.tick_of(!ingest_first);
        scene.pass(10);
        live(&mut scene, 5, 40);
        let run = scene.run();
        assert_eq!(run.count(Subject::DeviceSilent, AlertState::Raised), 0);
        assert!(run.count(Subject::FeedSilent, AlertState::Raised) <= 1);
    }
}

#[test]
fn b10_a_device_that_does_not_return_after_that_is_called_silent() {
    let mut scene = fleet(2, 5);
    scene.now += 600 * SECOND;
    scene.tick();
    for _ in 0..40 {
        scene.pass(1);
        scene.send(2, 2, &WELL);
    }
    assert_eq!(
        scene.run().count(Subject::DeviceSilent, AlertState::Raised),
        1
    );
}

#[test]
fn b18_a_clock_of_the_server_that_is_set_back_or_ahead_raises_no_storm() {
    for step in [-HOUR, HOUR] {
        let mut scene = fleet(5, 10);
        scene.now += step;
        live(&mut scene, 5, 60);
        let run = scene.run();
        assert_eq!(
            run.count(Subject::DeviceSilent, AlertState::Raised),
            0,
            "{step}"
        );
        assert_eq!(
            run.count(Subject::ClockSkew, AlertState::Raised),
            0,
            "{step}"
        );
        assert!(run.state.feed().log_time.unwrap().0 >= crate::scene::START);
    }
}

#[test]
fn b18_a_device_in_2030_that_is_corrected_is_marked_once_and_judged_throughout() {
    let ahead = 3 * 365 * 24 * HOUR;
    let mut scene = Scene::new();
    scene.bind(1, 1);
    for _ in 0..20 {
        scene.pass(1);
        scene.send_at(1, 1, scene.now + ahead, &ILL);
    }
    live(&mut scene, 1, 5);
    let run = scene.run();
    assert_eq!(run.count(Subject::ClockSkew, AlertState::Raised), 1);
    assert_eq!(run.count(Subject::ClockSkew, AlertState::Cleared), 1);
    assert_eq!(run.count(Subject::News2, AlertState::Raised), 1);
    assert_eq!(run.count(Subject::News2, AlertState::Cleared), 1);
    assert_eq!(run.scores().len(), 25);
    assert!(
        run.scores()
            .iter()
            .all(|score| score.at <= Micros(scene.now)),
        "bounded by the log's time"
    );
}

#[test]
fn an_offset_that_is_known_corrects_the_readings_and_is_marked() {
    let mut scene = Scene::new();
    scene.bind(1, 1);
    scene.pass(1);
    let (seq, off) = (scene.next_seq(1), HOUR);
    let rows = WELL
        .iter()
        .map(|(kind, value)| (*kind, scene.now + off, *value, 0))
        .collect();
    let batch = Batch {
        clock_offset: -off,
        ..scene.batch(1, 1, seq, rows)
    };
    scene.put(1, What::Batch(Box::new(batch)));
    let run = scene.run();
    assert_eq!(
        (run.scores()[0].at, run.scores()[0].flags),
        (Micros(scene.now), 0)
    );
    assert_eq!(run.count(Subject::ClockSkew, AlertState::Raised), 1);
}

#[test]
fn c14_times_a_day_ahead_from_one_device_leave_the_others_on_time() {
    let mut scene = fleet(2, 3);
    scene.bind(1, 9);
    for _ in 0..10 {
        scene.pass(1);
        scene.send_at(1, 9, scene.now + 24 * HOUR, &[(Kind::Glucose, 100)]);
        scene.send(1, 1, &WELL);
        scene.send(2, 2, &WELL);
    }
    assert!(scene.run().scores().iter().all(|score| score.flags == 0));
    assert_eq!(scene.run().scores().last().unwrap().at, Micros(scene.now));
}

#[test]
fn each_batch_counts_once() {
    let mut scene = fleet(1, 5);
    let again: Vec<_> = scene.facts.clone();
    for fact in again {
        if let What::Batch(batch) = fact.what {
            scene.put(1, What::Batch(batch));
        }
    }
    let run = scene.run();
    let outcomes = run.outputs.iter().filter_map(|(_, outputs)| outputs.batch);
    assert_eq!(
        outcomes
            .filter(|outcome| *outcome == BatchOutcome::Duplicate)
            .count(),
        5
    );
    assert_eq!(run.scores().len(), 5);
}

#[test]
fn queues_older_than_the_two_newest_are_refused() {
    let mut scene = fleet(1, 2);
    for _ in 0..2 {
        scene.new_queue(1);
        live(&mut scene, 1, 1);
    }
    let (now, mut old) = (
        scene.now,
        scene.batch(1, 1, 7, vec![(Kind::HeartRate, scene.now, 700, 0)]),
    );
    old.incarnation = Incarnation([1; 16]);
    old.incarnation.0[..8].copy_from_slice(&0_i64.to_le_bytes());
    old.received = Micros(now);
    scene.put(1, What::Batch(Box::new(old)));
    assert_eq!(
        scene.run().outputs.last().unwrap().1.batch,
        Some(BatchOutcome::OldQueue)
    );
    assert_eq!(scene.run().scores().len(), 4);
}

#[test]
fn batches_behind_a_revocation_are_void_and_its_alerts_end() {
    let mut scene = fleet(1, 5);
    scene.pass(40);
    scene.revoke(1);
    scene.pass(1);
    scene.send(1, 1, &ILL);
    scene.pass(100);
    let run = scene.run();
    let silent = |state| (Subject::DeviceSilent, state, Severity::Urgent);
    assert_eq!(
        run.story(),
        [silent(AlertState::Raised), silent(AlertState::Cleared)]
    );
    assert_eq!(run.scores().len(), 5);
    assert!(
        run.outputs
            .iter()
            .any(|(_, outputs)| outputs.batch == Some(BatchOutcome::Revoked))
    );
}

#[test]
fn a_clone_is_told_once_until_its_device_is_revoked() {
    let mut scene = fleet(1, 5);
    scene.void(1, 1, 2, Reject::Forked);
    scene.void(1, 1, 3, Reject::Forked);
    scene.revoke(1);
    let forked = |state| (Subject::Forked, state, Severity::Urgent);
    assert_eq!(
        scene.run().story(),
        [forked(AlertState::Raised), forked(AlertState::Cleared)]
    );
}

#[test]
fn a_void_takes_its_number() {
    let mut scene = fleet(1, 2);
    let seq = scene.next_seq(1);
    scene.void(1, 1, seq, Reject::OutOfScope);
    let queue = |scene: &Scene| {
        let run = scene.run();
        run.state.patients().values().next().unwrap().devices[0].queues[0].clone()
    };
    assert_eq!(queue(&scene).highest.0, seq);
    assert_eq!(queue(&scene).open(), 0);
}

#[test]
fn a_fifth_device_displaces_a_revoked_one_first() {
    let mut scene = Scene::new();
    for number in 1..=4 {
        scene.bind(1, number);
        scene.pass(1);
        scene.send(1, number, &WELL);
    }
    scene.revoke(3);
    scene.bind(1, 5);
    let run = scene.run();
    let kids: Vec<u8> = run
        .state
        .patients()
        .values()
        .next()
        .unwrap()
        .devices
        .iter()
        .map(|device| device.kid.0[0])
        .collect();
    assert_eq!(kids, [1, 2, 4, 5]);
}

#[test]
fn an_erased_patient_is_forgotten_and_the_others_are_not() {
    let mut scene = fleet(2, 3);
    scene.put(1, What::Erased);
    let run = scene.run();
    assert_eq!(run.state.patients().len(), 1);
    assert_eq!(
        run.state.patients().keys().next(),
        Some(&crate::scene::patient(2))
    );
}

#[test]
fn nothing_behind_the_end_of_a_life_changes_anything() {
    let mut scene = fleet(1, 3);
    scene.put(0, What::End);
    let scores = scene.run().scores().len();
    live(&mut scene, 1, 3);
    assert_eq!(scene.run().scores().len(), scores);
    assert!(scene.run().state.feed().ended);
}

#[test]
fn late_batches_are_a_sign_of_life() {
    let mut scene = fleet(1, 3);
    for _ in 0..60 {
        scene.pass(1);
        scene.send_at(1, 1, scene.now - 20 * MINUTE, &WELL);
    }
    assert_eq!(
        scene.run().count(Subject::DeviceSilent, AlertState::Raised),
        0
    );
}
