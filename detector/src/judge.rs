//! Judging a patient: what readings, time and controls make of the state, and what is said of it.

pub(crate) mod people;
pub mod readings;
pub mod rules;
pub mod silence;
pub mod teller;
