use proptest::prelude::*;
use pulseward_base::Micros;

use super::*;
use crate::{features::Window, linfa_wall::LogisticSettings, measure::Draws};

fn hours(draws: &mut Draws, level: f64) -> (Vec<(usize, i64, i32)>, Hours) {
    let ranges = [
        (600, 1300),
        (880, 1000),
        (100, 300),
        (3550, 3950),
        (750, 1400),
        (550, 1000),
        (400, 800),
    ];
    let mut readings = Vec::new();
    for hour in 0..14_i64 {
        for (vital, (low, high)) in ranges.into_iter().enumerate() {
            if draws.below(3) > 0 {
                let share = (draws.unit() + level) / 2.0;
                readings.push((vital, hour, low + (f64::from(high - low) * share) as i32));
            }
        }
    }
    let seen = watch(&readings);
    (readings, seen)
}

fn watch(readings: &[(usize, i64, i32)]) -> Hours {
    let mut window = Window::new(Micros(0));
    for (vital, hour, value) in readings {
        window.push(VITALS[*vital], Micros(hour * 3_600_000_000), *value);
    }
    window.advance(Micros(13 * 3_600_000_000));
    window.hours()
}

fn cohort() -> Vec<(Hours, bool)> {
    let mut draws = Draws::new(3);
    (0..600)
        .map(|patient| {
            (
                hours(&mut draws, if patient % 4 == 0 { 0.8 } else { 0.3 }).1,
                patient % 4 == 0,
            )
        })
        .collect()
}

fn fitted(rising: bool) -> Additive {
    let cohort = cohort();
    let rows = cohort.iter().map(|(hours, event)| (hours, *event));
    if rising {
        fit_rising(rows, RisingSettings::default()).unwrap()
    } else {
        let settings = LogisticSettings {
            ridge: 5.0,
            ..Default::default()
        };
        fit(&Basis::full(), rows, settings).unwrap()
    }
}

fn changed() -> Additive {
    let cohort = cohort();
    let rows = cohort.iter().map(|(hours, event)| (hours, *event));
    fit_change(0.7, rows, LogisticSettings::default()).unwrap()
}

#[test]
fn a_change_score_tells_a_rise_from_a_long_illness() {
    let model = changed();
    assert!(model.is_change() && !model.is_rising() && !fitted(false).is_change());
    let score = |before: i32, now: i32| {
        let readings: Vec<_> = (0..14)
            .map(|hour| (0, hour, if hour < 11 { before } else { now }))
            .collect();
        model.score(&watch(&readings))
    };
    assert!(score(700, 1_250) > score(1_250, 1_250) + 0.1);
    assert!(score(700, 1_250) > score(700, 700) + 0.1);
    // A curve's mean height over twelve equal hours is its height.
    let told = score(1_250, 1_250) - score(700, 700);
    let [now, before] = [Looks::NewestHours, Looks::EachHour].map(|looks| {
        let curve = model
            .curves()
            .iter()
            .find(|c| c.vital == 0 && c.looks == looks);
        let curve = curve.unwrap();
        curve.height(1_250.0) - curve.height(700.0)
    });
    assert!((told - (now + before)).abs() < 1e-9 && (before + 0.7 * now).abs() < 1e-9);
}

#[test]
fn the_curves_are_the_linear_score_of_their_basis() {
    let model = fitted(false);
    let basis = Basis::full();
    let weights: Vec<f64> = model
        .curves()
        .iter()
        .flat_map(|curve| curve.knots.iter().map(|knot| knot.1))
        .collect();
    for (hours, _) in cohort().iter().take(50) {
        let linear: f64 = basis
            .hats(hours)
            .iter()
            .zip(&weights)
            .map(|(a, b)| a * b)
            .sum();
        assert!((model.score(hours) - model.intercept() - linear).abs() < 1e-9);
        let told: f64 = model.contributions(hours).iter().sum();
        assert!((told - linear).abs() < 1e-9);
    }
}

#[test]
fn curves_that_must_rise_do() {
    let model = fitted(true);
    assert!(model.is_rising());
    assert!(!fitted(false).is_rising());
    let area = crate::measure::auroc(
        &cohort()
            .iter()
            .map(|(hours, event)| (model.score(hours), *event))
            .collect::<Vec<_>>(),
    );
    assert!(area.unwrap() > 0.9, "{area:?}");
}

#[test]
fn a_fit_of_rising_curves_is_the_same_to_the_byte_every_time() {
    let (first, second) = (fitted(true), fitted(true));
    let bits = |model: &Additive| -> Vec<u64> {
        let knots = model.curves().iter().flat_map(|curve| &curve.knots);
        let heights = knots.map(|knot| knot.1.to_bits());
        heights.chain([model.intercept().to_bits()]).collect()
    };
    assert_eq!(bits(&first), bits(&second));
}

#[test]
fn the_corners_of_rising_curves_are_reached() {
    let model = fitted(true);
    let alarms_high = [true, false, true, true, false, false, false];
    let mut draws = Draws::new(11);
    for _ in 0..40 {
        let (mut readings, _) = hours(&mut draws, 0.5);
        // Temperature has curves both ways, so its bounds are sound only.
        readings.retain(|reading| VITALS[reading.0] != pulseward_vitals::Kind::Temperature);
        let (low, high) = model.within_error(&watch(&readings), Hold::WholeStay, 2);
        for (end, towards) in [(high, 1), (low, -1)] {
            let moved = readings.iter().map(|&(vital, hour, value)| {
                let sign = if alarms_high[vital] {
                    towards
                } else {
                    -towards
                };
                (
                    vital,
                    hour,
                    value + sign * VITALS[vital].spec().sensor_error / 2,
                )
            });
            let score = model.score(&watch(&moved.collect::<Vec<_>>()));
            assert!((score - end).abs() < 1e-9, "{score} {end}");
        }
    }
}

#[test]
fn curves_that_are_none_are_refused() {
    let curve = |knots: Vec<(f64, f64)>, vital| Curve {
        vital,
        looks: Looks::Last,
        knots,
        missing: 0.0,
    };
    assert!(Additive::new(vec![curve(vec![(0.0, 1.0)], 0)], 0.0, 0.0).is_some());
    for bad in [
        vec![],
        vec![(1.0, 0.0), (1.0, 0.0)],
        vec![(f64::NAN, 0.0)],
        vec![(0.0, f64::INFINITY)],
    ] {
        assert_eq!(Additive::new(vec![curve(bad, 0)], 0.0, 0.0), None);
    }
    assert_eq!(
        Additive::new(vec![curve(vec![(0.0, 1.0)], 9)], 0.0, 0.0),
        None
    );
    assert_eq!(Additive::new(vec![], f64::NAN, 0.0), None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn c7_no_attack_on_readings_leaves_the_bounds(seed: u64, kind in 0..3, quarters in 0..8_u16, held in 0..=12_u8) {
        let model = match kind {
            0 => fitted(false),
            1 => fitted(true),
            _ => changed(),
        };
        let mut draws = Draws::new(seed);
        let (readings, seen) = hours(&mut draws, 0.5);
        let (low, high) = model.within_error(&seen, Hold::Hours(held), quarters);
        for _ in 0..50 {
            let attacked: Vec<_> = readings.iter().map(|&(vital, hour, value)| {
                let error = f64::from(VITALS[vital].spec().sensor_error) * f64::from(quarters) / 4.0;
                let shift = if 13 - hour < i64::from(held) { (error * (draws.unit() * 2.0 - 1.0)) as i32 } else { 0 };
                let spec = VITALS[vital].spec();
                (vital, hour, (value + shift).clamp(spec.lowest, spec.highest))
            }).collect();
            let score = model.score(&watch(&attacked));
            prop_assert!(low - 1e-9 <= score && score <= high + 1e-9, "{low} {score} {high}");
        }
    }
}
