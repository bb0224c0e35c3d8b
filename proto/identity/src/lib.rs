//! The messages and the service `pulseward.identity.v1.Identity`, generated from
//! `proto/identity.proto`, and nothing else.
//!
//! Messages that carry a person, a slip or a session show nothing in `Debug`.

use std::fmt;

/// The package `pulseward.identity.v1`.
pub mod v1 {
    #![allow(
        missing_docs,
        unreachable_pub,
        clippy::all,
        clippy::too_many_lines,
        clippy::missing_docs_in_private_items,
        clippy::use_self,
        reason = "generated"
    )]
    tonic::include_proto!("pulseward.identity.v1");
}

/// The compiled description of the package, for gRPC reflection.
pub const DESCRIPTOR: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/identity.descriptor"));

/// The metadata key with the staff member's bearer token.
pub const AUTHORIZATION: &str = "authorization";
/// The metadata key with the word that says why a call was refused.
pub const REFUSAL: &str = "refusal";

macro_rules! blind {
    ($($name:ident),* $(,)?) => {$(
        impl fmt::Debug for v1::$name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(..)"))
            }
        }
    )*};
}

blind!(
    ConfirmRequest,
    ConfirmResponse,
    Person,
    Fact,
    RegisterRequest,
    RegisterResponse,
    RecordConsentRequest,
    IssueTicketRequest,
    IssueTicketResponse,
    WayBackRequest,
    WayBackResponse,
    Consent,
);

#[cfg(test)]
mod tests {
    use super::v1;

    #[test]
    fn debug_shows_no_person() {
        let person = v1::Person {
            name: "Ada Example".into(),
            birth_date: "1970-01-01".into(),
            contact: "ada@example.org".into(),
        };
        let answer = v1::WayBackResponse {
            person: Some(person.clone()),
        };
        for text in [format!("{person:?}"), format!("{answer:?}")] {
            assert!(!text.contains("Ada") && !text.contains("1970"), "{text}");
        }
    }
}
