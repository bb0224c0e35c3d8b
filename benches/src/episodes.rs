//! How often people would be called, and for how much.
//!
//! An alarm is on when m of the last n windows alert. An episode begins when it comes on after 12 h
//! without. Sepsis is detected by an episode that begins from 12 h before its onset to 3 h after; the
//! data mark the six hours before onset. Days before that window, and all days of patients without
//! sepsis, count for false episodes.

use std::path::Path;

use pulseward_models::{
    additive::Additive,
    anchor::Constancy,
    calibration::{Agreement, Calibration},
    dataset::HourlyPatient,
    measure::{Draws, bootstrap, quantile},
    partition::PartValues,
    rules::news2::Score,
};

use crate::{
    figure::{Figure, Lines, Target},
    sepsis::{change, deterioration, gaussians},
    study::{Patient, Study},
};

/// When an alarm is on, and how long it must be off before it counts anew.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rule {
    of: usize,
    in_: usize,
    rearm: usize,
}

impl Default for Rule {
    fn default() -> Self {
        Self {
            of: 2,
            in_: 3,
            rearm: 12,
        }
    }
}

impl Rule {
    /// For alarms that already are runs.
    const MERGED: Self = Self {
        of: 1,
        in_: 1,
        rearm: 12,
    };
}

/// Hours from the mark to the onset, and around the onset in which an episode detects it.
const MARK_TO_ONSET: usize = 6;
const BEFORE_MARK: usize = 6;
const AFTER_MARK: usize = 9;

/// The burden that certified lanes are held to.
const BURDEN: f64 = 0.25;

/// What a threshold aims at on training patients, so that others see less than the burden.
const AIM: f64 = 0.24;

/// Returns for each window whether the alarm is on.
pub(crate) fn runs(alerts: &[bool], rule: Rule) -> Vec<bool> {
    (0..alerts.len())
        .map(|end| {
            let start = (end + 1).saturating_sub(rule.in_);
            alerts
                .get(start..=end)
                .is_some_and(|last| last.iter().filter(|alert| **alert).count() >= rule.of)
        })
        .collect()
}

fn starts(on: &[bool], rule: Rule) -> Vec<usize> {
    let mut last: Option<usize> = None;
    let mut starts = Vec::new();
    for (row, _) in on.iter().enumerate().filter(|pair| *pair.1) {
        if last.is_none_or(|last| row - last > rule.rearm) {
            starts.push(row);
        }
        last = Some(row);
    }
    starts
}

/// Where sepsis is marked first; nothing without, or when the stay began too close to it.
fn mark(patient: &Patient) -> Option<usize> {
    let mark = patient.record.hours.iter().position(|hour| hour.event)?;
    (mark >= BEFORE_MARK).then_some(mark)
}

/// Returns the places of the patients with sepsis whose alarm is on around its onset.
pub(crate) fn active_patients(
    patients: &[Patient],
    on: impl Fn(&Patient) -> Vec<bool>,
) -> Vec<usize> {
    let active = |patient: &Patient| {
        let mark = mark(patient)?;
        on(patient)
            .get(mark - BEFORE_MARK..)
            .map(|rest| rest.iter().take(BEFORE_MARK + AFTER_MARK + 1).any(|on| *on))
    };
    let found = patients.iter().enumerate();
    found
        .filter(|(_, patient)| active(patient) == Some(true))
        .map(|found| found.0)
        .collect()
}

/// What one patient adds to a lane's counts.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    false_episodes: f64,
    days: f64,
    days_in_alarm: f64,
    onsets: f64,
    detected: f64,
    episodes: f64,
    episodes_at_onset: f64,
    lead: Option<f64>,
}

fn count(patient: &Patient, alerts: &[bool], rule: Rule) -> Counts {
    let on = runs(alerts, rule);
    let starts = starts(&on, rule);
    let days = |rows: usize| rows as f64 / 24.0;
    let on_until = |row: usize| days(on.iter().take(row).filter(|on| **on).count());
    let mut counts = Counts::default();
    let first = patient.record.hours.iter().position(|hour| hour.event);
    let Some(first) = first else {
        counts.false_episodes = starts.len() as f64;
        counts.episodes = counts.false_episodes;
        counts.days = days(on.len());
        counts.days_in_alarm = on_until(on.len());
        return counts;
    };
    let Some(mark) = mark(patient) else {
        return counts;
    };
    let from = mark - BEFORE_MARK;
    let at_onset: Vec<usize> = starts
        .iter()
        .copied()
        .filter(|start| (from..=mark + AFTER_MARK).contains(start))
        .collect();
    counts.false_episodes = starts.iter().filter(|start| **start < from).count() as f64;
    counts.days = days(from);
    counts.days_in_alarm = on_until(from);
    counts.onsets = 1.0;
    counts.detected = f64::from(u8::from(!at_onset.is_empty()));
    counts.episodes = starts
        .iter()
        .filter(|start| **start <= mark + AFTER_MARK)
        .count() as f64;
    counts.episodes_at_onset = at_onset.len() as f64;
    counts.lead = at_onset
        .first()
        .map(|start| (first + MARK_TO_ONSET) as f64 - *start as f64);
    counts
}

/// A lane's counts, one for each patient.
struct Lane(Vec<Counts>);

impl Lane {
    fn of(patients: &[Patient], alerts: impl Fn(&Patient) -> Vec<bool>) -> Self {
        Self(
            patients
                .iter()
                .map(|patient| count(patient, &alerts(patient), Rule::default()))
                .collect(),
        )
    }

    fn sum(&self, of: impl Fn(&Counts) -> f64) -> f64 {
        self.0.iter().map(of).sum()
    }

    fn false_a_day(&self) -> f64 {
        self.sum(|counts| counts.false_episodes) / self.sum(|counts| counts.days).max(1e-9)
    }

    fn sensitivity(&self) -> f64 {
        self.sum(|counts| counts.detected) / self.sum(|counts| counts.onsets).max(1.0)
    }

    fn line(&self, name: &str) -> String {
        let leads: Vec<f64> = self.0.iter().filter_map(|counts| counts.lead).collect();
        let interval = |of: &dyn Fn(&Self) -> f64| {
            let drawn = |drawn: &[usize]| {
                Some(of(&Self(
                    drawn
                        .iter()
                        .filter_map(|patient| self.0.get(*patient).copied())
                        .collect(),
                )))
            };
            bootstrap(self.0.len(), 200, 4, drawn).unwrap_or((0.0, 1.0))
        };
        let (false_low, false_high) = interval(&Self::false_a_day);
        let (low, high) = interval(&Self::sensitivity);
        format!(
            "{name:34} false a patient-day {:.3} [{false_low:.3}, {false_high:.3}]  new alarm at onset {:.3} [{low:.3}, {high:.3}]  PPV {:.3}  lead {:.0} h  time in alarm {:.3}",
            self.false_a_day(),
            self.sensitivity(),
            self.sum(|counts| counts.episodes_at_onset)
                / self.sum(|counts| counts.episodes).max(1.0),
            quantile(&leads, 0.5).unwrap_or(0.0),
            self.sum(|counts| counts.days_in_alarm) / self.sum(|counts| counts.days).max(1e-9),
        )
    }
}

/// Each patient's scores in a lane.
type Scores = Vec<Vec<f64>>;

/// Finds the threshold at which training patients see the burden.
fn threshold_at(patients: &[Patient], scores: &Scores, burden: f64) -> f64 {
    let all: Vec<f64> = scores.iter().flatten().copied().collect();
    let (mut low, mut high) = (
        quantile(&all, 0.5).unwrap_or(0.0),
        quantile(&all, 0.9995).unwrap_or(1.0),
    );
    for _ in 0..14 {
        let middle = low.midpoint(high);
        let counts = patients
            .iter()
            .zip(scores)
            .map(|(patient, scores)| count(patient, &above(scores, middle), Rule::default()));
        if Lane(counts.collect()).false_a_day() > burden {
            low = middle;
        } else {
            high = middle;
        }
    }
    high
}

fn above(scores: &[f64], threshold: f64) -> Vec<bool> {
    scores.iter().map(|score| *score > threshold).collect()
}

fn lane_at(patients: &[Patient], scores: &Scores, threshold: f64) -> Lane {
    Lane(
        patients
            .iter()
            .zip(scores)
            .map(|(patient, scores)| count(patient, &above(scores, threshold), Rule::default()))
            .collect(),
    )
}

pub(crate) fn measure(data: &Path) -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let study = Study::load(data)?;
    let judged = study.judged();
    lines.say("2 of 3 windows, armed again after 12 h; 95 % by resampling patients");
    let rules = |least: u8| {
        let alerts = |score: &Score| score.low >= least;
        Lane::of(judged, |patient| patient.news2.iter().map(alerts).collect())
    };
    let five = rules(5);
    lines.say(five.line("NEWS2 >= 5"));
    lines.say(rules(7).line("NEWS2 >= 7"));
    let measured = lanes(&study, &mut lines)?;
    groups(judged, &measured.anomaly, &mut lines);
    calibrated(judged, &measured, &mut lines);
    union(judged, &five, &measured, &mut lines);
    let ours = measured.anomaly.counts.false_a_day();
    let figure = Figure::new(
        "episodes",
        "false episodes a patient-day, certified anomaly",
        ours,
        five.false_a_day(),
        Target::AtMost(BURDEN),
    );
    Ok(figure.versus("of NEWS2 ≥ 5").with_lines(lines.into_vec()))
}

/// A lane with its scores and threshold, so that it can be joined with others.
struct Measured {
    counts: Lane,
    scores: Scores,
    threshold: f64,
}

/// The models' lanes.
struct Lanes {
    anomaly: Measured,
    parts: Measured,
    risk: Measured,
    change: Measured,
}

/// Judges each lane at the threshold at which training patients see the burden.
fn lanes(study: &Study, lines: &mut Lines) -> anyhow::Result<Lanes> {
    let anchor = study.anchor(Constancy::SHIPPED)?;
    let parts = gaussians(study)?;
    let curves = deterioration(study, false)?;
    let risen = change(study, true)?;
    let mut lane = |name: &str, score: &dyn Fn(&Patient) -> Vec<f64>| {
        let threshold = threshold_at(study.train(), &scores_of(study.train(), score), AIM);
        let scores = scores_of(study.judged(), score);
        let counts = lane_at(study.judged(), &scores, threshold);
        lines.say(format!("{}  threshold {threshold:.3}", counts.line(name)));
        Measured {
            counts,
            scores,
            threshold,
        }
    };
    let by_anchor = |patient: &Patient| -> Vec<f64> {
        let values = patient.values.iter();
        values.map(|values| anchor.score(values)).collect()
    };
    let by_parts = |patient: &Patient| -> Vec<f64> {
        let values = patient.values.iter().map(PartValues::of);
        values.map(|values| parts.median_score(&values)).collect()
    };
    let measured = Lanes {
        anomaly: lane("anomaly, certified", &by_anchor),
        parts: lane("201 Gaussians, certified", &by_parts),
        risk: lane("deterioration, advisory", &by_curves(&curves)),
        change: lane("change of risk, advisory", &by_curves(&risen)),
    };
    lane("alarms by chance", &by_chance);
    // How much of that is this split: both again on everybody whom neither has seen.
    let of_others = scores_of(study.others(), &by_anchor);
    let counts = lane_at(study.others(), &of_others, measured.anomaly.threshold);
    lines.say(counts.line("anomaly, all 16,336 not trained on"));
    let of_few = change(study, false)?;
    let by_few = by_curves(&of_few);
    let threshold = threshold_at(study.train(), &scores_of(study.train(), &by_few), AIM);
    let counts = lane_at(
        study.others(),
        &scores_of(study.others(), &by_few),
        threshold,
    );
    lines.say(counts.line("change on 4,000, all 16,336 others"));
    Ok(measured)
}

fn scores_of(patients: &[Patient], score: &dyn Fn(&Patient) -> Vec<f64>) -> Scores {
    patients.iter().map(score).collect()
}

fn by_curves(curves: &Additive) -> impl Fn(&Patient) -> Vec<f64> {
    |patient| {
        let windows = patient.record.windows();
        windows.iter().map(|hours| curves.score(hours)).collect()
    }
}

/// What a lane finds that knows nothing: the floor under every sensitivity here.
fn by_chance(patient: &Patient) -> Vec<f64> {
    let seed = patient.record.id.bytes().fold(5_u64, |seed, byte| {
        seed.wrapping_mul(31).wrapping_add(u64::from(byte))
    });
    let mut draws = Draws::new(seed);
    patient.values.iter().map(|_| draws.unit()).collect()
}

/// The certified lane by age and sex.
fn groups(judged: &[Patient], lane: &Measured, lines: &mut Lines) {
    let mut group = |name: &str, belongs: &dyn Fn(&HourlyPatient) -> bool| {
        let of = judged.iter().zip(&lane.counts.0);
        let of = of.filter(|pair| belongs(&pair.0.record));
        lines.say(Lane(of.map(|pair| *pair.1).collect()).line(name));
    };
    let aged = |record: &HourlyPatient, from: f64, to: f64| {
        record.age.is_some_and(|age| (from..to).contains(&age))
    };
    group("  under 50 years", &|record| aged(record, 0.0, 50.0));
    group("  50 to 69", &|record| aged(record, 50.0, 70.0));
    group("  70 and over", &|record| aged(record, 70.0, 200.0));
    group("  women", &|record| record.male == Some(false));
    group("  men", &|record| record.male == Some(true));
}

/// How far the lanes' scores are probabilities: on one half of the judged patients, as they stand and
/// recalibrated on the other half. Only the deterioration model's are logarithms of odds as they stand.
fn calibrated(judged: &[Patient], measured: &Lanes, lines: &mut Lines) {
    for (name, lane) in [
        ("anomaly", &measured.anomaly),
        ("201 Gaussians", &measured.parts),
        ("deterioration", &measured.risk),
    ] {
        let scored = judged.iter().zip(&lane.scores).map(|(patient, scores)| {
            let hours = patient.record.hours.iter();
            scores
                .iter()
                .copied()
                .zip(hours.map(|hour| hour.event))
                .collect()
        });
        let Some(told) = Calibration::of(&scored.collect::<Vec<_>>()) else {
            continue;
        };
        let words = |agreement: Agreement| {
            let Agreement { slope, intercept } = agreement;
            format!("slope {slope:.2}, intercept {intercept:+.2}")
        };
        let home = match name {
            "deterioration" => format!("as it stands {}; ", words(told.home)),
            _ => String::new(),
        };
        let after = words(told.after);
        lines.say(format!(
            "  {name} as a probability: {home}recalibrated {after}"
        ));
    }
}

/// Rules, anomaly and change together: each calls for itself, or all are one alarm.
fn union(judged: &[Patient], rules: &Lane, measured: &Lanes, lines: &mut Lines) {
    let (anomaly, events) = (&measured.anomaly, &measured.change);
    let (mut merged, mut apart) = (Vec::new(), Vec::new());
    for (index, patient) in judged.iter().enumerate() {
        let five: Vec<bool> = patient.news2.iter().map(|score| score.low >= 5).collect();
        let mut on = runs(&five, Rule::default());
        for lane in [anomaly, events] {
            let scores = lane.scores.get(index).map_or(&[][..], Vec::as_slice);
            let other = runs(&above(scores, lane.threshold), Rule::default());
            for (on, other) in on.iter_mut().zip(other) {
                *on |= other;
            }
        }
        merged.push(count(patient, &on, Rule::MERGED));
        let of = |lane: &Lane| lane.0.get(index).copied().unwrap_or_default();
        apart.push(together([
            of(rules),
            of(&anomaly.counts),
            of(&events.counts),
        ]));
    }
    lines.say(Lane(merged).line("all three merged into one alarm"));
    lines.say(Lane(apart).line("all three, lanes apart"));
}

/// One patient's counts when each lane calls for itself.
fn together(lanes: [Counts; 3]) -> Counts {
    let sum = |of: &dyn Fn(&Counts) -> f64| lanes.iter().map(of).sum::<f64>();
    let most = |of: &dyn Fn(&Counts) -> f64| lanes.iter().map(of).fold(0.0, f64::max);
    Counts {
        false_episodes: sum(&|counts| counts.false_episodes),
        days: most(&|counts| counts.days),
        days_in_alarm: most(&|counts| counts.days_in_alarm),
        onsets: most(&|counts| counts.onsets),
        detected: most(&|counts| counts.detected),
        episodes: sum(&|counts| counts.episodes),
        episodes_at_onset: sum(&|counts| counts.episodes_at_onset),
        lead: lanes
            .iter()
            .filter_map(|counts| counts.lead)
            .reduce(f64::max),
    }
}
