//! The hours of a window as models read them, and as they would be with held sensors.

use super::{CARRIED_HOURS, HOURS, Lane, PARTS, VITALS, drift, place};

/// How long an attacker holds the sensors, up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hold {
    /// So many of the newest hours, at most [`HOURS`]; the readings of the hours before are true.
    Hours(u8),
    /// Every reading there ever was.
    WholeStay,
}

impl Hold {
    /// All of them, rising; the first holds nothing.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=HOURS as u8).map(Self::Hours).chain([Self::WholeStay])
    }

    /// Returns whether a reading so many hours old is held; one before the window is so only in
    /// the whole stay.
    const fn covers(self, age: usize) -> bool {
        match self {
            Self::Hours(hours) => age < hours as usize,
            Self::WholeStay => true,
        }
    }
}

/// The hours of every vital, newest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    vitals: [VitalHours; VITALS.len()],
}

/// The hours of one vital, in [`PARTS`] of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct VitalHours {
    /// The mean of each measured hour, newest first.
    measured: [Option<i64>; HOURS],
    /// The last mean from before the window, if it still stands in.
    before: Option<i64>,
    /// The baseline of the hours before the window.
    baseline: Option<i64>,
}

/// Sums over hours of one vital, each standing for itself or for the one before.
#[derive(Clone, Copy, Debug, Default)]
struct Filled {
    /// The six newest.
    newest_six: Sum,
    /// The six before the newest.
    six_before: Sum,
    /// The whole window.
    all: Sum,
}

/// A sum of known hours.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    sum: i64,
    count: i64,
}

impl Sum {
    const fn add(&mut self, value: i64, known: i64) {
        self.sum += value;
        self.count += known;
    }

    /// Returns the mean, in steps.
    fn mean(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum as f64 / (self.count * PARTS) as f64)
    }
}

/// What one vital is described by, in steps of its kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VitalFeatures {
    /// The newest measured hour.
    pub last: f64,
    /// The mean of the last six hours, each standing for itself or for the one before.
    pub mean_6h: f64,
    /// The same over twelve hours.
    pub mean_12h: f64,
    /// The standard deviation of the measured hours of the last twelve; none with fewer than two.
    pub deviation_12h: Option<f64>,
    /// The least measured hour of the last twelve, or the one that stands in.
    pub least_12h: f64,
    /// The most.
    pub most_12h: f64,
    /// The last hour less the mean of the six before; zero without those.
    pub rise_6h: f64,
    /// The last hour less the slow baseline of all before; zero without one.
    pub above_baseline: f64,
}

impl Hours {
    pub(super) fn of(newest: i64, lanes: &[Lane; VITALS.len()]) -> Self {
        Self {
            vitals: lanes.each_ref().map(|lane| VitalHours::of(newest, lane)),
        }
    }

    /// Returns what describes the vital at `index` of [`VITALS`], if it is known at all.
    #[must_use]
    pub fn features(&self, index: usize) -> Option<VitalFeatures> {
        self.vital(index)?.features()
    }

    /// Returns the hours as they would read if each held reading of the vital at `index` were moved
    /// by `parts` of a step.
    #[must_use]
    pub fn held(&self, index: usize, hold: Hold, parts: i64) -> Self {
        let mut moved = self.clone();
        if let Some(vital) = moved.vitals.get_mut(index) {
            *vital = vital.held(hold, parts);
        }
        moved
    }

    /// Returns the newest measured hour of the vital at `index`, in whole steps, rounded down.
    #[must_use]
    pub fn last(&self, index: usize) -> Option<i64> {
        Some(self.vital(index)?.last()?.div_euclid(PARTS))
    }

    /// Returns whether the vital at `index` was measured within the window.
    #[must_use]
    pub fn is_fresh(&self, index: usize) -> bool {
        self.vital(index)
            .is_some_and(|vital| vital.measured.iter().any(Option::is_some))
    }

    pub(crate) const fn vitals(&self) -> &[VitalHours; VITALS.len()] {
        &self.vitals
    }

    pub(crate) fn vital(&self, index: usize) -> Option<&VitalHours> {
        self.vitals.get(index)
    }
}

impl VitalHours {
    fn of(newest: i64, lane: &Lane) -> Self {
        let mut measured = [None; HOURS];
        for (hour, slot) in (newest - (HOURS as i64 - 1)..=newest)
            .rev()
            .zip(&mut measured)
        {
            *slot = lane.hours.get(place(hour)).and_then(|bucket| bucket.mean());
        }
        let before = lane
            .carried
            .and_then(|(hour, mean)| (newest - hour < CARRIED_HOURS).then_some(mean));
        Self {
            measured,
            before,
            baseline: lane.baseline,
        }
    }

    /// Returns the same hours with the held ones moved. A mean moves by exactly as much as each of
    /// its readings, so this is what an attacker reaches, not only a bound.
    pub(crate) fn held(&self, hold: Hold, parts: i64) -> Self {
        let mut moved = *self;
        for (age, slot) in moved.measured.iter_mut().enumerate() {
            if hold.covers(age) {
                *slot = slot.map(|mean| mean + parts);
            }
        }
        if hold == Hold::WholeStay {
            moved.before = moved.before.map(|mean| mean + parts);
            moved.baseline = moved.baseline.map(|mean| mean + parts);
        }
        moved
    }

    /// Returns the sums over the window's hours; one that was not measured counts as the one before
    /// it, and the oldest ones without any are left out. Without branches, as in [`Self::least`].
    fn filled(&self) -> Filled {
        let (mut value, mut known) = (self.before.unwrap_or(0), i64::from(self.before.is_some()));
        let mut filled = Filled::default();
        for (age, measured) in self.measured.iter().enumerate().rev() {
            value = measured.unwrap_or(value);
            known |= i64::from(measured.is_some());
            // Before the first known hour the value is zero, so the sums need no mask.
            filled.all.add(value, known);
            if age < 6 {
                filled.newest_six.add(value, known);
            }
            if (1..7).contains(&age) {
                filled.six_before.add(value, known);
            }
        }
        filled
    }

    /// Returns each of the newest `hours` hours, oldest first; one that was not measured counts as the one
    /// before it, and the oldest ones without any are left out.
    pub(crate) fn each_filled(&self, hours: usize) -> impl Iterator<Item = i64> {
        let mut value = self.before;
        let ages = self.measured.iter().enumerate().rev();
        ages.filter_map(move |(age, measured)| {
            value = measured.or(value);
            value.filter(|_| age < hours)
        })
    }

    pub(crate) fn last(&self) -> Option<i64> {
        self.measured
            .iter()
            .copied()
            .flatten()
            .next()
            .or(self.before)
    }

    /// Returns the least measured hour of the newest `hours`, or the one that stands in for them.
    /// Without branches: which hours were measured is as good as random.
    pub(crate) fn least(&self, hours: usize) -> Option<i64> {
        let known = |mean: &Option<i64>| mean.unwrap_or(i64::MAX);
        let newest = self.measured.iter().take(hours).map(known);
        let least = newest.fold(i64::MAX, i64::min);
        if least == i64::MAX {
            self.last()
        } else {
            Some(least)
        }
    }

    /// Returns the most measured hour, likewise.
    pub(crate) fn most(&self, hours: usize) -> Option<i64> {
        let known = |mean: &Option<i64>| mean.unwrap_or(i64::MIN);
        let newest = self.measured.iter().take(hours).map(known);
        let most = newest.fold(i64::MIN, i64::max);
        if most == i64::MIN {
            self.last()
        } else {
            Some(most)
        }
    }

    /// Returns the mean of the filled hours, rounded down.
    pub(crate) fn mean(&self) -> Option<i64> {
        let (mut value, mut known) = (self.before.unwrap_or(0), i64::from(self.before.is_some()));
        let (mut sum, mut count) = (0, 0);
        for measured in self.measured.iter().rev() {
            value = measured.unwrap_or(value);
            known |= i64::from(measured.is_some());
            sum += value;
            count += known;
        }
        // Before the first known hour the value is zero, so the sum needs no mask.
        (count > 0).then(|| sum.div_euclid(count))
    }

    pub(crate) fn features(&self) -> Option<VitalFeatures> {
        let last = self.last()?;
        let steps = |parts: i64| parts as f64 / PARTS as f64;
        let filled = self.filled();
        // The hour that `last` comes from is not part of what it is compared with.
        let baseline = self
            .measured
            .iter()
            .skip(1)
            .rev()
            .flatten()
            .fold(self.baseline, |baseline, mean| Some(drift(baseline, *mean)));
        Some(VitalFeatures {
            last: steps(last),
            mean_6h: filled.newest_six.mean()?,
            mean_12h: filled.all.mean()?,
            deviation_12h: self.deviation(),
            least_12h: steps(self.least(HOURS)?),
            most_12h: steps(self.most(HOURS)?),
            rise_6h: filled
                .six_before
                .mean()
                .map_or(0.0, |before| steps(last) - before),
            above_baseline: baseline.map_or(0.0, |baseline| steps(last - baseline)),
        })
    }

    /// Returns the mean of the filled hours, rounded down, with the held ones moved by `parts`.
    pub(crate) fn mean_held(&self, hold: Hold, parts: i64) -> Option<i64> {
        let before_held = i64::from(hold == Hold::WholeStay);
        let (mut value, mut known) = (self.before.unwrap_or(0), i64::from(self.before.is_some()));
        let mut held = before_held;
        let (mut sum, mut count, mut moved) = (0, 0, 0);
        for (age, measured) in self.measured.iter().enumerate().rev() {
            if let Some(measured) = measured {
                (value, known, held) = (*measured, 1, i64::from(hold.covers(age)));
            }
            sum += known * value;
            count += known;
            moved += known * held;
        }
        (count > 0).then(|| (sum + moved * parts).div_euclid(count))
    }

    /// Returns what [`VitalHours::most`] gives with the held hours moved by `parts`.
    pub(crate) fn most_held(&self, hours: usize, hold: Hold, parts: i64) -> Option<i64> {
        let most = self.moved(hold, parts).take(hours).flatten().max();
        most.or_else(|| self.last_held(hold, parts))
    }

    /// Returns what [`VitalHours::least`] gives with the held hours moved by `parts`.
    pub(crate) fn least_held(&self, hours: usize, hold: Hold, parts: i64) -> Option<i64> {
        let least = self.moved(hold, parts).take(hours).flatten().min();
        least.or_else(|| self.last_held(hold, parts))
    }

    /// Returns the hours with the held ones moved, newest first.
    fn moved(&self, hold: Hold, parts: i64) -> impl Iterator<Item = Option<i64>> {
        let ages = self.measured.iter().enumerate();
        ages.map(move |(age, mean)| {
            mean.map(|mean| if hold.covers(age) { mean + parts } else { mean })
        })
    }

    fn last_held(&self, hold: Hold, parts: i64) -> Option<i64> {
        let moved = if hold == Hold::WholeStay { parts } else { 0 };
        let before = self.before.map(|mean| mean + moved);
        self.moved(hold, parts).flatten().next().or(before)
    }

    fn deviation(&self) -> Option<f64> {
        let (mut count, mut sum, mut squares) = (0_i64, 0_i64, 0_i64);
        for mean in self.measured.iter().flatten() {
            count += 1;
            sum += mean;
            squares += mean * mean;
        }
        // A plausible mean has fewer than 24 bits, so its square times twelve squared fits.
        let spread = (count * squares - sum * sum).max(0);
        (count >= 2).then(|| (spread as f64 / (count * (count - 1)) as f64).sqrt() / PARTS as f64)
    }
}
