//! What false readings within the sensors' error can and cannot change.

use std::path::Path;

use pulseward_base::Micros;
use pulseward_models::{
    anchor::{Anchor, Constancy, Towards, Values},
    features::{HOURS, Hold, Hours, VITALS, Window},
    measure::{Draws, share},
};

use crate::{
    episodes::{Rule, active_patients, runs},
    figure::{Figure, Lines, Target},
    study::{Patient, Study, news2},
};

const HOLDS: [Hold; 5] = [
    Hold::Hours(1),
    Hold::Hours(3),
    Hold::Hours(6),
    Hold::Hours(12),
    Hold::WholeStay,
];

/// One in so many alerts is attacked on its raw readings, so many times each.
const ATTACK_EVERY: usize = 17;
const ATTACKS: usize = 1_200;

pub(crate) fn measure(data: &Path) -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let study = Study::load(data)?;
    let model = study.anchor(Constancy::SHIPPED)?;
    let mut kept = [[0_usize; HOLDS.len()]; 3];
    let (mut alerts, mut rules, mut rules_kept) = (0, 0, [0_usize; 3]);
    for patient in study.judged() {
        for (hours, score) in patient.record.windows().iter().zip(&patient.news2) {
            if model.alerts(model.score(&Values::of(hours))) {
                alerts += 1;
                for (kept, quarters) in kept.iter_mut().zip([1, 4, 8]) {
                    for (kept, hold) in kept.iter_mut().zip(HOLDS) {
                        let held = Values::held(hours, hold, quarters, Towards::Silence);
                        *kept += usize::from(model.alerts(model.score(&held)));
                    }
                }
            }
            if score.low >= 5 {
                rules += 1;
                for (kept, quarters) in rules_kept.iter_mut().zip([1, 4, 8]) {
                    *kept += usize::from(news2(hours, quarters).low >= 5);
                }
            }
        }
    }
    lines.say(format!("{alerts} anomaly alerts; share nobody can silence, sensors held for 1 h, 3 h, 6 h, 12 h, the whole stay"));
    for (kept, error) in kept.iter().zip(["0.25", "1", "2"]) {
        let shares: Vec<String> = kept
            .iter()
            .map(|kept| format!("{:.3}", share(*kept, alerts)))
            .collect();
        lines.say(format!(
            "    at {error:>4}x sensor error: {}",
            shares.join("  ")
        ));
    }
    let rule_shares: Vec<String> = rules_kept
        .iter()
        .map(|kept| format!("{:.3}", share(*kept, rules)))
        .collect();
    lines.say(format!(
        "{rules} windows with NEWS2 >= 5; kept at 0.25x, 1x, 2x with the last readings false: {}",
        rule_shares.join("  ")
    ));
    patients_kept(&study, &model, &mut lines);
    attack_raw_readings(&study, &model, &mut lines);
    let [_, once, _] = kept;
    let ours = share(once.get(2).copied().unwrap_or(0), alerts);
    let against = share(rules_kept.get(1).copied().unwrap_or(0), rules);
    let figure = Figure::new(
        "evasion",
        "share nobody can silence at 1x held 6 h",
        ours,
        against,
        Target::AtLeast(0.67),
    );
    Ok(figure
        .versus("of NEWS2's windows, last readings false")
        .with_lines(lines.into_vec()))
}

/// Patients with the event for whom an alarm is on around its onset, and who keeps one when every
/// reading of the stay is false by the sensors' error.
fn patients_kept(study: &Study, model: &Anchor, lines: &mut Lines) {
    let clean = |patient: &Patient| {
        let anomaly = patient
            .values
            .iter()
            .map(|values| model.alerts(model.score(values)))
            .collect();
        let rules = patient.news2.iter().map(|score| score.low >= 5).collect();
        [anomaly, rules]
    };
    let attacked = |patient: &Patient| {
        let windows = patient.record.windows();
        let anomaly = windows
            .iter()
            .map(|hours| {
                model.alerts(model.score(&Values::held(
                    hours,
                    Hold::WholeStay,
                    4,
                    Towards::Silence,
                )))
            })
            .collect();
        let rules = windows
            .iter()
            .map(|hours| news2(hours, 4).low >= 5)
            .collect();
        [anomaly, rules]
    };
    let rule = Rule::default();
    for (name, lanes) in [
        ("anomaly", [true, false]),
        ("NEWS2 >= 5", [false, true]),
        ("either", [true, true]),
    ] {
        let on = |lists: [Vec<bool>; 2]| {
            let mut on: Vec<bool> = vec![false; lists.first().map_or(0, Vec::len)];
            for (list, _) in lists.iter().zip(lanes).filter(|pair| pair.1) {
                for (on, now) in on.iter_mut().zip(runs(list, rule)) {
                    *on |= now;
                }
            }
            on
        };
        let before = active_patients(study.judged(), |patient| on(clean(patient)));
        let after = active_patients(study.judged(), |patient| on(attacked(patient)));
        let kept = before
            .iter()
            .filter(|patient| after.contains(patient))
            .count();
        lines.say(format!(
            "patient alarms of {name:10}: {} around an onset, kept at 1x over the whole stay {:.3}",
            before.len(),
            share(kept, before.len())
        ));
    }
}

/// Searches for readings within the error that score below the certificate: at random, at corners,
/// and by changing one thing at a time and keeping what helps.
fn attack_raw_readings(study: &Study, model: &Anchor, lines: &mut Lines) {
    let mut draws = Draws::new(9);
    let (mut attacks, mut below, mut targets, mut certified, mut survived, mut seen) =
        (0_u64, 0_u64, 0, 0, 0, 0);
    for patient in study.judged() {
        let windows = patient.record.windows();
        for (row, hours) in windows.iter().enumerate() {
            if !model.alerts(model.score(&Values::of(hours))) {
                continue;
            }
            seen += 1;
            if seen % ATTACK_EVERY != 0 {
                continue;
            }
            let hold = Hold::Hours(HOURS as u8);
            let bound = model.score(&Values::held(hours, hold, 4, Towards::Silence));
            let (lowest, tried, violations) = search(patient, row, model, bound, &mut draws);
            attacks += tried;
            below += violations;
            targets += 1;
            certified += usize::from(model.alerts(bound));
            survived += usize::from(model.alerts(lowest));
        }
    }
    lines.say(format!(
        "{attacks} attacks on the raw readings of {targets} alerts: {below} below the certificate; certified {:.3}, survived the strongest search {:.3}",
        share(certified, targets),
        share(survived, targets),
    ));
}

type Shifts = [[i32; VITALS.len()]; HOURS];

fn search(
    patient: &Patient,
    row: usize,
    model: &Anchor,
    bound: f64,
    draws: &mut Draws,
) -> (f64, u64, u64) {
    let mut best: Shifts = [[0; VITALS.len()]; HOURS];
    let mut lowest = model.score(&Values::of(&replay(patient, row, &best)));
    let (mut tried, mut violations) = (0, 0);
    for attack in 0..ATTACKS {
        let mut shifts = best;
        let error = |vital: usize| VITALS.get(vital).map_or(0, |kind| kind.spec().sensor_error);
        let sign = if draws.below(2) == 0 { -1 } else { 1 };
        let (chosen_hour, chosen) = (draws.below(HOURS), draws.below(VITALS.len()));
        for (hour, shifts) in shifts.iter_mut().enumerate() {
            for (vital, shift) in shifts.iter_mut().enumerate() {
                match attack % 4 {
                    0 => *shift = (f64::from(error(vital)) * (draws.unit() * 2.0 - 1.0)) as i32,
                    1 if draws.below(2) == 0 => *shift = -error(vital),
                    1 => *shift = error(vital),
                    2 if vital == chosen && hour == chosen_hour => *shift = sign * error(vital),
                    3 if vital == chosen => *shift = sign * error(vital),
                    _ => {}
                }
            }
        }
        let score = model.score(&Values::of(&replay(patient, row, &shifts)));
        tried += 1;
        violations += u64::from(score < bound);
        if score < lowest {
            (lowest, best) = (score, shifts);
        }
    }
    (lowest, tried, violations)
}

/// Feeds a stay's readings up to `row` through the window again, those of the last hours shifted. A
/// reading that would leave the plausible range stops at its end: beyond, a guard raises its alarm.
fn replay(patient: &Patient, row: usize, shifts: &Shifts) -> Hours {
    let mut window = Window::new(Micros(0));
    let recorded = &patient.record.hours;
    let now = recorded.get(row).map_or(0, |hour| hour.hour);
    let first = row.saturating_sub(48);
    for hour in recorded.iter().take(row + 1).skip(first) {
        let time = Micros(i64::from(hour.hour) * 3_600_000_000);
        window.advance(time);
        let shifts = shifts.get((now - hour.hour) as usize);
        for (vital, (kind, value)) in VITALS.into_iter().zip(hour.values).enumerate() {
            if let Some(value) = value {
                let shift = shifts
                    .and_then(|shifts| shifts.get(vital))
                    .copied()
                    .unwrap_or(0);
                let spec = kind.spec();
                window.push(kind, time, (value + shift).clamp(spec.lowest, spec.highest));
            }
        }
    }
    window.hours()
}
