//! How well two numbers of the last 128 beats tell an irregular rhythm from a regular one.

use std::{collections::BTreeMap, fs, io::Read, path::Path};

use anyhow::{Context, ensure};
use flate2::read::GzDecoder;
use pulseward_base::Micros;
use pulseward_models::{
    dataset::{Rhythm, RhythmWindow, read_annotations},
    features::{BEATS, RhythmFeatures, Window},
    measure::{auroc, bootstrap, quantile, share},
    rhythm::RhythmModel,
};

use pulseward_vitals::Kind;

use crate::figure::{Figure, Lines, Target};

/// The recordings' clock.
const UNITS_A_SECOND: u32 = 360;

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
    let archive = unpacked(data)?;
    let mut window = Window::new(Micros(0));
    let record = files(&archive)?
        .into_iter()
        .find_map(|(_, file)| read_annotations(file).ok())
        .context("no record")?;
    let beats = record.beats.iter().zip(record.beats.iter().skip(1));
    for (from, to) in beats.take(400) {
        let tenths = (to - from) * 10_000 / i64::from(UNITS_A_SECOND);
        let tenths = i32::try_from(tenths).unwrap_or(i32::MAX);
        window.push(Kind::BeatInterval, Micros(*to), tenths);
    }
    ensure!(window.beats().len() == BEATS, "too few beats");
    Ok(window)
}

/// The windows of each subject. Records 201 and 202 are one person's.
fn load(data: &Path) -> anyhow::Result<BTreeMap<String, Vec<RhythmWindow>>> {
    let archive = unpacked(data)?;
    let mut subjects: BTreeMap<String, Vec<RhythmWindow>> = BTreeMap::new();
    for (record, file) in files(&archive)? {
        let record = if record == "202" { "201" } else { &record };
        let windows = read_annotations(file)?.windows(UNITS_A_SECOND);
        subjects
            .entry(record.to_owned())
            .or_default()
            .extend(windows);
    }
    let count = subjects.len();
    ensure!(count > 40, "only {count} records in the archive");
    Ok(subjects)
}

fn unpacked(data: &Path) -> anyhow::Result<Vec<u8>> {
    let path = data.join("beats_mitdb/mitdb_atr_hea.tar.gz");
    let packed = fs::read(&path).with_context(|| format!("couldn't read {}", path.display()))?;
    let mut archive = Vec::new();
    GzDecoder::new(packed.as_slice())
        .take(1 << 26)
        .read_to_end(&mut archive)?;
    Ok(archive)
}

/// The records in a tar archive: name and annotations.
fn files(archive: &[u8]) -> anyhow::Result<Vec<(String, &[u8])>> {
    let mut files = Vec::new();
    let mut rest = archive;
    while let Some((header, after)) = rest.split_at_checked(512) {
        let text = |range: std::ops::Range<usize>| {
            let bytes = header.get(range).unwrap_or_default();
            String::from_utf8_lossy(bytes)
                .trim_matches(['\0', ' '])
                .to_owned()
        };
        let name = text(0..100);
        if name.is_empty() {
            break;
        }
        let size = usize::from_str_radix(&text(124..136), 8).context("a header without a size")?;
        let padded = size.next_multiple_of(512);
        let (file, after) = after
            .split_at_checked(padded)
            .context("the archive is cut")?;
        rest = after;
        let name = Path::new(&name).file_name().and_then(|name| name.to_str());
        if let Some(record) = name.and_then(|name| name.strip_suffix(".atr")) {
            files.push((record.to_owned(), file.get(..size).unwrap_or_default()));
        }
    }
    Ok(files)
}
