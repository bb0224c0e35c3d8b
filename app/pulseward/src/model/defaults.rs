//! The models that come with the program, from the public data.
//!
//! Their keys are made here and die with this process; what remains are the models, their promotions
//! and the name of a root that certifies nothing else any more. The same data give models with the same
//! names; only signatures differ. Four fifths of the patients train; the rest are the frozen set.

use std::process::ExitCode;

use anyhow::ensure;
use pulseward_base::{Digest, Micros, ModelId, bytes::hex};
use pulseward_crypto::SigningKey;
use pulseward_models::{
    artefact::{Act, Candidate, Draft, Promotion},
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
        let draft = one(line, args, &store, (&trainer, &operator))?;
        say(&format!("{} {}", line.name(), hex(&draft.id().0)));
    }
    Ok(ExitCode::SUCCESS)
}

/// Trains, promotes and judges one model.
fn one(
    line: Line,
    args: &DefaultsArgs,
    store: &Store,
    (trainer, operator): (&Keys, &Keys),
) -> anyhow::Result<Draft> {
    let (training, judging) = pools(line, args)?;
    let bar = Bar::new();
    let settings = Settings::default();
    let see = &mut |progress| bar.show(progress);
    let draft = train::train(line, &training, &settings, ModelId::ZERO, see)?;
    bar.finish();
    store.keep(line, &draft.sign(&trainer.signer()), None)?;
    let (digest, none) = (draft.digest(), Digest::ZERO);
    let begin = Act::Begin;
    let now = store.trust().now;
    store.promote(
        line,
        &Promotion::issue(&operator.signer(), begin, &digest, None, &none, now),
    )?;
    let set = EvaluationSet::of("public data, hundredths 80 to 99", &judging);
    let candidate = store.candidate(line, &digest)?;
    let reference = judged(&candidate, &set);
    say_numbers(&reference);
    if let Some(threshold) = threshold_for(reference.judged(), 0.05) {
        say(&format!("5 % of quiet windows score above {threshold:.3}"));
    }
    let verdict = gate::compare(&reference, None, &set, &Limits::default());
    ensure!(verdict.passes(), "{verdict}");
    if let Some(reports) = &args.reports {
        let trial = Trial {
            line,
            pool: &training,
            settings: &settings,
        };
        let page = page(&trial, &candidate, &reference, &set, &verdict)?;
        write(
            &reports.join(format!("{}.html", line.name())),
            page.as_bytes(),
        )?;
    }
    Ok(draft)
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

fn pools(line: Line, args: &DefaultsArgs) -> anyhow::Result<(Pool, Pool)> {
    let file = match line {
        Line::Rhythm => "beats_mitdb/mitdb_atr_hea.tar.gz",
        _ => "icu_hourly_sepsis/setA_vitals.csv.gz",
    };
    let pool = |cohort: &str| {
        gather(&DataArgs {
            data: vec![args.data.join(file)],
            from: None,
            to: None,
            kinds: None,
            cohort: Some(cohort.to_owned()),
            exclude: None,
        })
    };
    Ok((pool(TRAINS)?, pool(JUDGES)?))
}
