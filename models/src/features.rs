//! What a model sees of a patient: the last twelve hours of each vital and the last 128 beats.
//!
//! Training and serving use this one module. Invariants:
//! - Sums are integers, so the order in which readings of one hour arrive changes nothing; only what
//!   is older than the window is lost, and the caller is told.
//! - Every feature that carries a certificate (means, least, most, last) is monotone in each reading,
//!   exactly, with the rounding that is really done: hour means are floors of integer quotients.
//! - No feature knows how long the patient has been watched or how often something was measured.
//! - The whole state takes at most [`Window::MOST_BYTES`].

mod beats;
mod state;
mod view;

pub use beats::{BEATS, Beats, LEAST_BEATS, RhythmFeatures};
pub(crate) use view::VitalHours;
pub use view::{Hold, Hours, VitalFeatures};

use pulseward_base::Micros;
use pulseward_vitals::Kind;

/// The vitals that models read, in the order of every table here.
pub const VITALS: [Kind; 7] = [
    Kind::HeartRate,
    Kind::SpO2,
    Kind::RespiratoryRate,
    Kind::Temperature,
    Kind::SystolicPressure,
    Kind::MeanPressure,
    Kind::DiastolicPressure,
];

/// How many hours a window has, the current one included.
pub const HOURS: usize = 12;

/// How many hours the last value of a vital stands in for newer ones; after that it is missing.
pub const CARRIED_HOURS: i64 = 24;

/// Hour means count this many parts of a step.
pub const PARTS: i64 = 256;

/// The baseline moves by one part in this many towards each hour that leaves it behind.
const BASELINE_INERTIA: i64 = 20;

const MICROS_PER_HOUR: i64 = 3_600_000_000;

/// Returns the place of `kind` in [`VITALS`].
#[must_use]
pub fn vital(kind: Kind) -> Option<usize> {
    VITALS.iter().position(|known| *known == kind)
}

/// Returns the hour since the epoch that `time` lies in.
#[must_use]
pub const fn hour_of(time: Micros) -> i64 {
    time.0.div_euclid(MICROS_PER_HOUR)
}

/// What became of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Taken {
    /// It counts.
    Yes,
    /// It is older than the window, or, for a beat, than the newest one.
    TooOld,
    /// No sensor in order on a living patient shows it; a guard must speak up.
    Implausible,
    /// No model reads this kind.
    OtherKind,
}

/// A patient's readings, as far as models need them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// The newest hour, since the epoch.
    hour: i64,
    lanes: [Lane; VITALS.len()],
    beats: Beats,
}

/// One vital: a ring of hours, and what remains of those before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lane {
    hours: [Bucket; HOURS],
    /// The mean of the newest measured hour that has left the ring, and which hour that was.
    carried: Option<(i64, i64)>,
    /// A slow average of the hours that have left the ring.
    baseline: Option<i64>,
}

/// The readings of one hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bucket {
    sum: i64,
    count: u32,
}

impl Bucket {
    /// Returns the mean in [`PARTS`] of a step, rounded down.
    fn mean(self) -> Option<i64> {
        (self.count > 0).then(|| (self.sum * PARTS).div_euclid(i64::from(self.count)))
    }
}

impl Window {
    /// The most bytes [`Window::encode`] gives.
    pub const MOST_BYTES: usize = 8192;

    /// Returns an empty window whose newest hour holds `now`.
    #[must_use]
    pub fn new(now: Micros) -> Self {
        Self {
            hour: hour_of(now),
            lanes: [Lane::default(); VITALS.len()],
            beats: Beats::default(),
        }
    }

    /// Takes one reading, in steps of its kind. A reading moves the window on to its own hour, so the
    /// caller must not hand in times beyond its own.
    pub fn push(&mut self, kind: Kind, time: Micros, value: i32) -> Taken {
        if !kind.is_plausible(value) {
            return Taken::Implausible;
        }
        if kind == Kind::BeatInterval {
            return self.beats.push(time, value);
        }
        let Some(vital) = vital(kind) else {
            return Taken::OtherKind;
        };
        let hour = hour_of(time);
        self.advance(time);
        if hour <= self.hour - HOURS as i64 {
            return Taken::TooOld;
        }
        let bucket = self
            .lanes
            .get_mut(vital)
            .and_then(|lane| lane.hours.get_mut(place(hour)));
        if let Some(bucket) = bucket {
            // A plausible value fits 16 bits, so a full count is far from overflowing the sum.
            if bucket.count < u32::MAX {
                bucket.sum += i64::from(value);
                bucket.count += 1;
            }
        }
        Taken::Yes
    }

    /// Moves the window on so that its newest hour holds `now`. It never moves back.
    pub fn advance(&mut self, now: Micros) {
        let to = hour_of(now);
        if to <= self.hour {
            return;
        }
        let from = self.hour;
        for lane in &mut self.lanes {
            lane.leave_behind(from, to);
        }
        self.hour = to;
    }

    /// Returns the beats.
    #[must_use]
    pub const fn beats(&self) -> &Beats {
        &self.beats
    }

    /// Returns the hours as models read them.
    #[must_use]
    pub fn hours(&self) -> Hours {
        Hours::of(self.hour, &self.lanes)
    }
}

/// The place of an hour in the ring.
const fn place(hour: i64) -> usize {
    // A remainder by HOURS is small and not negative.
    hour.rem_euclid(HOURS as i64) as usize
}

impl Lane {
    /// Empties the buckets of the hours that leave the ring, oldest first.
    fn leave_behind(&mut self, newest: i64, to: i64) {
        let oldest = newest - (HOURS as i64 - 1);
        let last_to_leave = (to - HOURS as i64).min(newest);
        for hour in oldest..=last_to_leave {
            let bucket = self.hours.get_mut(place(hour)).map(std::mem::take);
            if let Some(mean) = bucket.and_then(Bucket::mean) {
                self.carried = Some((hour, mean));
                self.baseline = Some(drift(self.baseline, mean));
            }
        }
    }
}

/// Moves a baseline towards the mean of one more hour.
const fn drift(baseline: Option<i64>, mean: i64) -> i64 {
    match baseline {
        None => mean,
        Some(baseline) => baseline + (mean - baseline).div_euclid(BASELINE_INERTIA),
    }
}

#[cfg(test)]
mod tests;
