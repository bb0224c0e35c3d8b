use proptest::prelude::*;

use super::*;

const ADULT: Eligibility = Eligibility {
    age: Some(60),
    pregnant: Some(false),
};

/// A patient with nothing wrong: every test changes one thing.
fn well() -> Vitals {
    Vitals {
        respiration: Measured::exactly(160),
        saturation: Measured::exactly(970),
        oxygen: Measured::exactly(0),
        pressure: Measured::exactly(1200),
        pulse: Measured::exactly(700),
        consciousness: Measured::exactly(0),
        temperature: Measured::exactly(3700),
    }
}

fn total(vitals: &Vitals, scale: SaturationScale) -> (u8, u8) {
    let score = assess(vitals, scale, ADULT).unwrap();
    (score.low, score.high)
}

/// The published chart, one row per band: from, to, points, in the chart's own numbers.
fn check_chart(
    parameter: Parameter,
    scale: SaturationScale,
    oxygen: bool,
    chart: &[(i32, i32, u8)],
) {
    for &(from, to, points) in chart {
        for charted in from..=to {
            let mut vitals = well();
            vitals.oxygen = Measured::exactly(i32::from(oxygen));
            if scale == SaturationScale::Two {
                vitals.saturation = Measured::exactly(900);
            }
            *vitals.slot(parameter) = Measured::exactly(charted * STEPS);
            let expect = points + 2 * u8::from(oxygen);
            assert_eq!(
                total(&vitals, scale),
                (expect, expect),
                "{parameter:?} {charted}"
            );
        }
    }
}

#[test]
fn every_charted_number_scores_as_published() {
    use Parameter::{Pressure, Pulse, Respiration, Saturation, Temperature};
    let (one, two) = (SaturationScale::One, SaturationScale::Two);
    let respiration = [(0, 8, 3), (9, 11, 1), (12, 20, 0), (21, 24, 2), (25, 90, 3)];
    check_chart(Respiration, one, false, &respiration);
    let pressure = [
        (0, 90, 3),
        (91, 100, 2),
        (101, 110, 1),
        (111, 219, 0),
        (220, 300, 3),
    ];
    check_chart(Pressure, one, false, &pressure);
    let slow = [(0, 40, 3), (41, 50, 1), (51, 90, 0)];
    let fast = [(91, 110, 1), (111, 130, 2), (131, 350, 3)];
    check_chart(Pulse, one, false, &[slow, fast].concat());
    let temperature = [
        (250, 350, 3),
        (351, 360, 1),
        (361, 380, 0),
        (381, 390, 1),
        (391, 450, 2),
    ];
    check_chart(Temperature, one, false, &temperature);
    for oxygen in [false, true] {
        let saturation = [(0, 91, 3), (92, 93, 2), (94, 95, 1), (96, 100, 0)];
        check_chart(Saturation, one, oxygen, &saturation);
        let low = [(0, 83, 3), (84, 85, 2), (86, 87, 1), (88, 92, 0)];
        check_chart(Saturation, two, oxygen, &low);
    }
    check_chart(Saturation, two, false, &[(93, 100, 0)]);
    check_chart(
        Saturation,
        two,
        true,
        &[(93, 94, 1), (95, 96, 2), (97, 100, 3)],
    );
}

#[test]
fn the_kinds_are_ten_times_finer_than_the_chart() {
    let scales = [
        (Kind::RespiratoryRate, 1),
        (Kind::SpO2, 1),
        (Kind::SystolicPressure, 1),
        (Kind::HeartRate, 1),
        (Kind::Temperature, 2),
        (Kind::Consciousness, 0),
        (Kind::SupplementalOxygen, 0),
    ];
    for (kind, scale) in scales {
        assert_eq!(kind.spec().scale, scale, "{kind}");
    }
}

#[test]
fn whatever_is_not_alert_adds_three() {
    for level in 1..=4 {
        let vitals = Vitals {
            consciousness: Measured::exactly(level),
            ..well()
        };
        let score = assess(&vitals, SaturationScale::One, ADULT).unwrap();
        assert_eq!((score.low, score.at_least), (3, Severity::SingleThree));
    }
}

#[test]
fn severity_follows_the_published_thresholds() {
    let check = |total, three, severity| assert_eq!(Severity::of(total, three), severity);
    check(0, false, Severity::Low);
    check(4, false, Severity::Low);
    check(3, true, Severity::SingleThree);
    check(4, true, Severity::SingleThree);
    check(5, true, Severity::Medium);
    check(6, false, Severity::Medium);
    check(7, false, Severity::High);
    check(20, true, Severity::High);
}

#[test]
fn a_reading_half_way_takes_the_worse_and_any_other_the_nearest() {
    let check = |steps, points| {
        let vitals = Vitals {
            respiration: Measured::exactly(steps),
            ..well()
        };
        assert_eq!(
            total(&vitals, SaturationScale::One),
            (points, points),
            "{steps}"
        );
    };
    check(84, 3);
    check(85, 3);
    check(86, 1);
    check(204, 0);
    check(205, 2);
    check(114, 1);
    check(115, 1);
    check(116, 0);
}

#[test]
fn c12_a_missing_or_stale_parameter_makes_an_interval() {
    for gone in [Measured::Missing, Measured::Stale] {
        let vitals = Vitals {
            respiration: Measured::exactly(260),
            temperature: gone,
            pulse: Measured::exactly(1150),
            ..well()
        };
        let score = assess(&vitals, SaturationScale::One, ADULT).unwrap();
        assert_eq!((score.low, score.high), (5, 8));
        assert_eq!(
            (score.at_least, score.at_most),
            (Severity::Medium, Severity::High)
        );
    }
    let nothing = assess(&Vitals::default(), SaturationScale::One, ADULT).unwrap();
    assert_eq!((nothing.low, nothing.high), (0, 20));
    assert_eq!(
        (nothing.at_least, nothing.at_most),
        (Severity::Low, Severity::High)
    );
}

#[test]
fn unknown_oxygen_on_scale_two_is_taken_together_with_the_saturation() {
    // 98 % adds nothing on air, and three beside oxygen's two.
    let high = Vitals {
        saturation: Measured::exactly(980),
        oxygen: Measured::Missing,
        ..well()
    };
    assert_eq!(total(&high, SaturationScale::Two), (0, 5));
    // 80 % scores 3 either way, so a three is certain.
    let low = Vitals {
        saturation: Measured::exactly(800),
        ..high
    };
    let score = assess(&low, SaturationScale::Two, ADULT).unwrap();
    assert_eq!(
        (score.low, score.high, score.at_least),
        (3, 5, Severity::SingleThree)
    );
}

#[test]
fn it_abstains_under_sixteen_and_in_pregnancy_and_says_when_it_does_not_know() {
    let assess = |age, pregnant| {
        assess(&well(), SaturationScale::One, Eligibility { age, pregnant })
            .map(|score| score.confirmed)
    };
    assert_eq!(assess(Some(15), Some(false)), Err(Abstention::TooYoung));
    assert_eq!(assess(Some(15), None), Err(Abstention::TooYoung));
    assert_eq!(assess(Some(30), Some(true)), Err(Abstention::Pregnant));
    assert_eq!(assess(None, Some(true)), Err(Abstention::Pregnant));
    assert_eq!(assess(Some(16), Some(false)), Ok(true));
    assert_eq!(assess(None, Some(false)), Ok(false));
    assert_eq!(assess(Some(30), None), Ok(false));
}

#[test]
fn a_reading_at_its_age_limit_counts_and_one_beyond_it_is_stale() {
    let limits = AgeLimits::default();
    let now = Micros(0).plus(Duration::from_secs(86_400));
    let at =
        |age: Duration| Vitals::at(now, [(Kind::HeartRate, now.minus(age), 700)], &limits).pulse;
    assert_eq!(at(limits.streamed), Measured::exactly(700));
    assert_eq!(
        at(limits.streamed + Duration::from_micros(1)),
        Measured::Stale
    );
    assert_eq!(
        Vitals::at(now, [(Kind::Glucose, now, 9)], &limits),
        Vitals::default()
    );
}

#[test]
fn a_clinician_reads_what_adds_and_what_is_missing() {
    let vitals = Vitals {
        respiration: Measured::exactly(260),
        temperature: Measured::Stale,
        consciousness: Measured::exactly(1),
        ..well()
    };
    let score = assess(&vitals, SaturationScale::One, ADULT).unwrap();
    assert_eq!(
        score.to_string(),
        "NEWS2 6 to 9 (at least medium risk: urgent response; at most high risk: emergency \
         response): respiratory rate 26 /min (+3), consciousness newly confused (+3), \
         temperature stale (+0 to 3)"
    );
}

/// Any reading a sensor could send, near the bands or far off.
fn reading(parameter: Parameter) -> BoxedStrategy<Measured> {
    let exact = match parameter {
        Parameter::Oxygen => (0..=1).boxed(),
        Parameter::Consciousness => (0..=4).boxed(),
        Parameter::Temperature => prop_oneof![3300..4200, any::<i32>()].boxed(),
        _ => prop_oneof![0..2400, any::<i32>()].boxed(),
    };
    prop_oneof![
        4 => exact.prop_map(Measured::exactly),
        1 => Just(Measured::Stale),
        1 => Just(Measured::Missing),
    ]
    .boxed()
}

prop_compose! {
    fn vitals()(
        respiration in reading(Parameter::Respiration), saturation in reading(Parameter::Saturation),
        oxygen in reading(Parameter::Oxygen), pressure in reading(Parameter::Pressure),
        pulse in reading(Parameter::Pulse), consciousness in reading(Parameter::Consciousness),
        temperature in reading(Parameter::Temperature),
    ) -> Vitals {
        Vitals { respiration, saturation, oxygen, pressure, pulse, consciousness, temperature }
    }
}

fn scale() -> impl Strategy<Value = SaturationScale> {
    prop_oneof![Just(SaturationScale::One), Just(SaturationScale::Two)]
}

proptest! {
    #[test]
    fn c12_losing_a_parameter_only_widens_the_interval(vitals in vitals(), scale in scale(), index in 0..7_usize) {
        let mut less = vitals;
        *less.slot(Parameter::ALL[index]) = Measured::Missing;
        let (before, after) = (total(&vitals, scale), total(&less, scale));
        prop_assert!(after.0 <= before.0 && after.1 >= before.1);
    }

    #[test]
    fn the_interval_is_what_its_contributions_allow(vitals in vitals(), scale in scale()) {
        let score = assess(&vitals, scale, ADULT).unwrap();
        prop_assert!(score.low <= score.high && score.high <= 20 && score.at_least <= score.at_most);
        let low: u8 = score.contributions.iter().map(|c| c.low).sum();
        let high: u8 = score.contributions.iter().map(|c| c.high).sum();
        prop_assert!(low <= score.low && score.high <= high);
    }

    #[test]
    fn c7_the_evasion_interval_is_exact(vitals in vitals(), scale in scale(), quarters in 0..9_u16) {
        // Each parameter alone, by trying every reading in its box; oxygen and consciousness have
        // no error, so the total's ends are the sums of these.
        let wide = vitals.under_error(quarters);
        let score = assess(&wide, scale, ADULT).unwrap();
        for parameter in Parameter::ALL {
            let (Measured::Between(low, high), Measured::Between(value, _)) = (wide.of(parameter), vitals.of(parameter)) else { continue };
            prop_assert!(value.abs_diff(low) <= 160 && value.abs_diff(high) <= 160);
            let mut least = u8::MAX;
            let mut most = 0;
            for steps in low..=high {
                let mut moved = vitals;
                *moved.slot(parameter) = Measured::exactly(steps);
                let moved = assess(&moved, scale, ADULT).unwrap();
                let contribution = moved.contributions.iter().find(|c| c.parameter == parameter).unwrap();
                least = least.min(contribution.low);
                most = most.max(contribution.high);
            }
            let claimed = score.contributions.iter().find(|c| c.parameter == parameter).unwrap();
            prop_assert_eq!((claimed.low, claimed.high), (least, most), "{:?}", parameter);
        }
    }

    #[test]
    fn c7_no_false_reading_within_its_error_leaves_the_evasion_interval(
        vitals in vitals(), scale in scale(), quarters in 0..9_u16, shifts in prop::array::uniform7(-1.0..=1.0_f64),
    ) {
        let claimed = assess(&vitals.under_error(quarters), scale, ADULT).unwrap();
        let mut moved = vitals;
        for (parameter, shift) in Parameter::ALL.into_iter().zip(shifts) {
            let error = f64::from(parameter.kind().spec().sensor_error) * f64::from(quarters) / 4.0;
            if let Measured::Between(value, _) = vitals.of(parameter) {
                *moved.slot(parameter) = Measured::exactly(value.saturating_add((error * shift) as i32));
            }
        }
        let moved = assess(&moved, scale, ADULT).unwrap();
        prop_assert!(claimed.low <= moved.low && moved.high <= claimed.high);
        prop_assert!(claimed.at_least <= moved.at_least && moved.at_most <= claimed.at_most);
    }
}
