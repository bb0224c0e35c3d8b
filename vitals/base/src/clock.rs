//! Time as a value that is handed in.

use std::time::Duration;

/// Microseconds since the Unix epoch, as every format of Pulseward writes time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(pub i64);

impl Micros {
    /// Returns the time as far ahead of `self` as `by`, stopping at the end of time.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// Returns the time as far behind `self` as `by`, stopping at the start of time.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(
            self.0
                .saturating_sub(i64::try_from(by.as_micros()).unwrap_or(i64::MAX)),
        )
    }

    /// Returns how far `self` lies behind `later`; zero when it does not.
    #[must_use]
    pub fn until(self, later: Self) -> Duration {
        Duration::from_micros(u64::try_from(later.0.saturating_sub(self.0)).unwrap_or(0))
    }
}

/// The two times a part may ask for. A program hands in the system's; a test hands in its own.
pub trait Clock: Send + Sync + 'static {
    /// Returns the wall clock's time.
    fn now(&self) -> Micros;

    /// Returns the time since an arbitrary start, which a stepped wall clock does not move.
    fn monotonic(&self) -> Duration;
}

#[cfg(any(test, feature = "test-util"))]
pub use manual::ManualClock;

#[cfg(any(test, feature = "test-util"))]
mod manual {
    use std::{
        sync::atomic::{AtomicI64, Ordering},
        time::Duration,
    };

    use super::{Clock, Micros};

    /// A clock that a test turns by hand.
    #[derive(Debug)]
    pub struct ManualClock {
        start: i64,
        now: AtomicI64,
    }

    impl ManualClock {
        /// Returns a clock that stands at `start`.
        #[must_use]
        pub const fn new(start: Micros) -> Self {
            Self {
                start: start.0,
                now: AtomicI64::new(start.0),
            }
        }

        /// Turns both of its times forward.
        pub fn advance(&self, by: Duration) {
            let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX);
            self.now.fetch_add(by, Ordering::SeqCst);
        }
    }

    impl Clock for ManualClock {
        fn now(&self) -> Micros {
            Micros(self.now.load(Ordering::SeqCst))
        }

        fn monotonic(&self) -> Duration {
            Micros(self.start).until(self.now())
        }
    }
}
