//! What poisoned training patients can and cannot change.

use std::path::Path;

use pulseward_models::{
    anchor::{Anchor, Constancy, Values, fit},
    measure::share,
    partition::PartValues,
};

use crate::{
    attacked,
    figure::{Figure, Lines, Target},
    sepsis::gaussians,
    study::{Scored, Study},
};

const RADII: [u32; 6] = [1, 5, 10, 25, 50, 100];

/// How many targets the tight cluster is tried on.
const TARGETS: usize = 40;

pub(crate) fn measure(data: &Path) -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let study = Study::load(data)?;
    let area = |model: &Anchor| {
        Scored::of(study.judged(), |patient, row| {
            patient
                .values
                .get(row)
                .map_or(0.0, |values| model.score(values))
        })
        .auroc()
    };
    let unlearned = Constancy::percent(100)
        .map(|all| study.anchor(all))
        .transpose()?;
    let unlearned = unlearned.as_ref().map_or(0.0, area);
    lines.say(format!(
        "share certified unchanged by r poisoned of {} patients, at 5 % false positives",
        study.pool().patients()
    ));
    let mut headline = 0.0;
    for percent in [0, 50, Constancy::SHIPPED.as_percent(), 80] {
        let Some(constancy) = Constancy::percent(percent) else {
            continue;
        };
        let model = study.anchor(constancy)?;
        let (alerts, decisions) = anchor_shares(&study, &model);
        let gain = area(&model) - unlearned;
        lines.say(format!("anchor, {percent:>2} % constant: AUROC {:.3} ({gain:+.3} over the unlearned rule), no constant votes", area(&model)));
        lines.say(format!("    alerts    {}", told(&alerts)));
        lines.say(format!("    decisions {}", told(&decisions)));
        if percent == Constancy::SHIPPED.as_percent() {
            headline = alerts.get(1).copied().unwrap_or(0.0);
            lines.say(cluster(&study, &model)?);
        }
    }
    let against = partition_shares(&study, &mut lines)?;
    attacked::judge(data, &mut lines)?;
    let figure = Figure::new(
        "poisoning",
        "share of alerts certified at r = 5",
        headline,
        against,
        Target::AtLeast(0.985),
    );
    Ok(figure
        .versus("of the 201 Gaussians")
        .with_lines(lines.into_vec()))
}

fn told(shares: &[f64]) -> String {
    let pairs = RADII
        .iter()
        .zip(shares)
        .map(|(radius, share)| format!("r={radius} {share:.3}"));
    pairs.collect::<Vec<_>>().join("  ")
}

/// The shares of alerts, and of all decisions, that each radius is certified for.
fn anchor_shares(study: &Study, model: &Anchor) -> (Vec<f64>, Vec<f64>) {
    let judged = study.judged().iter().flat_map(|patient| &patient.values);
    let radii: Vec<_> = judged
        .map(|values| {
            (
                model.alerts(model.score(values)),
                model.poison_radius(values),
            )
        })
        .collect();
    let alerts = radii.iter().filter(|row| row.0).count();
    let of = |only_alerts: bool, all| {
        RADII
            .map(|r| {
                share(
                    radii
                        .iter()
                        .filter(|row| (row.0 || !only_alerts) && row.1.covers(r))
                        .count(),
                    all,
                )
            })
            .to_vec()
    };
    (of(true, alerts), of(false, radii.len()))
}

/// Five patients send nothing but a target's own window: how far does the target sink among quiet
/// windows?
fn cluster(study: &Study, model: &Anchor) -> anyhow::Result<String> {
    let quiet: Vec<&Values> = study
        .judged()
        .iter()
        .filter(|patient| !patient.event)
        .flat_map(|patient| &patient.values)
        .step_by(7)
        .collect();
    let percentile = |model: &Anchor, target: &Values| {
        let score = model.score(target);
        share(
            quiet
                .iter()
                .filter(|values| model.score(values) < score)
                .count(),
            quiet.len(),
        )
    };
    let alerting = study
        .judged()
        .iter()
        .flat_map(|patient| &patient.values)
        .filter(|values| model.alerts(model.score(values)));
    let targets: Vec<&Values> = alerting.step_by(101).take(TARGETS).collect();
    let (mut worst, mut silenced) = (0.0_f64, 0);
    for target in &targets {
        let mut pool = study.pool();
        for _ in 0..5 {
            pool.add_patient(std::iter::repeat_n(*target, 5_000));
        }
        let poisoned = fit(&pool, model.constancy(), model.threshold())?;
        worst = worst.max(percentile(model, target) - percentile(&poisoned, target));
        silenced += usize::from(!poisoned.alerts(poisoned.score(target)));
    }
    Ok(format!(
        "    tight cluster, 5 patients with 25,000 rows of one target: {} targets lose at most {worst:.4} percentile, {silenced} silenced",
        targets.len()
    ))
}

fn partition_shares(study: &Study, lines: &mut Lines) -> anyhow::Result<f64> {
    let model = gaussians(study)?;
    let votes: Vec<_> = study
        .judged()
        .iter()
        .flat_map(|patient| &patient.values)
        .map(|values| model.vote(&PartValues::of(values)))
        .collect();
    let alerts: Vec<_> = votes.iter().filter(|vote| vote.alert).collect();
    let shares = RADII.map(|r| {
        share(
            alerts.iter().filter(|vote| vote.patients >= r).count(),
            alerts.len(),
        )
    });
    let area = Scored::of(study.judged(), |patient, row| {
        patient
            .values
            .get(row)
            .map_or(0.0, |values| model.median_score(&PartValues::of(values)))
    });
    lines.say(format!(
        "{} one-sided Gaussians: AUROC {:.3}, alert rate {:.3}, constant votes {:.3}",
        model.parts().len(),
        area.auroc(),
        share(alerts.len(), votes.len()),
        share(model.constants(), model.parts().len()),
    ));
    lines.say(format!("    alerts    {}", told(&shares)));
    let decisions = RADII.map(|r| {
        share(
            votes.iter().filter(|vote| vote.patients >= r).count(),
            votes.len(),
        )
    });
    lines.say(format!("    decisions {}", told(&decisions)));
    Ok(shares.get(1).copied().unwrap_or(0.0))
}
