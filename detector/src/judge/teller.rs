//! Says scores and alerts: gives each output its index and each alert its id.

use std::collections::{BTreeMap, BTreeSet};

use pulseward_base::{AlertId, KeyId, Micros, ModelId, Pseudonym, Slot};
use pulseward_eventlog::{
    Body, Cause, Position,
    body::{Alert, AlertReading, AlertState, Lane, Score, Severity},
};

use crate::{
    output::{Flags, Origin, Output, Outputs, Subject},
    settings::Judgement,
    state::{
        patient::{Episode, Open, Patient, Snooze},
        votes::{Change, Rule, Vote},
    },
};

/// The indexes that outputs already have in the log, by the entry that caused them.
///
/// A run that was stopped finds some patients' states ahead of its place. Those say nothing again,
/// so the outputs of the others cannot be counted anew; they take the indexes that were recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recorded {
    /// Per entry: index and patient (zeros for a whole partition), ascending by index.
    pub indexes: BTreeMap<Position, BTreeMap<u32, Pseudonym>>,
}

impl Recorded {
    /// Remembers that an output of the entry at `position` has this index.
    pub fn note(&mut self, position: Position, index: u32, patient: Pseudonym) {
        self.indexes
            .entry(position)
            .or_default()
            .insert(index, patient);
    }
}

/// What an alert is about, beside its life.
#[derive(Clone, Debug)]
pub(crate) struct About {
    pub(crate) lane: Lane,
    pub(crate) subject: Subject,
    pub(crate) flags: Flags,
    pub(crate) at: Micros,
    pub(crate) model: ModelId,
    pub(crate) range: (i32, i32),
    pub(crate) readings: Vec<AlertReading>,
}

impl About {
    pub(crate) const fn integrity(subject: Subject, at: Micros) -> Self {
        Self {
            lane: Lane::Integrity,
            subject,
            flags: Flags(0),
            at,
            model: ModelId::ZERO,
            range: (0, 0),
            readings: Vec::new(),
        }
    }
}

/// Collects what one entry makes the detector say.
pub(crate) struct Teller<'a> {
    pub(crate) position: Position,
    pub(crate) origin: Origin,
    pub(crate) judgement: &'a Judgement,
    /// What was said of this entry before, when some patients' states are ahead of it.
    pub(crate) recorded: Option<BTreeMap<u32, Pseudonym>>,
    pub(crate) outputs: Outputs,
    /// Lanes in which something more severe was said than their snooze silences.
    pub(crate) pierced: BTreeSet<Lane>,
}

/// Whom a [`Teller`] speaks of.
pub(crate) struct Whom {
    pseudonym: Pseudonym,
    slot: Slot,
    key: Option<KeyId>,
    sealed_handle: [u8; 44],
    snoozes: BTreeMap<Lane, Snooze>,
}

impl Whom {
    /// A whole partition.
    pub(crate) const PARTITION: Self = Self {
        pseudonym: Pseudonym::ZERO,
        slot: Slot(0),
        key: None,
        sealed_handle: [0; 44],
        snoozes: BTreeMap::new(),
    };
}

impl From<&Patient> for Whom {
    fn from(patient: &Patient) -> Self {
        Self {
            pseudonym: patient.pseudonym,
            slot: patient.slot,
            key: Some(patient.key),
            sealed_handle: patient.sealed_handle,
            snoozes: patient.snoozes.clone(),
        }
    }
}

impl Teller<'_> {
    pub(crate) fn score(&mut self, whom: &Whom, score: Score) {
        let index = self.index(whom);
        self.say(whom, index, Body::Score(score));
    }

    /// Raises an alert and returns it, open.
    pub(crate) fn raise(&mut self, whom: &Whom, severity: Severity, mut about: About) -> Open {
        let snoozed = self.is_silenced(whom, severity, &mut about);
        let index = self.index(whom);
        let id = self.origin.alert_id(Cause {
            position: self.position,
            index,
        });
        self.alert(whom, index, (id, severity, AlertState::Raised), about);
        Open {
            id,
            severity,
            acknowledged: false,
            snoozed,
        }
    }

    /// Says what people made of an open alert.
    pub(crate) fn of_people(&mut self, whom: &Whom, open: Open, state: AlertState, about: About) {
        let index = self.index(whom);
        self.alert(whom, index, (open.id, open.severity, state), about);
    }

    /// Returns whether its lane's snooze silences what is to be said, and marks it so. What is more
    /// severe pierces the snooze.
    fn is_silenced(&mut self, whom: &Whom, severity: Severity, about: &mut About) -> bool {
        let Some(snooze) = whom.snoozes.get(&about.lane) else {
            return false;
        };
        // It calls nobody anyway.
        if about.flags.has(Flags::PAST) {
            return false;
        }
        if severity > snooze.level {
            self.pierced.insert(about.lane);
        }
        let silenced = !self.pierced.contains(&about.lane);
        about.flags = about.flags.and(Flags::SNOOZED.when(silenced));
        silenced
    }

    /// Clears an alert, if it is open.
    pub(crate) fn clear(&mut self, whom: &Whom, open: &mut Option<Open>, about: About) {
        if let Some(open) = open.take() {
            let index = self.index(whom);
            self.alert(
                whom,
                index,
                (open.id, open.severity, AlertState::Cleared),
                about,
            );
        }
    }

    /// Counts a vote and says what it changed.
    pub(crate) fn vote(
        &mut self,
        whom: &Whom,
        episode: &mut Episode,
        (vote, rule): (Vote, Rule),
        mut about: About,
    ) {
        let level = episode.open.map(|open| open.severity);
        match episode.votes.cast(vote, about.at, rule, level) {
            Some(Change::Raised(severity)) => {
                episode.open = Some(self.raise(whom, severity, about))
            }
            Some(Change::Risen(severity)) => {
                if let Some(open) = &mut episode.open {
                    open.severity = severity;
                    open.acknowledged = false;
                    open.snoozed = self.is_silenced(whom, severity, &mut about);
                    let id = open.id;
                    let index = self.index(whom);
                    self.alert(whom, index, (id, severity, AlertState::Risen), about);
                }
            }
            Some(Change::Cleared(_)) => self.clear(whom, &mut episode.open, about),
            None => {
                if let Some(open) = &mut episode.open {
                    open.severity = episode.votes.level(open.severity, rule.of);
                }
            }
        }
    }

    fn alert(
        &mut self,
        whom: &Whom,
        index: u32,
        (id, severity, state): (AlertId, Severity, AlertState),
        about: About,
    ) {
        let alert = Alert {
            id,
            pseudonym: whom.pseudonym,
            lane: about.lane,
            what: about.subject.number(),
            severity,
            state,
            flags: about.flags.0,
            at: about.at,
            model: about.model,
            low: about.range.0,
            high: about.range.1,
            sealed_handle: whom.sealed_handle,
            readings: about.readings,
        };
        self.say(whom, index, Body::Alert(alert));
    }

    fn index(&mut self, whom: &Whom) -> u32 {
        let dense = u32::try_from(self.outputs.said.len()).unwrap_or(u32::MAX);
        let Some(recorded) = &mut self.recorded else {
            return dense;
        };
        let found = recorded
            .iter()
            .find(|(_, patient)| **patient == whom.pseudonym);
        let index = found.map_or(dense, |(index, _)| *index);
        recorded.remove(&index);
        index
    }

    fn say(&mut self, whom: &Whom, index: u32, body: Body) {
        self.outputs.said.push(Output {
            index,
            slot: whom.slot,
            key: whom.key,
            body,
        });
    }
}
