//! The table of kinds. To add a vital, add a row to `kinds!`; nothing else changes.
//!
//! Number, unit and scale are frozen once a version has shipped: stored rows count on them.

use std::fmt;

/// What is fixed about one kind of vital sign. Bounds and errors are in steps of `10^-scale` units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spec {
    /// Its number on the wire and in files.
    pub number: u16,
    /// Its name in configuration, files and metrics.
    pub name: &'static str,
    /// Its LOINC code.
    pub loinc: &'static str,
    /// Its unit, in UCUM.
    pub ucum: &'static str,
    /// A value counts steps of `10^-scale` of the unit.
    pub scale: u8,
    /// The lowest value a living patient's sensor shows.
    pub lowest: i32,
    /// The highest value a living patient's sensor shows.
    pub highest: i32,
    /// How far a sensor in order may be off.
    pub sensor_error: i32,
}

/// Declares the kinds: number, name, LOINC, UCUM, scale, lowest, highest, sensor error.
macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $number:literal, $name:literal, $loinc:literal, $ucum:literal,
        $scale:literal, $lowest:literal ..= $highest:literal, $error:literal;)*) => {
        /// A kind of vital sign.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind {
            $($(#[$doc])* $variant,)*
        }

        impl Kind {
            /// All kinds, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns what is fixed about it.
            #[must_use]
            pub const fn spec(self) -> &'static Spec {
                match self {
                    $(Self::$variant => &Spec {
                        number: $number, name: $name, loinc: $loinc, ucum: $ucum, scale: $scale,
                        lowest: $lowest, highest: $highest, sensor_error: $error,
                    },)*
                }
            }

            /// Returns the kind that travels as `number`.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }

            /// Returns the kind called `name`.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

kinds! {
    /// Heart rate: whole beats a minute in tenths.
    HeartRate = 1, "heart_rate", "8867-4", "/min", 1, 150..=3500, 50;
    /// Oxygen saturation by pulse oximetry.
    SpO2 = 2, "spo2", "59408-5", "%", 1, 300..=1000, 20;
    /// Respiratory rate.
    RespiratoryRate = 3, "respiratory_rate", "9279-1", "/min", 1, 20..=900, 20;
    /// Body temperature.
    Temperature = 4, "temperature", "8310-5", "Cel", 2, 2500..=4500, 20;
    /// Systolic blood pressure.
    SystolicPressure = 5, "systolic_pressure", "8480-6", "mm[Hg]", 1, 300..=3000, 80;
    /// Diastolic blood pressure.
    DiastolicPressure = 6, "diastolic_pressure", "8462-4", "mm[Hg]", 1, 100..=2000, 60;
    /// Mean arterial pressure.
    MeanPressure = 7, "mean_pressure", "8478-0", "mm[Hg]", 1, 200..=2500, 60;
    /// Level of consciousness: 0 alert, 1 confusion, 2 voice, 3 pain, 4 unresponsive.
    Consciousness = 8, "consciousness", "80288-4", "{acvpu}", 0, 0..=4, 0;
    /// Supplemental oxygen: 0 breathing air, 1 on oxygen.
    SupplementalOxygen = 9, "supplemental_oxygen", "57174-9", "{bool}", 0, 0..=1, 0;
    /// Time from one heart beat to the next.
    BeatInterval = 10, "beat_interval", "8637-1", "ms", 1, 2000..=40000, 20;
    /// Blood glucose.
    Glucose = 11, "glucose", "2339-0", "mg/dL", 0, 10..=1500, 15;
    /// Carbon dioxide at the end of a breath.
    EndTidalCo2 = 12, "end_tidal_co2", "19891-1", "mm[Hg]", 1, 0..=1500, 20;
}

impl Kind {
    /// Returns whether a sensor that works on a living patient can show `value`.
    #[must_use]
    pub const fn is_plausible(self, value: i32) -> bool {
        let spec = self.spec();
        spec.lowest <= value && value <= spec.highest
    }

    /// Returns `value` in the kind's unit. Every `i32` has an exact way back through [`Kind::steps`].
    #[must_use]
    pub fn to_unit(self, value: i32) -> f64 {
        f64::from(value) / 10_f64.powi(i32::from(self.spec().scale))
    }

    /// Returns the steps nearest to `value` in the kind's unit; none for NaN, infinities and what
    /// an `i32` does not hold.
    #[must_use]
    pub fn steps(self, value: f64) -> Option<i32> {
        let steps = (value * 10_f64.powi(i32::from(self.spec().scale))).round();
        let holds = steps >= f64::from(i32::MIN) && steps <= f64::from(i32::MAX);
        #[expect(clippy::cast_possible_truncation, reason = "a whole number within i32")]
        holds.then_some(steps as i32)
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spec().name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spec().name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_go_both_ways() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_number(kind.spec().number), Some(*kind));
            assert_eq!(Kind::from_name(kind.spec().name), Some(*kind));
            assert!(kind.spec().lowest <= kind.spec().highest);
        }
        assert!(
            Kind::ALL
                .windows(2)
                .all(|pair| pair[0].spec().number < pair[1].spec().number)
        );
        assert_eq!(Kind::from_number(0), None);
    }

    #[test]
    fn what_is_no_number_has_no_steps() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300] {
            assert_eq!(Kind::HeartRate.steps(value), None);
        }
        assert_eq!(Kind::HeartRate.steps(f64::MIN_POSITIVE / 2.0), Some(0));
    }

    proptest! {
        #[test]
        fn every_value_survives_the_way_through_f64(value: i32, index in 0..Kind::ALL.len()) {
            let kind = Kind::ALL[index];
            prop_assert_eq!(kind.steps(kind.to_unit(value)), Some(value));
        }
    }
}
