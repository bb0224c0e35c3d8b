//! How well sepsis shows in vital signs alone.

use std::path::Path;

use pulseward_models::{
    additive::{Additive, Basis, fit, fit_rising},
    anchor::Constancy,
    features::Hours,
    linfa_wall::LogisticSettings,
    measure::{Draws, quantile},
    partition::{Gaussians, PartValues},
};

use crate::{
    figure::{Figure, Lines, Target},
    study::{FALSE_POSITIVES, Patient, Scored, Study},
};

/// How many parts the partition ensemble has.
pub(crate) const PARTS: u32 = 201;

const ROUNDS: usize = 200;

pub(crate) fn measure(data: &Path) -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let study = Study::load(data)?;
    let judged = study.judged();
    let news2 = Scored::of(judged, |patient, row| {
        patient
            .news2
            .get(row)
            .map_or(0.0, |score| f64::from(score.low))
    });
    lines.say(news2.line("NEWS2, what is missing counts zero"));
    let hour = Scored::of(judged, |patient, row| {
        patient
            .record
            .hours
            .get(row)
            .map_or(0.0, |hour| f64::from(hour.hour))
    });
    lines.say(hour.line("hour of stay alone (no model uses it)"));
    let mut ours = None;
    for (name, percent) in [
        ("anchor, all learned", 0),
        ("anchor, 60 % constant (shipped)", 60),
        ("anchor, unlearned rule", 100),
    ] {
        let Some(constancy) = Constancy::percent(percent) else {
            continue;
        };
        let model = study.anchor(constancy)?;
        let scored = Scored::of(judged, |patient, row| {
            patient
                .values
                .get(row)
                .map_or(0.0, |values| model.score(values))
        });
        lines.say(scored.line(name));
        if percent == Constancy::SHIPPED.as_percent() {
            ours = Some(scored);
        }
    }
    let parts = gaussians(&study)?;
    let scored = Scored::of(judged, |patient, row| {
        patient
            .values
            .get(row)
            .map_or(0.0, |values| parts.median_score(&PartValues::of(values)))
    });
    lines.say(scored.line("201 one-sided Gaussians"));
    let ours = ours.ok_or_else(|| anyhow::anyhow!("no anchor score"))?;
    let (low, high) = ours.gain_over(&news2, ROUNDS);
    lines.say(format!(
        "anchor over NEWS2, same rows, paired: [{low:+.3}, {high:+.3}]"
    ));
    supervised(&study, &mut lines)?;
    let figure = Figure::new(
        "sepsis",
        "AUROC",
        ours.auroc(),
        news2.auroc(),
        Target::AtLeast(0.65),
    );
    Ok(figure.with_lines(lines.into_vec()))
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
        let scored = Scored(
            study
                .judged()
                .iter()
                .map(|patient| {
                    let scored = |(hours, row): (&Hours, &pulseward_models::dataset::Hour)| {
                        crate::study::Judged {
                            score: model.score(hours),
                            event: row.event,
                            hour: row.hour,
                        }
                    };
                    patient
                        .record
                        .windows()
                        .iter()
                        .zip(&patient.record.hours)
                        .map(scored)
                        .collect()
                })
                .collect(),
        );
        lines.say(scored.line(name));
    }
    Ok(())
}

/// The curves that decide nothing but inform.
pub(crate) fn deterioration(study: &Study, rising: bool) -> anyhow::Result<Additive> {
    curves(study, true, rising)
}

/// So many windows of each patient train, chosen by chance that knows the patient alone.
const WINDOWS_A_PATIENT: usize = 24;

fn curves(study: &Study, all: bool, rising: bool) -> anyhow::Result<Additive> {
    let patients: Vec<&Patient> = if all {
        study.train_12k().collect()
    } else {
        study.train().iter().collect()
    };
    let rows = patients.into_iter().flat_map(|patient| chosen(patient));
    let settings = LogisticSettings {
        ridge: 100.0,
        steps: 120,
        tolerance: 1e-2,
    };
    Ok(if rising {
        fit_rising(&Basis::monotone(), rows, settings)?
    } else {
        fit(&Basis::full(), rows, settings)?
    })
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
