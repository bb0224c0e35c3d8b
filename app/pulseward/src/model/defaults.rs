//! The models that come with the program, from the public data.
//!
//! Their keys are made here and die with this process; what remains are the models, their promotions
//! and the name of a root that certifies nothing else any more. The same data give models with the same
//! names; only signatures differ. Four fifths of the patients train; the rest are the frozen set.

use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use pulseward_base::{Digest, Micros, ModelId, bytes::hex};
use pulseward_crypto::SigningKey;
use pulseward_models::{
    artefact::{Act, Candidate, Promotion},
    attack::{self, Poison, Trial},
    evaluate::{EvaluationSet, threshold_for},
    gate::{self, Limits, Reference, Verdict},
    report::Report,
    train::{self, Line, Pool, Settings},
};

use super::{
    args::{DataArgs, DefaultsArgs},
    commands::{evasions, judged, say_numbers},
    data::{Bar, gather},
    say,
    signer::Keys,
    store::{Store, write},
};

const TRAINS: &str = "part=0-80";
const JUDGES: &str = "part=80-100";

pub(super) fn defaults(args: &DefaultsArgs, now: Micros) -> anyhow::Result<ExitCode> {
    let root = SigningKey::generate();
    let (trainer, operator) = (
        Keys::passing(&root, Micros(i64::MAX)),
        Keys::passing(&root, Micros(i64::MAX)),
    );
    let store = Store::create(&args.out, root.kid(), now)?;
    for line in Line::ALL {
        one(line, args, &store, (&trainer, &operator))?;
    }
    for line in Line::ALL.into_iter().filter(|_| args.reports.is_some()) {
        attacked(line, args, &store)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Trains and promotes one model.
fn one(
    line: Line,
    args: &DefaultsArgs,
    store: &Store,
    (trainer, operator): (&Keys, &Keys),
) -> anyhow::Result<()> {
    let training = pool(line, args, TRAINS)?;
    let bar = Bar::new();
    let settings = Settings::default();
    let see = &mut |progress| bar.show(progress);
    let draft = train::train(line, &training, &settings, ModelId::ZERO, see)?;
    bar.finish();
    store.keep(line, &draft.sign(&trainer.signer()), None)?;
    let (digest, none) = (draft.digest(), Digest::ZERO);
    let now = store.trust().now;
    let begin = Promotion::issue(&operator.signer(), Act::Begin, &digest, None, &none, now);
    store.promote(line, &begin)?;
    let patients = training.stays().len();
    say(&format!(
        "{} {} of {patients} patients",
        line.name(),
        hex(&draft.id().0)
    ));
    Ok(())
}

/// Judges and attacks one model and writes its page.
fn attacked(line: Line, args: &DefaultsArgs, store: &Store) -> anyhow::Result<()> {
    let (training, judging) = (pool(line, args, TRAINS)?, pool(line, args, JUDGES)?);
    let set = EvaluationSet::of("public data, hundredths 80 to 99", &judging);
    let candidate = store.serving(line)?.context("it was promoted")?;
    let reference = judged(&candidate, &set);
    say(line.name());
    say_numbers(&reference);
    if let Some(threshold) = threshold_for(reference.judged(), 0.05) {
        say(&format!("5 % of quiet windows score above {threshold:.3}"));
    }
    let verdict = gate::compare(&reference, None, &set, &Limits::default());
    ensure!(verdict.passes(), "{verdict}");
    let settings = Settings::default();
    let trial = Trial {
        line,
        pool: &training,
        settings: &settings,
    };
    let page = page(&trial, &candidate, &reference, &set, &verdict)?;
    let reports = args.reports.as_deref().unwrap_or(&args.out);
    write(
        &reports.join(format!("{}.html", line.name())),
        page.as_bytes(),
    )
}

/// Attacks a model and writes its page.
fn page(
    trial: &Trial<'_>,
    candidate: &Candidate,
    reference: &Reference,
    set: &EvaluationSet,
    verdict: &Verdict,
) -> anyhow::Result<String> {
    let (mut outcomes, mut evaded) = (Vec::new(), Vec::new());
    if trial.line != Line::Rhythm {
        let bar = Bar::new();
        let mut done = 0;
        outcomes = attack::suite(trial, reference, set, 0.10, &mut |poison| {
            let name = poison.map_or("clean retrain", Poison::name);
            bar.at(name, done, Poison::ALL.len() + 1);
            done += 1;
        })?;
        evaded = evasions(trial.line, candidate, set, 200, &bar);
        bar.finish();
    }
    let report = Report {
        draft: candidate.draft(),
        set: &set.name,
        evaluation: reference.evaluation(),
        serving: None,
        verdict: Some(verdict),
        poison: &outcomes,
        evasion: &evaded,
    };
    Ok(report.html())
}

fn pool(line: Line, args: &DefaultsArgs, cohort: &str) -> anyhow::Result<Pool> {
    let file = match line {
        Line::Rhythm => "beats_mitdb/mitdb_atr_hea.tar.gz",
        _ => "icu_hourly_sepsis/setA_vitals.csv.gz",
    };
    gather(&DataArgs {
        data: vec![args.data.join(file)],
        from: None,
        to: None,
        kinds: None,
        cohort: Some(cohort.to_owned()),
        exclude: None,
    })
}
