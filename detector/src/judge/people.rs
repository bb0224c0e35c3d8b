//! What people make of alerts: one is acknowledged, a lane is snoozed.
//!
//! Neither ends an alert or delays what is judged. An alert that rises calls anew, whatever was
//! acknowledged; one that is more severe than all that was open when its lane was snoozed ends the
//! snooze; at a snooze's end what still holds calls anew.

use std::time::Duration;

use pulseward_base::{AlertId, Micros, ModelId};
use pulseward_eventlog::body::{AlertState, Lane, Severity, Wish};

use super::{
    rules,
    teller::{About, Teller, Whom},
};
use crate::{
    output::{Flags, Subject},
    state::patient::{Open, Patient, Snooze},
};

/// Does what somebody wishes of a patient's alerts.
pub(crate) fn apply(patient: &mut Patient, wish: Wish, now: Micros, teller: &mut Teller<'_>) {
    match wish {
        Wish::Acknowledge(alert) => acknowledge(patient, alert, now, teller),
        Wish::Snooze { lane, seconds: 0 } => wake(patient, lane, now, teller),
        Wish::Snooze { lane, seconds } => {
            let span = Duration::from_secs(u64::from(seconds));
            let until = now.plus(span.min(teller.judgement.longest_snooze));
            snooze(patient, lane, until, teller, now);
        }
    }
}

/// Ends the snoozes whose time is over at `now`.
pub(crate) fn elapse(patient: &mut Patient, now: Micros, teller: &mut Teller<'_>) {
    let over = |(_, snooze): &(&Lane, &Snooze)| snooze.until <= now;
    let over: Vec<Lane> = patient
        .snoozes
        .iter()
        .filter(over)
        .map(|(lane, _)| *lane)
        .collect();
    for lane in over {
        wake(patient, lane, now, teller);
    }
}

/// Ends the snoozes that something more severe has pierced.
pub(crate) fn pierce(patient: &mut Patient, now: Micros, teller: &mut Teller<'_>) {
    for lane in std::mem::take(&mut teller.pierced) {
        wake(patient, lane, now, teller);
    }
}

fn acknowledge(patient: &mut Patient, alert: AlertId, now: Micros, teller: &mut Teller<'_>) {
    let whom = Whom::from(&*patient);
    let mut standing = standing(patient).into_iter();
    let found = standing.find(|standing| standing.open.id == alert);
    if let Some(found) = found.filter(|found| !found.open.acknowledged) {
        found.open.acknowledged = true;
        found.say(&whom, AlertState::Acknowledged, now, teller);
    }
}

fn snooze(patient: &mut Patient, lane: Lane, until: Micros, teller: &mut Teller<'_>, now: Micros) {
    let whom = Whom::from(&*patient);
    let mut level = Severity::Watch;
    for standing in standing(patient) {
        if standing.lane() == lane && !standing.past {
            level = level.max(standing.open.severity);
            standing.open.snoozed = true;
            standing.say(&whom, AlertState::Snoozed, now, teller);
        }
    }
    patient.snoozes.insert(lane, Snooze { until, level });
}

fn wake(patient: &mut Patient, lane: Lane, now: Micros, teller: &mut Teller<'_>) {
    if patient.snoozes.remove(&lane).is_none() {
        return;
    }
    let whom = Whom::from(&*patient);
    for standing in standing(patient) {
        if standing.lane() == lane && standing.open.snoozed {
            standing.open.snoozed = false;
            if !standing.open.acknowledged {
                standing.say(&whom, AlertState::Resumed, now, teller);
            }
        }
    }
}

/// An open alert of a patient, and what it is about.
struct Standing<'a> {
    subject: Subject,
    /// It never calls anybody.
    past: bool,
    open: &'a mut Open,
}

impl<'a> Standing<'a> {
    fn of(subject: Subject, open: &'a mut Option<Open>) -> Option<Self> {
        open.as_mut().map(|open| Self {
            subject,
            past: false,
            open,
        })
    }

    fn lane(&self) -> Lane {
        match self.subject {
            Subject::News2 => Lane::Rules,
            _ => Lane::Integrity,
        }
    }

    fn say(&self, whom: &Whom, state: AlertState, now: Micros, teller: &mut Teller<'_>) {
        let lane = self.lane();
        let model = if lane == Lane::Rules {
            rules::NEWS2
        } else {
            ModelId::ZERO
        };
        let about = About {
            lane,
            subject: self.subject,
            flags: Flags::PAST
                .when(self.past)
                .and(Flags::SNOOZED.when(self.open.snoozed)),
            at: now,
            model,
            range: (0, 0),
            readings: Vec::new(),
        };
        teller.of_people(whom, *self.open, state, about);
    }
}

/// Returns all open alerts of a patient, always in the same order.
fn standing(patient: &mut Patient) -> Vec<Standing<'_>> {
    let mut all = vec![
        Standing::of(Subject::News2, &mut patient.live.open),
        Standing::of(Subject::News2, &mut patient.past.open).map(|standing| Standing {
            past: true,
            ..standing
        }),
    ];
    let guards = patient.vitals.values_mut();
    all.extend(guards.map(|vital| Standing::of(Subject::Implausible, &mut vital.guard.open)));
    for device in &mut patient.devices {
        all.push(Standing::of(Subject::DeviceSilent, &mut device.silent));
        all.push(Standing::of(Subject::ClockSkew, &mut device.skewed));
        all.push(Standing::of(Subject::Forked, &mut device.forked));
        let streams = device.streams.values_mut();
        all.extend(streams.map(|stream| Standing::of(Subject::StreamSilent, &mut stream.silent)));
    }
    all.into_iter().flatten().collect()
}
