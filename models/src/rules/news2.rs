//! NEWS2, the second National Early Warning Score, from the tables the Royal College of Physicians
//! published in 2017: both oxygen-saturation scales, air or oxygen, and level of consciousness.
//!
//! Three things are said here that a plain sum hides:
//! - A parameter that is missing or stale counts neither zero nor three. The score is the interval
//!   of all scores the patient may have, and each end has its own [`Severity`].
//! - Readings are finer than the chart. A reading takes the nearest charted number; half way
//!   between two it takes the one that scores more.
//! - [`Vitals::under_error`] gives the exact interval that false readings within a sensor's error
//!   can reach: what an attacker on the wire or in the sensor can silence and force.
//!
//! NEWS2 is not for children under 16 nor in pregnancy: [`assess`] abstains there.

use std::time::Duration;

use pulseward_base::Micros;
use pulseward_vitals::Kind;

/// One of the seven things that NEWS2 asks for, in the chart's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Parameter {
    /// Breaths a minute.
    Respiration,
    /// Oxygen saturation, on one of two scales.
    Saturation,
    /// Whether the patient breathes air or is given oxygen.
    Oxygen,
    /// Systolic blood pressure.
    Pressure,
    /// Heart beats a minute.
    Pulse,
    /// Alert, or confused, or answering to voice, to pain, or not at all.
    Consciousness,
    /// Body temperature.
    Temperature,
}

impl Parameter {
    /// All of them, in the chart's order.
    pub const ALL: [Self; 7] = [
        Self::Respiration,
        Self::Saturation,
        Self::Oxygen,
        Self::Pressure,
        Self::Pulse,
        Self::Consciousness,
        Self::Temperature,
    ];

    /// Returns the kind of vital it reads.
    #[must_use]
    pub const fn kind(self) -> Kind {
        match self {
            Self::Respiration => Kind::RespiratoryRate,
            Self::Saturation => Kind::SpO2,
            Self::Oxygen => Kind::SupplementalOxygen,
            Self::Pressure => Kind::SystolicPressure,
            Self::Pulse => Kind::HeartRate,
            Self::Consciousness => Kind::Consciousness,
            Self::Temperature => Kind::Temperature,
        }
    }

    /// Returns the parameter that reads `kind`, if NEWS2 does.
    #[must_use]
    pub fn of(kind: Kind) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|parameter| parameter.kind() == kind)
    }
}

/// Which oxygen-saturation table holds for the patient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SaturationScale {
    /// Scale 1: for everybody but those below.
    #[default]
    One,
    /// Scale 2: for patients in hypercapnic respiratory failure, target 88–92 %, by a clinician's
    /// decision only.
    Two,
}

/// What is known of one parameter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Measured {
    /// The lowest and highest value it may have, in steps of its kind; the same for one reading.
    Between(i32, i32),
    /// The last reading is too old to count.
    Stale,
    /// There is no reading.
    #[default]
    Missing,
}

impl Measured {
    /// Returns one exact reading.
    #[must_use]
    pub const fn exactly(value: i32) -> Self {
        Self::Between(value, value)
    }
}

impl From<Option<i32>> for Measured {
    fn from(value: Option<i32>) -> Self {
        value.map_or(Self::Missing, Self::exactly)
    }
}

/// The current value of each parameter, in steps of its kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Vitals {
    /// [`Kind::RespiratoryRate`].
    pub respiration: Measured,
    /// [`Kind::SpO2`].
    pub saturation: Measured,
    /// [`Kind::SupplementalOxygen`].
    pub oxygen: Measured,
    /// [`Kind::SystolicPressure`].
    pub pressure: Measured,
    /// [`Kind::HeartRate`].
    pub pulse: Measured,
    /// [`Kind::Consciousness`].
    pub consciousness: Measured,
    /// [`Kind::Temperature`].
    pub temperature: Measured,
}

impl Vitals {
    /// Takes the last reading of each kind; one older than `limits` allows is stale. Kinds that
    /// NEWS2 does not ask for are passed over. A reading from the future counts as new.
    #[must_use]
    pub fn at(
        now: Micros,
        last: impl IntoIterator<Item = (Kind, Micros, i32)>,
        limits: &AgeLimits,
    ) -> Self {
        let mut vitals = Self::default();
        for (kind, time, value) in last {
            let Some(parameter) = Parameter::of(kind) else {
                continue;
            };
            let fresh = time.until(now) <= limits.of(parameter);
            *vitals.slot(parameter) = if fresh {
                Measured::exactly(value)
            } else {
                Measured::Stale
            };
        }
        vitals
    }

    /// Returns what is known of `parameter`.
    #[must_use]
    pub const fn of(&self, parameter: Parameter) -> Measured {
        match parameter {
            Parameter::Respiration => self.respiration,
            Parameter::Saturation => self.saturation,
            Parameter::Oxygen => self.oxygen,
            Parameter::Pressure => self.pressure,
            Parameter::Pulse => self.pulse,
            Parameter::Consciousness => self.consciousness,
            Parameter::Temperature => self.temperature,
        }
    }

    /// Returns the vitals as they may truly be when every reading may be off by `quarters` quarters
    /// of its sensor's error (4 = once that error). What a person charts has no sensor error.
    /// Assessing the result gives the exact evasion interval: parameters are read independently,
    /// so both ends are reached.
    #[must_use]
    pub fn under_error(&self, quarters: u16) -> Self {
        let mut wider = *self;
        for parameter in Parameter::ALL {
            // Readings are whole steps, so a part of a step cannot be used: rounding down is exact.
            let error = parameter
                .kind()
                .spec()
                .sensor_error
                .saturating_mul(i32::from(quarters))
                / 4;
            let slot = wider.slot(parameter);
            if let Measured::Between(low, high) = *slot {
                *slot = Measured::Between(low.saturating_sub(error), high.saturating_add(error));
            }
        }
        wider
    }

    const fn slot(&mut self, parameter: Parameter) -> &mut Measured {
        match parameter {
            Parameter::Respiration => &mut self.respiration,
            Parameter::Saturation => &mut self.saturation,
            Parameter::Oxygen => &mut self.oxygen,
            Parameter::Pressure => &mut self.pressure,
            Parameter::Pulse => &mut self.pulse,
            Parameter::Consciousness => &mut self.consciousness,
            Parameter::Temperature => &mut self.temperature,
        }
    }
}

/// How old the last reading of a parameter may be before it is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgeLimits {
    /// For respiration, saturation and pulse, which a wearable sends all the time.
    pub streamed: Duration,
    /// For temperature.
    pub temperature: Duration,
    /// For blood pressure.
    pub pressure: Duration,
    /// For consciousness and oxygen, which a person charts.
    pub charted: Duration,
}

impl AgeLimits {
    const fn of(&self, parameter: Parameter) -> Duration {
        match parameter {
            Parameter::Respiration | Parameter::Saturation | Parameter::Pulse => self.streamed,
            Parameter::Temperature => self.temperature,
            Parameter::Pressure => self.pressure,
            Parameter::Consciousness | Parameter::Oxygen => self.charted,
        }
    }
}

impl Default for AgeLimits {
    /// The chart's longest interval of observation, 12 h, for what people measure; an hour for
    /// what a sensor streams.
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(3600);
        Self {
            streamed: HOUR,
            temperature: HOUR.saturating_mul(4),
            pressure: HOUR.saturating_mul(12),
            charted: HOUR.saturating_mul(12),
        }
    }
}

/// What is known of whether NEWS2 holds for the patient at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Eligibility {
    /// Age in whole years.
    pub age: Option<u8>,
    /// Whether the patient is pregnant.
    pub pregnant: Option<bool>,
}

impl Eligibility {
    /// The youngest age NEWS2 was made for.
    pub const LEAST_AGE: u8 = 16;

    /// Returns why NEWS2 must not be used, if it must not. Not knowing is no reason: the score is
    /// then given and [`Score::confirmed`] is false.
    #[must_use]
    pub fn abstention(&self) -> Option<Abstention> {
        if self.age.is_some_and(|age| age < Self::LEAST_AGE) {
            Some(Abstention::TooYoung)
        } else if self.pregnant == Some(true) {
            Some(Abstention::Pregnant)
        } else {
            None
        }
    }
}

/// Why there is no score.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Abstention {
    /// Under 16 years: a paediatric score is needed.
    TooYoung,
    /// Pregnant: an obstetric score is needed.
    Pregnant,
}

/// The clinical risk that the chart gives a score, and the response it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// 0–4 without a single 3: ward-based response.
    Low,
    /// 0–4 with a 3 in one parameter: urgent ward-based response.
    SingleThree,
    /// 5–6: urgent response.
    Medium,
    /// 7 or more: emergency response.
    High,
}

impl Severity {
    /// All of them, rising.
    pub const ALL: [Self; 4] = [Self::Low, Self::SingleThree, Self::Medium, Self::High];

    const fn of(total: u8, three: bool) -> Self {
        match total {
            7.. => Self::High,
            5..=6 => Self::Medium,
            _ if three => Self::SingleThree,
            _ => Self::Low,
        }
    }
}

/// What one parameter adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contribution {
    /// Which.
    pub parameter: Parameter,
    /// What is known of it.
    pub measured: Measured,
    /// The least it adds.
    pub low: u8,
    /// The most it adds.
    pub high: u8,
}

/// The score as an interval. With everything known both ends are the published score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Score {
    /// The lowest total the patient may have.
    pub low: u8,
    /// The highest total the patient may have.
    pub high: u8,
    /// The severity the patient has at least: what may page.
    pub at_least: Severity,
    /// The severity the patient has at most: above `at_least` it is a reason to watch and to
    /// measure, not to page.
    pub at_most: Severity,
    /// What each parameter adds, in the chart's order.
    pub contributions: [Contribution; 7],
    /// Whether age and pregnancy are known and allow NEWS2.
    pub confirmed: bool,
}

/// Returns the score of `vitals`, or why there is none.
pub fn assess(
    vitals: &Vitals,
    scale: SaturationScale,
    eligibility: Eligibility,
) -> Result<Score, Abstention> {
    match eligibility.abstention() {
        Some(abstention) => Err(abstention),
        None => Ok(score(vitals, scale, eligibility)),
    }
}

fn score(vitals: &Vitals, scale: SaturationScale, eligibility: Eligibility) -> Score {
    // Saturation on scale 2 reads another table on oxygen, so the two are taken together: once for
    // each way the patient may be breathing.
    let (way, other) = breathing(vitals.oxygen);
    let one = sum(vitals, scale, way);
    let both = other.map_or(one, |other| one.or(sum(vitals, scale, other)));
    Score {
        low: both.low,
        high: both.high,
        at_least: both.at_least,
        at_most: both.at_most,
        contributions: Parameter::ALL.map(|parameter| {
            let one = ends(vitals, scale, way, parameter);
            let (low, high) = other.map_or(one, |other| {
                let other = ends(vitals, scale, other, parameter);
                (one.0.min(other.0), one.1.max(other.1))
            });
            Contribution {
                parameter,
                measured: vitals.of(parameter),
                low,
                high,
            }
        }),
        confirmed: eligibility.age.is_some() && eligibility.pregnant.is_some(),
    }
}

/// Sums over one way of breathing, or over both.
#[derive(Clone, Copy)]
struct Sum {
    low: u8,
    high: u8,
    at_least: Severity,
    at_most: Severity,
}

impl Sum {
    fn or(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            at_least: self.at_least.min(other.at_least),
            at_most: self.at_most.max(other.at_most),
        }
    }
}

fn sum(vitals: &Vitals, scale: SaturationScale, on_oxygen: bool) -> Sum {
    let all = Parameter::ALL.map(|parameter| ends(vitals, scale, on_oxygen, parameter));
    let low = all.iter().map(|ends| ends.0).sum();
    let high = all.iter().map(|ends| ends.1).sum();
    // One choice of values is lowest in every parameter at once, so it has both the lowest total
    // and the fewest threes; the same holds at the top.
    Sum {
        low,
        high,
        at_least: Severity::of(low, all.iter().any(|ends| ends.0 == 3)),
        at_most: Severity::of(high, all.iter().any(|ends| ends.1 == 3)),
    }
}

/// Whether the patient is on oxygen; both when that is not known.
const fn breathing(oxygen: Measured) -> (bool, Option<bool>) {
    match oxygen {
        Measured::Between(0, 0) => (false, None),
        Measured::Between(low, high) if low > 0 || high < 0 => (true, None),
        _ => (false, Some(true)),
    }
}

/// Returns the least and the most that `parameter` adds when the patient breathes this way.
fn ends(
    vitals: &Vitals,
    scale: SaturationScale,
    on_oxygen: bool,
    parameter: Parameter,
) -> (u8, u8) {
    let table = match parameter {
        Parameter::Oxygen => return if on_oxygen { (2, 2) } else { (0, 0) },
        Parameter::Consciousness => return consciousness(vitals.consciousness),
        Parameter::Respiration => RESPIRATION,
        Parameter::Pressure => PRESSURE,
        Parameter::Pulse => PULSE,
        Parameter::Temperature => TEMPERATURE,
        Parameter::Saturation => match (scale, on_oxygen) {
            (SaturationScale::One, _) => SATURATION_ONE,
            (SaturationScale::Two, false) => SATURATION_TWO_AIR,
            (SaturationScale::Two, true) => SATURATION_TWO_OXYGEN,
        },
    };
    match vitals.of(parameter) {
        Measured::Between(low, high) => table.between(low, high),
        Measured::Stale | Measured::Missing => table.bands_between(i32::MIN, i32::MAX),
    }
}

/// Alert adds nothing; new confusion, voice, pain and unresponsive add three.
const fn consciousness(measured: Measured) -> (u8, u8) {
    match measured {
        Measured::Between(0, 0) => (0, 0),
        Measured::Between(low, high) if low > 0 || high < 0 => (3, 3),
        _ => (0, 3),
    }
}

/// A column of the chart: bands by their highest charted number, rising; the last is open.
struct Table {
    bands: &'static [(i32, u8)],
    last: u8,
}

/// Steps in one charted number. The chart counts breaths, beats, % and mmHg by ones and degrees by
/// tenths; the kinds are all ten times finer. A test holds this.
const STEPS: i32 = 10;

const RESPIRATION: Table = Table {
    bands: &[(8, 3), (11, 1), (20, 0), (24, 2)],
    last: 3,
};
const SATURATION_ONE: Table = Table {
    bands: &[(91, 3), (93, 2), (95, 1)],
    last: 0,
};
const SATURATION_TWO_AIR: Table = Table {
    bands: &[(83, 3), (85, 2), (87, 1)],
    last: 0,
};
const SATURATION_TWO_OXYGEN: Table = Table {
    bands: &[(83, 3), (85, 2), (87, 1), (92, 0), (94, 1), (96, 2)],
    last: 3,
};
const PRESSURE: Table = Table {
    bands: &[(90, 3), (100, 2), (110, 1), (219, 0)],
    last: 3,
};
const PULSE: Table = Table {
    bands: &[(40, 3), (50, 1), (90, 0), (110, 1), (130, 2)],
    last: 3,
};
const TEMPERATURE: Table = Table {
    bands: &[(350, 3), (360, 1), (380, 0), (390, 1)],
    last: 2,
};

impl Table {
    /// Returns the least and most added over all readings from `low` to `high`, in steps.
    fn between(&self, low: i32, high: i32) -> (u8, u8) {
        // Half way between two charted numbers a reading takes the worse of both. So the most is
        // over every number either way of rounding reaches, and the least over those that some
        // reading takes for itself alone; a single reading half way has none such.
        let down = |value: i32| value.saturating_add(STEPS / 2 - 1).div_euclid(STEPS);
        let up = |value: i32| value.saturating_add(STEPS / 2).div_euclid(STEPS);
        let (_, most) = self.bands_between(down(low), up(high));
        let least = if up(low) <= down(high) {
            self.bands_between(up(low), down(high)).0
        } else {
            most
        };
        (least, most)
    }

    /// Returns the least and most over all charted numbers from `low` to `high`.
    fn bands_between(&self, low: i32, high: i32) -> (u8, u8) {
        let mut from = i32::MIN;
        let mut ends = (u8::MAX, 0);
        for &(to, adds) in self.bands.iter().chain(&[(i32::MAX, self.last)]) {
            if low <= to && from <= high {
                ends = (ends.0.min(adds), ends.1.max(adds));
            }
            from = to.saturating_add(1);
        }
        ends
    }
}

#[cfg(test)]
mod tests;
