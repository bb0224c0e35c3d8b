//! The commands on a registry.

use std::{path::Path, process::ExitCode};

use anyhow::{Context as _, bail, ensure};
use pulseward_app::passphrase::PassphraseArgs;
use pulseward_base::{Digest, Micros, ModelId, bytes::hex};
use pulseward_models::{
    artefact::{Act, Candidate, Promotion, model_id},
    attack::{self, Evaded, Moved, Outcome, Poison, Suspect, Trial, difference, evade},
    evaluate::{Decider, EvaluationSet},
    features::Hold,
    gate::{self, Limits, Reference, Verdict},
    report::Report,
    train::{self, Line},
};

use super::{
    args::{
        AttackArgs, BisectArgs, CompareArgs, DataArgs, EvaluateArgs, FreezeArgs, ListArgs,
        PromoteArgs, RollbackArgs, TrainArgs,
    },
    data::{Bar, day, gather, line, settings},
    held, say,
    signer::Keys,
    store::{Store, read, write},
};

pub(super) fn train(
    args: &TrainArgs,
    passphrase: &PassphraseArgs,
    now: Micros,
) -> anyhow::Result<ExitCode> {
    let line = line(&args.line)?;
    let settings = settings(line, &args.fit)?;
    let store = Store::open(&args.registry, now)?;
    let keys = Keys::open(&args.signer, passphrase)?;
    let parent = store
        .chain(line)?
        .serving()
        .map_or(ModelId::ZERO, |digest| model_id(&digest));
    let pool = gather(&args.data)?;
    for (reason, count) in pool.excluded() {
        say(&format!("{count} patients left out: {}", reason.name()));
    }
    let bar = Bar::new();
    let draft = train::train(line, &pool, &settings, parent, &mut |progress| {
        bar.show(progress)
    })?;
    bar.finish();
    let path = store.keep(line, &draft.sign(&keys.signer()), Some(&pool.listing()))?;
    for (name, value) in &draft.card.metrics {
        say(&format!("{name} {value}"));
    }
    say(&format!("{} {}", hex(&draft.id().0), path.display()));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn evaluate(args: &EvaluateArgs, now: Micros) -> anyhow::Result<ExitCode> {
    let store = Store::open(&args.registry, now)?;
    let (_, candidate) = store.find(&args.model)?;
    let set = match &args.set {
        Some(path) => open_set(path, &store)?,
        None => set_of(args)?,
    };
    let judged = judged(&candidate, &set);
    say_numbers(&judged);
    if let Some(path) = &args.report {
        let report = Report {
            draft: candidate.draft(),
            set: &set.name,
            evaluation: judged.evaluation(),
            serving: None,
            verdict: None,
            poison: &[],
            evasion: &[],
        };
        write(path, report.html().as_bytes())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// A set that nobody froze: good enough to look at a model, not to promote one.
fn set_of(args: &EvaluateArgs) -> anyhow::Result<EvaluationSet> {
    let pool = gather(&DataArgs {
        data: args.data.clone(),
        from: None,
        to: None,
        kinds: None,
        cohort: args.cohort.clone(),
        exclude: None,
    })?;
    let names: Vec<_> = pool.data().iter().map(|data| data.0.as_str()).collect();
    Ok(EvaluationSet::of(&names.join(", "), &pool))
}

pub(super) fn compare(args: &CompareArgs, now: Micros) -> anyhow::Result<ExitCode> {
    let store = Store::open(&args.registry, now)?;
    let (line, candidate) = store.find(&args.model)?;
    let set = open_set(&args.set, &store)?;
    let asked = ask(&store, line, &candidate, &set)?;
    say(&asked.verdict.to_string());
    if let Some(path) = &args.report {
        let report = Report {
            draft: candidate.draft(),
            set: &set.name,
            evaluation: asked.candidate.evaluation(),
            serving: asked.serving.as_ref().map(Reference::evaluation),
            verdict: Some(&asked.verdict),
            poison: &[],
            evasion: &[],
        };
        write(path, report.html().as_bytes())?;
    }
    Ok(if asked.verdict.passes() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

pub(super) fn promote(
    args: &PromoteArgs,
    passphrase: &PassphraseArgs,
    now: Micros,
) -> anyhow::Result<ExitCode> {
    let store = Store::open(&args.registry, now)?;
    let (line, candidate) = store.find(&args.model)?;
    let set = open_set(&args.set, &store)?;
    let asked = ask(&store, line, &candidate, &set)?;
    say(&asked.verdict.to_string());
    if !asked.verdict.passes() {
        return Ok(ExitCode::FAILURE);
    }
    let keys = Keys::open(&args.signer, passphrase)?;
    let serving = store.chain(line)?.serving();
    let (act, verdict) = match serving {
        Some(_) => (Act::Promote, asked.verdict.digest()),
        None => (Act::Begin, Digest::ZERO),
    };
    let digest = candidate.digest();
    let bytes = Promotion::issue(
        &keys.signer(),
        act,
        &digest,
        serving.as_ref(),
        &verdict,
        now,
    );
    let promoted = store.promote(line, &bytes)?;
    say(&format!(
        "{} decides in {}",
        hex(&promoted.id().0),
        line.name()
    ));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn rollback(
    args: &RollbackArgs,
    passphrase: &PassphraseArgs,
    now: Micros,
) -> anyhow::Result<ExitCode> {
    let line = line(&args.line)?;
    let store = Store::open(&args.registry, now)?;
    let chain = store.chain(line)?;
    let before = chain.before().context("there is no model to go back to")?;
    let serving = chain.serving().context("no model decides")?;
    let keys = Keys::open(&args.signer, passphrase)?;
    let bytes = Promotion::issue(
        &keys.signer(),
        Act::RollBack,
        &before,
        Some(&serving),
        &Digest::ZERO,
        now,
    );
    let promoted = store.promote(line, &bytes)?;
    say(&format!(
        "{} decides in {} again",
        hex(&promoted.id().0),
        line.name()
    ));
    Ok(ExitCode::SUCCESS)
}

pub(super) fn list(args: &ListArgs, now: Micros) -> anyhow::Result<ExitCode> {
    let store = Store::open(&args.registry, now)?;
    for line in Line::ALL {
        let chain = store.chain(line)?;
        for candidate in store.models(line)? {
            let mark = if chain.serving() == Some(candidate.digest()) {
                "decides"
            } else {
                ""
            };
            let card = &candidate.draft().card;
            let metric = |name: &str| {
                card.metrics
                    .iter()
                    .find(|metric| metric.0 == name)
                    .map_or(0.0, |m| m.1)
            };
            say(&format!(
                "{:14} {} {:8} {:.0} patients, trained by {}",
                line.name(),
                hex(&model_id(&candidate.digest()).0),
                mark,
                metric("patients"),
                hex(candidate.signer().0.get(..8).unwrap_or_default()),
            ));
        }
        for promotion in chain.promotions() {
            let act = match promotion.act() {
                Act::Begin => "begun with",
                Act::Promote => "promoted",
                Act::RollBack => "rolled back to",
            };
            say(&format!(
                "{:14} {act} {} on {} by {}",
                "",
                hex(&model_id(&promotion.model()).0),
                day(promotion.at()),
                hex(promotion.signer().0.get(..8).unwrap_or_default()),
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) fn attack(args: &AttackArgs, now: Micros) -> anyhow::Result<ExitCode> {
    let line = line(&args.line)?;
    let settings = settings(line, &args.fit)?;
    let store = Store::open(&args.registry, now)?;
    let serving = store
        .serving(line)?
        .with_context(|| format!("no model of {} decides yet", line.name()))?;
    let set = open_set(&args.set, &store)?;
    let pool = gather(&args.data)?;
    let reference = judged(&serving, &set);
    let trial = Trial {
        line,
        pool: &pool,
        settings: &settings,
    };
    let bar = Bar::new();
    let mut done = 0;
    let all = Poison::ALL.len() + 1;
    let share = f64::from(args.percent) / 100.0;
    let outcomes = attack::suite(&trial, &reference, &set, share, &mut |poison| {
        bar.at(poison.map_or("clean retrain", Poison::name), done, all);
        done += 1;
    })?;
    let evaded = evasions(line, &serving, &set, args.tries, &bar);
    bar.finish();
    outcomes.iter().for_each(say_outcome);
    for (hold, quarters, found) in &evaded {
        say(&format!(
            "held for {}, {}×: {} attacks on {} alerts, {} below the certificate, {} silenced of {} not certified",
            held(*hold),
            f64::from(*quarters) / 4.0,
            found.attacks,
            found.alerts,
            found.violations,
            found.silenced,
            found.uncertified,
        ));
    }
    if let Some(path) = &args.report {
        let report = Report {
            draft: serving.draft(),
            set: &set.name,
            evaluation: reference.evaluation(),
            serving: None,
            verdict: None,
            poison: &outcomes,
            evasion: &evaded,
        };
        write(path, report.html().as_bytes())?;
    }
    let got_through = outcomes
        .iter()
        .any(|outcome| outcome.poison.is_none() != outcome.refusals.is_empty());
    let violated = evaded.iter().any(|(_, _, found)| found.violations > 0);
    Ok(if got_through || violated {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// Searches for false readings at one and two sensor errors.
pub(super) fn evasions(
    line: Line,
    serving: &Candidate,
    set: &EvaluationSet,
    tries: usize,
    bar: &Bar,
) -> Vec<(Hold, u16, Evaded)> {
    const ALERTS: usize = 300;
    let plan = [
        (Hold::Hours(1), 4),
        (Hold::Hours(6), 4),
        (Hold::WholeStay, 4),
        (Hold::Hours(6), 8),
    ];
    if line == Line::Rhythm {
        return Vec::new();
    }
    let decider = Decider(&serving.draft().parameters);
    let search = |(index, (hold, quarters)): (usize, (Hold, u16))| {
        bar.at("searching false readings", index, plan.len());
        (
            hold,
            quarters,
            evade(&decider, set, hold, quarters, (ALERTS, tries)),
        )
    };
    plan.into_iter().enumerate().map(search).collect()
}

fn say_outcome(outcome: &Outcome) {
    let name = outcome.poison.map_or("nobody attacks", Poison::name);
    let gate = if outcome.refusals.is_empty() {
        "passes"
    } else {
        "refused"
    };
    let [aim, aimed] = outcome.aim;
    say(&format!("{name:26} {gate:8} aim {aim:.4} -> {aimed:.4}"));
    for refusal in &outcome.refusals {
        say(&format!("{:26} {refusal}", ""));
    }
}

pub(super) fn bisect(args: &BisectArgs, now: Micros) -> anyhow::Result<ExitCode> {
    let store = Store::open(&args.registry, now)?;
    let (line, after) = store.find(&args.model)?;
    let (other, before) = store.find(&args.before)?;
    ensure!(
        line == other,
        "the two are models of {} and {}",
        line.name(),
        other.name()
    );
    let moved = difference(
        &store.listing(line, &before)?,
        &store.listing(line, &after)?,
    );
    say(&format!(
        "{} patients more, {} fewer, {} with other rows, {} with other labels, {} new batches",
        moved.added.len(),
        moved.removed.len(),
        moved.rows.len(),
        moved.labels.len(),
        moved.batches.len(),
    ));
    let suspects = moved
        .added
        .iter()
        .chain(&moved.rows)
        .chain(&moved.labels)
        .copied()
        .collect();
    let pool = gather(&args.data)?;
    if pool.listing().digest() != store.listing(line, &after)?.digest() {
        bail!("the data given are not those that the model was trained on");
    }
    let settings = settings(line, &args.fit)?;
    let trial = Trial {
        line,
        pool: &pool,
        settings: &settings,
    };
    let bar = Bar::new();
    let found = attack::bisect(
        &trial,
        before.draft(),
        &suspects,
        (args.least, args.most),
        &mut |trained| {
            bar.at("training without some", trained, 0);
        },
    )?;
    bar.finish();
    say_suspects(&found, &moved);
    Ok(ExitCode::SUCCESS)
}

fn say_suspects(found: &[Suspect], moved: &Moved) {
    for suspect in found {
        say(&format!(
            "distance {:.4} with, {:.4} without:",
            suspect.with, suspect.without
        ));
        for patient in &suspect.patients {
            say(&format!("  patient {}", hex(&patient.0)));
            for (batch, _) in moved.batches.iter().filter(|batch| batch.1 == patient) {
                say(&format!("    batch {}", hex(&batch.0)));
            }
        }
    }
}

pub(super) fn freeze(args: &FreezeArgs, passphrase: &PassphraseArgs) -> anyhow::Result<ExitCode> {
    let keys = Keys::open(&args.signer, passphrase)?;
    let set = EvaluationSet::of(&args.name, &gather(&args.data)?);
    write(&args.out, &set.sign(&keys.signer()))?;
    say(&format!(
        "{} patients, {} with beats: {}",
        set.cases.len(),
        set.rhythm.len(),
        hex(&set.digest().0)
    ));
    Ok(ExitCode::SUCCESS)
}

fn open_set(path: &Path, store: &Store) -> anyhow::Result<EvaluationSet> {
    EvaluationSet::open(&read(path)?, store.trust()).with_context(|| path.display().to_string())
}

/// What the gate was asked and said.
struct Asked {
    candidate: Reference,
    serving: Option<Reference>,
    verdict: Verdict,
}

fn ask(
    store: &Store,
    line: Line,
    candidate: &Candidate,
    set: &EvaluationSet,
) -> anyhow::Result<Asked> {
    let serving = store
        .serving(line)?
        .filter(|serving| serving.digest() != candidate.digest());
    let limits = Limits::of(candidate.draft());
    let candidate = judged(candidate, set);
    let serving = serving.map(|serving| judged(&serving, set));
    let verdict = gate::compare(&candidate, serving.as_ref(), set, &limits);
    Ok(Asked {
        candidate,
        serving,
        verdict,
    })
}

pub(super) fn judged(candidate: &Candidate, set: &EvaluationSet) -> Reference {
    let bar = Bar::new();
    let reference = Reference::of(candidate.draft(), set, &mut |done, all| {
        bar.at("judging", done, all)
    });
    bar.finish();
    reference
}

pub(super) fn say_numbers(judged: &Reference) {
    let evaluation = judged.evaluation();
    for row in &evaluation.groups {
        say(&format!(
            "{:18} AUROC {:.3} strat {:.3} sensitivity {:.3} false {:.3}, {:.2} false episodes a day, {:.3} new alarms at onset",
            row.group.name(),
            row.auroc,
            row.stratified,
            row.sensitivity,
            row.false_share,
            row.burden.false_a_day(),
            row.burden.sensitivity(),
        ));
    }
    say(&format!(
        "certified alerts at 5 / 50 patients {:.3} / {:.3}; kept at 1× held 6 h {:.3}",
        evaluation.certified_at(5),
        evaluation.certified_at(50),
        evaluation.kept_at(4, Hold::Hours(6)),
    ));
}
