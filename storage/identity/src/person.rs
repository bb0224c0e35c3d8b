//! Persons, what they agreed to, and the names under which projects know them.
//!
//! Nothing here shows itself in `Debug`, and all of it is wiped when dropped.

use std::fmt;

use pulseward_base::{Micros, TicketId};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::error::Refusal;

/// How many bytes a name, a contact, or a fact's name or value may have.
pub const LONGEST_TEXT: usize = 200;
/// How many facts a person may have.
pub const MOST_FACTS: usize = 32;
/// How many projects a person may be in.
pub const MOST_PROJECTS: usize = 32;
/// How many consents one person may give to one project.
pub const MOST_CONSENTS: usize = 256;
/// How many tickets of one person and project may be open at once.
pub const MOST_TICKETS: usize = 32;

/// Declares random names of 16 bytes that never leave the vault's side.
macro_rules! vault_ids {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub [u8; 16]);

        impl $name {
            /// All zeros: "none" where a format says so.
            pub const ZERO: Self = Self([0; 16]);

            /// Draws a new one.
            #[must_use]
            pub fn random() -> Self {
                Self(pulseward_crypto::random::bytes())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}

vault_ids! {
    /// The name under which one project knows one person. It rides in the ticket slip and comes
    /// back sealed; two projects' handles of one person have nothing in common.
    Handle;
    /// The vault's own name for a person.
    PersonId;
    /// The vault's own name for a staff member.
    StaffId;
}

/// A day of birth that the calendar has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BirthDate {
    year: u16,
    month: u8,
    day: u8,
}

impl BirthDate {
    /// Returns the day, if the calendar has it and it lies between 1850 and 2199.
    pub fn new(year: u16, month: u8, day: u8) -> Result<Self, Refusal> {
        let leap = year.is_multiple_of(4) && !year.is_multiple_of(100) || year.is_multiple_of(400);
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => 0,
        };
        if (1850..2200).contains(&year) && (1..=days).contains(&day) {
            Ok(Self { year, month, day })
        } else {
            Err(Refusal::Malformed)
        }
    }

    /// Reads a day written like `2001-12-31`.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let mut parts = text.split('-');
        let (Some(year), Some(month), Some(day), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Refusal::Malformed);
        };
        if (year.len(), month.len(), day.len()) != (4, 2, 2)
            || !text
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-')
        {
            return Err(Refusal::Malformed);
        }
        let malformed = |_| Refusal::Malformed;
        Self::new(
            year.parse().map_err(malformed)?,
            month.parse().map_err(malformed)?,
            day.parse().map_err(malformed)?,
        )
    }

    /// Returns year, month and day.
    #[must_use]
    pub const fn parts(self) -> (u16, u8, u8) {
        (self.year, self.month, self.day)
    }
}

impl fmt::Display for BirthDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl fmt::Debug for BirthDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BirthDate(..)")
    }
}

/// Who somebody is and how to reach them.
#[derive(Clone, PartialEq, Eq)]
pub struct Particulars {
    /// The name.
    pub name: Text,
    /// The day of birth.
    pub birth: BirthDate,
    /// A telephone number or address.
    pub contact: Text,
}

impl fmt::Debug for Particulars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Particulars(..)")
    }
}

/// A short text that is blind and is wiped.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Text(String);

impl Text {
    /// Takes a text that is not empty, not long, and has no control characters.
    pub fn new(text: &str) -> Result<Self, Refusal> {
        let text = text.trim();
        if text.is_empty() || text.len() > LONGEST_TEXT || text.chars().any(char::is_control) {
            return Err(Refusal::Malformed);
        }
        Ok(Self(text.to_owned()))
    }

    /// Shows the text to whoever may see it. The name is long so that it stands out.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Text(..)")
    }
}

/// Something that decides whether a person can take part, as a study asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What it is about.
    pub name: Text,
    /// What holds.
    pub value: Text,
}

/// What a person's data may be used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purposes {
    /// The person's care, and finding the person again.
    pub care: bool,
    /// Training models.
    pub training: bool,
    /// Research.
    pub research: bool,
}

impl Purposes {
    pub(crate) fn bits(self) -> u8 {
        u8::from(self.care) | u8::from(self.training) << 1 | u8::from(self.research) << 2
    }

    pub(crate) const fn from_bits(bits: u8) -> Option<Self> {
        if bits > 7 {
            return None;
        }
        Some(Self {
            care: bits & 1 != 0,
            training: bits & 2 != 0,
            research: bits & 4 != 0,
        })
    }
}

/// What a person agreed to in one project. A newer version replaces all of an older one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Consent {
    /// Rises with every change.
    pub version: u32,
    /// Bit k: kind number k may be collected. To the vault these are only bits.
    pub scope: u64,
    /// What for.
    pub purposes: Purposes,
}

/// A consent and when it was written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenConsent {
    /// The consent.
    pub consent: Consent,
    /// When it was written down.
    pub at: Micros,
}

/// A ticket that was issued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuedTicket {
    /// Its name.
    pub id: TicketId,
    /// Until when a device may enrol with it.
    pub expiry: Micros,
}

/// One person in one project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The project's number.
    pub project: u32,
    /// The person's name there.
    pub handle: Handle,
    /// All consents, versions strictly rising; the last one holds.
    pub consents: Vec<WrittenConsent>,
    /// Tickets that had not expired when this was last written.
    pub tickets: Vec<IssuedTicket>,
}

impl Membership {
    /// Returns the consent that holds.
    #[must_use]
    pub fn consent(&self) -> Option<Consent> {
        self.consents.last().map(|written| written.consent)
    }

    /// Writes down a newer consent.
    pub(crate) fn record(&mut self, consent: Consent, at: Micros) -> Result<(), Refusal> {
        if consent.version == 0 {
            return Err(Refusal::Malformed);
        }
        if self
            .consent()
            .is_some_and(|last| consent.version <= last.version)
        {
            return Err(Refusal::OldConsent);
        }
        if self.consents.len() >= MOST_CONSENTS {
            return Err(Refusal::Full);
        }
        self.consents.push(WrittenConsent { consent, at });
        Ok(())
    }

    /// Writes down a ticket and forgets those that have expired.
    pub(crate) fn issue(&mut self, ticket: IssuedTicket, now: Micros) -> Result<(), Refusal> {
        self.tickets.retain(|issued| issued.expiry > now);
        if self.tickets.len() >= MOST_TICKETS {
            return Err(Refusal::Full);
        }
        self.tickets.push(ticket);
        Ok(())
    }
}

/// Somebody who is registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The vault's own name for the person.
    pub id: PersonId,
    /// Who it is.
    pub particulars: Particulars,
    /// Since when.
    pub registered: Micros,
    /// What studies ask for.
    pub facts: Vec<Fact>,
    /// The projects, in the order they were joined.
    pub memberships: Vec<Membership>,
}

impl Person {
    /// Returns the membership in `project`.
    #[must_use]
    pub fn membership(&self, project: u32) -> Option<&Membership> {
        self.memberships
            .iter()
            .find(|member| member.project == project)
    }

    pub(crate) fn membership_mut(&mut self, project: u32) -> Option<&mut Membership> {
        self.memberships
            .iter_mut()
            .find(|member| member.project == project)
    }

    /// Returns the membership in `project`, joining it first if need be.
    pub(crate) fn join(&mut self, project: u32) -> Result<&mut Membership, Refusal> {
        let found = self
            .memberships
            .iter()
            .position(|member| member.project == project);
        let index = match found {
            Some(index) => index,
            None if self.memberships.len() >= MOST_PROJECTS => return Err(Refusal::Full),
            None => {
                self.memberships.push(Membership {
                    project,
                    handle: Handle::random(),
                    consents: Vec::new(),
                    tickets: Vec::new(),
                });
                self.memberships.len() - 1
            }
        };
        self.memberships.get_mut(index).ok_or(Refusal::Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consent(version: u32) -> Consent {
        Consent {
            version,
            scope: 1,
            purposes: Purposes::default(),
        }
    }

    #[test]
    fn birth_dates_are_days_of_the_calendar() {
        for (text, holds) in [
            ("2000-02-29", true),
            ("1900-02-29", false),
            ("2023-04-31", false),
            ("2023-12-31", true),
            ("2023-13-01", false),
            ("2023-00-10", false),
            ("2023-1-01", false),
            ("+023-01-01", false),
            ("1849-12-31", false),
            ("2023-01-01-01", false),
            ("", false),
        ] {
            let parsed = BirthDate::parse(text);
            assert_eq!(parsed.is_ok(), holds, "{text}");
            if let Ok(date) = parsed {
                assert_eq!(date.to_string(), text);
            }
        }
    }

    #[test]
    fn a29_an_older_or_equal_consent_is_refused() {
        let mut person = Person {
            id: PersonId::random(),
            particulars: Particulars {
                name: Text::new("A").unwrap(),
                birth: BirthDate::new(2000, 1, 1).unwrap(),
                contact: Text::new("B").unwrap(),
            },
            registered: Micros(0),
            facts: Vec::new(),
            memberships: Vec::new(),
        };
        let member = person.join(7).unwrap();
        for (version, expected) in [
            (0, Err(Refusal::Malformed)),
            (2, Ok(())),
            (2, Err(Refusal::OldConsent)),
            (1, Err(Refusal::OldConsent)),
            (5, Ok(())),
            (4, Err(Refusal::OldConsent)),
        ] {
            assert_eq!(
                member.record(consent(version), Micros(1)),
                expected,
                "{version}"
            );
        }
        assert_eq!(member.consent().unwrap().version, 5);
    }

    #[test]
    fn texts_are_short_and_without_control_characters() {
        for text in ["", "  ", "a\nb", &"x".repeat(LONGEST_TEXT + 1)] {
            assert_eq!(Text::new(text).err(), Some(Refusal::Malformed), "{text:?}");
        }
        assert_eq!(Text::new(" Ada ").unwrap().expose(), "Ada");
        assert_eq!(format!("{:?}", Text::new("Ada").unwrap()), "Text(..)");
    }

    #[test]
    fn a28_two_projects_know_a_person_under_names_with_nothing_in_common() {
        let mut memberships = Vec::new();
        for _ in 0..64 {
            memberships.push(Handle::random());
        }
        memberships.sort_unstable();
        memberships.dedup_by_key(|handle| handle.0[..8].to_vec());
        assert_eq!(memberships.len(), 64);
    }
}
