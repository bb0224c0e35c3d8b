//! Where the steps from all partitions meet those who watch.
//!
//! One lock, held for short work only, makes registering and catching up one act: no step falls
//! between what a watcher is told first and what it is told next. A watcher whose queue is full is
//! let go, so that none holds up the others; it comes back and catches up.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pulseward_base::{AlertId, Micros, Partition};
use pulseward_eventlog::{
    Cause, Position,
    body::{AlertState, Severity},
};
use tokio::sync::{mpsc, watch};

use crate::{
    error::Error,
    metrics::{End, Metrics},
    settings::{Recipient, Settings},
    view::{Step, View},
};

/// A step that a recipient was sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivered {
    pub(crate) partition: Partition,
    pub(crate) alert: AlertId,
    pub(crate) state: AlertState,
    pub(crate) recipient: Recipient,
}

/// The view and those who watch it.
pub(crate) struct Hub {
    settings: Arc<Settings>,
    metrics: Arc<Metrics>,
    inner: Mutex<Inner>,
    delivered: mpsc::Sender<Delivered>,
    /// Whether what stood in the log at the start is in the view, or the stage has ended.
    has_begun: watch::Sender<bool>,
}

#[derive(Default)]
struct Inner {
    view: View,
    watchers: BTreeMap<u64, Watcher>,
    next: u64,
    closed: bool,
    slips: BTreeMap<Recipient, Allowance>,
    wishes: BTreeMap<Recipient, Allowance>,
}

/// What a recipient has had in the minute that began then.
#[derive(Clone, Copy, Default)]
struct Allowance {
    since: Micros,
    count: u32,
}

impl Allowance {
    /// Takes one more, and returns whether there was one.
    fn take(&mut self, now: Micros, a_minute: u32) -> bool {
        if self.since.until(now) >= std::time::Duration::from_secs(60) {
            (self.since, self.count) = (now, 0);
        }
        self.count = self.count.saturating_add(1);
        self.count <= a_minute
    }
}

struct Watcher {
    at_least: Severity,
    steps: mpsc::Sender<Step>,
    ending: Arc<Mutex<Option<End>>>,
}

/// What a watcher is given: what it is told first, and what comes.
pub(crate) struct Watching {
    pub(crate) number: u64,
    pub(crate) first: Vec<Step>,
    pub(crate) steps: mpsc::Receiver<Step>,
    pub(crate) ending: Arc<Mutex<Option<End>>>,
}

/// Why nobody may watch now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    TooMany,
    Closed,
}

impl Hub {
    pub(crate) fn new(
        settings: Arc<Settings>,
        metrics: Arc<Metrics>,
    ) -> (Self, mpsc::Receiver<Delivered>) {
        let (delivered, written) = mpsc::channel(settings.delivered_queue.max(1));
        (
            Self {
                settings,
                metrics,
                inner: Mutex::default(),
                delivered,
                has_begun: watch::Sender::new(false),
            },
            written,
        )
    }

    /// What stood in the log at the start is in the view: those who ask may be answered.
    pub(crate) fn begin(&self) {
        self.has_begun.send_replace(true);
    }

    /// Waits until those who ask may be answered: an old step that is read again is no news.
    pub(crate) async fn begun(&self) {
        let mut has_begun = self.has_begun.subscribe();
        // The sender lives as long as this does.
        let _always = has_begun.wait_for(|has_begun| *has_begun).await;
    }

    /// Takes a step into the view and passes it on. One that is read again after a restart is not
    /// counted again.
    pub(crate) fn take(
        &self,
        step: Step,
        place: (Position, Option<Cause>),
        is_news: bool,
    ) -> Result<(), Error> {
        let mut inner = self.lock();
        if is_news {
            self.metrics.taken(&step.alert);
        }
        let told = inner.view.take(step, place, self.settings.ended_alerts);
        self.pass_on(&mut inner, &told);
        self.show(&inner)
    }

    /// Notes what was delivered before a restart.
    pub(crate) fn recall(&self, alert: AlertId, state: AlertState, recipient: Recipient) {
        self.lock().view.deliver(alert, state, recipient);
    }

    /// Takes in a watcher.
    pub(crate) fn watch(
        &self,
        recipient: Recipient,
        at_least: Severity,
    ) -> Result<Watching, Refused> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(Refused::Closed);
        }
        if inner.watchers.len() >= self.settings.watchers {
            return Err(Refused::TooMany);
        }
        let (steps, receiver) = mpsc::channel(self.settings.watcher_queue.max(1));
        let ending = Arc::new(Mutex::new(None));
        let number = inner.next;
        inner.next += 1;
        let watcher = Watcher {
            at_least,
            steps,
            ending: Arc::clone(&ending),
        };
        inner.watchers.insert(number, watcher);
        self.metrics.watchers(inner.watchers.len());
        let severe = |step: &Step| step.alert.severity >= at_least;
        let first = inner
            .view
            .catch_up(recipient)
            .into_iter()
            .filter(severe)
            .collect();
        Ok(Watching {
            number,
            first,
            steps: receiver,
            ending,
        })
    }

    /// Lets a watcher go that has left by itself.
    pub(crate) fn leave(&self, number: u64) {
        let mut inner = self.lock();
        if inner.watchers.remove(&number).is_some() {
            self.metrics.ended(End::Left);
            self.metrics.watchers(inner.watchers.len());
        }
    }

    /// Notes that a step was handed to the transport. What cannot be noted is sent again later.
    pub(crate) fn delivered(&self, step: &Step, recipient: Recipient) {
        let (alert, state) = (step.alert.id, step.alert.state);
        let mut inner = self.lock();
        if !inner.view.deliver(alert, state, recipient) {
            return;
        }
        self.metrics.delivered();
        self.metrics.unheard(inner.view.unheard());
        drop(inner);
        let delivered = Delivered {
            partition: step.partition,
            alert,
            state,
            recipient,
        };
        if self.delivered.try_send(delivered).is_err() {
            self.metrics.unwritten();
        }
    }

    /// Returns an alert's newest step.
    pub(crate) fn find(&self, alert: AlertId) -> Option<Step> {
        self.lock().view.find(alert).cloned()
    }

    /// Returns whether `recipient` may have another slip at `now`.
    pub(crate) fn may_have_slip(&self, recipient: Recipient, now: Micros) -> bool {
        let mut inner = self.lock();
        let allowance = inner.slips.entry(recipient).or_default();
        allowance.take(now, self.settings.slips_per_minute)
    }

    /// Returns whether `recipient` may make another wish at `now`.
    pub(crate) fn may_wish(&self, recipient: Recipient, now: Micros) -> bool {
        let mut inner = self.lock();
        let allowance = inner.wishes.entry(recipient).or_default();
        allowance.take(now, self.settings.wishes_per_minute)
    }

    /// Returns where a partition is to be read from after a restart.
    pub(crate) fn needed(
        &self,
        partition: Partition,
        head: (Position, Option<Cause>),
    ) -> (Position, Option<Cause>) {
        self.lock().view.needed(partition, head)
    }

    /// Ends all watchers, and takes in no more.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        self.begin();
        for watcher in std::mem::take(&mut inner.watchers).into_values() {
            self.end(&watcher, End::Shutdown);
        }
        self.metrics.watchers(0);
    }

    fn pass_on(&self, inner: &mut Inner, step: &Step) {
        let mut slow = Vec::new();
        for (number, watcher) in &inner.watchers {
            let wanted = step.alert.severity >= watcher.at_least;
            if wanted && watcher.steps.try_send(step.clone()).is_err() {
                slow.push(*number);
            }
        }
        for number in slow {
            if let Some(watcher) = inner.watchers.remove(&number) {
                self.end(&watcher, End::Slow);
            }
        }
        self.metrics.watchers(inner.watchers.len());
    }

    fn end(&self, watcher: &Watcher, end: End) {
        *watcher
            .ending
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(end);
        self.metrics.ended(end);
    }

    fn show(&self, inner: &Inner) -> Result<(), Error> {
        let open = inner.view.open_by_severity();
        self.metrics.open(&open);
        self.metrics.unheard(inner.view.unheard());
        let limit = self.settings.open_alerts;
        if open.values().sum::<usize>() > limit {
            return Err(Error::TooManyOpen { limit });
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
