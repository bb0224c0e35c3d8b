//! Scores for other programs: windows in, numbers out.

use std::{
    io::{self, BufRead as _, Write as _},
    process::ExitCode,
};

use anyhow::{Context as _, ensure};
use pulseward_base::Micros;
use pulseward_models::{
    evaluate::Decider,
    features::{HOURS, Hold, Hours, VITALS, Window},
};

use super::{args::ScoreArgs, store::Store};

/// The longest line, and the most hours of a window.
const MOST_LINE: usize = 64 << 20;
const MOST_HOURS: usize = 24 * 90;

type Asked = Vec<Vec<[Option<f64>; VITALS.len()]>>;

pub(super) fn score(args: &ScoreArgs, now: Micros) -> anyhow::Result<ExitCode> {
    ensure!(
        args.jsonl,
        "say --jsonl: it is the one form that is understood"
    );
    let store = Store::open(&args.registry, now)?;
    let (_, candidate) = store.find(&args.model)?;
    let decider = Decider(&candidate.draft().parameters);
    let mut out = io::stdout().lock();
    for line in io::stdin().lock().lines() {
        let line = line?;
        ensure!(line.len() <= MOST_LINE, "a line is too long");
        let asked: Asked = serde_json::from_str(&line).context("a line is no array of windows")?;
        let answers: Vec<_> = asked
            .iter()
            .map(|window| answer(&decider, window))
            .collect();
        serde_json::to_writer(&mut out, &answers)?;
        writeln!(out)?;
        out.flush()?;
    }
    Ok(ExitCode::SUCCESS)
}

fn answer(decider: &Decider<'_>, window: &[[Option<f64>; VITALS.len()]]) -> serde_json::Value {
    let hours = watched(window);
    let held = Hold::Hours(u8::try_from(HOURS).unwrap_or(u8::MAX));
    serde_json::json!({
        "score": decider.score(&hours),
        "alert": decider.alerts(&hours),
        "least_at_1x": decider.least_score(&hours, held, 4),
        "stands_at_1x": decider.alerts(&hours) && decider.alerts_despite(&hours, held, 4),
    })
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
