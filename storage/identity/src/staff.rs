//! Who may ask the vault: accounts, roles, and the second factor.
//!
//! A bearer token alone opens nothing but [`crate::Vault::confirm`]. A right code opens a session of five
//! minutes, named by a random proof that the later calls must show; a code is accepted once, and
//! wrong codes lock the account for a while.

use std::{collections::BTreeMap, time::Duration};

use pulseward_base::{Digest, Micros, Secret};
use pulseward_crypto::hash::sha256;

use crate::{
    error::Refusal,
    person::{StaffId, Text},
    totp,
};

/// How many accounts there may be.
pub const MOST_STAFF: usize = 10_000;
/// How long a second factor counts as recent.
pub const SESSION_LIFE: Duration = Duration::from_secs(5 * 60);
/// How many wrong codes lock an account.
pub const WRONG_CODES: u32 = 5;
/// For how long.
pub const LOCK_LIFE: Duration = Duration::from_secs(15 * 60);
/// The period in which ways back are counted.
const HOUR: Duration = Duration::from_secs(60 * 60);

/// What somebody does in the clinic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Treats people: asks for the person behind an alert.
    Clinician,
    /// Takes people in: registers, writes consents, issues tickets.
    Registrar,
}

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// To register people, write consents and issue tickets.
    Register,
    /// To open a way-back slip.
    WayBack,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Clinician, Self::Registrar];

    /// Returns its word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Clinician => "clinician",
            Self::Registrar => "registrar",
        }
    }

    /// Returns the role that `word` names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.word() == word)
    }

    /// Returns whether it includes `permission`.
    #[must_use]
    pub const fn may(self, permission: Permission) -> bool {
        matches!(
            (self, permission),
            (Self::Clinician, Permission::WayBack) | (Self::Registrar, Permission::Register)
        )
    }

    pub(crate) const fn number(self) -> u8 {
        match self {
            Self::Clinician => 1,
            Self::Registrar => 2,
        }
    }

    pub(crate) fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.number() == number)
    }
}

/// One account. The token itself is not kept.
#[derive(Clone, Debug)]
pub(crate) struct Account {
    pub(crate) name: Text,
    pub(crate) role: Role,
    /// Of the bearer token, which is long and random: a plain digest is enough.
    pub(crate) token: Digest,
    pub(crate) totp: Secret<32>,
    /// The step of the last code that was accepted.
    pub(crate) used_step: i64,
    pub(crate) added: Micros,
}

/// What a new staff member is told, once.
#[derive(Debug)]
pub struct Credentials {
    /// The account.
    pub id: StaffId,
    /// Goes into the metadata of every call.
    pub token: Secret<32>,
    /// Makes the codes.
    pub totp: Secret<32>,
}

/// An open session, as its holder shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Session {
    /// The proof that calls must show.
    pub proof: [u8; 32],
    /// Until when it holds.
    pub until: Micros,
}

/// What is remembered of one account between calls, in memory: a restart closes all sessions.
#[derive(Debug, Default)]
struct Door {
    /// A digest of the newest session's proof, and until when it holds.
    session: Option<(Digest, Duration)>,
    wrong_codes: u32,
    locked_until: Option<Duration>,
    ways_back: u32,
    counted_since: Duration,
}

/// Both of a clock's times: codes go by the wall, spans by the monotonic one, which nobody sets.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    pub(crate) wall: Micros,
    pub(crate) monotonic: Duration,
}

/// The accounts' doors: one per account at most, so bounded by [`MOST_STAFF`].
#[derive(Debug, Default)]
pub(crate) struct Doors {
    doors: BTreeMap<StaffId, Door>,
}

impl Doors {
    /// Judges a code. A right one gives its step, which must be durable before [`Doors::open`].
    pub(crate) fn judge(
        &mut self,
        id: StaffId,
        account: &Account,
        code: &str,
        at: At,
    ) -> Result<i64, Refusal> {
        let door = self.doors.entry(id).or_default();
        match door.locked_until {
            Some(until) if at.monotonic < until => return Err(Refusal::Locked),
            Some(_) => *door = Door::default(),
            None => {}
        }
        if let Some(step) = totp::matching_step(&account.totp, code, at.wall, account.used_step) {
            door.wrong_codes = 0;
            return Ok(step);
        }
        door.wrong_codes += 1;
        if door.wrong_codes >= WRONG_CODES {
            door.locked_until = Some(at.monotonic + LOCK_LIFE);
            door.session = None;
        }
        Err(Refusal::SecondFactor)
    }

    /// Opens a session, closing the one before.
    pub(crate) fn open(&mut self, id: StaffId, at: At) -> Session {
        let session = Session {
            proof: pulseward_crypto::random::bytes(),
            until: at.wall.plus(SESSION_LIFE),
        };
        let door = self.doors.entry(id).or_default();
        door.session = Some((sha256(&[&session.proof]), at.monotonic + SESSION_LIFE));
        session
    }

    /// Checks a session's proof.
    pub(crate) fn check(&self, id: StaffId, proof: &[u8], at: At) -> Result<(), Refusal> {
        let session = self.doors.get(&id).and_then(|door| door.session);
        match session {
            Some((digest, until)) if digest == sha256(&[proof]) && at.monotonic < until => Ok(()),
            _ => Err(Refusal::SecondFactor),
        }
    }

    /// Counts a way back against its hourly bound.
    pub(crate) fn count_way_back(&mut self, id: StaffId, most: u32, at: At) -> Result<(), Refusal> {
        let door = self.doors.entry(id).or_default();
        if at.monotonic >= door.counted_since + HOUR {
            door.counted_since = at.monotonic;
            door.ways_back = 0;
        }
        if door.ways_back >= most {
            return Err(Refusal::OverLimit);
        }
        door.ways_back += 1;
        Ok(())
    }
}

/// Makes the account of somebody new.
pub(crate) fn new_account(name: Text, role: Role, now: Micros) -> (Account, Credentials) {
    let credentials = Credentials {
        id: StaffId::random(),
        token: pulseward_crypto::random::secret(),
        totp: pulseward_crypto::random::secret(),
    };
    let account = Account {
        name,
        role,
        token: sha256(&[credentials.token.expose()]),
        totp: credentials.totp.clone(),
        used_step: 0,
        added: now,
    };
    (account, credentials)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Account {
        new_account(Text::new("Dr. A").unwrap(), Role::Clinician, Micros(0)).0
    }

    fn at(seconds: u64) -> At {
        let monotonic = Duration::from_secs(seconds);
        At {
            wall: Micros(1_700_000_000_000_000).plus(monotonic),
            monotonic,
        }
    }

    fn code_at(account: &Account, at: At) -> String {
        totp::code(&account.totp, totp::step_at(at.wall))
    }

    #[test]
    fn a_session_holds_five_minutes_and_only_under_its_proof() {
        let account = account();
        let (id, other) = (StaffId::random(), StaffId::random());
        let mut doors = Doors::default();
        let stale = Err(Refusal::SecondFactor);
        assert_eq!(doors.check(id, &[], at(0)), stale);
        let code = code_at(&account, at(0));
        doors.judge(id, &account, &code, at(0)).unwrap();
        let session = doors.open(id, at(0));
        for (who, proof, when, expected) in [
            (id, session.proof, at(299), Ok(())),
            (id, session.proof, at(300), stale),
            (id, [0; 32], at(0), stale),
            (other, session.proof, at(0), stale),
        ] {
            assert_eq!(doors.check(who, &proof, when), expected);
        }
        let newer = doors.open(id, at(0));
        assert_eq!(doors.check(id, &session.proof, at(0)), stale);
        assert_eq!(doors.check(id, &newer.proof, at(0)), Ok(()));
    }

    #[test]
    fn wrong_codes_lock_the_account_for_a_while_even_against_the_right_one() {
        let account = account();
        let id = StaffId::random();
        let mut doors = Doors::default();
        for _ in 0..WRONG_CODES {
            let refused = doors.judge(id, &account, "no code", at(0));
            assert_eq!(refused, Err(Refusal::SecondFactor));
        }
        let right = code_at(&account, at(1));
        assert_eq!(
            doors.judge(id, &account, &right, at(1)),
            Err(Refusal::Locked)
        );
        let later = at(LOCK_LIFE.as_secs());
        let right = code_at(&account, later);
        assert!(doors.judge(id, &account, &right, later).is_ok());
    }

    #[test]
    fn ways_back_are_bounded_by_the_hour() {
        let id = StaffId::random();
        let mut doors = Doors::default();
        assert_eq!(doors.count_way_back(id, 2, at(10)), Ok(()));
        assert_eq!(doors.count_way_back(id, 2, at(20)), Ok(()));
        assert_eq!(doors.count_way_back(id, 2, at(30)), Err(Refusal::OverLimit));
        assert_eq!(doors.count_way_back(id, 2, at(3600)), Ok(()));
    }
}
