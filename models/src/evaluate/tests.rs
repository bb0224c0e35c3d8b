use pulseward_base::{Micros, Pseudonym};
use pulseward_crypto::{
    SigningKey,
    certificate::{self, Use},
};

use super::*;
use crate::{
    artefact::{ArtefactError, Parameters, Signer, Trust},
    dataset::Hour,
    features::{Hold, RhythmFeatures},
    rhythm::RhythmModel,
};

fn set() -> EvaluationSet {
    let hours = (0..20).map(|hour| Hour {
        hour: hour * 2,
        values: [
            Some(800 + hour as i32 * 20),
            None,
            Some(180),
            None,
            Some(1_200),
            None,
            None,
        ],
        event: hour > 14,
    });
    let about = About {
        age: Some(71),
        male: None,
    };
    EvaluationSet {
        name: "two".to_owned(),
        cases: vec![Case {
            patient: Pseudonym([1; 16]),
            about,
            hours: hours.collect(),
        }],
        rhythm: vec![RhythmCase {
            patient: Pseudonym([2; 16]),
            windows: vec![(
                RhythmFeatures {
                    entropy: -1.0,
                    occupied: 0.4,
                },
                true,
            )],
        }],
    }
}

#[test]
fn a_frozen_set_opens_as_it_was_and_in_no_other_way() {
    let (root, key) = (SigningKey::generate(), SigningKey::generate());
    let now = Micros(5);
    let certificate = certificate::issue(&root, Use::Operator, &key.point(), now, now);
    let trust = Trust {
        root: root.kid(),
        now,
    };
    let bytes = set().sign(&Signer {
        key: &key,
        certificate: &certificate,
    });
    assert_eq!(EvaluationSet::open(&bytes, &trust), Ok(set()));
    for place in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1;
        assert!(EvaluationSet::open(&flipped, &trust).is_err(), "{place}");
        assert!(
            EvaluationSet::open(&bytes[..place], &trust).is_err(),
            "{place}"
        );
    }
    let unsigned = &bytes[..bytes.len() - certificate::SIZE - 64];
    assert_eq!(
        EvaluationSet::open(unsigned, &trust),
        Err(ArtefactError::Unsigned)
    );
    // What is signed and still no set: an hour twice.
    let mut twice = set();
    twice.cases[0].hours[1].hour = 0;
    let bytes = twice.sign(&Signer {
        key: &key,
        certificate: &certificate,
    });
    assert_eq!(
        EvaluationSet::open(&bytes, &trust),
        Err(ArtefactError::Malformed)
    );
}

#[test]
fn episodes_need_two_of_three_and_twelve_hours_off() {
    let mut burden = Burden::default();
    let quiet = [false; 48];
    let mut alerts = quiet.to_vec();
    // One alone is none; two are one episode; eleven hours later it is still the same.
    for hour in [2, 10, 11, 20, 21, 40, 42] {
        alerts[hour] = true;
    }
    burden.add(&[alerts], &quiet, Hysteresis::default());
    assert_eq!(burden.false_a_day(), 1.0);
    let mut events = [false; 48];
    events[30..].fill(true);
    let mut alerts = [false; 48].to_vec();
    alerts[25..28].fill(true);
    burden.add(&[alerts], &events, Hysteresis::default());
    assert_eq!((burden.sensitivity(), burden.lead()), (1.0, Some(10.0)));
    assert_eq!(burden.precision(), 1.0 / 3.0);
}

#[test]
fn a_rhythm_is_judged_and_summarised() {
    let model = RhythmModel {
        weights: [1.0, 1.0],
        intercept: 0.0,
        threshold: 0.0,
    };
    let parameters = Parameters::Rhythm(model);
    let judged = judge_set(&Decider(&parameters), &set(), &mut |_, _| ());
    assert!(judged[0].rows[0].alert);
    let evaluation = Evaluation::of(&judged);
    assert_eq!(evaluation.all().unwrap().sensitivity, 1.0);
    assert_eq!(evaluation.kept_at(4, Hold::Hours(6)), 0.0);
    assert_eq!(Evaluation::of(&[]).groups.len(), 0);
}
