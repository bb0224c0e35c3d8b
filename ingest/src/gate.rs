//! What a hello must pass before public-key work is done for it: a budget over time, a bounded queue,
//! and a small pool, so that a flood of hellos takes nothing from the sessions that are open.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pulseward_base::Reject;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Settings;

/// The way to a welcome.
#[derive(Debug)]
pub(crate) struct Gate {
    budget: Mutex<Budget>,
    waiting: Arc<Semaphore>,
    pool: Arc<Semaphore>,
}

/// Leave to do the work of one hello.
#[derive(Debug)]
pub(crate) struct Entrance {
    _waited: OwnedSemaphorePermit,
    _works: OwnedSemaphorePermit,
}

/// A bucket of whole hellos that fills at a steady rate.
#[derive(Debug)]
struct Budget {
    left: f64,
    most: f64,
    a_second: f64,
    filled: Duration,
}

impl Gate {
    pub(crate) fn new(settings: &Settings, now: Duration) -> Self {
        let most = f64::from(settings.hello_burst);
        Self {
            budget: Mutex::new(Budget {
                left: most,
                most,
                a_second: f64::from(settings.hellos_per_second),
                filled: now,
            }),
            waiting: Arc::new(Semaphore::new(settings.hello_queue + settings.hello_pool)),
            pool: Arc::new(Semaphore::new(settings.hello_pool)),
        }
    }

    /// Waits for a place in the pool. Over the budget or the queue it does not wait.
    pub(crate) async fn enter(&self, now: Duration) -> Result<Entrance, Reject> {
        let waiting = Arc::clone(&self.waiting).try_acquire_owned();
        let waited = waiting.map_err(|_| Reject::OverLimit)?;
        let has_budget = {
            let mut budget = self.budget.lock().unwrap_or_else(PoisonError::into_inner);
            budget.take(now)
        };
        if !has_budget {
            return Err(Reject::OverLimit);
        }
        let works = Arc::clone(&self.pool).acquire_owned().await;
        Ok(Entrance {
            _waited: waited,
            _works: works.map_err(|_| Reject::OverLimit)?,
        })
    }
}

impl Budget {
    fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.filled).as_secs_f64();
        self.left = (self.left + passed * self.a_second).min(self.most);
        self.filled = self.filled.max(now);
        let has_one = self.left >= 1.0;
        if has_one {
            self.left -= 1.0;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            hello_burst: 3,
            hellos_per_second: 10,
            hello_pool: 1,
            hello_queue: 1,
            ..Settings::default()
        }
    }

    #[tokio::test]
    async fn a_burst_is_let_in_then_a_steady_rate() {
        let gate = Gate::new(&settings(), Duration::ZERO);
        for _ in 0..3 {
            drop(gate.enter(Duration::ZERO).await.unwrap());
        }
        let over = gate.enter(Duration::ZERO).await;
        assert_eq!(over.unwrap_err(), Reject::OverLimit);
        drop(gate.enter(Duration::from_millis(100)).await.unwrap());
        let over = gate.enter(Duration::from_millis(150)).await;
        assert_eq!(over.unwrap_err(), Reject::OverLimit);
    }

    #[tokio::test]
    async fn no_more_wait_than_the_queue_holds() {
        let gate = Arc::new(Gate::new(&settings(), Duration::ZERO));
        let working = gate.enter(Duration::ZERO).await.unwrap();
        let waits = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter(Duration::ZERO).await.is_ok() }
        });
        while gate.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refused = gate.enter(Duration::ZERO).await;
        assert_eq!(refused.unwrap_err(), Reject::OverLimit);
        drop(working);
        assert!(waits.await.unwrap());
    }
}
