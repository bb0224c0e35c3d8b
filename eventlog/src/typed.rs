//! Entries as the stages hand them in and get them back.

use std::{collections::BTreeMap, fmt};

use pulseward_base::{KeyId, Offset, Partition, Slot, WriterId};
use pulseward_batch::StoredBatch;

use crate::{Body, Cause, CompactionKey, Outputs, Position, Topic};

/// An entry to be appended. Its topic follows from its body.
#[derive(Clone, Debug)]
pub struct NewEntry {
    pub(crate) slot: Option<Slot>,
    pub(crate) partition: Option<Partition>,
    pub(crate) key: Option<KeyId>,
    pub(crate) compaction: Option<CompactionKey>,
    pub(crate) outputs: Option<Outputs>,
    pub(crate) body: Body,
}

impl NewEntry {
    /// Returns an entry about the patient at `slot`, sealed under the patient's key.
    #[must_use]
    pub const fn for_patient(slot: Slot, key: KeyId, body: Body) -> Self {
        Self {
            slot: Some(slot),
            partition: None,
            key: Some(key),
            compaction: None,
            outputs: None,
            body,
        }
    }

    /// Returns an entry in `partition`, sealed under the log's own key.
    #[must_use]
    pub const fn for_log(partition: Partition, body: Body) -> Self {
        Self {
            slot: None,
            partition: Some(partition),
            key: None,
            compaction: None,
            outputs: None,
            body,
        }
    }

    /// Names the entry that this one replaces. Compacted topics need it, others refuse it. The key
    /// comes from [`crate::Log::compaction_key`].
    #[must_use]
    pub const fn compacted(mut self, key: CompactionKey) -> Self {
        self.compaction = Some(key);
        self
    }

    /// Says what caused this output, and what caused the one before it in its topic and partition.
    #[must_use]
    pub const fn caused_by(mut self, cause: Cause, previous: Option<Cause>) -> Self {
        self.outputs = Some(Outputs { cause, previous });
        self
    }
}

/// An entry as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The topic.
    pub topic: Topic,
    /// The partition.
    pub partition: Partition,
    /// Its place there.
    pub position: Position,
    /// The patient's slot, where it is about one.
    pub slot: Option<Slot>,
    /// The name of the patient's key, where it is sealed under one.
    pub key: Option<KeyId>,
    /// The process that wrote it. Zeros when it is [`Unreadable::Forged`] or `Malformed`.
    pub writer: WriterId,
    /// Its number among that writer's entries here.
    pub writer_seq: u64,
    /// How many of that writer's entries are missing right before this one. Only a [`crate::Follower`]
    /// can tell; anything but zero is an alarm.
    pub missing: u64,
    /// The key that it was stored under, on a compacted topic.
    pub compaction: Option<CompactionKey>,
    /// What caused it, where it is an output.
    pub outputs: Option<Outputs>,
    /// What it says.
    pub content: Content,
}

/// What an entry says. Its `Debug` tells what it is and nothing of what it says.
#[derive(Clone, PartialEq, Eq)]
pub enum Content {
    /// A batch that a device signed.
    Batch(Box<StoredBatch>),
    /// Anything else.
    Body(Body),
    /// The patient's key is destroyed: count it and go on.
    Erased,
    /// It does not open. Read it again, then park it.
    Unreadable(Unreadable),
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Batch(_) => f.write_str("Batch(..)"),
            Self::Body(body) => write!(f, "{body:?}"),
            Self::Erased => f.write_str("Erased"),
            Self::Unreadable(reason) => write!(f, "Unreadable({reason:?})"),
        }
    }
}

/// Why an entry does not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unreadable {
    /// Its layout is not an entry's.
    Malformed,
    /// Its MAC does not hold: it was not written by this log's writers, or was altered since.
    Forged,
    /// Its seal does not open here: it was moved, or its key is another.
    BadSeal,
    /// It opens, but what it says is not what its kind must say.
    BadBody,
    /// Its kind does not belong in this topic.
    Misplaced,
    /// The key service knows no such key.
    UnknownKey,
}

impl Unreadable {
    /// All of them.
    pub const ALL: &'static [Self] = &[
        Self::Malformed,
        Self::Forged,
        Self::BadSeal,
        Self::BadBody,
        Self::Misplaced,
        Self::UnknownKey,
    ];

    /// Returns the word that is counted.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Forged => "forged",
            Self::BadSeal => "bad_seal",
            Self::BadBody => "bad_body",
            Self::Misplaced => "misplaced",
            Self::UnknownKey => "unknown_key",
        }
    }
}

/// The newest entry of each key of a compacted topic.
#[derive(Clone, Debug)]
pub struct Compacted {
    /// The entries.
    pub entries: BTreeMap<CompactionKey, Entry>,
    /// Where to follow the topic from, so that no newer entry is missed.
    pub next: Offset,
}
