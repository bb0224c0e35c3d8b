//! What may be set, with defaults that hold for a ward of wearables.
//!
//! Settings that decide outcomes ([`Judgement`]) change them for the entries that are replayed too:
//! they are to be equal before and after a restart, and on all detectors of one log.

use std::time::Duration;

use pulseward_models::rules::news2::{AgeLimits, SaturationScale};
use pulseward_vitals::Kind;

use crate::state::votes::MOfN;

/// All settings of the detector.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// What decides outcomes.
    pub judgement: Judgement,
    /// How it is driven.
    pub drive: Drive,
}

/// What decides outcomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Votes that raise or end an alert of the rules.
    pub rules: MOfN,
    /// A vote this long after the one before it raises alone.
    pub sparse_after: Duration,
    /// Votes that raise or end an alert of a guard.
    pub guards: MOfN,
    /// How old a reading of each kind may be and still count in the rules.
    pub ages: AgeLimits,
    /// Which saturation table of NEWS2 holds.
    pub saturation: SaturationScale,
    /// A kind that has not come for this long is no longer expected.
    pub forget_after: Duration,
    /// A device that was live is silent after this long.
    pub device_silence: Duration,
    /// A stream of a kind that is measured all the time is silent after this long.
    pub stream_silence: Duration,
    /// A stream of a kind that is measured now and then is silent after this long.
    pub spot_silence: Duration,
    /// No ingest is alive when none was heard for this long.
    pub feed_silence: Duration,
    /// A reading older than this when it arrives is late.
    pub late_after: Duration,
    /// A reading older than this when it arrives is past: its alerts never page.
    pub past_after: Duration,
    /// A time further ahead than this is marked.
    pub ahead_limit: Duration,
    /// A lane is silent at most this long for one wish.
    pub longest_snooze: Duration,
}

impl Default for Judgement {
    fn default() -> Self {
        Self {
            rules: MOfN { m: 2, n: 3 },
            sparse_after: Duration::from_secs(600),
            guards: MOfN { m: 2, n: 5 },
            ages: AgeLimits::default(),
            saturation: SaturationScale::One,
            forget_after: Duration::from_secs(24 * 3600),
            device_silence: Duration::from_secs(30),
            stream_silence: Duration::from_secs(120),
            spot_silence: Duration::from_secs(12 * 3600),
            feed_silence: Duration::from_secs(5),
            late_after: Duration::from_secs(120),
            past_after: Duration::from_secs(15 * 60),
            ahead_limit: Duration::from_secs(5 * 60),
            longest_snooze: Duration::from_secs(8 * 3600),
        }
    }
}

impl Judgement {
    /// Returns the time before which nothing at all is silent.
    #[must_use]
    pub fn shortest_silence(&self) -> Duration {
        self.device_silence
            .min(self.stream_silence)
            .min(self.spot_silence)
    }

    /// Returns after how long a stream of `kind` is silent.
    #[must_use]
    pub const fn silence_of(&self, kind: Kind) -> Duration {
        match kind {
            Kind::HeartRate
            | Kind::SpO2
            | Kind::RespiratoryRate
            | Kind::BeatInterval
            | Kind::EndTidalCo2 => self.stream_silence,
            Kind::Temperature
            | Kind::SystolicPressure
            | Kind::DiastolicPressure
            | Kind::MeanPressure
            | Kind::Consciousness
            | Kind::SupplementalOxygen
            | Kind::Glucose => self.spot_silence,
        }
    }
}

/// How the detector is driven. Nothing here changes an outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// How often the state is made durable; at most every 60 s.
    pub checkpoint_every: Duration,
    /// How often the detector's own clock goes into the feed.
    pub tick_every: Duration,
    /// How often the silence alarm tests itself.
    pub probe_every: Duration,
    /// The most bytes taken from the feed at once.
    pub read_bytes: usize,
    /// The most entries taken from the feed at once.
    pub read_entries: usize,
    /// How often a step that panics is tried before its entry is parked.
    pub tries: u32,
    /// How long to wait before asking a log again that has failed.
    pub retry_after: Duration,
    /// How often a log that has failed is asked before the detector stops.
    pub retries: u32,
}

impl Default for Drive {
    fn default() -> Self {
        Self {
            checkpoint_every: Duration::from_secs(15),
            tick_every: Duration::from_secs(1),
            probe_every: Duration::from_secs(10),
            read_bytes: 4 << 20,
            read_entries: 1024,
            tries: 3,
            retry_after: Duration::from_millis(500),
            retries: 2400,
        }
    }
}
