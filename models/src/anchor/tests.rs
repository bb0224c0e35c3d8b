use proptest::prelude::*;
use pulseward_base::Micros;

use super::*;
use crate::features::{Taken, Window};

/// Single quantiles, beside the bands that the score uses.
const MEDIAN: Band = Band {
    from: 1,
    to: 1,
    in_: 2,
};
const NINETIETH: Band = Band {
    from: 9,
    to: 9,
    in_: 10,
};

const HOUR: i64 = 3_600_000_000;

/// A generator of numbers for exhaustive and random attacks: the same on every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) as usize) % limit
    }

    fn between(&mut self, low: i32, high: i32) -> i32 {
        low + self.below((high - low + 1) as usize) as i32
    }
}

type Patients = Vec<Vec<i64>>;

fn ranks(patients: &Patients) -> Ranks {
    Ranks::new(patients.iter().map(Vec::as_slice))
}

/// Everything `left` attackers can do: each alters, inserts or deletes one patient.
fn attack(
    patients: &Patients,
    left: u32,
    rows: &[Vec<i64>],
    from: usize,
    check: &mut dyn FnMut(&Patients),
) {
    check(patients);
    if left == 0 {
        return;
    }
    let attacked = |changed: &Patients, from: usize, check: &mut dyn FnMut(&Patients)| {
        attack(changed, left - 1, rows, from, check);
    };
    for index in from..patients.len() {
        for replacement in rows {
            let mut changed = patients.clone();
            changed[index] = replacement.clone();
            attacked(&changed, index + 1, check);
        }
        let mut changed = patients.clone();
        changed.remove(index);
        attacked(&changed, index, check);
    }
    for inserted in rows {
        let mut changed = patients.clone();
        changed.push(inserted.clone());
        attacked(&changed, patients.len() + 1, check);
    }
}

fn small_pool(numbers: &mut Numbers, size: usize) -> Patients {
    (0..size)
        .map(|_| {
            (0..=numbers.below(3))
                .map(|_| i64::from(numbers.between(-4, 4)))
                .collect()
        })
        .collect()
}

/// What attackers send: far, near, spread, and one of many rows.
fn hostile_rows() -> Vec<Vec<i64>> {
    vec![vec![-99], vec![99], vec![0], vec![-99, 99, 99], vec![3; 40]]
}

#[test]
fn c1_the_poison_bracket_holds_every_insertion_deletion_alteration_and_mix() {
    let mut numbers = Numbers(1);
    let mut cases = 0_u32;
    for size in [5, 8, 10, 12] {
        for _ in 0..30 {
            let pool = small_pool(&mut numbers, size);
            let clean = ranks(&pool);
            for poisoned in 1..=2 {
                for quantile in [NEAR, FAR, MEDIAN, NINETIETH] {
                    let Some([least, most]) = clean.between(quantile, poisoned) else {
                        continue;
                    };
                    attack(&pool, poisoned, &hostile_rows(), 0, &mut |changed| {
                        let [value, _] = ranks(changed).between(quantile, 0).unwrap();
                        assert!(
                            least <= value && value <= most,
                            "{pool:?} {changed:?} {quantile:?}"
                        );
                        cases += 1;
                    });
                }
            }
        }
    }
    assert!(cases > 100_000, "{cases}");
}

#[test]
fn c1_the_bracket_is_reached_from_both_sides() {
    let pool: Patients = (0..10).map(|value| vec![value]).collect();
    let [least, most] = ranks(&pool).between(MEDIAN, 2).unwrap();
    let (mut low, mut high) = (i64::MAX, i64::MIN);
    attack(&pool, 2, &hostile_rows(), 0, &mut |changed| {
        let [value, _] = ranks(changed).between(MEDIAN, 0).unwrap();
        (low, high) = (low.min(value), high.max(value));
    });
    assert_eq!([least, most], [low, high]);
}

/// The bracket as one would write it with floating-point ranks.
fn float_bracket(patients: &Patients, quantile: Band, poisoned: u32) -> Option<[i64; 2]> {
    let mut rows: Vec<(i64, f64)> = patients
        .iter()
        .flat_map(|values| {
            values
                .iter()
                .map(move |value| (*value, 1.0 / values.len() as f64))
        })
        .collect();
    rows.sort_by_key(|row| row.0);
    let total: f64 = rows.iter().map(|row| row.1).sum();
    let at = |share: f64| {
        let mut sum = 0.0;
        rows.iter().find(|row| {
            sum += row.1;
            sum / total >= share
        })
    };
    let share = quantile.from as f64 / quantile.in_ as f64;
    let moved = f64::from(poisoned) / patients.len() as f64;
    Some([at(share - moved)?.0, at(share + moved)?.0])
}

#[test]
fn c2_ties_exactly_on_the_rank_hold_with_integers_and_break_with_floats() {
    let mut numbers = Numbers(2);
    let (mut ours, mut floats) = (0, 0);
    for _ in 0..40 {
        let pool = small_pool(&mut numbers, 10);
        let integer = ranks(&pool);
        for quantile in [MEDIAN, NINETIETH] {
            let Some([least, most]) = integer.between(quantile, 1) else {
                continue;
            };
            let float = float_bracket(&pool, quantile, 1);
            attack(&pool, 1, &hostile_rows(), 0, &mut |changed| {
                let [value, _] = ranks(changed).between(quantile, 0).unwrap();
                ours += u32::from(value < least || most < value);
                floats +=
                    u32::from(float.is_none_or(|[least, most]| value < least || most < value));
            });
        }
    }
    assert_eq!(ours, 0);
    assert!(floats > 0, "this test would not notice float ranks");
}

#[test]
fn c3_beyond_the_last_rank_there_is_no_number() {
    let pool: Patients = (0..20).map(|value| vec![value]).collect();
    let ranks = ranks(&pool);
    // 90 % of 20 patients leave two above, the band up to 92.5 % leaves one.
    assert!(ranks.between(NINETIETH, 2).is_some() && ranks.between(FAR, 1).is_some());
    assert_eq!(
        (ranks.between(NINETIETH, 3), ranks.between(FAR, 2)),
        (None, None)
    );
    assert!(ranks.between(MEDIAN, 9).is_some() && ranks.between(NEAR, 9).is_some());
    assert_eq!(
        (ranks.between(MEDIAN, 10), ranks.between(NEAR, 10)),
        (None, None)
    );
    assert_eq!(
        (
            Ranks::default().between(MEDIAN, 0),
            Ranks::default().between(NEAR, 0)
        ),
        (None, None)
    );
}

#[test]
fn the_mean_of_a_band_is_that_of_its_quantiles() {
    let pool: Patients = (0..20).map(|value| vec![value * 10]).collect();
    // Patients 9 and 10 are the band around the median; 17 and 18 around the 90th percentile.
    assert_eq!(ranks(&pool).between(NEAR, 0), Some([95, 95]));
    assert_eq!(ranks(&pool).between(FAR, 0), Some([175, 175]));
    assert_eq!(ranks(&pool).between(NEAR, 1), Some([85, 105]));
}

/// A pool whose anchors lie near the constants, one row a patient.
fn pool(patients: i64) -> Pool {
    let mut pool = Pool::default();
    for patient in 0..patients {
        let share = patient as f64 / (patients - 1) as f64;
        let value =
            |low: f64, high: f64| Some(((low + (high - low) * share) * PARTS as f64) as i64);
        pool.add_patient(&[Values([
            value(600.0, 1120.0),
            value(120.0, 250.0),
            value(3600.0, 3850.0),
            value(-900.0, -560.0),
            value(-980.0, -900.0),
            value(-3720.0, -3540.0),
            value(-1300.0, -800.0),
        ])]);
    }
    pool
}

fn model() -> Anchor {
    fit(&pool(400), Constancy::HALF, 2.3).unwrap()
}

#[test]
fn c3_crossing_anchors_give_no_radius() {
    // Two values only: three patients fewer above, and both anchors are the lower one. The ranks
    // themselves would allow seven.
    let mut two = Pool::default();
    for patient in 0..100 {
        let value = if patient < 90 { 0 } else { 100 * PARTS };
        two.add_patient(&[Values([Some(value); TERMS])]);
    }
    assert!(two.ranks()[0].between(FAR, 7).is_some());
    let model = fit(&two, Constancy::HALF, 2.3).unwrap();
    let values = Values([Some(5_000 * PARTS); TERMS]);
    assert!(model.within_poison(&values, 2).is_some());
    assert_eq!(model.within_poison(&values, 3), None);
    assert!(!model.poison_radius(&values).covers(3));

    let mut few = Pool::default();
    for patient in 0..13 {
        few.add_patient(&[Values([Some(patient * PARTS * 50); TERMS])]);
    }
    let model = fit(&few, Constancy::HALF, 2.3).unwrap();
    assert_eq!(model.poison_radius(&values), Radius::None);
}

#[test]
fn a_pool_that_tells_nothing_apart_is_refused() {
    let mut constant = Pool::default();
    for _ in 0..100 {
        constant.add_patient(&[Values([Some(7); TERMS])]);
    }
    assert_eq!(
        fit(&constant, Constancy::HALF, 2.3),
        Err(FitError::NoAnchors(0))
    );
    assert_eq!(
        fit(&Pool::default(), Constancy::HALF, 2.3),
        Err(FitError::NoAnchors(0))
    );
    assert_eq!(
        fit(&pool(400), Constancy::HALF, f64::NAN),
        Err(FitError::Threshold)
    );
}

#[test]
fn c5_the_order_of_patients_changes_nothing_and_many_rows_weigh_as_one() {
    let forwards = pool(101);
    let mut backwards = forwards.clone();
    backwards.patients.reverse();
    let fit = |pool: &Pool| fit(pool, Constancy::HALF, 2.3).unwrap();
    assert_eq!(fit(&forwards), fit(&backwards));

    let one_row = Values([Some(90_000 * PARTS); TERMS]);
    let (mut one, mut many) = (forwards.clone(), forwards);
    one.add_patient(&[one_row]);
    many.add_patient(&vec![one_row; 1_000_000]);
    assert_eq!(fit(&one), fit(&many));
}

#[test]
fn c1_a_decision_inside_its_radius_survives_real_poison() {
    let mut numbers = Numbers(3);
    let clean = pool(60);
    let model = fit(&clean, Constancy::HALF, 2.3).unwrap();
    for _ in 0..400 {
        let values = Values(RECIPE.map(|term| {
            let (near, far) = term.constants();
            let height = numbers.between(-500, 2_500);
            Some(near + (far - near) * i64::from(height) / 1_000)
        }));
        let radius = model.poison_radius(&values);
        let count = numbers.below(6);
        let mut poisoned = clean.clone();
        for _ in 0..count {
            let extreme = if numbers.below(2) == 0 {
                -1_000_000
            } else {
                1_000_000
            };
            let row = [Values(std::array::from_fn(|_| Some(extreme * PARTS)))];
            let victim = numbers.below(poisoned.patients.len());
            match numbers.below(3) {
                0 => drop(poisoned.patients.swap_remove(victim)),
                1 => poisoned.add_patient(&row),
                _ => {
                    drop(poisoned.patients.swap_remove(victim));
                    poisoned.add_patient(&row);
                }
            }
        }
        let Ok(retrained) = fit(&poisoned, Constancy::HALF, 2.3) else {
            continue;
        };
        let (before, after) = (model.score(&values), retrained.score(&values));
        if let Some((least, most)) = model.within_poison(&values, count as u32) {
            assert!(least <= after && after <= most, "{least} {after} {most}");
        }
        if radius.covers(count as u32) {
            assert_eq!(
                model.alerts(before),
                retrained.alerts(after),
                "{radius:?} {count}"
            );
        }
    }
}

/// One reading of each of five vitals an hour, some left out.
fn stay(numbers: &mut Numbers) -> Vec<(usize, i64, i32)> {
    let mut readings = Vec::new();
    let level = numbers.between(0, 10);
    for hour in 0..14 {
        for (vital, low, high) in [
            (0, 600, 1300),
            (1, 880, 1000),
            (2, 100, 300),
            (3, 3550, 3950),
            (4, 750, 1400),
        ] {
            if numbers.below(3) > 0 {
                let value = numbers.between(low, high);
                readings.push((vital, hour, value + level * (high - low) / 40));
            }
        }
    }
    readings
}

fn hours_of(readings: impl IntoIterator<Item = (usize, i64, i32)>) -> Hours {
    let mut window = Window::new(Micros(0));
    for (vital, hour, value) in readings {
        let kind = VITALS[vital];
        let value = value.clamp(kind.spec().lowest, kind.spec().highest);
        assert_eq!(window.push(kind, Micros(hour * HOUR), value), Taken::Yes);
    }
    window.advance(Micros(13 * HOUR));
    window.hours()
}

#[test]
fn c7_a_million_attacks_on_raw_readings_never_go_below_the_corner() {
    let mut numbers = Numbers(4);
    let model = model();
    let (mut attacks, mut reached) = (0_u32, 0_u32);
    while attacks < 1_000_000 {
        let readings = stay(&mut numbers);
        let hours = hours_of(readings.iter().copied());
        let hold = Hold::Hours(numbers.between(0, 12) as u8);
        let end = |towards| model.score(&Values::held(&hours, hold, 4, towards));
        let (low, high) = (end(Towards::Silence), end(Towards::Alarm));
        let mode = numbers.below(4);
        let signs: [i32; VITALS.len()] = std::array::from_fn(|_| numbers.between(0, 1) * 2 - 1);
        for _ in 0..200 {
            let single = numbers.below(readings.len());
            let attacked = readings
                .iter()
                .enumerate()
                .map(|(index, &(vital, hour, value))| {
                    let held = matches!(hold, Hold::Hours(hours) if 13 - hour < i64::from(hours));
                    let error = VITALS[vital].spec().sensor_error;
                    let shift = match mode {
                        0 => numbers.between(-error, error),
                        1 => error * signs[vital],
                        2 => error * (numbers.between(0, 1) * 2 - 1),
                        _ if index == single => error * signs[vital],
                        _ => 0,
                    };
                    (vital, hour, if held { value + shift } else { value })
                });
            let score = model.score(&Values::of(&hours_of(attacked)));
            assert!(low <= score && score <= high, "{low} {score} {high}");
            attacks += 1;
            reached += u32::from(score == low);
        }
    }
    assert!(reached > 0, "no attack reached the corner: is it exact?");
}

#[test]
fn c7_moving_readings_towards_normal_is_no_bound_for_means() {
    let model = model();
    let with = |shift: &dyn Fn(i32) -> i32| {
        let readings = (2..14).map(|hour| (2, hour, if hour % 3 == 0 { 100 } else { 270 }));
        model.score(&Values::of(&hours_of(
            readings.map(|(vital, hour, value)| (vital, hour, value + shift(value))),
        )))
    };
    let towards_normal = with(&|value| if value < 150 { 20 } else { -20 });
    let attack = with(&|_| -20);
    let corner = {
        let readings = (2..14).map(|hour| (2, hour, if hour % 3 == 0 { 100 } else { 270 }));
        model.evasion(&hours_of(readings), 4).low
    };
    assert!(attack < towards_normal, "{attack} {towards_normal}");
    assert_eq!(corner, attack);
}

#[test]
fn c8_temperature_high_and_low_at_once_is_bounded_on_a_grid() {
    let model = model();
    let temperatures = [3480, 3560, 3600, 3650, 3690, 3720, 3760, 3790, 3850];
    let moves = [-20, -10, 0, 10, 20];
    for a in temperatures {
        for b in temperatures {
            for c in temperatures {
                let readings = [(3, 3, a), (3, 8, b), (3, 13, c)];
                let hours = hours_of(readings);
                let bound = model.evasion(&hours, 4).low;
                let mut true_minimum = f64::MAX;
                for x in moves {
                    for y in moves {
                        for z in moves {
                            let moved = [(3, 3, a + x), (3, 8, b + y), (3, 13, c + z)];
                            true_minimum =
                                true_minimum.min(model.score(&Values::of(&hours_of(moved))));
                        }
                    }
                }
                assert!(bound <= true_minimum, "{a} {b} {c}: {bound} {true_minimum}");
            }
        }
    }
}

#[test]
fn c8_the_hold_curve_is_monotone_in_hours_and_error() {
    let mut numbers = Numbers(5);
    let model = model();
    for _ in 0..300 {
        let hours = hours_of(stay(&mut numbers));
        for towards in [Towards::Silence, Towards::Alarm] {
            let sign = if towards == Towards::Silence {
                -1.0
            } else {
                1.0
            };
            let at =
                |hold, quarters| sign * model.score(&Values::held(&hours, hold, quarters, towards));
            let holds: Vec<Hold> = Hold::all().collect();
            for pair in holds.windows(2) {
                assert!(at(pair[0], 4) <= at(pair[1], 4));
            }
            for quarters in 0..8 {
                assert!(at(Hold::WholeStay, quarters) <= at(Hold::WholeStay, quarters + 1));
            }
        }
        let evasion = model.evasion(&hours, 4);
        let values = Values::of(&hours);
        let score = model.score(&values);
        for towards in [Towards::Silence, Towards::Alarm] {
            assert_eq!(values, Values::held(&hours, Hold::Hours(0), 4, towards));
            let whole = Values::held(&hours, Hold::WholeStay, 4, towards);
            assert_eq!(values.moved(4, towards), whole);
        }
        assert!(evasion.low <= score && score <= evasion.high);
        if let Some(Hold::Hours(shortest)) = evasion.hold {
            let towards = if model.alerts(score) {
                Towards::Silence
            } else {
                Towards::Alarm
            };
            let alerts = |hold| model.alerts(model.score(&Values::held(&hours, hold, 4, towards)));
            assert_ne!(alerts(Hold::Hours(shortest)), model.alerts(score));
            assert_eq!(alerts(Hold::Hours(shortest - 1)), model.alerts(score));
        }
    }
}

proptest! {
    #[test]
    fn any_values_have_a_finite_score_inside_its_bounds(values in prop::array::uniform7(prop::option::of(-40_000_i64 * PARTS..40_000 * PARTS))) {
        let (model, values) = (model(), Values(values));
        let score = model.score(&values);
        prop_assert!(score.is_finite() && (0.0..=RECIPE.iter().map(|term| term.weight).sum::<f64>() * CAP * CAP).contains(&score));
        let mut before = (score, score);
        for poisoned in 0..=MOST_RADIUS {
            let Some((least, most)) = model.within_poison(&values, poisoned) else { break };
            prop_assert!(least <= before.0 + 1e-9 && before.1 <= most + 1e-9);
            before = (least, most);
        }
    }
}
