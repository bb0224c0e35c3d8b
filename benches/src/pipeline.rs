//! Figures of the pipeline itself: what a batch costs on its way, against the least that it could.

pub(crate) mod accept;
pub(crate) mod append;
mod clinic;
pub(crate) mod hello;
pub(crate) mod judge;
pub(crate) mod parquet;
mod readings;
mod signatures;
pub(crate) mod start;
mod timing;
pub(crate) mod whole;
pub(crate) mod wire;
