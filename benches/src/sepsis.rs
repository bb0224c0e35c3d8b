//! How well sepsis shows in vital signs alone.

use std::path::Path;

use pulseward_models::{
    anchor::Constancy,
    partition::{Gaussians, PartValues},
};

use crate::{
    figure::{Figure, Lines, Target},
    study::{Scored, Study},
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
        ("anchor, half constant (shipped)", 50),
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
        if percent == 50 {
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
    let threshold =
        pulseward_models::measure::quantile(&scores, 1.0 - crate::study::FALSE_POSITIVES)
            .unwrap_or(0.0);
    Ok(model.with_threshold(threshold as f32))
}
