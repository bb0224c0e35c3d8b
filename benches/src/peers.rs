//! Others' detectors on the very rows that a figure judges.
//!
//! The rows go to a file, `models/python/baselines.py` fits what is installed in the Python that
//! `PULSEWARD_PEER_PYTHON` names, and the scores that come back are measured by the same code as ours.
//! Without that variable there is no comparison and the figure says so.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use pulseward_models::{
    dataset::Hour,
    features::{Hours, VITALS},
};

use crate::{
    figure::Lines,
    study::{Judged, Patient, Scored, Study},
};

const SCRIPT: &str = include_str!("../../models/python/baselines.py");
const NOBODY: &str =
    "no peers: PULSEWARD_PEER_PYTHON names no Python with models/python/requirements-baselines.txt";

/// How many resamples tell two detectors apart.
const ROUNDS: usize = 200;

/// What the script says of one detector.
struct Told {
    number: String,
    name: String,
    micros: f64,
}

/// Says what others' detectors make of the study's rows, and how far `ours` is from each.
pub(crate) fn judge(study: &Study, ours: &Scored, lines: &mut Lines) -> anyhow::Result<()> {
    let Some(python) = python() else {
        lines.say(NOBODY);
        return Ok(());
    };
    let scratch = tempfile::tempdir()?;
    let rows = scratch.path().join("rows");
    write_rows(study, &rows)?;
    lines.say("others on the same rows; trained on the same 4,000 patients; in brackets ours less theirs, paired:");
    let told = match run(python, "judge", &rows) {
        Ok(told) => told,
        Err(error) => {
            lines.say(format!("no peers: {error:#}"));
            return Ok(());
        }
    };
    for told in told {
        let path = rows.with_extension(&told.number);
        let scored = scores(study.judged(), &path)?;
        let (low, high) = ours.gain_over(&scored, ROUNDS);
        let Told { name, micros, .. } = told;
        lines.say(format!(
            "{} [{low:+.3}, {high:+.3}]  {micros:.1} us a row",
            scored.line(&name)
        ));
    }
    Ok(())
}

/// Says what others' detectors cost a window on one core, and returns the first one's cost.
pub(crate) fn times(study: &Study, lines: &mut Lines) -> anyhow::Result<Option<f64>> {
    let Some(python) = python() else {
        lines.say(NOBODY);
        return Ok(None);
    };
    let scratch = tempfile::tempdir()?;
    let rows = scratch.path().join("rows");
    write_rows(study, &rows)?;
    let told = match run(python, "times", &rows) {
        Ok(told) => told,
        Err(error) => {
            lines.say(format!("no peers: {error:#}"));
            return Ok(None);
        }
    };
    for Told { name, micros, .. } in &told {
        lines.say(format!(
            "peer without certificate: {name:42} {micros:.1} us a window"
        ));
    }
    Ok(told.first().map(|told| told.micros))
}

#[expect(clippy::disallowed_methods, reason = "a program reads its environment")]
fn python() -> Option<OsString> {
    Some(std::env::var("PULSEWARD_PEER_PYTHON").ok()?.into())
}

/// Runs the script; each line that it prints is a number, a name and microseconds.
fn run(python: OsString, what: &str, rows: &Path) -> anyhow::Result<Vec<Told>> {
    let output = Command::new(&python)
        .args(["-c", SCRIPT, what])
        .arg(rows)
        .env("OMP_NUM_THREADS", if what == "times" { "1" } else { "2" })
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("couldn't run {}", python.display()))?;
    if !output.status.success() {
        bail!("the peers' script failed in {}", python.display());
    }
    let said = String::from_utf8(output.stdout)?;
    said.lines()
        .map(|line| {
            let mut fields = line.split('\t').map(str::to_owned);
            let (number, name, micros) = (fields.next(), fields.next(), fields.next());
            let told = number.zip(name).zip(micros);
            let ((number, name), micros) = told.with_context(|| format!("it says {line}"))?;
            let micros = micros.parse()?;
            Ok(Told {
                number,
                name,
                micros,
            })
        })
        .collect()
}

/// Writes who a row is of, whether the event is on, and four features of each vital, as `f32`.
fn write_rows(study: &Study, path: &Path) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    let trains = study.train().iter().map(|patient| (true, patient));
    let judged = study.judged().iter().map(|patient| (false, patient));
    for (trains, patient) in trains.chain(judged) {
        let role = match (trains, patient.event) {
            (false, _) => 0.0,
            (true, false) => 1.0,
            (true, true) => 2.0,
        };
        let windows = patient.record.windows();
        for (hours, row) in windows.iter().zip(&patient.record.hours) {
            for number in numbers(role, hours, row) {
                file.write_all(&number.to_le_bytes())?;
            }
        }
    }
    Ok(file.flush()?)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "detectors work with as much"
)]
fn numbers(role: f64, hours: &Hours, row: &Hour) -> impl Iterator<Item = f32> {
    let features: Vec<_> = (0..VITALS.len())
        .map(|index| hours.features(index))
        .collect();
    let looks = (0..4).flat_map(move |look| {
        let each = VITALS.iter().zip(features.clone());
        each.map(move |(kind, features)| {
            let unit = 10_f64.powi(i32::from(kind.spec().scale));
            let of = |features: pulseward_models::features::VitalFeatures| match look {
                0 => features.last,
                1 => features.mean_12h,
                2 => features.least_12h,
                _ => features.most_12h,
            };
            features.map_or(f64::NAN, |features| of(features) / unit)
        })
    });
    [role, f64::from(u8::from(row.event))]
        .into_iter()
        .chain(looks)
        .map(|number| number as f32)
}

/// Reads the scores of the judged rows, in their order.
fn scores(patients: &[Patient], path: &Path) -> anyhow::Result<Scored> {
    let bytes = fs::read(path)?;
    let mut numbers = bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|chunk| f32::from_le_bytes(*chunk));
    let mut scored = Vec::new();
    for patient in patients {
        let rows = patient.record.hours.iter().map(|row| {
            Ok(Judged {
                score: f64::from(numbers.next().context("scores are missing")?),
                event: row.event,
                hour: row.hour,
            })
        });
        scored.push(rows.collect::<anyhow::Result<_>>()?);
    }
    Ok(Scored(scored))
}
