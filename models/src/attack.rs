//! The attacks that every model meets before it is promoted.
//!
//! *Poison* alters what a model is trained on: whole pools are attacked, trained on by the real code,
//! and shown to the gate. *Evasion* alters what a promoted model reads: where a certificate is exact
//! the worst reading is known; a search by chance and coordinate tries to beat it all the same.

mod bisect;
mod evade;
mod poison;

pub use bisect::{Moved, Suspect, bisect, difference};
pub use evade::{Evaded, evade};
pub use poison::{Outcome, Poison, poisoned, suite};

use crate::train::{Line, Pool, Settings};

/// A training that is repeated with other rows.
#[derive(Clone, Copy, Debug)]
pub struct Trial<'a> {
    /// What is trained.
    pub line: Line,
    /// On whom.
    pub pool: &'a Pool,
    /// How.
    pub settings: &'a Settings,
}

#[cfg(test)]
mod tests;
