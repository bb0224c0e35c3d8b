use proptest::prelude::*;
use pulseward_base::bytes::{Reader, Writer};

use super::*;

#[derive(Clone, Debug)]
struct Reading {
    vital: usize,
    hour: i64,
    minute: i64,
    value: i32,
}

impl Reading {
    fn time(&self) -> Micros {
        Micros(self.hour * MICROS_PER_HOUR + self.minute * 60_000_000)
    }
}

/// Readings over three days, few enough that some hours of some vitals stay empty.
fn readings() -> impl Strategy<Value = Vec<Reading>> {
    let reading = (0..VITALS.len(), 0..72_i64, 0..60_i64, 0.0..1.0_f64).prop_map(
        |(vital, hour, minute, share)| {
            let spec = VITALS[vital].spec();
            let value = spec.lowest + (f64::from(spec.highest - spec.lowest) * share) as i32;
            Reading {
                vital,
                hour,
                minute,
                value,
            }
        },
    );
    prop::collection::vec(reading, 1..300).prop_map(|mut readings| {
        readings.sort_by_key(Reading::time);
        readings
    })
}

fn fill(readings: &[Reading]) -> Window {
    let mut window = Window::new(Micros(0));
    for reading in readings {
        assert_eq!(
            window.push(VITALS[reading.vital], reading.time(), reading.value),
            Taken::Yes
        );
    }
    window
}

/// Intervals between beats: scattered, in a pattern, or all but the same.
fn beats() -> impl Strategy<Value = Vec<i32>> {
    (1..=6_i32, 32..200_usize).prop_flat_map(|(scatter, count)| {
        let spread = 10_i32.pow(scatter.min(4) as u32);
        prop::collection::vec(8_000 - spread / 2..8_000 + 2 * spread, count)
    })
}

fn naive_rhythm(beats: &[i32]) -> RhythmFeatures {
    let beats: Vec<i32> = beats
        .iter()
        .map(|beat| (*beat).clamp(2_000, 30_000))
        .collect();
    let last = beats.len() - 1;
    let near = |a: usize, b: usize| (beats[a] - beats[b]).abs() <= 300;
    let (mut pairs, mut runs) = (0_u32, 0_u32);
    for a in 0..last {
        for b in a + 1..last {
            pairs += u32::from(near(a, b));
            runs += u32::from(near(a, b) && near(a + 1, b + 1));
        }
    }
    let mean = beats.iter().map(|beat| i64::from(*beat)).sum::<i64>() as f64
        / (beats.len() as f64 * 10_000.0);
    let share = f64::from(runs.max(1)) / f64::from(pairs.max(1));
    let mut ordered = beats.clone();
    ordered.sort_unstable();
    let doubled = ordered[ordered.len() / 2] + ordered[last / 2];
    let cell = |step: &[i32]| {
        ((step[1] - step[0]) * 80 + doubled)
            .div_euclid(2 * doubled)
            .clamp(-12, 12)
    };
    let cells: Vec<i32> = beats.windows(2).map(cell).collect();
    let scattered = cells
        .windows(2)
        .filter(|two| two[0].abs().max(two[1].abs()) > 1);
    let distinct: std::collections::BTreeSet<_> = scattered.collect();
    RhythmFeatures {
        entropy: -share.ln() + (2.0_f64 * 300.0 / 10_000.0).ln() - mean.ln(),
        occupied: distinct.len() as f64 / (cells.len() - 1) as f64,
    }
}

/// The features from the definitions, over all readings there ever were.
fn naive(readings: &[Reading], vital: usize, newest: i64) -> Option<VitalFeatures> {
    let mean_of = |hour: i64| {
        let values: Vec<i64> = readings
            .iter()
            .filter(|r| r.vital == vital && r.hour == hour)
            .map(|r| i64::from(r.value))
            .collect();
        (!values.is_empty())
            .then(|| (values.iter().sum::<i64>() * PARTS).div_euclid(values.len() as i64))
    };
    let known: Vec<(i64, i64)> = (0..=newest)
        .filter_map(|hour| Some((hour, mean_of(hour)?)))
        .collect();
    let in_window = |hour: i64| hour > newest - HOURS as i64;
    let standing_in = |hour: i64| {
        let (from, mean) = known.iter().rev().find(|(from, _)| *from <= hour)?;
        (in_window(*from) || newest - from < CARRIED_HOURS).then_some(*mean)
    };
    let mean = |hours: std::ops::RangeInclusive<i64>| {
        let values: Vec<i64> = hours.filter_map(standing_in).collect();
        (!values.is_empty())
            .then(|| values.iter().sum::<i64>() as f64 / (values.len() as i64 * PARTS) as f64)
    };
    let steps = |parts: i64| parts as f64 / PARTS as f64;
    let last = standing_in(newest)?;
    let measured: Vec<i64> = known
        .iter()
        .filter(|(hour, _)| in_window(*hour))
        .map(|known| known.1)
        .collect();
    let n = measured.len() as f64;
    let average = measured.iter().map(|m| steps(*m)).sum::<f64>() / n;
    let squares: f64 = measured.iter().map(|m| (steps(*m) - average).powi(2)).sum();
    let baseline = known
        .iter()
        .filter(|(hour, _)| *hour < newest)
        .fold(None, |base, (_, mean)| Some(drift(base, *mean)));
    Some(VitalFeatures {
        last: steps(last),
        mean_6h: mean(newest - 5..=newest)?,
        mean_12h: mean(newest - 11..=newest)?,
        deviation_12h: (n >= 2.0).then(|| (squares / (n - 1.0)).sqrt()),
        least_12h: steps(measured.iter().copied().min().unwrap_or(last)),
        most_12h: steps(measured.iter().copied().max().unwrap_or(last)),
        rise_6h: mean(newest - 6..=newest - 1).map_or(0.0, |before| steps(last) - before),
        above_baseline: baseline.map_or(0.0, |baseline| steps(last - baseline)),
    })
}

fn encoded(window: &Window) -> Vec<u8> {
    let mut writer = Writer::new();
    window.encode(&mut writer);
    writer.into_vec()
}

#[test]
fn an_hour_at_the_end_of_time_is_refused() {
    for hour in [i64::MIN, i64::MAX] {
        let mut bytes = encoded(&fill(&[]));
        bytes[1..9].copy_from_slice(&hour.to_le_bytes());
        let decoded = Window::decode(&mut Reader::new(&bytes));
        assert_eq!(decoded, Err(pulseward_base::bytes::Malformed));
    }
}

proptest! {
    #[test]
    fn streaming_equals_a_recomputation_from_all_readings(readings in readings(), idle in 0..40_i64) {
        let mut window = fill(&readings);
        let newest = readings.last().unwrap().hour + idle;
        window.advance(Micros(newest * MICROS_PER_HOUR));
        for vital in 0..VITALS.len() {
            let (ours, theirs) = (window.hours().features(vital), naive(&readings, vital, newest));
            prop_assert_eq!(ours.is_some(), theirs.is_some());
            let (Some(ours), Some(theirs)) = (ours, theirs) else { continue };
            let (a, b) = (ours.deviation_12h, theirs.deviation_12h);
            prop_assert_eq!(a.is_some(), b.is_some());
            prop_assert!((a.unwrap_or(0.0) - b.unwrap_or(0.0)).abs() < 1e-6);
            prop_assert_eq!(VitalFeatures { deviation_12h: None, ..ours }, VitalFeatures { deviation_12h: None, ..theirs });
        }
    }

    #[test]
    fn within_the_window_the_order_of_arrival_changes_nothing(mut readings in readings(), swaps in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 0..50)) {
        readings.retain(|r| r.hour >= 60);
        prop_assume!(!readings.is_empty());
        let mut shuffled = readings.clone();
        for (a, b) in swaps {
            shuffled.swap(a.index(readings.len()), b.index(readings.len()));
        }
        let at_last = |readings: &[Reading]| {
            let mut window = Window::new(Micros(60 * MICROS_PER_HOUR));
            for reading in readings {
                prop_assert_eq!(window.push(VITALS[reading.vital], reading.time(), reading.value), Taken::Yes);
            }
            window.advance(Micros(71 * MICROS_PER_HOUR));
            Ok(window)
        };
        prop_assert_eq!(at_last(&readings)?, at_last(&shuffled)?);
    }

    #[test]
    fn the_state_goes_both_ways_within_its_bound(readings in readings(), beats in prop::collection::vec(2_000..40_000_i32, 0..200)) {
        let mut window = fill(&readings);
        for (time, beat) in (1..).zip(beats) {
            prop_assert_eq!(window.push(Kind::BeatInterval, Micros(time), beat), Taken::Yes);
        }
        let bytes = encoded(&window);
        prop_assert!(bytes.len() <= Window::MOST_BYTES);
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(Window::decode(&mut reader), Ok(window));
        prop_assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn any_bytes_give_a_window_that_can_be_used_or_an_error(readings in readings(), place: prop::sample::Index, byte: u8, garbage: Vec<u8>) {
        let mut bytes = encoded(&fill(&readings));
        let place = place.index(bytes.len());
        bytes[place] = byte;
        for bytes in [&bytes, &garbage] {
            if let Ok(mut window) = Window::decode(&mut Reader::new(bytes)) {
                window.push(Kind::HeartRate, Micros(i64::MAX), 800);
                for vital in 0..VITALS.len() {
                    let _seen = window.hours().features(vital);
                }
            }
        }
    }

    #[test]
    fn c7_moving_readings_moves_means_exactly(readings in readings(), vital in 0..VITALS.len(), hours in 0..=12_u8, steps in -20..=20_i32) {
        let newest = readings.last().unwrap().hour;
        let hold = Hold::Hours(hours);
        let mut moved = readings.clone();
        for reading in moved.iter_mut().filter(|r| r.vital == vital && newest - r.hour < i64::from(hours)) {
            reading.value += steps;
            prop_assume!(VITALS[vital].is_plausible(reading.value));
        }
        let expect = fill(&moved).hours();
        prop_assert_eq!(fill(&readings).hours().held(vital, hold, i64::from(steps) * PARTS).features(vital), expect.features(vital));
    }

    #[test]
    fn c18_a_constant_patient_keeps_constant_features(value in 300..1000_i32, hours in 1..200_i64) {
        let mut window = Window::new(Micros(0));
        let mut first = None;
        for hour in 0..hours {
            window.push(Kind::HeartRate, Micros(hour * MICROS_PER_HOUR), value);
            let features = window.hours().features(0).map(|f| VitalFeatures { deviation_12h: None, ..f });
            prop_assert_eq!(*first.get_or_insert(features), features);
        }
    }

    #[test]
    fn a_rhythm_is_described_as_its_definitions_say(beats in beats()) {
        let mut window = Window::new(Micros(0));
        for (time, beat) in (1..).zip(&beats) {
            window.push(Kind::BeatInterval, Micros(time), *beat);
        }
        let beats = &beats[beats.len().saturating_sub(BEATS)..];
        prop_assert_eq!(window.beats().features(), Some(naive_rhythm(beats)));
    }

    #[test]
    fn entropy_stays_within_its_interval(beats in prop::collection::vec(4_000..12_000_i32, 40..128), jitter in prop::collection::vec(-1.0..=1.0_f64, 128), error in 0..100_i32) {
        let window = |beats: &[i32]| {
            let mut window = Window::new(Micros(0));
            for (time, beat) in (1..).zip(beats) {
                window.push(Kind::BeatInterval, Micros(time), *beat);
            }
            window
        };
        let (low, high) = window(&beats).beats().entropy_within(error).unwrap();
        let moved: Vec<i32> = beats.iter().zip(jitter).map(|(beat, share)| beat + (f64::from(error) * share) as i32).collect();
        let entropy = window(&moved).beats().features().unwrap().entropy;
        prop_assert!(low <= entropy && entropy <= high);
    }
}

#[test]
fn what_cannot_count_is_named() {
    let mut window = Window::new(Micros(100 * MICROS_PER_HOUR));
    let at = |hour: i64| Micros(hour * MICROS_PER_HOUR);
    assert_eq!(window.push(Kind::HeartRate, at(88), 800), Taken::TooOld);
    assert_eq!(window.push(Kind::HeartRate, at(89), 800), Taken::Yes);
    assert_eq!(window.push(Kind::HeartRate, at(100), 0), Taken::Implausible);
    assert_eq!(window.push(Kind::Glucose, at(100), 90), Taken::OtherKind);
    assert_eq!(window.push(Kind::BeatInterval, at(100), 8_000), Taken::Yes);
    assert_eq!(
        window.push(Kind::BeatInterval, at(100), 8_000),
        Taken::TooOld
    );
}

#[test]
fn a_regular_rhythm_scores_low_and_a_random_one_high() {
    let features = |interval: &dyn Fn(i32) -> i32| {
        let mut window = Window::new(Micros(0));
        for beat in 0..128 {
            window.push(Kind::BeatInterval, Micros(i64::from(beat)), interval(beat));
        }
        window.beats().features().unwrap()
    };
    let regular = features(&|beat| 8_000 + beat % 3 * 20);
    let random = features(&|beat| 5_000 + (beat * beat * 7_919 + beat * 104_729) % 6_007);
    assert!(
        regular.entropy + 1.0 < random.entropy,
        "{regular:?} {random:?}"
    );
    assert!(
        regular.occupied < 0.01 && random.occupied > 0.3,
        "{regular:?} {random:?}"
    );
    assert!(features(&|_| 8_000).entropy.is_finite());
}
