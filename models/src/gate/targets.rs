//! Presentations that no hospital wants to overlook. They never change: a poison that makes one of
//! them look usual shows here even when no average moves.

use pulseward_base::Micros;

use super::{Limits, Refusal};
use crate::{
    artefact::{Draft, Parameters},
    evaluate::{Decider, Judged},
    features::{Hours, VITALS, Window},
    measure::share,
};

/// A name, each vital in steps for the last six hours, and whether an anomaly score must alert.
struct Target(&'static str, [i32; VITALS.len()], bool);

/// Vitals in the order heart rate, saturation, breathing, temperature, systolic, mean, diastolic.
const TARGETS: [Target; 8] = [
    Target(
        "septic shock",
        [1_300, 900, 300, 3_920, 820, 550, 420],
        true,
    ),
    Target(
        "sepsis with fever",
        [1_150, 930, 260, 3_890, 1_000, 700, 550],
        true,
    ),
    Target(
        "sepsis without fever",
        [1_200, 920, 280, 3_520, 900, 620, 480],
        true,
    ),
    Target(
        "respiratory failure",
        [1_200, 850, 340, 3_700, 1_250, 880, 700],
        true,
    ),
    Target("bleeding", [1_350, 950, 260, 3_620, 800, 550, 430], true),
    Target(
        "a tight cluster's aim",
        [1_080, 930, 250, 3_830, 1_000, 700, 520],
        false,
    ),
    Target(
        "early deterioration",
        [1_050, 940, 230, 3_800, 1_050, 740, 560],
        false,
    ),
    Target(
        "fast heart alone",
        [1_300, 970, 180, 3_690, 1_200, 850, 680],
        false,
    ),
];

pub(super) fn name(index: usize) -> &'static str {
    TARGETS.get(index).map_or("?", |target| target.0)
}

fn hours(target: &Target) -> Hours {
    let mut window = Window::new(Micros(0));
    for hour in 0..6 {
        for (kind, value) in VITALS.into_iter().zip(target.1) {
            window.push(kind, Micros(hour * 3_600_000_000), value);
        }
    }
    window.hours()
}

/// Refuses a model that misses what must alert.
pub(super) fn missed(draft: &Draft, refusals: &mut Vec<Refusal>) {
    if !matches!(
        draft.parameters,
        Parameters::Anchor(_) | Parameters::Gaussians(_)
    ) {
        return;
    }
    let decider = Decider(&draft.parameters);
    for (target, told) in TARGETS.iter().enumerate() {
        if told.2 && !decider.alerts(&hours(told)) {
            refusals.push(Refusal::Missed { target });
        }
    }
}

/// Refuses a candidate to whom a presentation looks more usual than to the serving model.
pub(super) fn excused(
    (candidate, ours): (&Draft, &[Judged]),
    (serving, theirs): (&Draft, &[Judged]),
    limits: &Limits,
    refusals: &mut Vec<Refusal>,
) {
    if matches!(candidate.parameters, Parameters::Rhythm(_)) {
        return;
    }
    for (target, told) in TARGETS.iter().enumerate() {
        let hours = hours(told);
        let ours = percentile(ours, Decider(&candidate.parameters).score(&hours));
        let theirs = percentile(theirs, Decider(&serving.parameters).score(&hours));
        if ours < theirs - limits.percentile {
            refusals.push(Refusal::Excused {
                target,
                serving: theirs,
                candidate: ours,
            });
        }
    }
}

/// The share of windows without the event that score below.
fn percentile(judged: &[Judged], score: f64) -> f64 {
    let rows = judged.iter().flat_map(|judged| &judged.rows);
    let quiet = rows.filter(|row| !row.event);
    let below = quiet.clone().filter(|row| row.score < score).count();
    share(below, quiet.count())
}

/// Returns where the target that poison aims at lies.
pub(super) fn aim(draft: &Draft, judged: &[Judged]) -> f64 {
    let aimed = TARGETS
        .iter()
        .find(|target| target.0 == "a tight cluster's aim");
    aimed.map_or(0.0, |target| {
        percentile(judged, Decider(&draft.parameters).score(&hours(target)))
    })
}

/// Returns the vitals that poison aims at.
pub(crate) fn aimed_at() -> [i32; VITALS.len()] {
    let aimed = TARGETS
        .iter()
        .find(|target| target.0 == "a tight cluster's aim");
    aimed.map_or([0; VITALS.len()], |target| target.1)
}
