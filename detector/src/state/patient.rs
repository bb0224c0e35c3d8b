//! One patient: who speaks for the patient, what was last measured, which alerts are open.

use std::collections::BTreeMap;

use pulseward_base::{AlertId, Incarnation, KeyId, Kid, Micros, Pseudonym, Slot};
use pulseward_eventlog::{
    Position,
    body::{Lane, Severity},
};
use pulseward_vitals::Kind;

use super::{
    queue::{Queue, age},
    votes::Votes,
    window::Windows,
};
use crate::{output::BatchOutcome, settings::Judgement};

/// The start of the feed.
pub const START: Position = Position {
    generation: pulseward_base::Generation(0),
    offset: pulseward_base::Offset(0),
};

/// The most devices remembered for one patient. One more displaces a revoked one, else the one that
/// has been quiet longest.
pub const DEVICES: usize = 4;

/// The most queues remembered of one device.
pub const QUEUES: usize = 2;

/// An alert that has been raised and not cleared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    /// Its id.
    pub id: AlertId,
    /// How severe it is now.
    pub severity: Severity,
    /// Whether somebody looks after it: until it rises.
    pub acknowledged: bool,
    /// Whether it calls nobody while its lane is silent.
    pub snoozed: bool,
}

/// A lane that people have silenced for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snooze {
    /// The log's time at which it ends.
    pub until: Micros,
    /// The most that it silences: what was open in the lane when it began.
    pub level: Severity,
}

/// Votes, and the alert they have raised.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Episode {
    /// The last votes.
    pub votes: Votes,
    /// The alert, if one is open.
    pub open: Option<Open>,
}

/// The newest reading of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// When it was read, on the server's clock.
    pub at: Micros,
    /// What was read.
    pub value: i32,
    /// Whether a guard does not trust it.
    pub unverified: bool,
}

/// What is remembered of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vital {
    /// Its newest reading.
    pub last: Reading,
    /// Its readings over time.
    pub windows: Windows,
    /// Whether its values are plausible.
    pub guard: Episode,
}

/// One kind of vital from one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// The log's time when it last came.
    pub heard: Micros,
    /// The alert about its silence.
    pub silent: Option<Open>,
}

/// One device that speaks for the patient.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Which.
    pub kid: Kid,
    /// Whether nothing it sends counts any more.
    pub revoked: bool,
    /// The log's time when it last sent; none before it has.
    pub heard: Option<Micros>,
    /// The alert about its silence.
    pub silent: Option<Open>,
    /// The alert about its clock.
    pub skewed: Option<Open>,
    /// The alert about two devices under its key.
    pub forked: Option<Open>,
    /// What it measures.
    pub streams: BTreeMap<Kind, Stream>,
    /// Its two newest queues, older first.
    pub queues: Vec<Queue>,
}

impl Device {
    pub(crate) const fn new(kid: Kid) -> Self {
        Self {
            kid,
            revoked: false,
            heard: None,
            silent: None,
            skewed: None,
            forked: None,
            streams: BTreeMap::new(),
            queues: Vec::new(),
        }
    }

    /// Counts a number of one of the device's queues.
    pub(crate) fn take(
        &mut self,
        incarnation: Incarnation,
        seq: pulseward_base::Seq,
    ) -> BatchOutcome {
        if let Some(queue) = self
            .queues
            .iter_mut()
            .find(|queue| queue.incarnation == incarnation)
        {
            return if queue.take(seq) {
                BatchOutcome::Applied
            } else {
                BatchOutcome::Duplicate
            };
        }
        let oldest = self
            .queues
            .iter()
            .map(|queue| age(&queue.incarnation))
            .min();
        if self.queues.len() >= QUEUES && oldest > Some(age(&incarnation)) {
            return BatchOutcome::OldQueue;
        }
        self.queues.push(Queue::starting_at(incarnation, seq));
        self.queues.sort_by_key(|queue| age(&queue.incarnation));
        let over = self.queues.len().saturating_sub(QUEUES);
        self.queues.drain(..over);
        BatchOutcome::Applied
    }

    /// Returns the earliest log time at which it, or a stream of it, is silent.
    fn due(&self, judgement: &Judgement) -> Option<Micros> {
        let heard = self
            .heard
            .filter(|_| !self.revoked && self.silent.is_none())?;
        let streams = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.silent.is_none());
        let streams = streams.map(|(kind, stream)| stream.heard.plus(judgement.silence_of(*kind)));
        streams.chain([heard.plus(judgement.device_silence)]).min()
    }
}

/// All that is remembered of one patient: at most 8 KiB when it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patient {
    /// Who.
    pub pseudonym: Pseudonym,
    /// The patient's key.
    pub key: KeyId,
    /// The patient's slot.
    pub slot: Slot,
    /// The handle that only the vault opens.
    pub sealed_handle: [u8; 44],
    /// The first entry of the feed that is not in it.
    pub as_of: Position,
    /// The newest time of any reading that was judged.
    pub newest: Option<Micros>,
    /// What is measured.
    pub vitals: BTreeMap<Kind, Vital>,
    /// Who measures.
    pub devices: Vec<Device>,
    /// What the rules say of readings as they come.
    pub live: Episode,
    /// What the rules say of a backlog; its alerts never page.
    pub past: Episode,
    /// Lanes that call nobody for a while.
    pub snoozes: BTreeMap<Lane, Snooze>,
}

impl Patient {
    pub(crate) const fn new(pseudonym: Pseudonym, key: KeyId, slot: Slot) -> Self {
        Self {
            pseudonym,
            key,
            slot,
            sealed_handle: [0; 44],
            as_of: START,
            newest: None,
            vitals: BTreeMap::new(),
            devices: Vec::new(),
            live: Episode {
                votes: Votes::EMPTY,
                open: None,
            },
            past: Episode {
                votes: Votes::EMPTY,
                open: None,
            },
            snoozes: BTreeMap::new(),
        }
    }

    /// Returns the device called `kid`, taking it in if it is new. Also returns whom that displaced.
    pub(crate) fn device(&mut self, kid: Kid) -> (&mut Device, Option<Device>) {
        let mut displaced = None;
        if !self.devices.iter().any(|device| device.kid == kid) {
            if self.devices.len() >= DEVICES {
                displaced = self.displace();
            }
            self.devices.push(Device::new(kid));
            self.devices.sort_by_key(|device| device.kid);
        }
        #[expect(clippy::expect_used, reason = "found above, or put there")]
        let device = self
            .devices
            .iter_mut()
            .find(|device| device.kid == kid)
            .expect("is there");
        (device, displaced)
    }

    /// Returns the earliest log time at which something of this patient falls silent.
    #[must_use]
    pub fn due(&self, judgement: &Judgement) -> Option<Micros> {
        self.devices
            .iter()
            .filter_map(|device| device.due(judgement))
            .min()
    }

    /// Returns the log time at which the first of its lanes is silent no longer.
    #[must_use]
    pub fn wakes(&self) -> Option<Micros> {
        self.snoozes.values().map(|snooze| snooze.until).min()
    }

    fn displace(&mut self) -> Option<Device> {
        let quietest = |device: &&Device| (!device.revoked, device.heard, device.kid);
        let kid = self.devices.iter().min_by_key(quietest)?.kid;
        let place = self.devices.iter().position(|device| device.kid == kid)?;
        Some(self.devices.remove(place))
    }
}
