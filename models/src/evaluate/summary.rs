//! From judged windows to the numbers that a report shows and a gate compares.

use super::{Burden, HELD, Hysteresis, Judged, QUARTERS, Row};
use crate::{
    calibration::Calibration,
    features::Hold,
    measure::{auroc, average_precision, bootstrap, quantile, share, stratified_auroc},
    rules::news2::Severity,
};

/// Hours of stay beyond this are one stratum.
const LAST_STRATUM: u32 = 120;
const ROUNDS: usize = 100;

/// Radii that are told.
const RADII: [u32; 7] = [1, 5, 10, 25, 50, 100, 200];

/// Whom a number is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// Everybody.
    All,
    /// Under 50 years.
    Under50,
    /// From 50 to 69.
    From50,
    /// From 70 on.
    From70,
    /// Women.
    Female,
    /// Men.
    Male,
}

impl Group {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::All,
        Self::Under50,
        Self::From50,
        Self::From70,
        Self::Female,
        Self::Male,
    ];

    /// Returns what it is called.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Under50 => "under 50 years",
            Self::From50 => "50 to 69 years",
            Self::From70 => "70 years and over",
            Self::Female => "women",
            Self::Male => "men",
        }
    }

    fn holds(self, judged: &Judged) -> bool {
        let age = judged.about.age;
        match self {
            Self::All => true,
            Self::Under50 => age.is_some_and(|age| age < 50),
            Self::From50 => age.is_some_and(|age| (50..70).contains(&age)),
            Self::From70 => age.is_some_and(|age| age >= 70),
            Self::Female => judged.about.male == Some(false),
            Self::Male => judged.about.male == Some(true),
        }
    }
}

/// The numbers of one group.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupRow {
    /// Which.
    pub group: Group,
    /// How many patients.
    pub patients: usize,
    /// How many of them had the event.
    pub with_event: usize,
    /// How many windows.
    pub windows: usize,
    /// How often an event's window scores above another.
    pub auroc: f64,
    /// The same within each hour of stay.
    pub stratified: f64,
    /// Share of the event's windows that alert.
    pub sensitivity: f64,
    /// Share of other windows that alert.
    pub false_share: f64,
    /// What alerting costs.
    pub burden: Burden,
}

/// How many decisions survive so many poisoned patients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Certified {
    /// So many.
    pub patients: u32,
    /// Share of alerts.
    pub alerts: f64,
    /// Share of all decisions.
    pub decisions: f64,
}

/// How many alerts nobody can silence.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kept {
    /// With readings so false, in quarters of the sensor's error.
    pub quarters: u16,
    /// For each of [`HELD`].
    pub shares: [f64; HELD.len()],
}

/// One lane of alarms.
#[derive(Clone, Debug, PartialEq)]
pub struct LaneRow {
    /// What it is.
    pub name: &'static str,
    /// What it costs and finds.
    pub burden: Burden,
}

/// Everything about one model on one set.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// All and each group with patients.
    pub groups: Vec<GroupRow>,
    /// The middle 95 % of the area over resampled patients.
    pub interval: (f64, f64),
    /// The rules' area on the same windows; zero without rules.
    pub rules_auroc: f64,
    /// How precise alerts would be, averaged over thresholds.
    pub average_precision: f64,
    /// Share of windows with the event.
    pub prevalence: f64,
    /// False share and sensitivity at rising thresholds.
    pub roc: Vec<(f64, f64)>,
    /// Sensitivity and precision.
    pub precision_recall: Vec<(f64, f64)>,
    /// Probabilities.
    pub calibration: Calibration,
    /// By number of poisoned patients.
    pub certified: Vec<Certified>,
    /// By how false readings are.
    pub kept: Vec<Kept>,
    /// Lanes apart and merged.
    pub lanes: Vec<LaneRow>,
}

impl Evaluation {
    /// Summarises what a model said.
    #[must_use]
    pub fn of(judged: &[Judged]) -> Self {
        let scored = scored(judged);
        let all_rows = || judged.iter().flat_map(|judged| &judged.rows);
        let rules: Vec<(f64, bool)> = all_rows()
            .filter_map(|row| Some((f64::from(row.rules?.low), row.event)))
            .collect();
        let groups = Group::ALL.into_iter().map(|group| group_row(group, judged));
        let interval = bootstrap(judged.len(), ROUNDS, 1, |drawn| {
            let drawn = drawn.iter().filter_map(|index| judged.get(*index));
            let rows = drawn.flat_map(|judged| &judged.rows);
            auroc(&rows.map(|row| (row.score, row.event)).collect::<Vec<_>>())
        });
        let (roc, precision_recall) = curves(&scored);
        Self {
            groups: groups.filter(|row| row.patients > 0).collect(),
            interval: interval.unwrap_or((0.0, 1.0)),
            rules_auroc: auroc(&rules).unwrap_or(0.0),
            average_precision: average_precision(&scored).unwrap_or(0.0),
            prevalence: share(scored.iter().filter(|row| row.1).count(), scored.len()),
            roc,
            precision_recall,
            calibration: calibration(judged).unwrap_or_default(),
            certified: RADII
                .into_iter()
                .map(|radius| certified(judged, radius))
                .collect(),
            kept: (0..QUARTERS.len())
                .map(|index| kept(judged, index))
                .collect(),
            lanes: lanes(judged),
        }
    }

    /// Returns the numbers of everybody.
    #[must_use]
    pub fn all(&self) -> Option<&GroupRow> {
        self.groups.first()
    }

    /// Returns the share of alerts certified against so many poisoned patients.
    #[must_use]
    pub fn certified_at(&self, patients: u32) -> f64 {
        let found = self.certified.iter().find(|row| row.patients == patients);
        found.map_or(0.0, |row| row.alerts)
    }

    /// Returns the share of alerts that nobody silences.
    #[must_use]
    pub fn kept_at(&self, quarters: u16, hold: Hold) -> f64 {
        let row = self.kept.iter().find(|row| row.quarters == quarters);
        let place = HELD.iter().position(|held| *held == hold);
        row.zip(place)
            .and_then(|(row, place)| row.shares.get(place))
            .copied()
            .unwrap_or(0.0)
    }
}

fn scored(judged: &[Judged]) -> Vec<(f64, bool)> {
    let rows = judged.iter().flat_map(|judged| &judged.rows);
    rows.map(|row| (row.score, row.event)).collect()
}

fn group_row(group: Group, judged: &[Judged]) -> GroupRow {
    let members: Vec<&Judged> = judged.iter().filter(|judged| group.holds(judged)).collect();
    let rows = || members.iter().flat_map(|judged| &judged.rows);
    let scored: Vec<(f64, bool)> = rows().map(|row| (row.score, row.event)).collect();
    let strata: Vec<_> = rows()
        .map(|row| (row.score, row.event, row.hour.min(LAST_STRATUM)))
        .collect();
    let alerting = |event: bool| {
        let of_kind = rows().filter(|row| row.event == event);
        share(
            of_kind.clone().filter(|row| row.alert).count(),
            of_kind.count(),
        )
    };
    let mut burden = Burden::default();
    for judged in &members {
        burden.add(&[alerts(judged)], &events(judged), Hysteresis::default());
    }
    GroupRow {
        group,
        patients: members.len(),
        with_event: members
            .iter()
            .filter(|judged| judged.rows.iter().any(|row| row.event))
            .count(),
        windows: scored.len(),
        auroc: auroc(&scored).unwrap_or(0.5),
        stratified: stratified_auroc(&strata).unwrap_or(0.5),
        sensitivity: alerting(true),
        false_share: alerting(false),
        burden,
    }
}

fn alerts(judged: &Judged) -> Vec<bool> {
    judged.rows.iter().map(|row| row.alert).collect()
}

fn events(judged: &Judged) -> Vec<bool> {
    judged.rows.iter().map(|row| row.event).collect()
}

fn rules_from(judged: &Judged, least: Severity) -> Vec<bool> {
    let fires = |row: &Row| row.rules.is_some_and(|score| score.at_least >= least);
    judged.rows.iter().map(fires).collect()
}

fn lanes(judged: &[Judged]) -> Vec<LaneRow> {
    let either = |a: Vec<bool>, b: Vec<bool>| -> Vec<bool> {
        a.into_iter().zip(b).map(|(a, b)| a || b).collect()
    };
    type Judges = fn(&Judged, &dyn Fn(Vec<bool>, Vec<bool>) -> Vec<bool>) -> Vec<Vec<bool>>;
    let lanes: [(&'static str, Judges); 5] = [
        ("the model", |judged, _| vec![alerts(judged)]),
        ("NEWS2, 5 or more", |judged, _| {
            vec![rules_from(judged, Severity::Medium)]
        }),
        ("NEWS2, 7 or more", |judged, _| {
            vec![rules_from(judged, Severity::High)]
        }),
        ("model and NEWS2 ≥ 5 merged", |judged, either| {
            vec![either(alerts(judged), rules_from(judged, Severity::Medium))]
        }),
        (
            "model and NEWS2 ≥ 5 in lanes of their own",
            |judged, _| vec![alerts(judged), rules_from(judged, Severity::Medium)],
        ),
    ];
    let row = |(name, judges): (&'static str, Judges)| {
        let mut burden = Burden::default();
        for judged in judged {
            burden.add(
                &judges(judged, &either),
                &events(judged),
                Hysteresis::default(),
            );
        }
        LaneRow { name, burden }
    };
    lanes.into_iter().map(row).collect()
}

fn certified(judged: &[Judged], patients: u32) -> Certified {
    let rows = || judged.iter().flat_map(|judged| &judged.rows);
    let surviving = |row: &&Row| row.radius.covers(patients);
    let alerts = || rows().filter(|row| row.alert);
    Certified {
        patients,
        alerts: share(alerts().filter(surviving).count(), alerts().count()),
        decisions: share(rows().filter(surviving).count(), rows().count()),
    }
}

fn kept(judged: &[Judged], index: usize) -> Kept {
    let rows = || judged.iter().flat_map(|judged| &judged.rows);
    let alerts = rows().filter(|row| row.alert).count();
    let mut shares = [0.0; HELD.len()];
    for (place, slot) in shares.iter_mut().enumerate() {
        let kept = |row: &&Row| row.kept.get(index).and_then(|row| row.get(place)) == Some(&true);
        *slot = share(rows().filter(kept).count(), alerts);
    }
    Kept {
        quarters: QUARTERS.get(index).copied().unwrap_or(0),
        shares,
    }
}

/// Points of a curve.
type Points = Vec<(f64, f64)>;

/// The two curves, thinned to what a plot can show.
fn curves(scored: &[(f64, bool)]) -> (Points, Points) {
    let mut sorted = scored.to_vec();
    sorted.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
    let events = sorted.iter().filter(|row| row.1).count();
    let others = sorted.len() - events;
    let (mut roc, mut precision_recall) = (vec![(0.0, 0.0)], Vec::new());
    let (mut hits, mut misses) = (0, 0);
    let every = (sorted.len() / 200).max(1);
    let mut next = every;
    for tied in sorted.chunk_by(|a, b| a.0.total_cmp(&b.0).is_eq()) {
        hits += tied.iter().filter(|row| row.1).count();
        misses += tied.iter().filter(|row| !row.1).count();
        if hits + misses >= next || hits + misses == sorted.len() {
            next = hits + misses + every;
            roc.push((share(misses, others), share(hits, events)));
            precision_recall.push((share(hits, events), share(hits, hits + misses)));
        }
    }
    (roc, precision_recall)
}

/// How far scores are probabilities.
fn calibration(judged: &[Judged]) -> Option<Calibration> {
    let rows = |judged: &Judged| {
        judged
            .rows
            .iter()
            .map(|row| (row.score, row.event))
            .collect()
    };
    Calibration::of(&judged.iter().map(rows).collect::<Vec<_>>())
}

/// Returns the score above which `share` of the windows without the event lie.
#[must_use]
pub fn threshold_for(judged: &[Judged], false_share: f64) -> Option<f64> {
    let rows = judged.iter().flat_map(|judged| &judged.rows);
    let quiet: Vec<f64> = rows.filter(|row| !row.event).map(|row| row.score).collect();
    quantile(&quiet, 1.0 - false_share)
}
