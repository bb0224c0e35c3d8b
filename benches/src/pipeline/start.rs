//! How soon both programs take work after their start, and how much memory they hold when idle.
//!
//! The programs that stand beside this one are started as a hospital starts them, each with its own
//! directory and passphrase, both at once, again and again. Without them there is no figure.

use std::time::Duration;

use super::{
    clinic::{Clinic, wait},
    timing::median,
};
use crate::figure::{Figure, Lines, Target};

const STARTS: usize = 7;
/// How long both run before their memory counts as idle.
const IDLE: Duration = Duration::from_secs(5);
const MIB: f64 = 1024.0;

/// From start to ready, of the slower of the two.
pub(crate) fn time() -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let clinic = Clinic::new()?;
    let mut slower = Vec::new();
    for _ in 0..STARTS {
        let up = clinic.start()?;
        slower.push(up.vault_ready.max(up.pipeline_ready).as_secs_f64());
        let millis = |ready: Duration| ready.as_millis();
        lines.say(format!(
            "pipeline {:5} ms, vault {:5} ms",
            millis(up.pipeline_ready),
            millis(up.vault_ready)
        ));
    }
    let figure = Figure::new(
        "start",
        "s from start to ready, the slower of both programs",
        median(slower),
        0.0,
        Target::AtMost(1.0),
    );
    Ok(figure.with_lines(lines.into_vec()))
}

/// What both hold in memory when nothing happens.
pub(crate) fn memory() -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let clinic = Clinic::new()?;
    let up = clinic.start()?;
    wait(IDLE);
    let (pipeline, vault) = (
        up.pipeline.resident_kib()? / MIB,
        up.vault.resident_kib()? / MIB,
    );
    lines.say(format!(
        "pipeline {pipeline:.1} MiB, vault {vault:.1} MiB, {IDLE:?} after both were ready"
    ));
    let figure = Figure::new(
        "memory",
        "MiB resident, both programs idle",
        pipeline + vault,
        0.0,
        Target::AtMost(120.0),
    );
    Ok(figure.with_lines(lines.into_vec()))
}
