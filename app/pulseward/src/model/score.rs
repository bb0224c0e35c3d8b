//! Scores for other programs: windows in, numbers out.

use std::{
    io::{self, BufRead as _, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use pulseward_base::Micros;
use pulseward_models::{
    anchor::{Towards, Values},
    artefact::Parameters,
    evaluate::Decider,
    features::{HOURS, Hold, Hours, VITALS, Window},
    partition::PartValues,
};

use super::{args::ScoreArgs, store::Store};

/// The longest line, and the most hours of a window.
const MOST_LINE: usize = 64 << 20;
const MOST_HOURS: usize = 24 * 90;

/// Certificates are told for a window's whole length.
const HELD: Hold = Hold::Hours(HOURS as u8);

type Asked = Vec<Vec<[Option<f64>; VITALS.len()]>>;

pub(super) fn score(args: &ScoreArgs, now: Micros) -> anyhow::Result<ExitCode> {
    ensure!(
        args.jsonl,
        "say --jsonl: it is the one form that is understood"
    );
    let store = Store::open(&args.registry, now)?;
    let (_, candidate) = store.find(&args.model)?;
    let parameters = &candidate.draft().parameters;
    ensure!(
        !matches!(parameters, Parameters::Rhythm(_)),
        "windows of hours say nothing of a rhythm"
    );
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        ensure!(line.len() <= MOST_LINE, "a line is too long");
        let asked: Asked = serde_json::from_str(&line).context("a line is no array of windows")?;
        let answers: Vec<_> = asked
            .iter()
            .map(|window| answer(parameters, window))
            .collect();
        serde_json::to_writer(&mut out, &answers)?;
        writeln!(out)?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(parameters: &Parameters, window: &[[Option<f64>; VITALS.len()]]) -> serde_json::Value {
    let hours = watched(window);
    let decider = Decider(parameters);
    let alert = decider.alerts(&hours);
    let bounds = Bounds::of(parameters, &hours, HELD);
    serde_json::json!({
        "score": decider.score(&hours),
        "threshold": threshold(parameters),
        "alert": alert,
        "least_at_1x": bounds.least,
        "most_at_1x": bounds.most,
        "stands_at_1x": if alert { bounds.surely_alerts } else { bounds.surely_quiet },
    })
}

/// What false readings within the sensors' errors reach at most.
struct Bounds {
    least: f64,
    most: f64,
    surely_alerts: bool,
    surely_quiet: bool,
}

impl Bounds {
    fn of(parameters: &Parameters, hours: &Hours, hold: Hold) -> Self {
        let between = |(least, most): (f64, f64), threshold: f64| Self {
            least,
            most,
            surely_alerts: least > threshold,
            surely_quiet: most <= threshold,
        };
        let at = |towards| Values::held(hours, hold, 4, towards);
        match parameters {
            Parameters::Anchor(anchor) => {
                let score = |towards| anchor.score(&at(towards));
                let ends = (score(Towards::Silence), score(Towards::Alarm));
                between(ends, anchor.threshold())
            }
            Parameters::Gaussians(parts) => {
                let score = |towards| parts.median_score(&PartValues::of(&at(towards)));
                let (fewest, most) = parts.evasion(hours, hold, 4);
                Self {
                    least: score(Towards::Silence),
                    most: score(Towards::Alarm),
                    surely_alerts: fewest.radius().alert,
                    surely_quiet: !most.radius().alert,
                }
            }
            Parameters::Additive(curves) => {
                between(curves.within_error(hours, hold, 4), curves.threshold())
            }
            Parameters::Rhythm(model) => {
                between((f64::NEG_INFINITY, f64::INFINITY), model.threshold)
            }
        }
    }
}

fn threshold(parameters: &Parameters) -> f64 {
    match parameters {
        Parameters::Anchor(anchor) => anchor.threshold(),
        Parameters::Gaussians(parts) => f64::from(parts.threshold()),
        Parameters::Additive(curves) => curves.threshold(),
        Parameters::Rhythm(model) => model.threshold,
    }
}

/// What no sensor shows is left out, as in serving.
fn watched(window: &[[Option<f64>; VITALS.len()]]) -> Hours {
    let mut watched = Window::new(Micros(0));
    for (hour, values) in (0..).zip(window.iter().take(MOST_HOURS)) {
        let time = Micros(hour * 3_600_000_000);
        watched.advance(time);
        for (kind, value) in VITALS.into_iter().zip(values) {
            if let Some(steps) = value.and_then(|value| kind.steps(value)) {
                watched.push(kind, time, steps);
            }
        }
    }
    watched.hours()
}
