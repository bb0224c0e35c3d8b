//! The lanes among each other: none holds another up.

use std::time::Duration;

use proptest::prelude::*;
use pulseward_base::Reject;
use pulseward_detector::{facts::What, output::Subject, settings::Judgement, state::votes::MOfN};
use pulseward_eventlog::body::{
    Alert,
    AlertState::{self, Acknowledged, Cleared, Raised, Resumed, Risen, Snoozed},
    Lane,
    Severity::{self, Emergency, Urgent},
    Wish,
};
use pulseward_vitals::Kind;

use crate::scene::{HOUR, ILL, Run, SECOND, Scene, WELL};

/// One line of a feed made up at random.
#[derive(Clone, Debug)]
enum Line {
    Pass(i64),
    IngestsGone(i64),
    Send {
        of: u8,
        rows: Vec<(Kind, i32)>,
    },
    Doubted {
        of: u8,
        rows: Vec<(Kind, i32)>,
    },
    Ahead {
        of: u8,
        rows: Vec<(Kind, i32)>,
    },
    Backlog {
        of: u8,
        age: i64,
        rows: Vec<(Kind, i32)>,
    },
    Cloned(u8),
    Bound {
        of: u8,
        by: u8,
    },
    Revoked(u8),
    NewQueue(u8),
    SnoozedIntegrity(u8),
}

fn rows() -> impl Strategy<Value = Vec<(Kind, i32)>> {
    let odd = (0..WELL.len(), -50..4500_i32).prop_map(|(index, value)| {
        let mut rows = WELL.to_vec();
        rows[index].1 = value;
        rows
    });
    let few = (1..WELL.len()).prop_map(|count| ILL[..count].to_vec());
    prop_oneof![
        3 => Just(WELL.to_vec()),
        3 => Just(ILL.to_vec()),
        2 => odd,
        1 => few,
    ]
}

fn line() -> impl Strategy<Value = Line> {
    let of = 1..=3_u8;
    prop_oneof![
        6 => (of.clone(), rows()).prop_map(|(of, rows)| Line::Send { of, rows }),
        4 => (1..4_i64).prop_map(Line::Pass),
        1 => (30..200_i64).prop_map(Line::Pass),
        1 => (1..12_i64).prop_map(Line::IngestsGone),
        1 => (of.clone(), rows()).prop_map(|(of, rows)| Line::Doubted { of, rows }),
        1 => (of.clone(), rows()).prop_map(|(of, rows)| Line::Ahead { of, rows }),
        1 => (of.clone(), 0..2 * HOUR, rows()).prop_map(|(of, age, rows)| Line::Backlog { of, age, rows }),
        1 => of.clone().prop_map(Line::Cloned),
        1 => (of.clone(), 4..=9_u8).prop_map(|(of, by)| Line::Bound { of, by }),
        1 => (4..=9_u8).prop_map(Line::Revoked),
        1 => of.clone().prop_map(Line::SnoozedIntegrity),
        1 => of.prop_map(Line::NewQueue),
    ]
}

fn scene(lines: &[Line]) -> Scene {
    let mut scene = Scene::new();
    (1..=3).for_each(|number| scene.bind(number, number));
    for line in lines {
        let now = scene.now;
        match line {
            Line::Pass(seconds) => scene.pass(*seconds),
            Line::IngestsGone(seconds) => (0..*seconds).for_each(|_| {
                scene.now += SECOND;
                scene.tick_of(false);
            }),
            Line::Send { of, rows } => drop(scene.send(*of, *of, rows)),
            Line::Backlog { of, age, rows } => drop(scene.send_at(*of, *of, now - age, rows)),
            Line::Doubted { of, rows } => odd(&mut scene, *of, now, rows, 1),
            Line::Ahead { of, rows } => odd(&mut scene, *of, now + 24 * HOUR, rows, 0),
            Line::Cloned(of) => {
                let seq = scene.next_seq(*of);
                scene.void(*of, *of, seq, Reject::Forked);
            }
            Line::Bound { of, by } => scene.bind(*of, *by),
            Line::Revoked(by) => scene.revoke(*by),
            Line::NewQueue(by) => scene.new_queue(*by),
            Line::SnoozedIntegrity(of) => scene.wish(
                *of,
                Wish::Snooze {
                    lane: Lane::Integrity,
                    seconds: 60,
                },
            ),
        }
    }
    scene
}

/// A batch that guards doubt: of a quality, or of a time.
fn odd(scene: &mut Scene, of: u8, time: i64, rows: &[(Kind, i32)], quality: u8) {
    let seq = scene.next_seq(of);
    let rows = rows
        .iter()
        .map(|(kind, value)| (*kind, time, *value, quality));
    let batch = scene.batch(of, of, seq, rows.collect());
    scene.put(of, What::Batch(Box::new(batch)));
}

/// What the rules lane says, without what other lanes add: ids, which count all outputs, and marks.
fn rules(run: &Run) -> Vec<impl PartialEq + std::fmt::Debug + use<>> {
    let said = |alert: &&Alert| alert.lane == Lane::Rules;
    let line = |alert: &Alert| {
        let vitals: Vec<_> = alert
            .readings
            .iter()
            .map(|of| (of.kind, of.value))
            .collect();
        let (whose, life) = (alert.pseudonym.0[0], (alert.state, alert.severity));
        (whose, life, alert.at, (alert.low, alert.high), vitals)
    };
    run.alerts().into_iter().filter(said).map(line).collect()
}

/// A judgement in which no guard, clock or silence ever raises anything.
fn rules_alone() -> Judgement {
    let never = Duration::from_secs(1 << 40);
    Judgement {
        guards: MOfN { m: u8::MAX, n: 8 },
        device_silence: never,
        stream_silence: never,
        spot_silence: never,
        feed_silence: never,
        ahead_limit: never,
        ..Judgement::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn c9_the_rules_say_the_same_beside_silence_guards_and_clocks_as_they_say_alone(
        lines in prop::collection::vec(line(), 1..60),
    ) {
        let scene = scene(&lines);
        prop_assert_eq!(rules(&scene.run()), rules(&scene.run_with(rules_alone())));
    }

    #[test]
    fn c9_the_rules_say_of_data_that_nobody_verified_what_they_say_of_verified_data(
        lines in prop::collection::vec(line(), 1..60),
    ) {
        let scene = scene(&lines);
        let mut doubted = scene.clone();
        for fact in &mut doubted.facts {
            if let What::Batch(batch) = &mut fact.what {
                batch.proven = false;
            }
        }
        prop_assert_eq!(rules(&doubted.run()), rules(&scene.run()));
    }
}

fn cases() -> u32 {
    if std::env::var_os("PULSEWARD_CAMPAIGN").is_some() {
        5000
    } else {
        300
    }
}

#[test]
fn the_feeds_of_these_tests_reach_every_lane_there_is() {
    let mut lines = Vec::new();
    for _ in 0..4 {
        lines.push(Line::Pass(1));
        lines.push(Line::Send {
            of: 1,
            rows: ILL.to_vec(),
        });
    }
    lines.push(Line::Ahead {
        of: 2,
        rows: WELL.to_vec(),
    });
    lines.extend([Line::Cloned(1), Line::Pass(60)]);
    let run = scene(&lines).run();
    let alerts = run.alerts();
    let of = |lane| alerts.iter().filter(|alert| alert.lane == lane).count();
    assert!(of(Lane::Rules) >= 1 && of(Lane::Integrity) >= 3);
    assert_eq!(rules(&run).len(), of(Lane::Rules));
}

/// Three: urgent.
fn three() -> Vec<(Kind, i32)> {
    let mut rows = WELL.to_vec();
    rows[2].1 = 260;
    rows
}

/// A patient who is well, by a device that also raises an alert of its own: two under one key.
fn cloned() -> Scene {
    let mut scene = Scene::new();
    scene.bind(1, 1);
    for _ in 0..5 {
        send(&mut scene, &WELL, 1);
    }
    let seq = scene.next_seq(1);
    scene.void(1, 1, seq, Reject::Forked);
    scene
}

fn send(scene: &mut Scene, rows: &[(Kind, i32)], times: usize) {
    for _ in 0..times {
        scene.pass(1);
        scene.send(1, 1, rows);
    }
}

/// Subject, what happened, how severe, and whether it calls somebody.
fn told(scene: &Scene) -> Vec<(Subject, AlertState, Severity, bool)> {
    let line = |alert: &Alert| {
        let subject = Subject::from_number(alert.what).unwrap();
        let begins = matches!(alert.state, Raised | Risen | Resumed);
        let silenced = alert.flags & (Alert::PAST | Alert::SNOOZED) != 0;
        (subject, alert.state, alert.severity, begins && !silenced)
    };
    scene.run().alerts().into_iter().map(line).collect()
}

fn acknowledge_newest(scene: &mut Scene) {
    let newest = scene.run().alerts().last().unwrap().id;
    scene.wish(1, Wish::Acknowledge(newest));
}

fn snooze(scene: &mut Scene, lane: Lane, seconds: u32) {
    scene.wish(1, Wish::Snooze { lane, seconds });
}

use Subject::{Forked, News2};

#[test]
fn c10_beside_an_acknowledged_alert_of_the_integrity_lane_a_news2_of_seven_calls_anew() {
    let mut scene = cloned();
    acknowledge_newest(&mut scene);
    send(&mut scene, &ILL, 3);
    let expect = [
        (Forked, Raised, Urgent, true),
        (Forked, Acknowledged, Urgent, false),
        (News2, Raised, Emergency, true),
    ];
    assert_eq!(told(&scene), expect);
}

#[test]
fn c10_a_snoozed_integrity_lane_delays_no_rule_and_a_snoozed_rules_lane_no_integrity() {
    let mut scene = cloned();
    snooze(&mut scene, Lane::Integrity, 3600);
    let calm = cloned();
    send(&mut scene, &ILL, 3);
    let mut without = calm;
    without.put(1, What::Other);
    send(&mut without, &ILL, 3);
    let rule = |scene: &Scene| {
        let run = scene.run();
        let alert = run
            .alerts()
            .into_iter()
            .find(|alert| alert.lane == Lane::Rules);
        alert
            .map(|alert| (alert.at, alert.severity, alert.flags))
            .unwrap()
    };
    assert_eq!(rule(&scene), rule(&without), "as soon, as severe, as loud");

    let mut scene = Scene::new();
    scene.bind(1, 1);
    send(&mut scene, &ILL, 3);
    snooze(&mut scene, Lane::Rules, 3600);
    let seq = scene.next_seq(1);
    scene.void(1, 1, seq, Reject::Forked);
    assert_eq!(
        told(&scene).last().unwrap(),
        &(Forked, Raised, Urgent, true)
    );
}

#[test]
fn c10_a_rise_pierces_both_a_snooze_and_an_acknowledgement() {
    for by_snooze in [true, false] {
        let mut scene = Scene::new();
        scene.bind(1, 1);
        send(&mut scene, &three(), 3);
        if by_snooze {
            snooze(&mut scene, Lane::Rules, 3600);
        } else {
            acknowledge_newest(&mut scene);
        }
        let silenced = if by_snooze { Snoozed } else { Acknowledged };
        send(&mut scene, &ILL, 3);
        let expect = [
            (News2, Raised, Urgent, true),
            (News2, silenced, Urgent, false),
            (News2, Risen, Emergency, true),
        ];
        assert_eq!(told(&scene), expect);
        let patients = scene.run().state.patients().clone();
        let patient = patients.values().next().unwrap();
        assert!(patient.snoozes.is_empty(), "a pierced snooze is over");
        assert!(!patient.live.open.unwrap().acknowledged);
    }
}

#[test]
fn c10_what_begins_in_a_snoozed_lane_is_told_at_once_calls_nobody_and_calls_when_the_snooze_ends() {
    let mut scene = Scene::new();
    scene.bind(1, 1);
    send(&mut scene, &ILL, 3);
    snooze(&mut scene, Lane::Rules, 60);
    send(&mut scene, &WELL, 3);
    send(&mut scene, &ILL, 3);
    send(&mut scene, &ILL, 60);
    let expect = [
        (News2, Raised, Emergency, true),
        (News2, Snoozed, Emergency, false),
        (News2, Cleared, Emergency, false),
        (News2, Raised, Emergency, false),
        (News2, Resumed, Emergency, true),
    ];
    assert_eq!(told(&scene), expect);
    let at: Vec<_> = scene
        .run()
        .alerts()
        .iter()
        .map(|alert| alert.at.0)
        .collect();
    assert_eq!(at[4] - at[1], 60 * SECOND);
}

#[test]
fn a_snooze_ends_when_somebody_says_so_and_at_its_limit_whatever_was_asked_for() {
    let mut scene = Scene::new();
    scene.bind(1, 1);
    send(&mut scene, &ILL, 3);
    snooze(&mut scene, Lane::Rules, u32::MAX);
    let until = scene
        .run()
        .state
        .patients()
        .values()
        .next()
        .unwrap()
        .snoozes[&Lane::Rules]
        .until;
    let longest = Judgement::default().longest_snooze;
    assert_eq!(
        until.0 - scene.now,
        i64::try_from(longest.as_micros()).unwrap()
    );
    snooze(&mut scene, Lane::Rules, 0);
    assert_eq!(
        told(&scene).last().unwrap(),
        &(News2, Resumed, Emergency, true)
    );
    acknowledge_newest(&mut scene);
    snooze(&mut scene, Lane::Rules, 60);
    snooze(&mut scene, Lane::Rules, 0);
    assert_eq!(
        told(&scene).last().unwrap().1,
        Snoozed,
        "looked after: it stays quiet"
    );
}

#[test]
fn wishes_of_an_alert_that_is_over_or_of_a_patient_nobody_knows_do_nothing() {
    let mut scene = Scene::new();
    scene.bind(1, 1);
    send(&mut scene, &ILL, 3);
    send(&mut scene, &WELL, 3);
    let before = told(&scene);
    acknowledge_newest(&mut scene);
    let id = scene.run().alerts()[0].id;
    scene.wish(2, Wish::Acknowledge(id));
    scene.wish(
        2,
        Wish::Snooze {
            lane: Lane::Rules,
            seconds: 60,
        },
    );
    assert_eq!(told(&scene), before);
    assert_eq!(scene.run().state.patients().len(), 1);
}
