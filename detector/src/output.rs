//! What a step gives: scores and alerts, in order, and what it counted.

use pulseward_base::{KeyId, Partition, Slot};
use pulseward_eventlog::{
    Body, Cause, EntryKind,
    body::{Alert, alert_id},
};

/// Declares a closed list with the number that is stored and the word that is counted.
macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident: $type:ty { $($(#[$vdoc:meta])* $variant:ident = $number:literal, $word:literal;)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All of them, so that every counter can start at zero.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns the number that is stored.
            #[must_use]
            pub const fn number(self) -> $type {
                match self { $(Self::$variant => $number),* }
            }

            /// Returns the word that is counted.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),* }
            }

            /// Returns the one that is stored as `number`.
            #[must_use]
            pub const fn from_number(number: $type) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

numbered! {
    /// What an alert is about, within its lane.
    Subject: u16 {
        /// Rules: the early warning score.
        News2 = 1, "news2";
        /// Integrity: a device that was live sends nothing.
        DeviceSilent = 16, "device_silent";
        /// Integrity: one kind of vital that was live no longer comes.
        StreamSilent = 17, "stream_silent";
        /// Integrity: no ingest is heard in a partition.
        FeedSilent = 18, "feed_silent";
        /// Integrity: values that no living patient shows.
        Implausible = 19, "implausible";
        /// Integrity: a device's clock is far off.
        ClockSkew = 20, "clock_skew";
        /// Integrity: two batches under one number, so two devices under one key.
        Forked = 21, "forked";
    }
}

/// What is to be said beside a score or an alert.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    /// Drained from a backlog: true when it was read, too old to page.
    pub const PAST: Self = Self(Alert::PAST);
    /// Arrived after newer readings, or well after it was read.
    pub const LATE: Self = Self(Alert::LATE);
    /// Rests on a reading that a guard does not trust.
    pub const UNVERIFIED: Self = Self(Alert::UNVERIFIED);
    /// Its lane is silent for a while.
    pub const SNOOZED: Self = Self(Alert::SNOOZED);

    /// Returns both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns whether all of `other` are among them.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Returns `self` when `condition` holds, else none.
    #[must_use]
    pub const fn when(self, condition: bool) -> Self {
        if condition { self } else { Self(0) }
    }
}

/// One output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its index among its entry's outputs.
    pub index: u32,
    /// The patient's slot.
    pub slot: Slot,
    /// The patient's key; none: the log's own.
    pub key: Option<KeyId>,
    /// A score or an alert.
    pub body: Body,
}

impl Output {
    /// Returns whether it is for the topic `alerts`; else it is for `scores`.
    #[must_use]
    pub fn is_alert(&self) -> bool {
        self.body.kind() == EntryKind::Alert
    }
}

numbered! {
    /// What became of a batch.
    BatchOutcome: u8 {
        /// It took effect.
        Applied = 0, "applied";
        /// Its number had been seen.
        Duplicate = 1, "duplicate";
        /// It is of a queue older than the two newest of its device.
        OldQueue = 2, "old_queue";
        /// Its device had been revoked.
        Revoked = 3, "revoked";
    }
}

numbered! {
    /// Why a reading is not trusted, though the rules still see it.
    Guard: u8 {
        /// No living patient shows it.
        Implausible = 0, "implausible";
        /// The device itself doubts it.
        Quality = 1, "quality";
        /// Its time lies far ahead.
        Ahead = 2, "ahead";
        /// No signature covers it yet.
        Unproven = 3, "unproven";
    }
}

/// All that one step gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Scores and alerts, in order.
    pub said: Vec<Output>,
    /// What became of a batch, if the entry was one.
    pub batch: Option<BatchOutcome>,
    /// How many readings each guard stopped.
    pub guarded: Vec<(Guard, u64)>,
    /// Whether this life of the log has ended.
    pub ended: bool,
}

/// Where outputs come from: what makes the ids of alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// Which log.
    pub log: [u8; 16],
    /// Which partition of it.
    pub partition: Partition,
}

impl Origin {
    /// Returns the id of the alert that `cause` raises.
    #[must_use]
    pub fn alert_id(&self, cause: Cause) -> pulseward_base::AlertId {
        alert_id(&self.log, self.partition, cause)
    }
}
