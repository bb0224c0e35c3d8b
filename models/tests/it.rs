//! The models on real recordings. Without the environment variable PULSEWARD_DATA nothing is there to
//! test on, and each test says so.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    missing_docs
)]

use std::path::PathBuf;

use pulseward_base::{Micros, ModelId};
use pulseward_crypto::hash::sha256;
use pulseward_models::{
    artefact::{Draft, shipped},
    attack::{Outcome, Poison, Trial, suite},
    dataset::{plain_text, read_hourly},
    evaluate::{EvaluationSet, threshold_for},
    gate::{Limits, Reference, compare},
    train::{Cohort, Line, Pool, Selection, Settings, Stays, train},
};

#[expect(
    clippy::disallowed_methods,
    reason = "a test's data are named by its environment"
)]
fn data() -> Option<PathBuf> {
    let data = std::env::var("PULSEWARD_DATA").ok().map(PathBuf::from);
    if data.is_none() {
        println!("skipped: PULSEWARD_DATA names no recordings");
    }
    data
}

fn stays(data: &std::path::Path) -> Stays {
    let bytes = std::fs::read(data.join("icu_hourly_sepsis/setA_vitals.csv.gz")).unwrap();
    Stays {
        name: "setA_vitals.csv.gz".to_owned(),
        digest: sha256(&[&bytes]),
        patients: read_hourly(&plain_text(&bytes).unwrap()).unwrap(),
    }
}

fn pool(stays: &mut Stays, hundredths: (u8, u8)) -> Pool {
    let cohort = Cohort {
        hundredths: Some(hundredths),
        ..Cohort::default()
    };
    let selection = Selection {
        cohort,
        ..Selection::default()
    };
    Pool::gather(&mut [stays], selection, &mut |_| ()).unwrap()
}

fn trained(line: Line, pool: &Pool) -> Draft {
    train(line, pool, &Settings::default(), ModelId::ZERO, &mut |_| ()).unwrap()
}

/// The whole suite trains eighteen models: minutes, so it belongs to a campaign.
#[expect(
    clippy::disallowed_methods,
    reason = "a campaign is named by its environment"
)]
fn is_campaign() -> bool {
    let is = std::env::var("PULSEWARD_CAMPAIGN").is_ok();
    if !is {
        println!("skipped: ./check --campaign attacks models on real recordings");
    }
    is
}

fn tell(outcome: &Outcome) {
    let ([aim, aimed], [area, attacked]) = (outcome.aim, outcome.auroc);
    println!(
        "{:14} {:26} aim {aim:.4} -> {aimed:.4} auroc {area:.4} -> {attacked:.4}",
        outcome.line.name(),
        outcome.poison.map_or("clean", Poison::name),
    );
    for refusal in &outcome.refusals {
        println!("      {refusal}");
    }
}

#[test]
fn training_on_the_public_data_gives_the_shipped_model_to_the_byte() {
    let Some(data) = data() else { return };
    let draft = trained(Line::Anchor, &pool(&mut stays(&data), (0, 80)));
    let shipped = shipped(Line::Anchor, Micros(0)).unwrap();
    assert_eq!(draft.digest(), shipped.digest());
}

#[test]
fn the_gate_passes_a_first_model_of_real_recordings() {
    let Some(data) = data() else { return };
    let mut stays = stays(&data);
    let set = EvaluationSet::of("frozen", &pool(&mut stays, (90, 100)));
    let first = trained(Line::Anchor, &pool(&mut stays, (0, 10)));
    let first = Reference::of(&first, &set, &mut |_, _| ());
    assert!(compare(&first, None, &set, &Limits::default()).passes());
}

#[test]
fn the_gate_passes_a_clean_retrain_and_refuses_every_attack() {
    let Some(data) = data().filter(|_| is_campaign()) else {
        return;
    };
    let mut stays = stays(&data);
    let serving_pool = pool(&mut stays, (0, 10));
    let next_pool = pool(&mut stays, (10, 20));
    let set = EvaluationSet::of("frozen", &pool(&mut stays, (90, 100)));
    let mut refused_by_any: std::collections::BTreeMap<Poison, usize> = Default::default();
    let mut clean_refused = Vec::new();
    for line in [Line::Anchor, Line::Deterioration] {
        let serving = trained(line, &serving_pool);
        let serving = Reference::of(&serving, &set, &mut |_, _| ());
        println!(
            "{} threshold for 5 %: {:?}",
            line.name(),
            threshold_for(serving.judged(), 0.05)
        );
        let evaluation = serving.evaluation();
        println!("{:?} {:?}", evaluation.certified, evaluation.kept);
        let settings = Settings::default();
        let trial = Trial {
            line,
            pool: &next_pool,
            settings: &settings,
        };
        let outcomes = suite(&trial, &serving, &set, 0.10, &mut |_| ()).unwrap();
        for outcome in &outcomes {
            tell(outcome);
            match outcome.poison {
                None => clean_refused.extend(outcome.refusals.clone()),
                Some(poison) => {
                    let refused = usize::from(!outcome.refusals.is_empty());
                    *refused_by_any.entry(poison).or_default() += refused;
                }
            }
        }
    }
    assert_eq!(clean_refused, []);
    for poison in Poison::ALL {
        assert!(
            refused_by_any[&poison] > 0,
            "{} gets through",
            poison.name()
        );
    }
}
