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
