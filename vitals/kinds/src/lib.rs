//! Kinds of vital sign and the readings of them.
//!
//! A value is an `i32` that counts steps of its kind's frozen unit: no float, no unit and no
//! conversion travels or is stored. A vital is added in one place, [`kind`].

pub mod columns;
pub mod kind;
pub mod training;

pub use columns::{Columns, Leaf, Limits, Row};
pub use kind::{Kind, Spec};
