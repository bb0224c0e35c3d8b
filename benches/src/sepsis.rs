//! How well sepsis shows in vital signs alone.

use std::path::Path;

use pulseward_models::{
    additive::{Additive, Basis, RisingSettings, fit, fit_change, fit_rising},
    anchor::Constancy,
    features::Hours,
    linfa_wall::LogisticSettings,
    measure::{Draws, quantile},
    partition::{Gaussians, PartValues},
};

use crate::{
    figure::{Figure, Lines, Target},
    peers,
    study::{FALSE_POSITIVES, Judged, Patient, Scored, Study},
};

/// How many parts the partition ensemble has.
pub(crate) const PARTS: u32 = 201;

const ROUNDS: usize = 200;

/// How the curves are fitted.
const SETTINGS: LogisticSettings = LogisticSettings {
    ridge: 100.0,
    steps: 60,
    tolerance: 1e-2,
};

pub(crate) fn measure(data: &Path) -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let study = Study::load(data)?;
    let scored = |score: &dyn Fn(&Patient, usize) -> Option<f64>| {
        Scored::of(study.judged(), |patient, row| {
            score(patient, row).unwrap_or(0.0)
        })
    };
    let news2 = scored(&|patient, row| Some(f64::from(patient.news2.get(row)?.low)));
    lines.say(news2.line("NEWS2, what is missing counts zero"));
    let hour = scored(&|patient, row| Some(f64::from(patient.record.hours.get(row)?.hour)));
    lines.say(hour.line("hour of stay alone (no model uses it)"));
    let anchor = |constancy| -> anyhow::Result<Scored> {
        let model = study.anchor(constancy)?;
        Ok(scored(&|patient, row| {
            Some(model.score(patient.values.get(row)?))
        }))
    };
    for (name, percent) in [("anchor, all learned", 0), ("anchor, unlearned rule", 100)] {
        if let Some(constancy) = Constancy::percent(percent) {
            lines.say(anchor(constancy)?.line(name));
        }
    }
    let ours = anchor(Constancy::SHIPPED)?;
    lines.say(ours.line("anchor, 60 % constant (shipped)"));
    // How much of that is this split: everybody whom the score has not seen.
    let model = study.anchor(Constancy::SHIPPED)?;
    let of_others = Scored::of(study.others(), |patient, row| {
        let values = patient.values.get(row);
        values.map_or(0.0, |values| model.score(values))
    });
    lines.say(of_others.line("    the same, all 16,336 not trained on"));
    let parts = gaussians(&study)?;
    let votes =
        scored(&|patient, row| Some(parts.median_score(&PartValues::of(patient.values.get(row)?))));
    lines.say(votes.line("201 one-sided Gaussians"));
    let (low, high) = ours.gain_over(&news2, ROUNDS);
    lines.say(format!(
        "anchor over NEWS2, same rows, paired: [{low:+.3}, {high:+.3}]"
    ));
    supervised(&study, &mut lines)?;
    peers::judge(&study, &ours, &mut lines)?;
    let target = Target::AtLeast(0.65);
    let figure = Figure::new("sepsis", "AUROC", ours.auroc(), news2.auroc(), target);
    Ok(figure
        .versus("of NEWS2 on the same rows")
        .with_lines(lines.into_vec()))
}

/// The partition ensemble on those who train and never had the event, with the threshold that lets
/// the share of false positives through there.
pub(crate) fn gaussians(study: &Study) -> anyhow::Result<Gaussians> {
    let quiet = study.train().iter().filter(|patient| !patient.event);
    let model = Gaussians::fit(
        PARTS,
        0.0,
        quiet.map(|patient| (patient.record.id.as_bytes(), patient.values.as_slice())),
    )?;
    let scores: Vec<f64> = study
        .quiet_values()
        .step_by(5)
        .map(|values| model.median_score(&PartValues::of(values)))
        .collect();
    let threshold = quantile(&scores, 1.0 - FALSE_POSITIVES).unwrap_or(0.0);
    Ok(model.with_threshold(threshold as f32))
}

/// The supervised models: curves of any shape, and curves that only rise with alarm.
fn supervised(study: &Study, lines: &mut Lines) -> anyhow::Result<()> {
    for (name, all, rising) in [
        ("curves, 4,000 patients", false, false),
        ("curves, all but the judged (shipped)", true, false),
        ("rising curves, 4,000 patients", false, true),
        ("rising curves, all but the judged", true, true),
    ] {
        let model = curves(study, all, rising)?;
        lines.say(by_windows(study, &model).line(name));
    }
    let model = change(study, true)?;
    lines.say(by_windows(study, &model).line("change, all but the judged (shipped)"));
    Ok(())
}

fn by_windows(study: &Study, model: &Additive) -> Scored {
    let judged = study.judged().iter().map(|patient| {
        let windows = patient.record.windows();
        let rows = windows.iter().zip(&patient.record.hours);
        rows.map(|(hours, row)| Judged {
            score: model.score(hours),
            event: row.event,
            hour: row.hour,
        })
        .collect()
    });
    Scored(judged.collect())
}

/// The curves that decide nothing but inform.
pub(crate) fn deterioration(study: &Study, rising: bool) -> anyhow::Result<Additive> {
    curves(study, true, rising)
}

/// How much of the last twelve hours' risk the change score takes off, and how its curves are fitted.
const CHANGE_SHARE: f64 = 0.85;
const CHANGE_SETTINGS: LogisticSettings = LogisticSettings {
    ridge: 20.0,
    ..SETTINGS
};

/// The curves that tell when risk has risen, fitted on all but the judged or on the first 4,000.
pub(crate) fn change(study: &Study, all: bool) -> anyhow::Result<Additive> {
    let rows = trained(study, all).into_iter().flat_map(chosen);
    Ok(fit_change(CHANGE_SHARE, rows, CHANGE_SETTINGS)?)
}

/// Both on a thousand patients, for whoever only wants to know what they cost.
pub(crate) fn curves_small(study: &Study) -> anyhow::Result<[Additive; 2]> {
    let rows = || study.train().iter().take(1_000).flat_map(chosen);
    let risk = fit(&Basis::full(), rows(), SETTINGS)?;
    Ok([risk, fit_change(CHANGE_SHARE, rows(), CHANGE_SETTINGS)?])
}

/// So many windows of each patient train, chosen by chance that knows the patient alone.
const WINDOWS_A_PATIENT: usize = 24;

fn curves(study: &Study, all: bool, rising: bool) -> anyhow::Result<Additive> {
    let rows = trained(study, all).into_iter().flat_map(chosen);
    Ok(if rising {
        fit_rising(rows, RisingSettings::default())?
    } else {
        fit(&Basis::full(), rows, SETTINGS)?
    })
}

fn trained(study: &Study, all: bool) -> Vec<&Patient> {
    if all {
        study.train_12k().collect()
    } else {
        study.train().iter().collect()
    }
}

fn chosen(patient: &Patient) -> Vec<(Hours, bool)> {
    let seed = patient.record.id.bytes().fold(17_u64, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    let mut draws = Draws::new(seed);
    let mut rows: Vec<(u64, (Hours, bool))> = patient
        .record
        .windows()
        .into_iter()
        .zip(&patient.record.hours)
        .map(|(hours, row)| (draws.bits(), (hours, row.event)))
        .collect();
    rows.sort_by_key(|row| row.0);
    rows.truncate(WINDOWS_A_PATIENT);
    rows.into_iter().map(|row| row.1).collect()
}
