//! The device's clock: the system's, but never below the highest time it was welcomed with.
//!
//! A clock that was set back would accept an offer whose keys are long lost to an attacker, so the
//! service's word, which came sealed, is a floor for ever.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use pulseward_base::{Clock, Micros};

/// A clock with a floor. Clones share it.
#[derive(Clone)]
pub struct DeviceClock {
    clock: Arc<dyn Clock>,
    floor: Arc<AtomicI64>,
}

impl DeviceClock {
    /// Returns a clock that never shows less than `floor`, which the device kept.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, floor: Micros) -> Self {
        Self {
            clock,
            floor: Arc::new(AtomicI64::new(floor.0)),
        }
    }

    /// Returns the time.
    #[must_use]
    pub fn now(&self) -> Micros {
        self.clock.now().max(self.floor())
    }

    /// Returns the time since an arbitrary start.
    #[must_use]
    pub fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    /// Returns the highest time it was welcomed with, for the device to keep.
    #[must_use]
    pub fn floor(&self) -> Micros {
        Micros(self.floor.load(Ordering::Acquire))
    }

    /// Takes a time that came sealed from the service.
    pub fn welcomed(&self, time: Micros) {
        self.floor.fetch_max(time.0, Ordering::AcqRel);
    }
}

impl fmt::Debug for DeviceClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceClock(floor {})", self.floor().0)
    }
}

#[cfg(test)]
mod tests {
    use pulseward_base::clock::ManualClock;

    use super::*;

    #[test]
    fn a_device_s_clock_never_shows_less_than_it_was_welcomed_with() {
        let clock = DeviceClock::new(Arc::new(ManualClock::new(Micros(100))), Micros(50));
        assert_eq!(clock.now(), Micros(100));
        clock.welcomed(Micros(500));
        clock.welcomed(Micros(300));
        assert_eq!(clock.now(), Micros(500));
        assert_eq!(clock.floor(), Micros(500));
    }
}
