//! The lanes among each other: none holds another up.

use std::time::Duration;

use proptest::prelude::*;
use pulseward_base::Reject;
use pulseward_detector::{facts::What, settings::Judgement, state::votes::MOfN};
use pulseward_eventlog::body::{Alert, Lane};
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
