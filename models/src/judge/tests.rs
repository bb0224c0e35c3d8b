use pulseward_base::{Digest, Micros};
use pulseward_crypto::{
    certificate::{self, Use},
    sign::SigningKey,
};

use super::*;
use crate::{
    anchor::{Constancy, Pool, TERMS, fit},
    artefact::{Act, Card, Draft, Promotion, Purpose, Signer, Trust, load},
    features::PARTS,
    partition::Part,
};

const HOUR: i64 = 3_600_000_000;
const NOW: Micros = Micros(0);

fn promoted() -> Promoted {
    with(Parameters::Anchor(
        fit(&pool(), Constancy::HALF, 2.3).unwrap(),
    ))
}

fn pool() -> Pool {
    let mut pool = Pool::default();
    for patient in 0..400 {
        let share = f64::from(patient) / 399.0;
        let at = |low: f64, high: f64| Some(((low + (high - low) * share) * PARTS as f64) as i64);
        let values: [Option<i64>; TERMS] = [
            at(600.0, 1120.0),
            at(120.0, 250.0),
            at(3600.0, 3850.0),
            at(-900.0, -560.0),
            at(-980.0, -900.0),
            at(-3720.0, -3540.0),
            at(-1300.0, -800.0),
        ];
        pool.add_patient(&[Values(values)]);
    }
    pool
}

fn with(parameters: Parameters) -> Promoted {
    labelled_by(parameters, None)
}

/// A model in whose training a named author may have labelled so many patients.
fn labelled_by(parameters: Parameters, patients: Option<u32>) -> Promoted {
    let told = |patients: u32| (PATIENTS_AN_AUTHOR.to_owned(), patients.to_string());
    let card = Card {
        name: "anchor".into(),
        purpose: Purpose::Anomaly,
        advisory: false,
        words: String::new(),
        least_age: 16,
        cadence_seconds: 3600,
        kinds: vec![
            Kind::HeartRate,
            Kind::SpO2,
            Kind::RespiratoryRate,
            Kind::Temperature,
            Kind::SystolicPressure,
        ],
        least_kinds: 2,
        code: String::new(),
        data: vec![],
        settings: patients.map(told).into_iter().collect(),
        metrics: vec![],
        parent: ModelId::ZERO,
    };
    let draft = Draft { card, parameters };
    let root = SigningKey::generate();
    let [trainer, operator] = [SigningKey::generate(), SigningKey::generate()];
    let certify =
        |key: &SigningKey| certificate::issue(&root, Use::Operator, &key.point(), NOW, NOW);
    let signed = draft.sign(&Signer {
        key: &trainer,
        certificate: &certify(&trainer),
    });
    let promoter = Signer {
        key: &operator,
        certificate: &certify(&operator),
    };
    let (model, none) = (draft.digest(), Digest::ZERO);
    let promotion = Promotion::issue(&promoter, Act::Begin, &model, None, &none, NOW);
    let trust = Trust {
        root: root.kid(),
        now: NOW,
    };
    load(&signed, Some(&promotion), &trust).unwrap()
}

fn window(heart_rate: i32, temperature: i32) -> Window {
    let mut window = Window::new(Micros(0));
    for hour in 0..6 {
        window.push(Kind::HeartRate, Micros(hour * HOUR), heart_rate);
        window.push(Kind::Temperature, Micros(hour * HOUR), temperature);
    }
    window
}

#[test]
fn an_alert_says_why_and_how_sure_it_is() {
    let judgement = judge(&promoted(), &window(1_350, 3_920), Eligibility::default()).unwrap();
    assert!(judgement.alert && !judgement.advisory);
    assert!(judgement.poison.covers(5), "{:?}", judgement.poison);
    assert!(
        judgement.within_error.0 < judgement.score && judgement.score < judgement.within_error.1
    );
    let words: Vec<String> = judgement.reasons.iter().map(ToString::to_string).collect();
    assert!(
        words[0].starts_with("temperature highest in 8 h 39.2 °C (+"),
        "{words:?}"
    );
    assert!(
        words[1].starts_with("heart rate highest in 8 h 135.0 /min (+"),
        "{words:?}"
    );
    let told: f64 = judgement.reasons.iter().map(|reason| reason.adds).sum();
    assert!((told - judgement.score).abs() < 1e-9);
}

#[test]
fn a_vote_names_the_vital_that_is_furthest_from_usual_first() {
    let part = Part::Fitted {
        mean: [0.0; TERMS],
        precision: [1.0; TERMS],
    };
    let parts = Gaussians::new(1.0, vec![part, part, Part::Constant]).unwrap();
    let model = with(Parameters::Gaussians(parts));
    let judgement = judge(&model, &window(1_350, 3_800), Eligibility::default()).unwrap();
    assert!(judgement.alert, "two of three parts vote for it");
    let words: Vec<String> = judgement.reasons.iter().map(ToString::to_string).collect();
    assert!(
        words[0].starts_with("heart rate highest in 8 h 135.0 /min (+5.9"),
        "{words:?}"
    );
    assert!(
        words[1].starts_with("temperature highest in 8 h 38.0 °C (+1.6"),
        "{words:?}"
    );
    assert_eq!(words.len(), 2, "{words:?}");
}

#[test]
fn a_source_of_labels_counts_for_twice_the_patients_that_one_may_label() {
    let window = window(1_350, 3_920);
    let poisoned = |patients| {
        let anchor = fit(&pool(), Constancy::HALF, 2.3).unwrap();
        let model = labelled_by(Parameters::Anchor(anchor), patients);
        let judgement = judge(&model, &window, Eligibility::default()).unwrap();
        (judgement.poison, judgement.sources)
    };
    let (Radius::Patients(radius) | Radius::AtLeast(radius), None) = poisoned(None) else {
        panic!("without named sources there is a radius in patients alone");
    };
    for patients in [1, 2, 3] {
        assert_eq!(poisoned(Some(patients)).1, Some(radius / (2 * patients)));
    }
}

#[test]
fn outside_its_population_kinds_and_cadence_it_abstains() {
    let (model, well) = (promoted(), window(700, 3_700));
    let child = Eligibility {
        age: Some(15),
        pregnant: None,
    };
    let pregnant = Eligibility {
        age: None,
        pregnant: Some(true),
    };
    assert_eq!(judge(&model, &well, child), Err(Abstains::Population));
    assert_eq!(judge(&model, &well, pregnant), Err(Abstains::Population));
    let mut one_kind = Window::new(Micros(0));
    one_kind.push(Kind::HeartRate, Micros(0), 700);
    assert_eq!(
        judge(&model, &one_kind, Eligibility::default()),
        Err(Abstains::Kinds)
    );
    let mut silent = well.clone();
    silent.advance(Micros(20 * HOUR));
    assert_eq!(
        judge(&model, &silent, Eligibility::default()),
        Err(Abstains::Cadence)
    );
    assert!(judge(&model, &well, Eligibility::default()).is_ok());
}
