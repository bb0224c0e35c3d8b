//! Why something a peer sent was refused: its fault, counted once, never retried as it is.

/// Declares the rejections with the number that travels and the word that is counted.
macro_rules! rejects {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $code:literal;)*) => {
        /// A closed list: each has a number on the wire and a word for metrics and logs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
        #[non_exhaustive]
        pub enum Reject {
            $($(#[$doc])* #[error($code)] $name,)*
        }

        impl Reject {
            /// All of them, so that every counter can start at zero.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// Returns the number that travels.
            #[must_use]
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $number),* }
            }

            /// Returns the word that is counted.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code),* }
            }

            /// Returns the rejection that travelled as `number`.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

rejects! {
    /// A frame or message that does not have the layout it must have.
    Malformed = 1, "malformed";
    /// A seal that does not open under the session's key.
    BadSeal = 2, "bad_seal";
    /// A signature that does not hold.
    BadSignature = 3, "bad_signature";
    /// A signature in another spelling than the one that is allowed.
    NotCanonical = 4, "not_canonical";
    /// A sequence number older than its window.
    Replayed = 5, "replayed";
    /// A second batch under a number that another batch has: a cloned device.
    Forked = 6, "forked";
    /// A reading older than the backlog may be.
    TooOld = 7, "too_old";
    /// A kind of vital that this version does not know.
    UnknownKind = 8, "unknown_kind";
    /// Leaves or rows that are not in strictly ascending order.
    NotAscending = 9, "not_ascending";
    /// A first message that is not a hello, or one under an offer nobody made.
    WrongSession = 10, "wrong_session";
    /// A device that is unknown, revoked, or not who it says: one answer for all three.
    NotAdmitted = 11, "not_admitted";
    /// A ticket that is forged, expired, for another root, or spent by another key.
    BadTicket = 12, "bad_ticket";
    /// More than the peer may send: the peer must wait.
    OverLimit = 13, "over_limit";
    /// A message, batch or list larger than its bound.
    TooLarge = 14, "too_large";
    /// A kind that the enrolment's scope does not cover.
    OutOfScope = 15, "out_of_scope";
    /// An incarnation older than the two newest of its device.
    OldIncarnation = 16, "old_incarnation";
    /// An attestation that the policy does not accept.
    NotAttested = 17, "not_attested";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_words_are_unique_and_go_both_ways() {
        let mut words: Vec<_> = Reject::ALL.iter().map(|reject| reject.code()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Reject::ALL.len());
        for reject in Reject::ALL {
            assert_eq!(Reject::from_number(reject.number()), Some(*reject));
        }
        assert_eq!(Reject::from_number(0), None);
    }
}
