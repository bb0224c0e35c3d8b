//! What scoring and certifying a window costs, on one core.
//!
//! Each part is timed over the same real windows, in short runs, best of nine rounds. Peers
//! are timed in the same run, on the same windows' values that the anchor score reads; see `peers`.

use std::{hint::black_box, path::Path, time::Duration};

use pulseward_models::{
    anchor::{Anchor, Constancy, Towards, Values},
    features::{Hours, Window},
    partition::{Gaussians, PartValues},
};

use crate::{
    figure::{Figure, Lines, Target},
    peers, rhythm,
    sepsis::{curves_small, gaussians},
    study::{Study, news2},
};

const WINDOWS: usize = 20_000;
const ROUNDS: usize = 9;
const RUN: usize = 200;

pub(crate) fn measure(data: &Path) -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let study = Study::load(data)?;
    let mut all = hourly(&study, &mut lines)?;
    all += beats(data, &mut lines)?;
    let peer = peers::times(&study, &mut lines)?;
    let figure = Figure::new(
        "score",
        "us a window, all models with certificates",
        all,
        peer.unwrap_or(0.0),
        Target::AtMost(5.0),
    );
    Ok(figure.with_lines(lines.into_vec()))
}

/// What the hourly models cost together.
fn hourly(study: &Study, lines: &mut Lines) -> anyhow::Result<f64> {
    let anchor = fitted("the anchor score", lines, || {
        study.anchor(Constancy::SHIPPED)
    })?;
    let parts = fitted("201 Gaussians", lines, || gaussians(study))?;
    let [risk, change] = fitted("curves on 1,000 patients", lines, || curves_small(study))?;
    let size = size_of::<Window>() + 256;
    lines.say(format!("a patient's window: {size} bytes in memory"));
    let patients = study.judged().iter();
    let windows = patients.flat_map(|patient| patient.record.windows());
    let windows: Vec<Hours> = windows.take(WINDOWS).collect();
    let mut each = |name: &str, of: &mut dyn FnMut(&Hours)| {
        let cost = cost(&windows, of);
        lines.say(format!("{name:52} {cost:.3} us a window"));
        cost
    };
    each("anomaly with poison radius and box", &mut |hours| {
        certify_box(&anchor, hours);
    });
    let mut all = each("the same with the shortest hold", &mut |hours| {
        black_box(anchor.certify(black_box(hours)));
    });
    all += each("NEWS2", &mut |hours| {
        black_box(news2(black_box(hours), 0));
    });
    all += each("vote of 201 models at three corners", &mut |hours| {
        vote(&parts, hours);
    });
    all += each("deterioration", &mut |hours| {
        black_box(risk.score(black_box(hours)));
    });
    all += each("change of risk", &mut |hours| {
        black_box(change.score(black_box(hours)));
    });
    Ok(all)
}

fn fitted<T>(
    name: &str,
    lines: &mut Lines,
    fit: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let (model, took) = timed(fit);
    lines.say(format!("fitting {name}: {:.2} s", took.as_secs_f64()));
    model
}

fn certify_box(anchor: &Anchor, hours: &Hours) {
    let values = Values::of(black_box(hours));
    black_box(anchor.poison_radius(&values));
    for towards in [Towards::Silence, Towards::Alarm] {
        black_box(anchor.score(&values.moved(4, towards)));
    }
}

fn vote(parts: &Gaussians, hours: &Hours) {
    let values = Values::of(black_box(hours));
    black_box(parts.vote(&PartValues::of(&values)));
    for towards in [Towards::Silence, Towards::Alarm] {
        black_box(parts.tally(&PartValues::of(&values.moved(4, towards))));
    }
}

/// What judging a rhythm costs; its entropy's interval is computed for whoever asks.
fn beats(data: &Path, lines: &mut Lines) -> anyhow::Result<f64> {
    let beats = rhythm::some_beats(data)?;
    let rounds: Vec<_> = (0..2_000).map(|_| beats.clone()).collect();
    let interval = cost(&rounds, &mut |window: &Window| {
        black_box(window.beats().entropy_within(20));
    });
    let judged = cost(&rounds, &mut |window: &Window| {
        black_box(window.beats().features());
    });
    let names = ["rhythm of 128 beats", "    its entropy's interval, apart"];
    for (name, cost) in names.iter().zip([judged, interval]) {
        lines.say(format!("{name:52} {cost:.3} us a window"));
    }
    Ok(judged)
}

/// Returns the microseconds that `of` takes on one of `items`. Short runs of items are each timed
/// in several rounds and the best of each run counts: what else the machine does stays out.
fn cost<T>(items: &[T], of: &mut dyn FnMut(&T)) -> f64 {
    let runs = items.chunks(RUN).map(|run| {
        let rounds = (0..ROUNDS).map(|_| timed(|| run.iter().for_each(&mut *of)).1);
        rounds.min().unwrap_or_default()
    });
    runs.sum::<Duration>().as_secs_f64() * 1e6 / items.len().max(1) as f64
}

#[expect(
    clippy::disallowed_methods,
    reason = "measuring time is what this is for"
)]
fn timed<T>(run: impl FnOnce() -> T) -> (T, Duration) {
    let start = std::time::Instant::now();
    let result = run();
    (result, start.elapsed())
}
