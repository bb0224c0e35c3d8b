//! False readings within the sensors' error, searched for.

use crate::{
    dataset::Hour,
    evaluate::{Case, Decider, EvaluationSet},
    features::{Hold, Hours, VITALS},
    measure::Draws,
};

/// What a search found.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaded {
    /// Alerts that were attacked.
    pub alerts: usize,
    /// Attacks that were tried.
    pub attacks: usize,
    /// Attacks that went below the certified least score: none may.
    pub violations: usize,
    /// Alerts that the strongest attack silenced.
    pub silenced: usize,
    /// Alerts for which the certificate does not promise that they stand.
    pub uncertified: usize,
    /// The mean distance from the strongest attack's score to the certified one, as a share of the
    /// distance from the true score.
    pub gap: f64,
}

/// Attacks up to `most` alerts on `set`, each with `tries` attacks on the raw readings of the last
/// hours that `hold` covers: the corner, single readings moved both ways, and chance.
#[must_use]
pub fn evade(
    decider: &Decider<'_>,
    set: &EvaluationSet,
    hold: Hold,
    quarters: u16,
    (most, tries): (usize, usize),
) -> Evaded {
    let mut found = Evaded::default();
    let mut gaps = 0.0;
    let mut draws = Draws::new(11);
    for case in &set.cases {
        if found.alerts == most {
            break;
        }
        let Some((rows, hours)) = first_alert(decider, case) else {
            continue;
        };
        let truth = decider.score(&hours);
        let certified = decider.least_score(&hours, hold, quarters);
        let mut strongest = truth;
        let mut silenced = false;
        for attempt in 0..tries {
            let attacked = attack(&rows, hold, quarters, attempt, &mut draws);
            let seen = watch(case, attacked);
            let score = decider.score(&seen);
            found.violations += usize::from(score < certified - 1e-9 * (1.0 + certified.abs()));
            strongest = strongest.min(score);
            silenced |= !decider.alerts(&seen);
        }
        found.alerts += 1;
        found.attacks += tries;
        found.silenced += usize::from(silenced);
        found.uncertified += usize::from(!decider.alerts_despite(&hours, hold, quarters));
        if truth > certified {
            gaps += (strongest - certified).max(0.0) / (truth - certified);
        }
    }
    found.gap = gaps / found.alerts.max(1) as f64;
    found
}

/// The rows up to the first alert, and what the model saw there.
fn first_alert(decider: &Decider<'_>, case: &Case) -> Option<(Vec<Hour>, Hours)> {
    let mut found = None;
    let mut seen = 0;
    case.windows(|_, hours| {
        seen += 1;
        if found.is_none() && decider.alerts(hours) {
            found = Some((seen, hours.clone()));
        }
    });
    let (count, hours) = found?;
    Some((case.hours.iter().take(count).copied().collect(), hours))
}

fn attack(
    rows: &[Hour],
    hold: Hold,
    quarters: u16,
    attempt: usize,
    draws: &mut Draws,
) -> Vec<Hour> {
    let last = rows.last().map_or(0, |row| row.hour);
    let reach = match hold {
        Hold::Hours(hours) => u32::from(hours),
        Hold::WholeStay => u32::MAX,
    };
    // For each vital one direction, or chance for each reading.
    let sides: [i32; VITALS.len()] = std::array::from_fn(|vital| match attempt {
        // Heart rate, breathing and temperature down, the rest up; then temperature up.
        0 | 1 => {
            if matches!(vital, 0 | 2) || (vital == 3 && attempt == 0) {
                -1
            } else {
                1
            }
        }
        _ => draws.below(3) as i32 - 1,
    });
    let mut attacked = rows.to_vec();
    for row in attacked.iter_mut().filter(|row| last - row.hour < reach) {
        for ((value, kind), side) in row.values.iter_mut().zip(VITALS).zip(sides) {
            let error = kind.spec().sensor_error * i32::from(quarters) / 4;
            let by = match attempt % 3 {
                2 => (f64::from(error) * (draws.unit() * 2.0 - 1.0)) as i32,
                _ => side * error,
            };
            *value = value
                .map(|value| value + by)
                .filter(|value| kind.is_plausible(*value))
                .or(*value);
        }
    }
    attacked
}

fn watch(case: &Case, rows: Vec<Hour>) -> Hours {
    let mut last = None;
    let attacked = Case {
        hours: rows,
        ..case.clone()
    };
    attacked.windows(|_, hours| last = Some(hours.clone()));
    last.unwrap_or_else(|| crate::features::Window::new(pulseward_base::Micros(0)).hours())
}
