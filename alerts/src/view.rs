//! What is open, and what ended that somebody has not heard of. Pure, and bounded.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pulseward_base::{AlertId, KeyId, Partition, Slot};
use pulseward_eventlog::{
    Cause, Position,
    body::{Alert, AlertState, Severity},
};

use crate::settings::Recipient;

/// One step of an alert, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) alert: Alert,
    pub(crate) partition: Partition,
    /// Where the patient's controls go, and the key that seals them; none for a whole partition.
    pub(crate) patient: Option<(Slot, KeyId)>,
}

impl Step {
    /// Returns whether somebody is to be called for it.
    pub(crate) fn pages(&self) -> bool {
        let calls = matches!(
            self.alert.state,
            AlertState::Raised | AlertState::Risen | AlertState::Resumed
        );
        let is_quiet = self.alert.flags & (Alert::PAST | Alert::SNOOZED) != 0;
        calls && self.alert.severity >= Severity::Urgent && !is_quiet
    }

    /// Puts under what people made of an alert what is known of it: their step has no score and no
    /// readings of its own.
    fn upon(self, known: &Alert) -> Self {
        if !self.alert.state.is_of_people() {
            return self;
        }
        let quiet = self.alert.flags & Alert::SNOOZED;
        let alert = Alert {
            state: self.alert.state,
            severity: self.alert.severity,
            at: self.alert.at,
            flags: known.flags & !Alert::SNOOZED | quiet,
            ..known.clone()
        };
        Self { alert, ..self }
    }
}

/// An alert as it stands.
#[derive(Clone, Debug)]
struct Known {
    /// Its newest step.
    step: Step,
    /// Where its first step stands, and what caused the alert before that one.
    since: (Position, Option<Cause>),
    /// Who has its newest step.
    delivered: BTreeSet<Recipient>,
}

/// All alerts that somebody may still have to hear of.
#[derive(Debug, Default)]
pub(crate) struct View {
    known: BTreeMap<AlertId, Known>,
    ended: VecDeque<AlertId>,
}

impl View {
    /// Takes a step that stands at `position`, behind the alert of cause `before`, and returns it as
    /// it is told. An ended alert is remembered until `ended_alerts` others have ended.
    pub(crate) fn take(
        &mut self,
        step: Step,
        (position, before): (Position, Option<Cause>),
        ended_alerts: usize,
    ) -> Step {
        let id = step.alert.id;
        let step = match self.known.get(&id) {
            Some(known) => step.upon(&known.step.alert),
            None => step,
        };
        if step.alert.state == AlertState::Cleared {
            self.ended.push_back(id);
        }
        let known = self.known.entry(id).or_insert_with(|| Known {
            step: step.clone(),
            since: (position, before),
            delivered: BTreeSet::new(),
        });
        known.step = step.clone();
        known.delivered.clear();
        while self.ended.len() > ended_alerts {
            let oldest = self.ended.pop_front();
            oldest.and_then(|id| self.known.remove(&id));
        }
        step
    }

    /// Notes that `recipient` has the newest step of an alert. Returns whether that was news.
    pub(crate) fn deliver(&mut self, id: AlertId, state: AlertState, recipient: Recipient) -> bool {
        let known = self
            .known
            .get_mut(&id)
            .filter(|known| known.step.alert.state == state);
        known.is_some_and(|known| known.delivered.insert(recipient))
    }

    /// Returns what `recipient` is to hear first: all that is open, and the ends it has not heard.
    pub(crate) fn catch_up(&self, recipient: Recipient) -> Vec<Step> {
        let due = |known: &&Known| {
            known.step.alert.state != AlertState::Cleared || !known.delivered.contains(&recipient)
        };
        let mut due: Vec<_> = self.known.values().filter(due).collect();
        due.sort_by_key(|known| (known.step.alert.at, known.step.alert.id));
        due.into_iter().map(|known| known.step.clone()).collect()
    }

    /// Returns an alert's newest step.
    pub(crate) fn find(&self, id: AlertId) -> Option<&Step> {
        self.known.get(&id).map(|known| &known.step)
    }

    /// Returns where the partition is to be read from after a restart, so that no open alert is
    /// forgotten: its oldest open alert, or `head`.
    pub(crate) fn needed(
        &self,
        partition: Partition,
        head: (Position, Option<Cause>),
    ) -> (Position, Option<Cause>) {
        let open = self
            .open()
            .filter(|known| known.step.partition == partition);
        open.map(|known| known.since)
            .min_by_key(|(position, _)| *position)
            .unwrap_or(head)
            .min(head)
    }

    /// Returns how many alerts of each severity are open.
    pub(crate) fn open_by_severity(&self) -> BTreeMap<Severity, usize> {
        let mut counts: BTreeMap<_, _> = Severity::ALL
            .iter()
            .map(|severity| (*severity, 0))
            .collect();
        for known in self.open() {
            *counts.entry(known.step.alert.severity).or_default() += 1;
        }
        counts
    }

    /// Returns how many open alerts that page nobody has.
    pub(crate) fn unheard(&self) -> usize {
        self.open()
            .filter(|known| known.step.pages() && known.delivered.is_empty())
            .count()
    }

    fn open(&self) -> impl Iterator<Item = &Known> {
        self.known
            .values()
            .filter(|known| known.step.alert.state != AlertState::Cleared)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use pulseward_base::{Generation, Micros, ModelId, Offset, Pseudonym};
    use pulseward_eventlog::body::Lane;

    use super::*;

    pub(crate) fn alert(id: u8, state: AlertState, severity: Severity) -> Alert {
        Alert {
            id: AlertId([id; 16]),
            pseudonym: Pseudonym([1; 16]),
            lane: Lane::Rules,
            what: 1,
            severity,
            state,
            flags: 0,
            at: Micros(i64::from(id)),
            model: ModelId::ZERO,
            low: 7,
            high: 9,
            sealed_handle: [9; 44],
            readings: Vec::new(),
        }
    }

    fn position(offset: u64) -> Position {
        Position {
            generation: Generation(0),
            offset: Offset(offset),
        }
    }

    fn take(view: &mut View, id: u8, state: AlertState, offset: u64) {
        let step = Step {
            alert: alert(id, state, Severity::Urgent),
            partition: Partition(0),
            patient: None,
        };
        view.take(step, (position(offset), None), 2);
    }

    const US: Recipient = Recipient([1; 16]);
    const THEM: Recipient = Recipient([2; 16]);

    #[test]
    fn whoever_comes_hears_what_is_open_and_the_ends_they_missed() {
        let mut view = View::default();
        take(&mut view, 1, AlertState::Raised, 0);
        take(&mut view, 2, AlertState::Raised, 1);
        assert!(view.deliver(AlertId([2; 16]), AlertState::Raised, US));
        take(&mut view, 2, AlertState::Cleared, 2);
        assert!(view.deliver(AlertId([2; 16]), AlertState::Cleared, US));
        let ids = |recipient| {
            view.catch_up(recipient)
                .iter()
                .map(|step| step.alert.id.0[0])
                .collect::<Vec<_>>()
        };
        assert_eq!(ids(US), [1]);
        assert_eq!(ids(THEM), [1, 2]);
    }

    #[test]
    fn a_delivery_of_an_older_step_does_not_count_for_the_newer() {
        let mut view = View::default();
        take(&mut view, 1, AlertState::Raised, 0);
        take(&mut view, 1, AlertState::Cleared, 1);
        assert!(!view.deliver(AlertId([1; 16]), AlertState::Raised, US));
        assert_eq!(view.catch_up(US).len(), 1);
    }

    #[test]
    fn ended_alerts_are_bounded_and_open_ones_are_kept() {
        let mut view = View::default();
        take(&mut view, 0, AlertState::Raised, 0);
        for id in 1..=9 {
            take(&mut view, id, AlertState::Raised, u64::from(id) * 2);
            take(&mut view, id, AlertState::Cleared, u64::from(id) * 2 + 1);
        }
        assert_eq!(view.catch_up(THEM).len(), 3);
        assert_eq!(
            view.needed(Partition(0), (position(20), None)).0,
            position(0)
        );
        take(&mut view, 0, AlertState::Cleared, 20);
        assert_eq!(
            view.needed(Partition(0), (position(21), None)).0,
            position(21)
        );
        assert_eq!(
            view.needed(Partition(1), (position(5), None)).0,
            position(5)
        );
    }

    #[test]
    fn what_is_past_watched_or_over_calls_nobody() {
        let step = |state, severity, flags| {
            let alert = Alert {
                flags,
                ..alert(1, state, severity)
            };
            Step {
                alert,
                partition: Partition(0),
                patient: None,
            }
            .pages()
        };
        assert!(step(AlertState::Raised, Severity::Urgent, 0));
        assert!(step(
            AlertState::Risen,
            Severity::Emergency,
            Alert::UNVERIFIED
        ));
        assert!(!step(AlertState::Raised, Severity::Emergency, Alert::PAST));
        assert!(!step(AlertState::Raised, Severity::Watch, 0));
        assert!(!step(AlertState::Cleared, Severity::Emergency, 0));
    }
}
