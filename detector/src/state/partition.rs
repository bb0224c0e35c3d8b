//! One partition: its time, whether any ingest is alive, and its patients.

use std::collections::{BTreeMap, BTreeSet};

use pulseward_base::{KeyId, Kid, Micros, Pseudonym, Reject, Slot};

use pulseward_eventlog::{
    Position,
    body::{Severity, Wish},
};

use super::{
    deadlines::Deadlines,
    patient::{Open, Patient, START},
};
use crate::{
    facts::{Batch, Bind, Fact, Tick, Void, What},
    judge::{
        people, readings, silence,
        teller::{About, Recorded, Teller, Whom},
    },
    output::{BatchOutcome, Origin, Outputs, Subject},
    settings::Judgement,
};

/// What a partition knows beside its patients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Feed {
    /// The log's time: the highest that any tick showed.
    pub log_time: Option<Micros>,
    /// The log's time when an ingest was last heard.
    pub ingest_heard: Option<Micros>,
    /// The log's time when an ingest was heard again after all had been gone.
    pub back: Option<Micros>,
    /// The alert that no ingest is alive.
    pub silent: Option<Open>,
    /// Whether this life of the log has ended.
    pub ended: bool,
}

/// The whole state of one partition.
#[derive(Clone, Debug)]
pub struct PartitionState {
    origin: Origin,
    judgement: Judgement,
    as_of: Position,
    feed: Feed,
    patients: BTreeMap<Pseudonym, Patient>,
    owners: BTreeMap<Kid, Pseudonym>,
    deadlines: Deadlines,
    /// Whose snoozes end when.
    wakings: Deadlines,
    recorded: Recorded,
    /// The end of the range in which some patients are ahead.
    settled: Position,
    changed: BTreeSet<Pseudonym>,
    changed_devices: BTreeSet<Kid>,
}

impl PartitionState {
    /// Returns the state before the first entry.
    #[must_use]
    pub fn new(origin: Origin, judgement: Judgement) -> Self {
        Self {
            origin,
            judgement,
            as_of: START,
            feed: Feed {
                log_time: None,
                ingest_heard: None,
                back: None,
                silent: None,
                ended: false,
            },
            patients: BTreeMap::new(),
            owners: BTreeMap::new(),
            deadlines: Deadlines::default(),
            wakings: Deadlines::default(),
            recorded: Recorded {
                indexes: BTreeMap::new(),
            },
            settled: START,
            changed: BTreeSet::new(),
            changed_devices: BTreeSet::new(),
        }
    }

    /// Returns the state as it was recorded: the partition up to `as_of`, each patient up to its own
    /// position, which may lie ahead, and the indexes of what was said since `as_of`.
    #[must_use]
    pub fn restored(
        mut self,
        (as_of, feed): (Position, Feed),
        patients: Vec<Patient>,
        recorded: Recorded,
    ) -> Self {
        self.as_of = as_of;
        self.feed = feed;
        self.recorded = recorded;
        self.settled = patients
            .iter()
            .map(|patient| patient.as_of)
            .max()
            .unwrap_or(as_of)
            .max(as_of);
        for patient in patients {
            self.owners.extend(
                patient
                    .devices
                    .iter()
                    .map(|device| (device.kid, patient.pseudonym)),
            );
            self.schedule(&patient);
            self.patients.insert(patient.pseudonym, patient);
        }
        self
    }

    /// Returns the first entry that is not in it.
    #[must_use]
    pub const fn as_of(&self) -> Position {
        self.as_of
    }

    /// Returns what it knows beside its patients.
    #[must_use]
    pub const fn feed(&self) -> &Feed {
        &self.feed
    }

    /// Returns its patients.
    #[must_use]
    pub const fn patients(&self) -> &BTreeMap<Pseudonym, Patient> {
        &self.patients
    }

    /// Returns how many devices are silent now.
    #[must_use]
    pub fn silent_devices(&self) -> usize {
        let devices = self.patients.values().flat_map(|patient| &patient.devices);
        devices.filter(|device| device.silent.is_some()).count()
    }

    /// Takes one entry. An entry below [`PartitionState::as_of`] changes nothing and says nothing.
    ///
    /// Nothing is changed until everything has been worked out: a step that panics leaves the state
    /// as it was.
    pub fn step(&mut self, fact: &Fact) -> Outputs {
        if fact.position < self.as_of || self.feed.ended {
            return Outputs::default();
        }
        let outputs = match &fact.what {
            What::Batch(batch) => self.batch(fact, batch),
            What::Void(void) => self.void(fact, void),
            What::Tick(tick) => self.tick(fact, tick),
            What::Bind(bind) => self.bind(fact, bind),
            What::Revoke(kid) => self.revoke(fact, *kid),
            What::Wish(patient, wish) => self.wish(fact, *patient, *wish),
            What::End => {
                self.feed.ended = true;
                Outputs {
                    ended: true,
                    ..Outputs::default()
                }
            }
            What::Erased => self.erase(fact.key),
            What::Other => Outputs::default(),
        };
        self.pass(fact.position);
        outputs
    }

    /// Passes over an entry that was parked.
    pub fn pass(&mut self, position: Position) {
        self.as_of = self.as_of.max(position.next());
    }

    /// Forgets a patient whose key was destroyed.
    pub fn forget(&mut self, patient: Pseudonym) {
        self.owners.retain(|_, owner| *owner != patient);
        self.patients.remove(&patient);
        self.deadlines.set(patient, None);
        self.wakings.set(patient, None);
        self.changed.remove(&patient);
    }

    /// Takes every patient for changed: what is durable may be older than what was saved.
    pub fn change_all(&mut self) {
        self.changed.extend(self.patients.keys());
    }

    /// Returns the patients that changed since they were last taken, complete up to now.
    pub fn take_changed(&mut self) -> Vec<Patient> {
        let as_of = self.as_of;
        let mut taken = Vec::new();
        // One that is ahead is durable where it stands, and cannot be told of from here.
        let ahead = |patient: &Patient| patient.as_of > as_of;
        self.changed.retain(|pseudonym| {
            let Some(patient) = self.patients.get_mut(pseudonym) else {
                return false;
            };
            if ahead(patient) {
                return true;
            }
            patient.as_of = as_of;
            taken.push(patient.clone());
            false
        });
        taken
    }

    /// Returns the devices whose queues moved since they were last taken.
    pub fn take_changed_devices(&mut self) -> BTreeSet<Kid> {
        std::mem::take(&mut self.changed_devices)
    }

    fn batch(&mut self, fact: &Fact, batch: &Batch) -> Outputs {
        let now = self.feed.log_time.unwrap_or(batch.received);
        let whose = (batch.patient, fact.key, fact.slot);
        let (mut outputs, outcome) = self.of_patient(fact, whose, |patient, teller| {
            readings::apply(patient, batch, now, teller)
        });
        if outcome == Some(BatchOutcome::Applied) {
            self.changed_devices.insert(batch.device);
        }
        outputs.batch = outcome;
        outputs
    }

    fn bind(&mut self, fact: &Fact, bind: &Bind) -> Outputs {
        let now = self.now();
        let whose = (bind.patient, bind.key, fact.slot);
        let apply = |patient: &mut Patient, teller: &mut Teller<'_>| {
            patient.sealed_handle = bind.sealed_handle;
            let whom = Whom::from(&*patient);
            if let (_, Some(mut displaced)) = patient.device(bind.device) {
                silence::dismiss(&whom, &mut displaced, now, teller);
            }
        };
        self.of_patient(fact, whose, apply).0
    }

    fn void(&mut self, fact: &Fact, void: &Void) -> Outputs {
        let now = self.now();
        let Some(whose) = self.owner(void.device) else {
            return Outputs::default();
        };
        let apply = |patient: &mut Patient, teller: &mut Teller<'_>| {
            let whom = Whom::from(&*patient);
            let (device, _) = patient.device(void.device);
            device.take(void.incarnation, void.seq);
            if void.code == Reject::Forked && device.forked.is_none() && !device.revoked {
                let about = About::integrity(Subject::Forked, now);
                device.forked = Some(teller.raise(&whom, Severity::Urgent, about));
            }
        };
        let outputs = self.of_patient(fact, whose, apply).0;
        self.changed_devices.insert(void.device);
        outputs
    }

    fn revoke(&mut self, fact: &Fact, kid: Kid) -> Outputs {
        let now = self.now();
        let Some(whose) = self.owner(kid) else {
            return Outputs::default();
        };
        self.of_patient(fact, whose, |patient, teller| {
            silence::revoke(patient, kid, now, teller)
        })
        .0
    }

    /// Does what somebody wishes of a patient's alerts. Whom nobody knows has none.
    fn wish(&mut self, fact: &Fact, patient: Pseudonym, wish: Wish) -> Outputs {
        let now = self.now();
        let Some(known) = self.patients.get(&patient) else {
            return Outputs::default();
        };
        let whose = (patient, known.key, known.slot);
        let apply = |patient: &mut Patient, teller: &mut Teller<'_>| {
            people::apply(patient, wish, now, teller);
        };
        self.of_patient(fact, whose, apply).0
    }

    fn tick(&mut self, fact: &Fact, tick: &Tick) -> Outputs {
        let mut feed = self.feed;
        let mut teller = self.teller(fact.position);
        let now = feed.pass(tick, &mut teller);
        let feed_back = feed.back.unwrap_or(Micros(i64::MIN));
        let mut changed = Vec::new();
        // So soon after the ingests came back nobody has been silent for long enough.
        let too_soon = feed_back.plus(self.judgement.shortest_silence()) > now;
        let listens = feed.silent.is_none() && !too_soon;
        let wakes = self.wakings.passed(now);
        let mut due = wakes.clone();
        if listens {
            due.extend(self.deadlines.passed(now));
        }
        let due = due.iter().filter_map(|patient| self.patients.get(patient));
        for patient in due.filter(|patient| patient.as_of <= fact.position) {
            let mut patient = patient.clone();
            let before = teller.outputs.said.len();
            people::elapse(&mut patient, now, &mut teller);
            if listens {
                silence::elapse(&mut patient, now, feed_back, &mut teller);
                people::pierce(&mut patient, now, &mut teller);
            }
            if wakes.contains(&patient.pseudonym) || teller.outputs.said.len() > before {
                changed.push(patient);
            }
        }
        let outputs = teller.outputs;
        self.feed = feed;
        changed.into_iter().for_each(|patient| self.put(patient));
        outputs
    }

    fn erase(&mut self, key: KeyId) -> Outputs {
        let of_key = |patient: &&Patient| patient.key == key;
        let erased: Vec<_> = self
            .patients
            .values()
            .filter(of_key)
            .map(|patient| patient.pseudonym)
            .collect();
        erased.into_iter().for_each(|patient| self.forget(patient));
        Outputs::default()
    }

    /// Lets `apply` work on a copy of the patient, unless the patient is ahead of the entry.
    fn of_patient<T>(
        &mut self,
        fact: &Fact,
        (pseudonym, key, slot): (Pseudonym, KeyId, Slot),
        apply: impl FnOnce(&mut Patient, &mut Teller<'_>) -> T,
    ) -> (Outputs, Option<T>) {
        let known = self.patients.get(&pseudonym).cloned();
        let mut patient = known.unwrap_or_else(|| Patient::new(pseudonym, key, slot));
        if patient.as_of > fact.position {
            return (Outputs::default(), None);
        }
        let now = self.now();
        let mut teller = self.teller(fact.position);
        let result = apply(&mut patient, &mut teller);
        people::pierce(&mut patient, now, &mut teller);
        let outputs = teller.outputs;
        self.put(patient);
        (outputs, Some(result))
    }

    /// Notes when ticks have to look at the patient next.
    fn schedule(&mut self, patient: &Patient) {
        let due = patient.due(&self.judgement);
        self.deadlines.set(patient.pseudonym, due);
        self.wakings.set(patient.pseudonym, patient.wakes());
    }

    fn put(&mut self, patient: Patient) {
        let pseudonym = patient.pseudonym;
        let kids: BTreeSet<Kid> = patient.devices.iter().map(|device| device.kid).collect();
        self.changed.insert(pseudonym);
        self.schedule(&patient);
        let before = self.patients.insert(pseudonym, patient);
        let displaced = before.into_iter().flat_map(|before| before.devices);
        for device in displaced.filter(|device| !kids.contains(&device.kid)) {
            self.owners.remove(&device.kid);
        }
        self.owners
            .extend(kids.into_iter().map(|kid| (kid, pseudonym)));
    }

    fn owner(&self, kid: Kid) -> Option<(Pseudonym, KeyId, Slot)> {
        let patient = self.patients.get(self.owners.get(&kid)?)?;
        Some((patient.pseudonym, patient.key, patient.slot))
    }

    fn now(&self) -> Micros {
        self.feed.log_time.unwrap_or_default()
    }

    fn teller(&self, position: Position) -> Teller<'_> {
        let ahead = position < self.settled;
        let recorded = || {
            self.recorded
                .indexes
                .get(&position)
                .cloned()
                .unwrap_or_default()
        };
        Teller {
            position,
            origin: self.origin,
            judgement: &self.judgement,
            recorded: ahead.then(recorded),
            outputs: Outputs::default(),
            pierced: BTreeSet::new(),
        }
    }
}

impl Feed {
    /// Takes a tick and returns the log's time. Says so when all ingests are gone, or are back.
    fn pass(&mut self, tick: &Tick, teller: &mut Teller<'_>) -> Micros {
        let now = self
            .log_time
            .map_or(tick.time, |log_time| log_time.max(tick.time));
        let heard = *self.ingest_heard.get_or_insert(now);
        let gone = heard.until(now) > teller.judgement.feed_silence;
        self.log_time = Some(now);
        if tick.ingest {
            self.ingest_heard = Some(now);
            if gone {
                self.back = Some(now);
            }
            teller.clear(
                &Whom::PARTITION,
                &mut self.silent,
                About::integrity(Subject::FeedSilent, now),
            );
        } else if gone && self.silent.is_none() {
            let about = About::integrity(Subject::FeedSilent, now);
            self.silent = Some(teller.raise(&Whom::PARTITION, Severity::Emergency, about));
        }
        now
    }
}
