//! What judges a patient's vital signs: clinical rules, features, models, and the certificates that
//! say what an attacker would have had to poison or perturb to change a judgement.
//!
//! Nothing here does I/O, reads a clock, or draws a random number. A judgement is a pure function of
//! its input and of a signed artefact.

pub mod rules;

pub mod features;

pub mod linfa_wall;

pub mod anchor;
pub mod partition;

pub mod additive;
pub mod rhythm;

pub mod artefact;
pub mod judge;

pub mod dataset;
pub mod measure;

pub mod calibration;

pub mod train;

pub mod evaluate;

pub mod gate;

pub mod attack;

pub mod registry;
pub mod report;
