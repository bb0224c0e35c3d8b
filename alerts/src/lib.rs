//! Brings alerts to the people who act on them.
//!
//! The stage follows the topic `alerts`, keeps a view of what is open, and streams every step to
//! the care teams that watch: at least once, always with the same id. What it has done stands in
//! `deliveries`. What they make of an alert goes into the feed, as a control. It never learns who a patient is: the way back is a slip that only the vault reads.

mod error;
mod event;
mod follow;
mod hub;
pub mod metrics;
mod service;
pub mod settings;
mod stage;
mod view;

pub use crate::{
    error::Error,
    metrics::Metrics,
    service::AlertsService,
    settings::{CareTeam, Recipient, Settings, Signer},
    stage::AlertStage,
};
