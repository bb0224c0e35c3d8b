//! Files of studies as sources to train on.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context as _, bail, ensure};
use indicatif::{ProgressBar, ProgressStyle};
use pulseward_base::{Micros, Pseudonym, bytes::unhex};
use pulseward_crypto::hash::sha256;
use pulseward_models::{
    anchor::Constancy,
    dataset::{plain_text, read_hourly, read_records},
    train::{Beats, Cohort, Line, Pool, Progress, Selection, Settings, Stays, Step, pseudonym_of},
};
use pulseward_vitals::{Kind, training::TrainingSource};

use super::args::{DataArgs, FitArgs};

/// Reads all files and gathers what is selected.
pub(super) fn gather(args: &DataArgs) -> anyhow::Result<Pool> {
    let mut sources = Vec::new();
    for path in &args.data {
        sources.push(source(path)?);
    }
    let mut sources: Vec<&mut dyn TrainingSource> = sources
        .iter_mut()
        .map(|source| &mut **source as &mut dyn TrainingSource)
        .collect();
    let bar = Bar::new();
    let pool = Pool::gather(&mut sources, selection(args)?, &mut |progress| {
        bar.show(progress)
    })?;
    bar.finish();
    ensure!(
        !pool.stays().is_empty(),
        "nobody is left to train or judge on"
    );
    Ok(pool)
}

/// Reads one file.
pub(super) fn source(path: &Path) -> anyhow::Result<Box<dyn TrainingSource>> {
    let bytes = fs::read(path).with_context(|| format!("couldn't read {}", path.display()))?;
    let name = path
        .file_name()
        .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let digest = sha256(&[&bytes]);
    if name.ends_with(".tar") || name.ends_with(".tar.gz") || name.ends_with(".tgz") {
        let records =
            read_records(&bytes).with_context(|| format!("couldn't read {}", path.display()))?;
        return Ok(Box::new(Beats {
            name,
            digest,
            records,
        }));
    }
    let patients = read_hourly(&plain_text(&bytes)?)
        .with_context(|| format!("couldn't read {}", path.display()))?;
    Ok(Box::new(Stays {
        name,
        digest,
        patients,
    }))
}

fn selection(args: &DataArgs) -> anyhow::Result<Selection> {
    let kinds = args.kinds.as_ref().map(|kinds| {
        let named =
            |name: &str| Kind::from_name(name).with_context(|| format!("no kind is called {name}"));
        kinds
            .split(',')
            .map(|name| named(name.trim()))
            .collect::<anyhow::Result<Vec<_>>>()
    });
    let exclude = args
        .exclude
        .as_ref()
        .map(|path| -> anyhow::Result<BTreeSet<Pseudonym>> {
            let text = fs::read_to_string(path)
                .with_context(|| format!("couldn't read {}", path.display()))?;
            Ok(text
                .lines()
                .map(str::trim)
                .filter(|line| !line.is_empty())
                .map(patient)
                .collect())
        });
    Ok(Selection {
        from: args.from.as_deref().map(time).transpose()?,
        to: args.to.as_deref().map(time).transpose()?,
        kinds: kinds.transpose()?,
        cohort: args
            .cohort
            .as_deref()
            .map(cohort)
            .transpose()?
            .unwrap_or_default(),
        exclude: exclude.transpose()?.unwrap_or_default(),
        ..Selection::default()
    })
}

/// A pseudonym in hexadecimal, or a name in a study.
fn patient(text: &str) -> Pseudonym {
    let bytes = unhex(text).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.map_or_else(|| pseudonym_of(text), Pseudonym)
}

fn cohort(text: &str) -> anyhow::Result<Cohort> {
    let mut cohort = Cohort::default();
    for part in text.split(',') {
        let (name, value) = part
            .split_once('=')
            .with_context(|| format!("{part} has no value"))?;
        let range = || -> anyhow::Result<(u8, u8)> {
            let (from, to) = value
                .split_once('-')
                .with_context(|| format!("{value} is no range"))?;
            Ok((from.parse()?, to.parse()?))
        };
        match name.trim() {
            "age" => {
                let (least, most) = range()?;
                (cohort.least_age, cohort.most_age) = (Some(least), Some(most));
            }
            "part" => cohort.hundredths = Some(range()?),
            "sex" => {
                cohort.male = Some(match value {
                    "m" => true,
                    "f" => false,
                    _ => bail!("{value} is neither f nor m"),
                });
            }
            other => bail!("a cohort knows age, sex and part, not {other}"),
        }
    }
    Ok(cohort)
}

/// Microseconds, or a day.
fn time(text: &str) -> anyhow::Result<Micros> {
    if let Ok(micros) = text.parse() {
        return Ok(Micros(micros));
    }
    let fields: Vec<i64> = text
        .split('-')
        .map_while(|field| field.parse().ok())
        .collect();
    let &[year, month, day] = fields.as_slice() else {
        bail!("{text} is neither a day nor microseconds")
    };
    ensure!(
        (1..=12).contains(&month) && (1..=31).contains(&day) && (1..=9999).contains(&year),
        "{text} is no day"
    );
    // Days of the civil calendar, counted in years that begin in March.
    let (year, month) = if month < 3 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let days =
        year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + day - 719_469;
    Ok(Micros(days * 86_400_000_000))
}

/// A time for people: day and minute, universal.
pub(super) fn day(time: Micros) -> String {
    let minutes = time.0.div_euclid(60_000_000);
    let (days, minute) = (minutes.div_euclid(1_440), minutes.rem_euclid(1_440));
    // Eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = year + era * 400 + later;
    format!(
        "{year:04}-{month:02}-{date:02} {:02}:{:02} UTC",
        minute / 60,
        minute % 60
    )
}

pub(super) fn line(name: &str) -> anyhow::Result<Line> {
    let names: Vec<_> = Line::ALL.iter().map(|line| line.name()).collect();
    Line::from_name(name).with_context(|| format!("no line is called {name}: {}", names.join(", ")))
}

pub(super) fn settings(line: Line, args: &FitArgs) -> anyhow::Result<Settings> {
    let mut settings = Settings::default();
    if let Some(threshold) = args.threshold {
        ensure!(threshold.is_finite(), "the threshold is no number");
        match line {
            Line::Anchor => settings.anchor_threshold = threshold,
            #[expect(clippy::cast_possible_truncation, reason = "votes are counted in f32")]
            Line::Gaussians => settings.gaussians_threshold = threshold as f32,
            Line::Deterioration => settings.deterioration_threshold = threshold,
            Line::Change => settings.change_threshold = threshold,
            Line::Rhythm => settings.rhythm_threshold = threshold,
        }
    }
    if let Some(percent) = args.constancy {
        settings.constancy = Constancy::percent(percent).context("more than 100 percent")?;
    }
    if let Some(parts) = args.parts {
        ensure!(
            (1..=4096).contains(&parts),
            "an ensemble has 1 to 4096 parts"
        );
        settings.parts = parts;
    }
    Ok(settings)
}

/// Progress for people; nothing is shown where nobody watches.
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{msg:24} {wide_bar} {pos:>9}/{len:9} {eta:>5}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self(bar)
    }

    pub(super) fn show(&self, progress: Progress) {
        let message = match progress.step {
            Step::Read => "reading rows",
            Step::Windows => "making windows",
            Step::Fit => "fitting",
        };
        self.at(message, progress.done, progress.all);
    }

    pub(super) fn at(&self, message: &str, done: usize, all: usize) {
        self.0.set_message(message.to_owned());
        self.0.set_length(all.max(done) as u64);
        self.0.set_position(done as u64);
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted_from_1970() {
        for (day, days) in [
            ("1970-01-01", 0),
            ("2000-02-29", 11_016),
            ("2026-11-21", 20_778),
        ] {
            assert_eq!(time(day).unwrap(), Micros(days * 86_400_000_000), "{day}");
        }
        assert_eq!(time("12").unwrap(), Micros(12));
        for text in ["1970-01-01", "2000-02-29", "2024-12-31", "2026-11-21"] {
            assert_eq!(day(time(text).unwrap()), format!("{text} 00:00 UTC"));
        }
        assert_eq!(day(Micros(-1)), "1969-12-31 23:59 UTC");
        assert!(time("2026-13-01").is_err() && time("yesterday").is_err());
    }

    #[test]
    fn cohorts_say_age_sex_and_part() {
        let told = cohort("age=40-79,sex=f,part=0-80").unwrap();
        assert_eq!((told.least_age, told.most_age), (Some(40), Some(79)));
        assert_eq!((told.male, told.hundredths), (Some(false), Some((0, 80))));
        assert!(cohort("age=old").is_err() && cohort("height=1-2").is_err());
    }
}
