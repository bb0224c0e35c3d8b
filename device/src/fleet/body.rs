//! A simulated body: the vitals of one patient over time, the same for the same seed.
//!
//! Each vital wanders around the patient's own level as a sensor shows it; a script may pull all of
//! them the way an infection does. These are plausible series to run a pipeline with, not medicine.

use std::time::Duration;

use pulseward_base::Micros;
use pulseward_vitals::{Kind, Leaf, Row};

use crate::dice::Dice;

/// What happens to a patient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Nothing.
    Stable,
    /// Falls ill at `onset` and is as ill as it gets after `ramp`.
    Deteriorates {
        /// When it begins, from the start.
        onset: Duration,
        /// How long it takes.
        ramp: Duration,
    },
    /// The device sends nothing from then on.
    FallsSilent {
        /// When it begins, from the start.
        after: Duration,
    },
}

impl Script {
    /// Returns whether the device still sends at `at`.
    #[must_use]
    pub fn sends(self, at: Duration) -> bool {
        match self {
            Self::FallsSilent { after } => at < after,
            Self::Stable | Self::Deteriorates { .. } => true,
        }
    }

    /// Returns how ill the patient is at `at`, from 0 to 1.
    fn illness(self, at: Duration) -> f64 {
        match self {
            Self::Deteriorates { onset, ramp } => {
                let into = at.saturating_sub(onset).as_secs_f64();
                (into / ramp.as_secs_f64().max(0.001)).min(1.0)
            }
            Self::Stable | Self::FallsSilent { .. } => 0.0,
        }
    }
}

/// How one vital behaves: the level's spread over patients, its wander, what illness adds.
struct Course {
    kind: Kind,
    low: f64,
    high: f64,
    wander: f64,
    illness: f64,
    /// Readings in one batch: the fast ones have several.
    is_fast: bool,
}

/// In the order of the kinds' numbers, as a batch has its leaves.
const COURSES: &[Course] = &[
    course(Kind::HeartRate, (62.0, 84.0), 1.5, 58.0, true),
    course(Kind::SpO2, (96.4, 98.6), 0.3, -8.5, true),
    course(Kind::RespiratoryRate, (13.0, 17.5), 0.5, 14.0, true),
    course(Kind::Temperature, (36.5, 37.1), 0.04, 2.4, false),
    course(Kind::SystolicPressure, (114.0, 134.0), 1.5, -34.0, false),
    course(Kind::DiastolicPressure, (68.0, 82.0), 1.2, -20.0, false),
];

const fn course(kind: Kind, level: (f64, f64), wander: f64, illness: f64, is_fast: bool) -> Course {
    let (low, high) = level;
    Course {
        kind,
        low,
        high,
        wander,
        illness,
        is_fast,
    }
}

/// How much of its wander a vital keeps from one reading to the next.
const MEMORY: f64 = 0.9;
/// From how ill on a patient is confused.
const CONFUSED: f64 = 0.8;

/// One vital of one patient.
#[derive(Clone, Debug)]
struct Vital {
    level: f64,
    wander: f64,
}

/// One patient's body.
#[derive(Clone, Debug)]
pub struct Body {
    script: Script,
    dice: Dice,
    vitals: Vec<Vital>,
}

impl Body {
    /// Returns the body of `seed` with `script`.
    #[must_use]
    pub fn new(seed: u64, script: Script) -> Self {
        let mut dice = Dice::new(seed);
        let vital = |course: &Course| Vital {
            level: dice.between(course.low, course.high),
            wander: 0.0,
        };
        let vitals = COURSES.iter().map(vital).collect();
        Self {
            script,
            dice,
            vitals,
        }
    }

    /// Returns what happens to the patient.
    #[must_use]
    pub const fn script(&self) -> Script {
        self.script
    }

    /// Returns the leaves of the readings that sensors take in the `step` up to `now`, which is `at`
    /// after the start: `samples` of the fast vitals and one of each other.
    pub fn read(&mut self, at: Duration, now: Micros, step: Duration, samples: u16) -> Vec<Leaf> {
        let illness = self.script.illness(at);
        let dice = &mut self.dice;
        let mut leaves: Vec<Leaf> = COURSES
            .iter()
            .zip(&mut self.vitals)
            .map(|(course, vital)| {
                let count = if course.is_fast { samples.max(1) } else { 1 };
                let value = |_| vital.step(course, illness, dice);
                leaf(course.kind, now, step, (0..count).map(value).collect())
            })
            .collect();
        let confused = i32::from(illness > CONFUSED);
        leaves.push(leaf(Kind::Consciousness, now, step, vec![confused]));
        leaves.push(leaf(Kind::SupplementalOxygen, now, step, vec![0]));
        leaves
    }
}

impl Vital {
    fn step(&mut self, course: &Course, illness: f64, dice: &mut Dice) -> i32 {
        let push = (1.0 - MEMORY * MEMORY).sqrt() * course.wander * dice.bell();
        self.wander = self.wander * MEMORY + push;
        let value = self.level + self.wander + course.illness * illness;
        let spec = course.kind.spec();
        let steps = course.kind.steps(value).unwrap_or(spec.lowest);
        steps.clamp(spec.lowest, spec.highest)
    }
}

/// Spreads `values` evenly over the `step` that ends at `now`.
fn leaf(kind: Kind, now: Micros, step: Duration, values: Vec<i32>) -> Leaf {
    let count = i64::try_from(values.len()).unwrap_or(i64::MAX);
    let gap = (i64::try_from(step.as_micros()).unwrap_or(i64::MAX) / count.max(1)).max(1);
    let row = |(value, index): (i32, i64)| Row {
        time: Micros(now.0 - gap * (count - 1 - index)),
        value,
        quality: 0,
    };
    Leaf {
        kind,
        channel: 0,
        rows: values.into_iter().zip(0..).map(row).collect(),
    }
}

#[cfg(test)]
mod tests {
    use pulseward_vitals::Columns;

    use super::*;

    const STEP: Duration = Duration::from_secs(1);

    fn series(seed: u64, script: Script, seconds: u64) -> Vec<Columns> {
        let mut body = Body::new(seed, script);
        (0..seconds)
            .map(|second| {
                let at = Duration::from_secs(second);
                let now = Micros(1_000_000_000).plus(at);
                Columns::new(body.read(at, now, STEP, 4)).unwrap()
            })
            .collect()
    }

    fn last(columns: &Columns, kind: Kind) -> f64 {
        let leaf = columns.leaves().iter().find(|leaf| leaf.kind == kind);
        kind.to_unit(leaf.unwrap().rows.last().unwrap().value)
    }

    #[test]
    fn a_seed_gives_one_body_and_every_reading_is_plausible() {
        assert_eq!(series(3, Script::Stable, 50), series(3, Script::Stable, 50));
        assert_ne!(series(3, Script::Stable, 50), series(4, Script::Stable, 50));
        for columns in series(5, Script::Stable, 500) {
            for leaf in columns.leaves() {
                assert!(
                    leaf.rows
                        .iter()
                        .all(|row| leaf.kind.is_plausible(row.value))
                );
            }
        }
    }

    #[test]
    fn rows_ascend_over_batches_too() {
        let mut newest = Micros(0);
        for columns in series(3, Script::Stable, 20) {
            let rows = &columns.leaves()[0].rows;
            assert!(rows.iter().all(|row| row.time > newest));
            newest = rows.last().unwrap().time;
        }
    }

    #[test]
    fn every_stable_patient_stays_well_and_every_deteriorating_one_falls_ill() {
        let falls = Script::Deteriorates {
            onset: Duration::from_secs(3),
            ramp: Duration::from_secs(8),
        };
        for seed in 0..40 {
            let well = series(seed, Script::Stable, 60);
            assert!(
                well.iter()
                    .all(|columns| last(columns, Kind::HeartRate) < 91.0)
            );
            assert!(well.iter().all(|columns| last(columns, Kind::SpO2) >= 95.0));
            let ill = series(seed, falls, 15).pop().unwrap();
            // Three points each for breathing and oxygen, two or more for the pulse: seven.
            assert!(last(&ill, Kind::RespiratoryRate) >= 25.0, "{seed}");
            assert!(last(&ill, Kind::SpO2) <= 91.0, "{seed}");
            assert!(last(&ill, Kind::HeartRate) > 110.0, "{seed}");
        }
    }

    #[test]
    fn a_silent_device_sends_until_its_time() {
        let script = Script::FallsSilent {
            after: Duration::from_secs(5),
        };
        assert!(script.sends(Duration::from_secs(4)));
        assert!(!script.sends(Duration::from_secs(5)));
        assert!(Script::Stable.sends(Duration::MAX));
    }
}
