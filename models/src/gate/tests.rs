use pulseward_base::{ModelId, Pseudonym};
use pulseward_vitals::training::About;

use super::*;
use crate::{
    anchor::{Constancy, Pool, TERMS, Values, fit},
    artefact::{Card, Purpose},
    dataset::Hour,
    evaluate::Case,
    features::PARTS,
    partition::{Gaussians, Part},
};

fn card(metrics: Vec<(String, f64)>) -> Card {
    Card {
        name: "m".into(),
        purpose: Purpose::Anomaly,
        advisory: false,
        words: String::new(),
        least_age: 16,
        cadence_seconds: 3_600,
        kinds: vec![],
        least_kinds: 1,
        code: String::new(),
        data: vec![],
        settings: vec![],
        metrics,
        parent: ModelId::ZERO,
    }
}

/// How far each term is moved by a shift of one.
const WIDTHS: [f64; TERMS] = [520.0, 130.0, 250.0, 340.0, 80.0, 180.0, 500.0];

/// An anchor on the set's own quiet patients, each moved towards worse.
fn anchor(shift: f64, mut metrics: Vec<(String, f64)>) -> Draft {
    metrics.push(("pool_patients".to_owned(), 1e6));
    metrics.push(("patients".to_owned(), 1e6));
    let mut pool = Pool::default();
    for case in set().cases.iter().filter(|case| !case.hours[0].event) {
        let mut windows = Vec::new();
        case.windows(|_, hours| {
            let mut values = Values::of(hours);
            for (value, width) in values.0.iter_mut().zip(WIDTHS) {
                *value = value.map(|value| value + (shift * width * PARTS as f64) as i64);
            }
            windows.push(values);
        });
        pool.add_patient(&windows);
    }
    let anchor = fit(&pool, Constancy::HALF, 4.0).unwrap();
    Draft {
        card: card(metrics),
        parameters: Parameters::Anchor(anchor),
    }
}

/// Patients spread like those that the anchor was fitted on.
fn set() -> EvaluationSet {
    let cases = (0..200_u8).map(|patient| {
        let share = f64::from(patient) / 199.0;
        let at = |low: f64, high: f64| Some((low + (high - low) * share) as i32);
        let worse = patient > 180;
        let values = [
            at(600.0, 1_120.0),
            at(980.0, 900.0),
            at(120.0, 250.0),
            at(3_600.0, 3_850.0),
            at(1_300.0, 800.0),
            at(900.0, 560.0),
            None,
        ];
        let hours = (0..4).map(|hour| Hour {
            hour,
            values,
            event: worse && patient % 2 == 0,
        });
        Case {
            patient: Pseudonym([patient; 16]),
            about: About::default(),
            hours: hours.collect(),
        }
    });
    EvaluationSet {
        name: "even".into(),
        cases: cases.collect(),
        rhythm: vec![],
    }
}

fn verdict(candidate: &Draft, serving: Option<&Draft>) -> Verdict {
    let set = set();
    let judged = |draft: &Draft| Reference::of(draft, &set, &mut |_, _| ());
    let serving = serving.map(judged);
    compare(
        &judged(candidate),
        serving.as_ref(),
        &set,
        &Limits::default(),
    )
}

#[test]
fn a_model_passes_against_itself_and_alone() {
    let model = anchor(0.0, vec![]);
    for serving in [None, Some(&model)] {
        let verdict = verdict(&model, serving);
        assert!(verdict.passes(), "{verdict}");
    }
}

#[test]
fn an_anchor_that_creeps_is_refused_although_each_step_is_small() {
    let mut serving = anchor(0.0, vec![]);
    let mut refused_at = None;
    for step in 1..=20 {
        let candidate = anchor(f64::from(step) * 0.01, vec![]);
        let verdict = verdict(&candidate, Some(&serving));
        let anchored = |r: &&Refusal| matches!(r, Refusal::Anchor { term: 0, .. });
        if verdict.refusals.iter().any(|refusal| anchored(&refusal)) {
            refused_at = Some(step);
            break;
        }
        serving = candidate;
    }
    assert!(
        refused_at.is_some_and(|step| step > 1 && step < 16),
        "{refused_at:?}"
    );
}

#[test]
fn what_pools_tell_is_compared() {
    let metrics = |labelled: f64, crowd: f64, author: f64| {
        [
            ("labelled_share", labelled),
            ("densest_share", crowd),
            ("author_most_share", author),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec()
    };
    let serving = anchor(0.0, metrics(0.09, 0.001, 0.01));
    let refused = |metrics| verdict(&anchor(0.0, metrics), Some(&serving)).refusals;
    let has = |refusals: &[Refusal], wanted: fn(&Refusal) -> bool| refusals.iter().any(wanted);
    assert!(has(&refused(metrics(0.2, 0.001, 0.01)), |r| matches!(
        r,
        Refusal::Labels { .. }
    )));
    assert!(has(&refused(metrics(0.04, 0.001, 0.01)), |r| matches!(
        r,
        Refusal::Labels { .. }
    )));
    assert!(has(&refused(metrics(0.09, 0.05, 0.01)), |r| matches!(
        r,
        Refusal::Crowd { .. }
    )));
    assert!(has(&refused(metrics(0.09, 0.001, 0.2)), |r| matches!(
        r,
        Refusal::Author { .. }
    )));
    let same = refused(metrics(0.09, 0.001, 0.01));
    assert!(!has(&same, |r| matches!(
        r,
        Refusal::Labels { .. } | Refusal::Crowd { .. }
    )));
}

#[test]
fn patients_who_come_twice_are_refused() {
    for (share, refused) in [(0.0, false), (0.001, false), (0.01, true)] {
        let candidate = anchor(0.0, vec![("twin_share".to_owned(), share)]);
        let refusals = verdict(&candidate, None).refusals;
        let found = refusals.contains(&Refusal::Twins { share });
        assert_eq!(found, refused, "{share}");
    }
}

#[test]
fn c6_a_constant_majority_fails_the_gate() {
    let part = Part::Fitted {
        mean: [0.0; TERMS],
        precision: [1.0; TERMS],
    };
    for (constants, refused) in [(4, false), (5, false), (6, true)] {
        let parts = (0..11).map(|index| {
            if index < constants {
                Part::Constant
            } else {
                part
            }
        });
        let gaussians = Gaussians::new(1.0, parts.collect()).unwrap();
        let draft = Draft {
            card: card(vec![]),
            parameters: Parameters::Gaussians(gaussians),
        };
        let refusals = verdict(&draft, None).refusals;
        let found = refusals
            .iter()
            .any(|r| matches!(r, Refusal::ConstantMajority { .. }));
        assert_eq!(found, refused, "{constants} of 11");
    }
}

#[test]
fn models_of_two_kinds_are_not_compared() {
    let part = Part::Fitted {
        mean: [0.0; TERMS],
        precision: [1.0; TERMS],
    };
    let gaussians = Gaussians::new(1.0, vec![part]).unwrap();
    let other = Draft {
        card: card(vec![]),
        parameters: Parameters::Gaussians(gaussians),
    };
    let refusals = verdict(&other, Some(&anchor(0.0, vec![]))).refusals;
    assert!(refusals.contains(&Refusal::NotComparable));
}

#[test]
fn a_model_that_misses_septic_shock_is_refused() {
    let Parameters::Anchor(deaf) = anchor(0.0, vec![]).parameters else {
        panic!("an anchor")
    };
    let draft = Draft {
        card: card(vec![]),
        parameters: Parameters::Anchor(deaf.with_threshold(1e6)),
    };
    let refusals = verdict(&draft, None).refusals;
    let missed = refusals
        .iter()
        .filter(|r| matches!(r, Refusal::Missed { .. }))
        .count();
    assert_eq!(missed, 5);
    assert!(
        refusals[refusals.len() - 5]
            .to_string()
            .contains("septic shock")
    );
}

#[test]
fn a_verdict_names_what_was_compared() {
    let (a, b) = (anchor(0.0, vec![]), anchor(0.1, vec![]));
    let (first, second) = (verdict(&a, Some(&b)), verdict(&b, Some(&a)));
    assert_ne!(first.digest(), second.digest());
    assert_eq!(
        (first.candidate, first.serving),
        (a.digest(), Some(b.digest()))
    );
    assert_eq!(first.digest(), verdict(&a, Some(&b)).digest());
}
