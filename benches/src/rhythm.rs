//! How well two numbers of the last 128 beats tell an irregular rhythm from a regular one.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, ensure};
use pulseward_base::Micros;
use pulseward_models::{
    dataset::{BeatRecord, Rhythm, RhythmWindow, read_records},
    features::{BEATS, RhythmFeatures, Window},
    measure::{auroc, bootstrap, quantile, share},
    rhythm::RhythmModel,
};

use pulseward_vitals::Kind;

use crate::figure::{Figure, Lines, Target};

pub(crate) fn measure(data: &Path) -> anyhow::Result<Figure> {
    let subjects = load(data)?;
    let mut lines = Lines::default();
    let mut scored: Vec<Vec<(f64, RhythmWindow)>> = Vec::new();
    for (left_out, windows) in &subjects {
        let others = subjects.iter().filter(|subject| subject.0 != left_out);
        let trained = others.flat_map(|subject| subject.1).filter_map(told);
        let model = RhythmModel::fit(trained)?;
        scored.push(
            windows
                .iter()
                .map(|window| (model.score(&window.features), *window))
                .collect(),
        );
    }
    let all: Vec<_> = scored.iter().flatten().copied().collect();
    let area = area(&scored, 0..scored.len(), |score, _| score);
    let indices: Vec<usize> = (0..scored.len()).collect();
    let (low, high) = bootstrap(indices.len(), 200, 3, |drawn| {
        auroc(&rows(&scored, drawn.iter().copied(), |score, _| score))
    })
    .unwrap_or((0.0, 1.0));
    let entropy = area_of(&scored, |_, window| window.features.entropy);
    let occupied = area_of(&scored, |_, window| window.features.occupied);
    let any: Vec<_> = all
        .iter()
        .map(|(score, window)| (*score, window.rhythm != Rhythm::Regular))
        .collect();
    lines.say(format!(
        "{} subjects, {} half minutes",
        scored.len(),
        all.len()
    ));
    lines.say(format!("atrial fibrillation or flutter against regular, subjects left out: AUROC {area:.4} [{low:.3}, {high:.3}]"));
    lines.say(format!(
        "the same by one number: entropy {entropy:.4}, occupied cells {occupied:.4}"
    ));
    lines.say(format!(
        "any rhythm that is not regular: AUROC {:.4}",
        auroc(&any).unwrap_or(0.0)
    ));
    lines.say(entropy_kept(&all));
    let figure = Figure::new("rhythm", "AUROC", area, entropy, Target::AtLeast(0.98));
    Ok(figure
        .versus("of the entropy alone")
        .with_lines(lines.into_vec()))
}

/// Whether a window shows fibrillation or flutter, or a regular rhythm; others do not train.
const fn told(window: &RhythmWindow) -> Option<(RhythmFeatures, bool)> {
    match window.rhythm {
        Rhythm::Fibrillation | Rhythm::Flutter => Some((window.features, true)),
        Rhythm::Regular => Some((window.features, false)),
        Rhythm::Paced | Rhythm::Other => None,
    }
}

type Scored = Vec<Vec<(f64, RhythmWindow)>>;

fn rows(
    scored: &Scored,
    subjects: impl Iterator<Item = usize>,
    number: impl Fn(f64, &RhythmWindow) -> f64,
) -> Vec<(f64, bool)> {
    let windows = subjects.filter_map(|subject| scored.get(subject)).flatten();
    windows
        .filter_map(|(score, window)| Some((number(*score, window), told(window)?.1)))
        .collect()
}

fn area(
    scored: &Scored,
    subjects: impl Iterator<Item = usize>,
    number: impl Fn(f64, &RhythmWindow) -> f64,
) -> f64 {
    auroc(&rows(scored, subjects, number)).unwrap_or(0.0)
}

fn area_of(scored: &Scored, number: impl Fn(f64, &RhythmWindow) -> f64) -> f64 {
    area(scored, 0..scored.len(), number)
}

/// What the sound interval of the entropy keeps of its own alerts at the sensor's error.
fn entropy_kept(all: &[(f64, RhythmWindow)]) -> String {
    let told: Vec<_> = all
        .iter()
        .filter_map(|(_, window)| Some((window, told(window)?.1)))
        .collect();
    let regular: Vec<f64> = told
        .iter()
        .filter(|pair| !pair.1)
        .map(|pair| pair.0.features.entropy)
        .collect();
    let threshold = quantile(&regular, 0.95).unwrap_or(0.0);
    let alerts: Vec<_> = told
        .iter()
        .filter(|pair| pair.0.features.entropy > threshold)
        .collect();
    let kept = alerts
        .iter()
        .filter(|pair| pair.0.entropy.0 > threshold)
        .count();
    format!(
        "entropy alone at 5 % false positives: {:.3} of alerts kept with every beat off by 2 ms",
        share(kept, alerts.len())
    )
}

/// A window full of real beats.
pub(crate) fn some_beats(data: &Path) -> anyhow::Result<Window> {
    let mut window = Window::new(Micros(0));
    let record = records(data)?.into_iter().next().context("no record")?;
    for (time, tenths) in record.1.intervals().take(400) {
        window.push(Kind::BeatInterval, Micros(time), tenths);
    }
    ensure!(window.beats().len() == BEATS, "too few beats");
    Ok(window)
}

/// The windows of each subject.
fn load(data: &Path) -> anyhow::Result<BTreeMap<String, Vec<RhythmWindow>>> {
    let mut subjects: BTreeMap<String, Vec<RhythmWindow>> = BTreeMap::new();
    for (subject, record) in records(data)? {
        subjects
            .entry(subject)
            .or_default()
            .extend(record.windows());
    }
    let count = subjects.len();
    ensure!(count > 40, "only {count} records in the archive");
    Ok(subjects)
}

fn records(data: &Path) -> anyhow::Result<Vec<(String, BeatRecord)>> {
    let path = data.join("beats_mitdb/mitdb_atr_hea.tar.gz");
    let read = || anyhow::Ok(read_records(&fs::read(&path)?)?);
    read().with_context(|| format!("couldn't read {}", path.display()))
}
