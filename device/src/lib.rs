//! What runs on a device: enrolling, signing batches at collection, keeping them until the service
//! has answered, and carrying them there through every loss of the stream.
//!
//! Reading order: [`mod@enrol`] makes a device, [`uplink`] runs it, [`queue`] keeps what it collected,
//! [`flight`] decides what to send next. [`fleet`] simulates patients with such devices and
//! [`attack`] plays those who mean harm.

pub mod attack;
pub mod backoff;
pub mod clock;
pub mod dice;
pub mod enrol;
pub mod fleet;
pub mod flight;
pub mod ledger;
pub mod link;
pub mod queue;
pub mod uplink;

pub use attack::{Attack, AttackReport, AttackSettings, Attackers};
pub use backoff::Backoff;
pub use clock::DeviceClock;
pub use enrol::{EnrolError, Identity, enrol};
pub use fleet::{Fleet, FleetSettings, FleetSnapshot};
pub use flight::Fate;
pub use ledger::Ledger;
pub use link::{LinkError, LinkSettings};
pub use uplink::{CollectError, Counts, Device};
