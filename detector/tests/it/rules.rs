//! The rules lane: scores, hysteresis, what is missing, what is late, what is not trusted.

use pulseward_detector::{
    output::{Guard, Subject},
    settings::Judgement,
    state::votes::MOfN,
};
use pulseward_eventlog::body::{Alert, AlertState, Severity};
use pulseward_vitals::Kind;

use crate::scene::{HOUR, ILL, MINUTE, SECOND, Scene, WELL};

const NEWS2: Subject = Subject::News2;

/// A scene with one patient, one device and some minutes of health behind them.
fn well() -> Scene {
    let mut scene = Scene::new();
    scene.bind(1, 1);
    for _ in 0..10 {
        scene.pass(1);
        scene.send(1, 1, &WELL);
    }
    scene
}

fn send(scene: &mut Scene, values: &[(Kind, i32)], times: usize) {
    for _ in 0..times {
        scene.pass(1);
        scene.send(1, 1, values);
    }
}

fn with(kind: Kind, value: i32) -> Vec<(Kind, i32)> {
    WELL.iter()
        .map(|(each, well)| (*each, if *each == kind { value } else { *well }))
        .collect()
}

fn without(kind: Kind) -> Vec<(Kind, i32)> {
    WELL.iter()
        .copied()
        .filter(|(each, _)| *each != kind)
        .collect()
}

#[test]
fn a_patient_who_is_well_raises_nothing() {
    let run = well().run();
    assert!(run.story().is_empty());
    assert_eq!(run.scores().len(), 10);
    assert!(
        run.scores()
            .iter()
            .all(|score| (score.low, score.high, score.flags) == (0, 0, 0))
    );
}

#[test]
fn severity_follows_the_chart() {
    let check = |values: &[(Kind, i32)], expect| {
        let mut scene = well();
        send(&mut scene, values, 3);
        let raised = scene.run().story().first().copied();
        assert_eq!(raised, Some((NEWS2, AlertState::Raised, expect)));
    };
    check(&ILL, Severity::Emergency);
    // A single three.
    check(&with(Kind::RespiratoryRate, 260), Severity::Urgent);
    // Five without a three: pulse 2, respiration 2, saturation 1.
    let mut five = with(Kind::HeartRate, 1200);
    five.iter_mut().for_each(|(kind, value)| match kind {
        Kind::RespiratoryRate => *value = 220,
        Kind::SpO2 => *value = 950,
        _ => {}
    });
    check(&five, Severity::Urgent);
}

#[test]
fn c11_one_abnormal_reading_in_n_raises_nothing_and_one_benign_ends_nothing() {
    let mut scene = well();
    send(&mut scene, &ILL, 1);
    send(&mut scene, &WELL, 3);
    assert!(scene.run().story().is_empty());
    send(&mut scene, &ILL, 4);
    send(&mut scene, &WELL, 1);
    send(&mut scene, &ILL, 1);
    send(&mut scene, &WELL, 2);
    assert_eq!(
        scene.run().story(),
        [(NEWS2, AlertState::Raised, Severity::Emergency)]
    );
    send(&mut scene, &WELL, 1);
    assert_eq!(scene.run().story().last().unwrap().1, AlertState::Cleared);
}

#[test]
fn c11_a_gap_freezes_an_episode() {
    let mut scene = well();
    send(&mut scene, &ILL, 3);
    let before = scene.run().story();
    scene.pass(600);
    let rules = |scene: &Scene| {
        let story = scene.run().story().into_iter();
        story.filter(|line| line.0 == NEWS2).collect::<Vec<_>>()
    };
    assert_eq!(rules(&scene), before, "ten minutes of nothing end nothing");
    send(&mut scene, &WELL, 2);
    assert_eq!(rules(&scene), before, "and bring the end no nearer");
    send(&mut scene, &WELL, 1);
    assert_eq!(rules(&scene).last().unwrap().1, AlertState::Cleared);
}

#[test]
fn an_alert_keeps_its_id_while_it_rises_and_ends_and_the_next_has_another() {
    let mut scene = well();
    send(&mut scene, &with(Kind::RespiratoryRate, 260), 3);
    send(&mut scene, &ILL, 3);
    send(&mut scene, &WELL, 3);
    send(&mut scene, &ILL, 3);
    let run = scene.run();
    use AlertState::{Cleared, Raised, Risen};
    let states: Vec<_> = run.story().iter().map(|line| line.1).collect();
    assert_eq!(states, [Raised, Risen, Cleared, Raised]);
    let ids: Vec<_> = run.alerts().iter().map(|alert| alert.id).collect();
    assert_eq!((ids[0], ids[0]), (ids[1], ids[2]));
    assert_ne!(ids[0], ids[3]);
}

#[test]
fn an_alert_that_fell_rises_again_aloud() {
    let mut scene = well();
    let three = with(Kind::RespiratoryRate, 260);
    send(&mut scene, &ILL, 3);
    send(&mut scene, &three, 4);
    send(&mut scene, &ILL, 3);
    let states: Vec<_> = scene
        .run()
        .story()
        .iter()
        .map(|line| (line.1, line.2))
        .collect();
    assert_eq!(
        states,
        [
            (AlertState::Raised, Severity::Emergency),
            (AlertState::Risen, Severity::Emergency)
        ]
    );
}

#[test]
fn a_patient_who_is_seen_now_and_then_is_judged_by_one_reading() {
    let mut scene = Scene::new();
    scene.bind(1, 1);
    scene.send(1, 1, &WELL);
    scene.pass(4 * 3600);
    scene.send(1, 1, &ILL);
    assert_eq!(scene.run().count(NEWS2, AlertState::Raised), 1);
}

#[test]
fn c12_what_is_withheld_widens_the_score_and_never_ends_an_alert() {
    let mut scene = well();
    send(&mut scene, &with(Kind::RespiratoryRate, 260), 3);
    let before = scene
        .run()
        .scores()
        .last()
        .map(|score| (score.low, score.high))
        .unwrap();
    // Everything else goes on; respiration is gone until it is stale.
    for _ in 0..70 {
        scene.pass(60);
        scene.send(1, 1, &without(Kind::RespiratoryRate));
    }
    let run = scene.run();
    let after = run
        .scores()
        .last()
        .map(|score| (score.low, score.high))
        .unwrap();
    assert_eq!(before, (3, 3));
    assert_eq!(after, (0, 3));
    assert_eq!(run.count(NEWS2, AlertState::Cleared), 0);
    assert_eq!(run.count(Subject::StreamSilent, AlertState::Raised), 1);
}

#[test]
fn what_could_only_be_is_watched_and_pages_nobody() {
    let mut scene = well();
    let few: Vec<_> = WELL
        .into_iter()
        .filter(|(kind, _)| *kind == Kind::Temperature)
        .collect();
    for _ in 0..25 {
        scene.pass(600);
        scene.send(1, 1, &few);
    }
    let run = scene.run();
    let rules: Vec<_> = run
        .story()
        .into_iter()
        .filter(|line| line.0 == NEWS2)
        .collect();
    assert_eq!(rules, [(NEWS2, AlertState::Raised, Severity::Watch)]);
}

#[test]
fn a_vital_that_was_never_measured_is_no_reason_to_watch() {
    let mut scene = Scene::new();
    scene.bind(1, 1);
    send(&mut scene, &[(Kind::HeartRate, 700), (Kind::SpO2, 970)], 5);
    let run = scene.run();
    assert!(run.story().is_empty());
    assert_eq!(
        run.scores().last().map(|score| (score.low, score.high)),
        Some((0, 14))
    );
}

#[test]
fn c13_a_reading_that_fails_a_guard_and_fires_a_rule_is_said_to_be_unverified() {
    let implausible = with(Kind::HeartRate, 0);
    let mut scene = well();
    send(&mut scene, &implausible, 2);
    let run = scene.run();
    let alerts = run.alerts();
    let rule = alerts
        .iter()
        .find(|alert| alert.what == NEWS2.number())
        .unwrap();
    assert_eq!(
        (rule.severity, rule.flags),
        (Severity::Urgent, Alert::UNVERIFIED)
    );
    assert_eq!(run.count(Subject::Implausible, AlertState::Raised), 1);
    let guarded: u64 = run
        .outputs
        .iter()
        .flat_map(|(_, outputs)| &outputs.guarded)
        .map(|(_, n)| n)
        .sum();
    assert_eq!(guarded, 2);
}

#[test]
fn c13_a_reading_the_device_doubts_or_nobody_signed_yet_is_unverified_too() {
    let mut scene = well();
    for doubt in [true, false] {
        scene.pass(1);
        let rows = ILL
            .iter()
            .map(|(kind, value)| (*kind, scene.now, *value, u8::from(doubt)));
        let (rows, seq) = (rows.collect(), scene.next_seq(1));
        let mut batch = scene.batch(1, 1, seq, rows);
        batch.proven = doubt;
        scene.put(1, pulseward_detector::facts::What::Batch(Box::new(batch)));
    }
    let run = scene.run();
    let flags: Vec<_> = run
        .scores()
        .iter()
        .rev()
        .take(2)
        .map(|score| score.flags)
        .collect();
    assert_eq!(flags, [Alert::UNVERIFIED; 2]);
    let last = &run.outputs.iter().rev().take(1).next().unwrap().1;
    assert_eq!(last.guarded, [(Guard::Unproven, 7)]);
    assert!(
        run.state.patients().values().all(|patient| {
            let vital = &patient.vitals[&Kind::HeartRate];
            vital
                .windows
                .summary(
                    pulseward_detector::state::window::Span::Minute,
                    vital.last.at,
                )
                .unwrap()
                .max
                == 720
        }),
        "what is not verified is no part of what is usual"
    );
}

#[test]
fn b19_a_backlog_raises_the_same_alerts_marked_past() {
    let episode = |scene: &mut Scene, start: i64| {
        for second in 0..30 {
            let values = if (10..20).contains(&second) {
                &ILL
            } else {
                &WELL
            };
            scene.send_at(1, 1, start + second * SECOND, values);
        }
    };
    let mut live = Scene::new();
    live.bind(1, 1);
    for second in 0..30 {
        let values = if (10..20).contains(&second) {
            &ILL
        } else {
            &WELL
        };
        live.pass(1);
        live.send(1, 1, values);
    }
    let mut late = Scene::new();
    late.bind(1, 1);
    late.pass(1);
    let start = late.now - 6 * HOUR;
    episode(&mut late, start);
    assert_eq!(late.run().story(), live.run().story());
    assert!(
        late.run()
            .alerts()
            .iter()
            .all(|alert| alert.flags & Alert::PAST != 0)
    );
    assert!(live.run().alerts().iter().all(|alert| alert.flags == 0));
}

#[test]
fn b19_an_episode_that_goes_on_when_the_backlog_ends_pages() {
    let mut scene = Scene::new();
    scene.bind(1, 1);
    scene.pass(1);
    for back in (1..=20).rev() {
        scene.send_at(1, 1, scene.now - 15 * MINUTE - back * SECOND, &ILL);
    }
    send(&mut scene, &ILL, 3);
    let run = scene.run();
    let flags: Vec<_> = run
        .alerts()
        .iter()
        .map(|alert| (alert.state, alert.flags & Alert::PAST))
        .collect();
    assert_eq!(
        flags,
        [
            (AlertState::Raised, 1),
            (AlertState::Cleared, 1),
            (AlertState::Raised, 0)
        ]
    );
}

#[test]
fn a_reading_that_arrives_after_newer_ones_is_late_and_changes_no_newest_value() {
    let mut scene = well();
    scene.pass(60);
    scene.send(1, 1, &WELL);
    scene.send_at(1, 1, scene.now - 30 * SECOND, &ILL);
    let run = scene.run();
    assert_eq!(run.scores().last().unwrap().flags, Alert::LATE);
    assert!(run.scores().last().unwrap().low >= 7);
    let patient = run.state.patients().values().next().unwrap();
    assert_eq!(patient.vitals[&Kind::HeartRate].last.value, 720);
}

#[test]
fn c16_replacing_the_device_in_mid_episode_changes_no_alert() {
    let mut scene = well();
    send(&mut scene, &ILL, 3);
    scene.bind(1, 2);
    scene.revoke(1);
    for _ in 0..5 {
        scene.pass(1);
        scene.send(1, 2, &ILL);
    }
    assert_eq!(
        scene.run().story(),
        [(NEWS2, AlertState::Raised, Severity::Emergency)]
    );
}

#[test]
fn c18_a_constant_patient_keeps_a_constant_score() {
    let mut scene = well();
    for _ in 0..24 * 6 {
        scene.now += 600 * SECOND - SECOND;
        scene.pass(1);
        scene.send(1, 1, &WELL);
    }
    let run = scene.run();
    assert!(
        run.scores()
            .iter()
            .all(|score| (score.low, score.high) == (0, 0))
    );
}

#[test]
fn alerts_carry_the_sealed_handle_of_the_binding() {
    let mut scene = well();
    send(&mut scene, &ILL, 3);
    assert!(
        scene
            .run()
            .alerts()
            .iter()
            .all(|alert| alert.sealed_handle == [1; 44])
    );
}

#[test]
fn m_and_n_are_settings() {
    let mut scene = well();
    send(&mut scene, &ILL, 1);
    let judgement = Judgement {
        rules: MOfN { m: 1, n: 1 },
        ..Judgement::default()
    };
    assert_eq!(
        scene.run_with(judgement).count(NEWS2, AlertState::Raised),
        1
    );
}
