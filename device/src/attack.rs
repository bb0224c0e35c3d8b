//! Those who mean harm, by name. Each tries what it is named for and reports how it was refused.
//!
//! Most are insiders: an enrolled device with a key of its own, because whoever is outside gets no
//! further than the hello. What an insider sends in earnest is in its ledger like any device's.

mod forge;
mod insider;

use std::{collections::BTreeMap, sync::Arc};

use pulseward_base::{Clock, Micros, Reject};
use pulseward_crypto::SigningKey;

use crate::{
    clock::DeviceClock,
    enrol::{EnrolError, enrol},
    ledger::Ledger,
    link::LinkSettings,
};

use insider::Insider;

/// Declares the attacks: name, and the codes by which the service may refuse it.
macro_rules! attacks {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, [$($code:ident),+];)*) => {
        /// An attack.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Attack {
            $($(#[$doc])* $variant,)*
        }

        impl Attack {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Returns its name.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// Returns the codes that are the right answer to it.
            #[must_use]
            pub const fn refusals(self) -> &'static [Reject] {
                match self { $(Self::$variant => &[$(Reject::$code),+]),* }
            }
        }
    };
}

attacks! {
    /// A batch that another key signed.
    ForgedSignature = "forged_signature", [BadSignature];
    /// A ticket that a vault of the attacker's own signed.
    ForgedTicket = "forged_ticket", [BadTicket];
    /// Many hellos that cost the service work.
    Flood = "flood", [BadSeal, OverLimit];
    /// A signed batch with a kind that this version does not know.
    FutureKind = "future_kind", [UnknownKind];
    /// Random bytes instead of a hello.
    Garbage = "garbage", [Malformed, WrongSession];
    /// A signed batch whose leaves do not ascend.
    NotAscending = "not_ascending", [NotAscending];
    /// A message larger than any that is read.
    Oversized = "oversized", [TooLarge];
    /// A frame before there is a session.
    OutOfTurn = "out_of_turn", [WrongSession];
    /// A frame of one session in another.
    ReplayedFrame = "replayed_frame", [BadSeal];
    /// A whole conversation once more.
    ReplayedHello = "replayed_hello", [BadSeal];
    /// A hello in good form by a device that nobody enrolled.
    Unknown = "unknown_device", [NotAdmitted];
    /// A frame sealed under a key that is not the session's.
    WrongSessionKey = "wrong_session_key", [BadSeal];
}

/// What an attack came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttackReport {
    /// The attack.
    pub attack: Attack,
    /// How often it was tried.
    pub tried: u64,
    /// How often the service refused it with a right code.
    pub refused: u64,
    /// Everything it was answered with, and how often. A stream that ended without a code counts as
    /// `lost`, an acknowledgement as `accepted`.
    pub answers: BTreeMap<String, u64>,
}

impl AttackReport {
    fn new(attack: Attack) -> Self {
        Self {
            attack,
            tried: 0,
            refused: 0,
            answers: BTreeMap::new(),
        }
    }

    /// Counts one try that was answered with `word`.
    fn note(&mut self, word: &str) {
        self.tried += 1;
        let is_right = |reject: &&Reject| reject.code() == word;
        if self
            .attack
            .refusals()
            .iter()
            .any(|reject| is_right(&reject))
        {
            self.refused += 1;
        }
        // The service's words are a short list; anything longer is not one of them.
        let word: String = word.chars().take(40).collect();
        *self.answers.entry(word).or_default() += 1;
    }

    /// Returns whether every try was refused as it should be.
    #[must_use]
    pub const fn holds(&self) -> bool {
        self.tried > 0 && self.tried == self.refused
    }
}

/// What attackers need.
#[derive(Clone, Debug)]
pub struct AttackSettings {
    /// Where the service is.
    pub link: LinkSettings,
    /// The ticket slip with which the insider enrols.
    pub ticket: Vec<u8>,
    /// How many hellos a flood has.
    pub flood: u32,
    /// How many streams it comes on at a time.
    pub flood_streams: usize,
    /// How large an oversized message is.
    pub oversized: usize,
}

impl AttackSettings {
    /// Returns the usual attackers on the service at `link`.
    #[must_use]
    pub const fn new(link: LinkSettings, ticket: Vec<u8>) -> Self {
        Self {
            link,
            ticket,
            flood: 200,
            flood_streams: 16,
            oversized: 4 << 20,
        }
    }
}

/// Those who mean harm, once one of them is inside.
#[derive(Debug)]
pub struct Attackers {
    insider: Insider,
    settings: AttackSettings,
}

impl Attackers {
    /// Enrols the insider.
    pub async fn enter(
        settings: AttackSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, EnrolError> {
        let clock = DeviceClock::new(clock, Micros(0));
        let key = Arc::new(SigningKey::generate());
        let identity = enrol(&settings.link, &clock, key, &settings.ticket, &[]).await?;
        Ok(Self {
            insider: Insider::new(identity, clock, settings.link.clone()),
            settings,
        })
    }

    /// Tries one attack.
    pub async fn run(&mut self, attack: Attack) -> AttackReport {
        let mut report = AttackReport::new(attack);
        let (insider, settings) = (&mut self.insider, &self.settings);
        match attack {
            Attack::ForgedSignature => insider.forged_signature(&mut report).await,
            Attack::ForgedTicket => insider.forged_ticket(&mut report).await,
            Attack::Flood => insider.flood(&mut report, settings).await,
            Attack::FutureKind => insider.future_kind(&mut report).await,
            Attack::Garbage => insider.garbage(&mut report).await,
            Attack::NotAscending => insider.not_ascending(&mut report).await,
            Attack::Oversized => insider.oversized(&mut report, settings.oversized).await,
            Attack::OutOfTurn => insider.out_of_turn(&mut report).await,
            Attack::ReplayedFrame => insider.replayed_frame(&mut report).await,
            Attack::ReplayedHello => insider.replayed_hello(&mut report).await,
            Attack::Unknown => insider.unknown(&mut report).await,
            Attack::WrongSessionKey => insider.wrong_session_key(&mut report).await,
        }
        report
    }

    /// Tries them all, one after the other.
    pub async fn run_all(&mut self) -> Vec<AttackReport> {
        let mut reports = Vec::new();
        for attack in Attack::ALL {
            reports.push(self.run(*attack).await);
        }
        reports
    }

    /// Returns what the insider sent in earnest.
    #[must_use]
    pub const fn ledger(&self) -> &Ledger {
        self.insider.ledger()
    }
}
