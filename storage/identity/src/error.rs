//! What can go wrong, in three sorts that are never mixed: a caller's fault ([`Refusal`]), a store
//! that cannot be trusted or reached ([`StoreError`]), and bugs, which panic.

use std::{io, path::PathBuf};

/// Declares the refusals with the word that travels and is counted.
macro_rules! refusals {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $word:literal;)*) => {
        /// Why a caller was refused: a closed list.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
        pub enum Refusal {
            $($(#[$doc])* #[error($word)] $name,)*
        }

        impl Refusal {
            /// All of them, so that every counter can start at zero.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the word that travels and is counted.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }

            /// Returns the number that the audit chain keeps.
            pub(crate) const fn number(self) -> u8 {
                match self { $(Self::$name => $number),* }
            }

            pub(crate) const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// Returns the refusal that travelled as `word`.
            #[must_use]
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|refusal| refusal.word() == word)
            }
        }
    };
}

refusals! {
    /// A slip that is not signed under the pipeline's root, or does not have its layout.
    BadSlip = 1, "bad_slip";
    /// A slip or ticket past its date, or one that would hold longer than any may.
    Expired = 2, "expired";
    /// A list that has reached its bound.
    Full = 3, "full";
    /// Too many wrong codes: the account rests for a while.
    Locked = 4, "locked";
    /// A field that is empty, too long, or not what it should be.
    Malformed = 5, "malformed";
    /// The person did not agree to this use, or no longer does.
    NoConsent = 6, "no_consent";
    /// No pipeline's root is configured, so nothing of a pipeline's can be checked.
    NoPipeline = 7, "no_pipeline";
    /// A token that nobody has.
    NotAdmitted = 8, "not_admitted";
    /// A staff member whose role does not include this.
    NotPermitted = 9, "not_permitted";
    /// A consent no newer than the one that is written down.
    OldConsent = 10, "old_consent";
    /// More than the person's consent covers.
    OutOfScope = 11, "out_of_scope";
    /// More ways back in an hour than a staff member may ask for.
    OverLimit = 12, "over_limit";
    /// No second factor, a wrong one, one used before, or one too long ago.
    SecondFactor = 13, "second_factor";
    /// A slip that was used before.
    Spent = 14, "spent";
    /// Nobody is registered under this name.
    UnknownPerson = 15, "unknown_person";
}

/// A store that cannot be trusted or reached. What was asked did not happen, or was not
/// acknowledged; the program ends rather than going on beside it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system failed.
    #[error("couldn't reach {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file that was changed, cut, moved, or sealed under another key.
    #[error("{path} is damaged, or was sealed under another key")]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// A file older than what the audit chain says was written.
    #[error("{path} is older than the audit chain says: it was put back")]
    RolledBack {
        /// The file.
        path: PathBuf,
    },
    /// An audit chain that ends before what the pages show was done.
    #[error("the audit chain was cut: pages are newer than it says")]
    ChainCut,
    /// Another process has the store open.
    #[error("another process holds {path}")]
    Held {
        /// The lock file.
        path: PathBuf,
    },
    /// An audit chain that was changed.
    #[error("the audit chain {path} does not hold")]
    ChainBroken {
        /// The file.
        path: PathBuf,
        /// Where and how.
        #[source]
        source: pulseward_audit::Broken,
    },
    /// The custodian failed.
    #[error("the custodian failed")]
    Custody(#[source] pulseward_custody::CustodyError),
    /// An earlier failure left the store's state unknown.
    #[error("an earlier failure left the store's state unknown")]
    Poisoned,
}

/// Why the vault did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The caller's fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store's.
    #[error(transparent)]
    Store(#[from] StoreError),
}
