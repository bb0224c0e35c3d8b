//! Small signed statements: who may enrol, who did, whose device it is, who may ask and read.
//!
//! Each has a fixed layout, a role of its own and a total decoder. Decoding checks nothing but the
//! layout; `verify` is the only way to a value that a program may act on.

pub mod binding;
pub mod grant;
pub mod record;
pub mod ticket;
pub mod way_back;

pub use binding::{Binding, Bound};
pub use grant::{Classes, Grant, GrantPurpose, GrantTerms};
pub use record::{Enrolment, Record};
pub use ticket::{Ticket, TicketSlip, TicketTerms};
pub use way_back::{WayBack, WayBackTerms};

use std::fmt;

/// A handle that the vault sealed for itself: nobody else can open it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SealedHandle(pub [u8; 44]);

impl SealedHandle {
    /// How many bytes it has: nonce, handle, tag.
    pub const SIZE: usize = 44;
}

impl fmt::Debug for SealedHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealedHandle(..)")
    }
}
