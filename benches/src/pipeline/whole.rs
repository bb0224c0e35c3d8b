//! What a batch costs the pipeline's process in all, with everything that stands around it: TLS and
//! gRPC, opening, verifying, the log on a disk, the detector, the history, the answer. Against a bare
//! verification of one signature.
//!
//! A fleet sends to both programs as they ship. It takes most of the processor itself, so its
//! devices are few; what is measured is processor time of the pipeline alone.

use std::{sync::Arc, time::Duration};

use anyhow::ensure;
use pulseward_device::{Fleet, FleetSettings};

use super::{
    clinic::Clinic,
    signatures::Bare,
    timing::{SystemClock, median, micros_each, now, on_cpu},
};
use crate::figure::{Figure, Lines, Target};

const DEVICES: usize = 500;
/// How often each device sends. Where more comes at a time, threads are woken for less.
const CALM_AND_BUSY: [Duration; 2] = [Duration::from_secs(1), Duration::from_millis(250)];
/// From the last enrolment until caches are warm.
const SETTLE: Duration = Duration::from_secs(3);
const SLICES: usize = 7;
const SLICE: Duration = Duration::from_secs(3);
/// How long the fleet may take to enrol.
const PATIENCE: Duration = Duration::from_secs(120);
const SIGNATURES: usize = 400;

pub(crate) fn measure() -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let runtime = tokio::runtime::Runtime::new()?;
    let mut measured = (0.0, 0.0);
    for every in CALM_AND_BUSY {
        let load = runtime.block_on(Load::run(every))?;
        lines.say(format!(
            "{DEVICES} devices, a batch every {every:?} each, {:.0} a second, {:.1} readings a batch, {SLICES} slices of {SLICE:?}, medians",
            load.batches_a_second, load.readings_a_batch
        ));
        lines.say(format!(
            "  a batch, all stages               {:8.1} us",
            load.ours
        ));
        lines.say(format!(
            "  a signature verified, and no more {:8.1} us",
            load.theirs
        ));
        lines.say(format!(
            "  in memory, for each session       {:8.1} KiB",
            load.session_kib
        ));
        measured = (load.ours, load.theirs);
    }
    let figure = Figure::new(
        "whole",
        "us of CPU of the busy pipeline's process, a batch",
        measured.0,
        measured.1,
        Target::RatioAtMost(5.0),
    );
    Ok(figure
        .versus("us: aws-lc's bare ECDSA verify")
        .with_lines(lines.into_vec()))
}

/// What was seen under one load.
struct Load {
    ours: f64,
    theirs: f64,
    batches_a_second: f64,
    readings_a_batch: f64,
    session_kib: f64,
}

impl Load {
    async fn run(every: Duration) -> anyhow::Result<Self> {
        let clinic = Clinic::new()?;
        let up = clinic.start()?;
        let idle = up.pipeline.resident_kib()?;
        let mut settings = FleetSettings::new(clinic.link()?, clinic.tickets(DEVICES)?);
        settings.interval = every;
        let fleet = Fleet::start(settings, Arc::new(SystemClock::start()));
        let began = now();
        while !fleet.is_enrolled() {
            ensure!(began.elapsed() < PATIENCE, "the fleet does not enrol");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        tokio::time::sleep(SETTLE).await;
        let bare = Bare::new(SIGNATURES)?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let (began, start) = (now(), fleet.snapshot().total);
        for _ in 0..SLICES {
            let (from, cpu) = (fleet.snapshot().total.durable, up.pipeline.cpu()?);
            tokio::time::sleep(SLICE).await;
            let done = fleet.snapshot().total.durable - from;
            ensure!(done > 0, "no batch became durable");
            let took = up.pipeline.cpu()?.saturating_sub(cpu);
            ours.push(took.as_secs_f64() * 1e6 / done as f64);
            let (verified, took) = on_cpu(|| bare.verify_all());
            verified?;
            theirs.push(micros_each(took, SIGNATURES));
        }
        let end = fleet.snapshot().total;
        let batches = (end.durable - start.durable) as f64;
        let load = Self {
            ours: median(ours),
            theirs: median(theirs),
            batches_a_second: batches / began.elapsed().as_secs_f64(),
            readings_a_batch: (end.readings - start.readings) as f64 / batches,
            session_kib: (up.pipeline.resident_kib()? - idle) / DEVICES as f64,
        };
        fleet.stop(PATIENCE).await;
        Ok(load)
    }
}
