//! Whether the gate refuses what attacks on training make, and passes what nobody attacked.
//!
//! A fifth of the patients trains the serving models, another fifth their successors, a third one is the
//! frozen set. Attackers own a tenth of the second fifth.

use std::{fs, path::Path};

use anyhow::Context as _;
use pulseward_base::ModelId;
use pulseward_crypto::hash::sha256;
use pulseward_models::{
    attack::{Outcome, Poison, Trial, suite},
    dataset::{plain_text, read_hourly},
    evaluate::EvaluationSet,
    gate::Reference,
    train::{Cohort, Line, Pool, Selection, Settings, Stays, train},
};

use crate::figure::Lines;

const SHARE: f64 = 0.10;
const LINES: [Line; 3] = [Line::Anchor, Line::Gaussians, Line::Deterioration];

/// Says what the gate makes of each attack on each kind of model.
pub(crate) fn judge(data: &Path, lines: &mut Lines) -> anyhow::Result<()> {
    let mut stays = stays(data)?;
    let serving = pool(&mut stays, (0, 20))?;
    let retrained = pool(&mut stays, (20, 40))?;
    let set = EvaluationSet::of("frozen", &pool(&mut stays, (80, 100))?);
    lines.say(format!(
        "the gate: {} patients serve, {} retrain, {} judge; attackers own a tenth",
        serving.stays().len(),
        retrained.stays().len(),
        set.cases.len()
    ));
    let settings = Settings::default();
    let mut through: Vec<Option<Poison>> = Poison::ALL.into_iter().map(Some).collect();
    let mut clean = true;
    for line in LINES {
        let first = train(line, &serving, &settings, ModelId::ZERO, &mut |_| ())?;
        let first = Reference::of(&first, &set, &mut |_, _| ());
        let trial = Trial {
            line,
            pool: &retrained,
            settings: &settings,
        };
        for outcome in suite(&trial, &first, &set, SHARE, &mut |_| ())? {
            told(&outcome).into_iter().for_each(|told| lines.say(told));
            clean &= outcome.poison.is_some() || outcome.refusals.is_empty();
            through.retain(|poison| *poison != outcome.poison || outcome.refusals.is_empty());
        }
    }
    let names: Vec<_> = through
        .iter()
        .flatten()
        .map(|poison| poison.name())
        .collect();
    lines.say(format!(
        "a clean retrain {} for every kind of model; attacks that pass for every kind: {}",
        if clean { "passes" } else { "does not pass" },
        if names.is_empty() {
            "none".to_owned()
        } else {
            names.join(", ")
        },
    ));
    Ok(())
}

/// One line for the outcome, and one for each of its first reasons.
fn told(outcome: &Outcome) -> Vec<String> {
    const REASONS: usize = 2;
    let name = outcome.poison.map_or("nobody attacks", Poison::name);
    let verdict = match outcome.refusals.len() {
        0 => "passes".to_owned(),
        1 => "refused for 1 reason".to_owned(),
        count => format!("refused for {count} reasons"),
    };
    let [before, after] = outcome.auroc;
    let mut lines = vec![format!(
        "{:14} {name:26} {verdict:22} AUROC {before:.3} -> {after:.3}",
        outcome.line.name()
    )];
    let reasons = outcome.refusals.iter().take(REASONS);
    lines.extend(reasons.map(|reason| format!("    {reason}")));
    lines
}

fn stays(data: &Path) -> anyhow::Result<Stays> {
    let path = data.join("icu_hourly_sepsis/setA_vitals.csv.gz");
    let bytes = fs::read(&path).with_context(|| format!("couldn't read {}", path.display()))?;
    Ok(Stays {
        name: "setA_vitals.csv.gz".to_owned(),
        digest: sha256(&[&bytes]),
        patients: read_hourly(&plain_text(&bytes)?)?,
    })
}

fn pool(stays: &mut Stays, hundredths: (u8, u8)) -> anyhow::Result<Pool> {
    let cohort = Cohort {
        hundredths: Some(hundredths),
        ..Cohort::default()
    };
    let selection = Selection {
        cohort,
        ..Selection::default()
    };
    Ok(Pool::gather(&mut [stays], selection, &mut |_| ())?)
}
