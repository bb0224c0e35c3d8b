//! The rules lane: NEWS2 on the newest reading of each vital, beside what a guard says of it.
//!
//! A missing or stale parameter makes an interval. What is certain pages; what is only possible is
//! worth a watch, and only where the vital was measured before: that a wristband has no blood
//! pressure says nothing new of anybody.

use pulseward_base::{Micros, ModelId};
use pulseward_eventlog::body::{AlertReading, Lane, Score, ScorePart, Severity};
use pulseward_models::rules::news2::{
    self, Eligibility, Measured, Parameter, Score as News2, Vitals,
};
use pulseward_vitals::Kind;

use super::teller::{About, Teller, Whom};
use crate::{
    output::{Flags, Subject},
    settings::Judgement,
    state::{
        patient::{Patient, Reading},
        votes::{Rule, Vote},
    },
};

/// Names the published rules where a model would be named: "NEWS2/2017", padded with zeros.
pub const NEWS2: ModelId = ModelId(*b"NEWS2/2017\0\0\0\0\0\0");

/// The readings that one batch brings.
pub(crate) type Fresh = [(Kind, Reading)];

/// Judges the patient at the newest of `fresh`; the state holds them already where they are newest.
pub(crate) fn judge(patient: &mut Patient, fresh: &Fresh, now: Micros, teller: &mut Teller<'_>) {
    let relevant = fresh
        .iter()
        .filter(|(kind, _)| Parameter::of(*kind).is_some());
    let Some(at) = relevant.map(|(_, reading)| reading.at).max() else {
        return;
    };
    let judgement = teller.judgement;
    let inputs = inputs(patient, fresh, at, judgement);
    let Some((score, vote)) = assess(&inputs, at, judgement) else {
        return;
    };
    let past = at.until(now) > judgement.past_after;
    let flags = flags(patient, &score, &inputs, at, now, judgement);
    let whom = Whom::from(&*patient);
    teller.score(&whom, to_score(patient, &score, flags, at));
    if !past && patient.past.open.is_some() {
        let about = about(&score, flags.and(Flags::PAST), at);
        teller.clear(&whom, &mut patient.past.open, about);
    }
    let rule = Rule {
        of: judgement.rules,
        alone_counts: true,
        sparse_after: judgement.sparse_after,
    };
    let episode = if past {
        &mut patient.past
    } else {
        &mut patient.live
    };
    teller.vote(&whom, episode, (vote, rule), about(&score, flags, at));
    patient.newest = patient.newest.max(Some(at));
}

/// Returns the reading of each parameter that is known at `at`: what is fresh, else what was last.
fn inputs(
    patient: &Patient,
    fresh: &Fresh,
    at: Micros,
    judgement: &Judgement,
) -> Vec<(Kind, Reading)> {
    let known = |kind: Kind| {
        let fresh = fresh
            .iter()
            .find(|(fresh, _)| *fresh == kind)
            .map(|(_, reading)| *reading);
        let last = || patient.vitals.get(&kind).map(|vital| vital.last);
        // A backlog is judged by what was known then, not by what was read hours later.
        let then = |reading: &Reading| at.until(reading.at) <= judgement.late_after;
        fresh
            .or_else(last)
            .filter(then)
            .map(|reading| (kind, reading))
    };
    Parameter::ALL
        .iter()
        .filter_map(|parameter| known(parameter.kind()))
        .collect()
}

fn assess(inputs: &[(Kind, Reading)], at: Micros, judgement: &Judgement) -> Option<(News2, Vote)> {
    let readings = inputs
        .iter()
        .map(|(kind, reading)| (*kind, reading.at, reading.value));
    let vitals = Vitals::at(at, readings, &judgement.ages);
    let eligibility = Eligibility::default();
    let score = news2::assess(&vitals, judgement.saturation, eligibility).ok()?;
    let expected = |kind: Kind| {
        let reading = inputs.iter().find(|(known, _)| *known == kind);
        reading.is_some_and(|(_, reading)| reading.at.until(at) <= judgement.forget_after)
    };
    let among_expected = Vitals {
        respiration: or_normal(vitals.respiration, expected(Kind::RespiratoryRate), 160),
        saturation: or_normal(vitals.saturation, expected(Kind::SpO2), 970),
        oxygen: or_normal(vitals.oxygen, expected(Kind::SupplementalOxygen), 0),
        pressure: or_normal(vitals.pressure, expected(Kind::SystolicPressure), 1200),
        pulse: or_normal(vitals.pulse, expected(Kind::HeartRate), 700),
        consciousness: or_normal(vitals.consciousness, expected(Kind::Consciousness), 0),
        temperature: or_normal(vitals.temperature, expected(Kind::Temperature), 3700),
    };
    let most = news2::assess(&among_expected, judgement.saturation, eligibility).ok()?;
    let watch = most.high >= 5;
    let possible = severity(most.at_most).max(watch.then_some(Severity::Watch));
    Some((
        score,
        Vote {
            certain: severity(score.at_least),
            watch,
            possible,
        },
    ))
}

/// What nobody ever measured is not expected to be abnormal.
const fn or_normal(measured: Measured, expected: bool, normal: i32) -> Measured {
    match measured {
        Measured::Missing | Measured::Stale if !expected => Measured::exactly(normal),
        known => known,
    }
}

const fn severity(risk: news2::Severity) -> Option<Severity> {
    match risk {
        news2::Severity::Low => None,
        news2::Severity::SingleThree | news2::Severity::Medium => Some(Severity::Urgent),
        news2::Severity::High => Some(Severity::Emergency),
    }
}

fn flags(
    patient: &Patient,
    score: &News2,
    inputs: &[(Kind, Reading)],
    at: Micros,
    now: Micros,
    judgement: &Judgement,
) -> Flags {
    let used = |kind: Kind| {
        let of = |contribution: &&news2::Contribution| contribution.parameter.kind() == kind;
        let found = score.contributions.iter().find(of);
        found.is_some_and(|found| matches!(found.measured, Measured::Between(..)))
    };
    let unverified = inputs
        .iter()
        .any(|(kind, reading)| reading.unverified && used(*kind));
    let age = at.until(now);
    let overtaken = patient.newest.is_some_and(|newest| at < newest);
    Flags::PAST
        .when(age > judgement.past_after)
        .and(Flags::LATE.when(overtaken || age > judgement.late_after))
        .and(Flags::UNVERIFIED.when(unverified))
}

fn to_score(patient: &Patient, score: &News2, flags: Flags, at: Micros) -> Score {
    let part = |part: &news2::Contribution| {
        let kind = part.parameter.kind().spec().number;
        ScorePart {
            kind,
            low: i32::from(part.low),
            high: i32::from(part.high),
        }
    };
    Score {
        pseudonym: patient.pseudonym,
        at,
        lane: Lane::Rules,
        model: NEWS2,
        low: i32::from(score.low),
        high: i32::from(score.high),
        flags: flags.0,
        parts: score.contributions.iter().map(part).collect(),
    }
}

fn about(score: &News2, flags: Flags, at: Micros) -> About {
    let vital = |part: &news2::Contribution| match part.measured {
        Measured::Between(value, _) => Some(AlertReading {
            kind: part.parameter.kind().spec().number,
            value,
            low: i32::from(part.low),
            high: i32::from(part.high),
        }),
        Measured::Stale | Measured::Missing => None,
    };
    About {
        lane: Lane::Rules,
        subject: Subject::News2,
        flags,
        at,
        model: NEWS2,
        range: (i32::from(score.low), i32::from(score.high)),
        readings: score.contributions.iter().filter_map(vital).collect(),
    }
}
