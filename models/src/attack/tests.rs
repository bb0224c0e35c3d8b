use pulseward_base::{Digest, Micros, Pseudonym};
use pulseward_vitals::training::{Author, Event};

use super::*;
use crate::{
    artefact::Draft,
    evaluate::{Decider, EvaluationSet},
    features::{Hold, VITALS},
    measure::Draws,
    train::{Mark, Reading, Stay, train},
};
use pulseward_base::ModelId;

const HOUR: i64 = 3_600_000_000;

fn pool(patients: u8) -> Pool {
    let mut pool = Pool::default();
    let ranges = [
        (650, 1_100),
        (910, 990),
        (130, 260),
        (3_610, 3_840),
        (850, 1_350),
        (650, 950),
        (450, 750),
    ];
    for patient in 0..patients {
        let mut draws = Draws::new(u64::from(patient));
        let level = draws.unit();
        let mut readings = Vec::new();
        for hour in 0..12 {
            for (kind, (low, high)) in VITALS.into_iter().zip(ranges) {
                let share = (level + draws.unit()) / 2.0;
                let share = if low > 840 || kind == VITALS[5] {
                    1.0 - share
                } else {
                    share
                };
                let value = low + (f64::from(high - low) * share) as i32;
                readings.push(Reading {
                    time: Micros(hour * HOUR),
                    kind,
                    value,
                });
            }
        }
        let mark = Mark {
            from: Micros(6 * HOUR),
            until: Micros(12 * HOUR),
            event: Event::Deterioration,
            author: Author::RECORD,
        };
        let marks = if patient % 9 == 0 { vec![mark] } else { vec![] };
        let batches = [Digest([patient; 32])].into();
        pool.insert(
            Pseudonym([patient; 16]),
            Stay {
                readings,
                marks,
                batches,
                ..Stay::default()
            },
        );
    }
    pool
}

fn settings() -> Settings {
    Settings {
        parts: 11,
        anchor_threshold: 1.0,
        gaussians_threshold: 3.0,
        ..Settings::default()
    }
}

fn trained(line: Line, pool: &Pool) -> Draft {
    train(line, pool, &settings(), ModelId::ZERO, &mut |_| ()).unwrap()
}

/// Stays drawn alike: most patients are well most of the time, one in nine gets worse.
fn ward(seed: u64, patients: u32) -> Pool {
    let mut pool = Pool::default();
    let ranges = [
        (620, 1_250),
        (995, 900),
        (120, 300),
        (3_620, 3_900),
        (1_500, 850),
        (1_000, 580),
        (750, 440),
    ];
    for number in 0..patients {
        let mut draws = Draws::new(seed * 1_000_000 + u64::from(number));
        let worse = number % 9 == 0;
        let level = draws.unit() * draws.unit() * 0.7;
        let mut readings = Vec::new();
        for hour in 0..24 {
            let level = if worse && hour >= 12 {
                level + 0.25
            } else {
                level
            };
            for (kind, (low, high)) in VITALS.into_iter().zip(ranges) {
                let share = level + 0.3 * draws.unit();
                let value = low + (f64::from(high - low) * share) as i32;
                readings.push(Reading {
                    time: Micros(hour * HOUR),
                    kind,
                    value,
                });
            }
        }
        let mark = Mark {
            from: Micros(12 * HOUR),
            until: Micros(24 * HOUR),
            event: Event::Deterioration,
            author: Author::RECORD,
        };
        let stay = Stay {
            readings,
            marks: worse.then_some(mark).into_iter().collect(),
            ..Stay::default()
        };
        pool.insert(
            crate::train::pseudonym_of(&format!("{seed} {number}")),
            stay,
        );
    }
    pool
}

#[test]
fn the_gate_refuses_each_poison_and_passes_a_clean_retrain() {
    let (serving, next) = (ward(1, 450), ward(2, 450));
    let set = EvaluationSet::of("frozen", &ward(3, 450));
    let settings = Settings {
        anchor_threshold: 4.0,
        ..Settings::default()
    };
    let trained = train(
        Line::Anchor,
        &serving,
        &settings,
        ModelId::ZERO,
        &mut |_| (),
    );
    let first = crate::gate::Reference::of(&trained.unwrap(), &set, &mut |_, _| ());
    let trial = Trial {
        line: Line::Anchor,
        pool: &next,
        settings: &settings,
    };
    let outcomes = suite(&trial, &first, &set, 0.10, &mut |_| ()).unwrap();
    assert_eq!(outcomes.len(), 1 + Poison::ALL.len());
    for Outcome {
        poison, refusals, ..
    } in outcomes
    {
        assert_eq!(
            refusals.is_empty(),
            poison.is_none(),
            "{poison:?}: {refusals:?}"
        );
    }
}

#[test]
fn each_poison_changes_its_share_and_nothing_else() {
    let clean = pool(200);
    for poison in Poison::ALL {
        let attacked = poisoned(&clean, poison, 0.10, 3);
        let changed = difference(&clean.listing(), &attacked.listing());
        let touched = changed.added.len() + changed.rows.len() + changed.labels.len();
        assert!((1..=20).contains(&touched), "{}: {touched}", poison.name());
        assert_eq!(changed.removed.len(), 0, "{}", poison.name());
        assert_eq!(
            poisoned(&clean, poison, 0.10, 3).listing(),
            attacked.listing()
        );
    }
}

#[test]
fn c7_no_search_goes_below_the_certificate() {
    let pool = pool(120);
    let set = EvaluationSet::of("all", &pool);
    for line in [Line::Anchor, Line::Gaussians, Line::Deterioration] {
        let draft = trained(line, &pool);
        let decider = Decider(&draft.parameters);
        for (hold, quarters) in [
            (Hold::Hours(1), 4),
            (Hold::Hours(6), 4),
            (Hold::WholeStay, 8),
        ] {
            let found = evade(&decider, &set, hold, quarters, (40, 60));
            assert_eq!(found.violations, 0, "{line:?} {hold:?}");
            assert!(
                found.silenced <= found.uncertified,
                "{line:?} {hold:?} {found:?}"
            );
        }
    }
    let anchor = trained(Line::Anchor, &pool);
    let found = evade(
        &Decider(&anchor.parameters),
        &set,
        Hold::WholeStay,
        4,
        (40, 60),
    );
    assert!(found.alerts > 5 && found.gap < 0.02, "{found:?}");
}

#[test]
fn bisection_finds_the_patients_that_moved_a_model() {
    let clean = pool(120);
    let before = trained(Line::Anchor, &clean);
    let mut moved = clean.clone();
    // Three newcomers are far from all others; thirteen are like them.
    for number in 200..216_u8 {
        let mut stay = clean.stays()[&Pseudonym([number - 199; 16])].clone();
        stay.marks.clear();
        if number < 203 {
            for reading in &mut stay.readings {
                reading.value = reading.kind.spec().highest;
            }
        }
        stay.batches = [Digest([number; 32])].into();
        moved.insert(Pseudonym([number; 16]), stay);
    }
    let changed = difference(&clean.listing(), &moved.listing());
    assert_eq!((changed.added.len(), changed.batches.len()), (16, 16));
    let settings = settings();
    let trial = Trial {
        line: Line::Anchor,
        pool: &moved,
        settings: &settings,
    };
    let found = bisect(&trial, &before, &changed.added, (1, 20), &mut |_| ()).unwrap();
    let far = (200..203).map(|number| Pseudonym([number; 16]));
    for patient in far {
        assert!(
            found.iter().any(|suspect| suspect.patients == [patient]),
            "{found:?}"
        );
    }
    let strongest = &found[0];
    assert!(strongest.without < strongest.with);
}
