//! Every bound that a peer meets, by name.

use std::time::Duration;

/// What ingest allows and how long it waits. The defaults suit one hospital.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The largest frame, a power of two: larger messages are refused before they are read.
    pub max_frame_bytes: usize,
    /// The most leaves a batch may have.
    pub max_leaves: usize,
    /// The most rows a batch may have, over all its leaves.
    pub max_rows: usize,
    /// How many batches of one session may wait for their answers.
    pub session_in_flight: u16,
    /// How many batches of all sessions may wait for the log.
    pub total_in_flight: usize,
    /// How many streams may be open.
    pub sessions: usize,
    /// How many hellos may be opened at the same time; each is about an eighth of a millisecond of work.
    pub hello_pool: usize,
    /// How many hellos may wait for the pool.
    pub hello_queue: usize,
    /// How many hellos are opened in a second, over all peers.
    pub hellos_per_second: u32,
    /// How many hellos may come at once before that rate counts.
    pub hello_burst: u32,
    /// How many fresh offers one stream is given.
    pub offers_per_stream: u32,
    /// How long an offer is given to devices. Its keys live twice as long, at most an hour, so that
    /// a device that was given one late can use it.
    pub offer_life: Duration,
    /// How long a session lasts.
    pub session_life: Duration,
    /// How long a stream may take for its hello, and then for its first frame.
    pub first_frame: Duration,
    /// How long a session may be without a frame.
    pub idle: Duration,
    /// How long a peer may leave answers unread.
    pub write: Duration,
    /// How many rejected batches end a session.
    pub faults: u32,
    /// What a device is told to wait when something is full.
    pub retry_after: Duration,
    /// How old a batch may be.
    pub max_backlog_age: Duration,
    /// How far ahead a batch's time may lie before it is counted as ahead.
    pub max_ahead: Duration,
    /// How old the view of the devices may be before nothing is admitted.
    pub max_view_age: Duration,
    /// How often the view of the devices is brought up to date.
    pub view_interval: Duration,
    /// How often log time is written.
    pub tick_interval: Duration,
    /// How far log time may be ahead of this process's clock at its start before it waits.
    pub max_clock_lag: Duration,
    /// How many of the newest feed entries of a partition are read at start, to know what was
    /// appended but perhaps never answered.
    pub resume_entries: u64,
    /// How many devices may be enrolled.
    pub max_devices: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_frame_bytes: 256 * 1024,
            max_leaves: 64,
            max_rows: 16_384,
            session_in_flight: 32,
            total_in_flight: 8_192,
            sessions: 16_384,
            hello_pool: 2,
            hello_queue: 256,
            hellos_per_second: 500,
            hello_burst: 1_000,
            offers_per_stream: 3,
            offer_life: Duration::from_mins(30),
            session_life: Duration::from_hours(1),
            first_frame: Duration::from_secs(10),
            idle: Duration::from_mins(10),
            write: Duration::from_secs(10),
            faults: 16,
            retry_after: Duration::from_millis(500),
            max_backlog_age: Duration::from_hours(30 * 24),
            max_ahead: Duration::from_mins(5),
            max_view_age: Duration::from_secs(2),
            view_interval: Duration::from_millis(250),
            tick_interval: Duration::from_secs(1),
            max_clock_lag: Duration::from_secs(2),
            resume_entries: 200_000,
            max_devices: 1_000_000,
        }
    }
}

/// Settings that contradict each other or the wire format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Frames are powers of two from 256 bytes on.
    #[error("max_frame_bytes must be a power of two of at least 256")]
    Frame,
    /// A session has room for one to 32 batches.
    #[error("session_in_flight must be 1 to 32")]
    InFlight,
    /// Offers and sessions end within the hour.
    #[error("an offer may live 30 minutes at most, a session an hour")]
    Life,
    /// What must be possible at all must be possible once.
    #[error("a bound that is zero lets nothing through")]
    Zero,
}

impl Settings {
    /// Checks what types do not say.
    pub fn check(&self) -> Result<(), SettingsError> {
        if !self.max_frame_bytes.is_power_of_two() || self.max_frame_bytes < 256 {
            return Err(SettingsError::Frame);
        }
        if !(1..=32).contains(&self.session_in_flight) {
            return Err(SettingsError::InFlight);
        }
        let hour = Duration::from_hours(1);
        if 2 * self.offer_life > hour || self.session_life > hour {
            return Err(SettingsError::Life);
        }
        let counts = [
            self.max_leaves,
            self.max_rows,
            self.total_in_flight,
            self.sessions,
            self.hello_pool,
            self.hello_queue,
            self.max_devices,
        ];
        if counts.contains(&0) || self.hellos_per_second == 0 || self.hello_burst == 0 {
            return Err(SettingsError::Zero);
        }
        Ok(())
    }

    /// Returns the largest batch that fits a frame: a frame's type, length and tag go off.
    #[must_use]
    pub fn max_batch_bytes(&self) -> u32 {
        u32::try_from(self.max_frame_bytes - 21).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_and_each_rule_refuses_its_breach() {
        assert_eq!(Settings::default().check(), Ok(()));
        let check = |change: fn(&mut Settings), error| {
            let mut settings = Settings::default();
            change(&mut settings);
            assert_eq!(settings.check(), Err(error));
        };
        check(|s| s.max_frame_bytes = 300, SettingsError::Frame);
        check(|s| s.session_in_flight = 33, SettingsError::InFlight);
        check(
            |s| s.offer_life = Duration::from_mins(31),
            SettingsError::Life,
        );
        check(
            |s| s.session_life = Duration::from_mins(61),
            SettingsError::Life,
        );
        check(|s| s.hello_pool = 0, SettingsError::Zero);
    }
}
