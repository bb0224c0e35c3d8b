//! Which device has a live session. The newest displaces the older; whoever may not send any more
//! loses it.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pulseward_base::Kid;
use tokio::sync::watch;

use crate::metrics::{End, Metrics};

/// The live sessions.
#[derive(Debug)]
pub(crate) struct Live {
    sessions: Mutex<Sessions>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Sessions {
    next: u64,
    of: BTreeMap<Kid, (u64, watch::Sender<Option<End>>)>,
}

/// A live session's place. Dropped, it is free.
#[derive(Debug)]
pub(crate) struct Presence {
    live: Arc<Live>,
    device: Kid,
    number: u64,
    ended: watch::Receiver<Option<End>>,
}

impl Live {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            sessions: Mutex::default(),
            metrics,
        }
    }

    /// Makes a session the device's live one.
    pub(crate) fn enter(self: &Arc<Self>, device: Kid) -> Presence {
        let (sender, ended) = watch::channel(None);
        let mut sessions = self.lock();
        let number = sessions.next;
        sessions.next += 1;
        if let Some((_, older)) = sessions.of.insert(device, (number, sender)) {
            older.send_replace(Some(End::Displaced));
        }
        self.metrics.set_sessions(sessions.of.len());
        Presence {
            live: Arc::clone(self),
            device,
            number,
            ended,
        }
    }

    /// Ends the device's session.
    pub(crate) fn end(&self, device: Kid, why: End) {
        if let Some((_, session)) = self.lock().of.get(&device) {
            session.send_replace(Some(why));
        }
    }

    /// Ends every session.
    pub(crate) fn end_all(&self, why: End) {
        for (_, session) in self.lock().of.values() {
            session.send_replace(Some(why));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Sessions> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Presence {
    /// Waits until the session is to end.
    pub(crate) async fn ended(&mut self) -> End {
        let ended = self.ended.wait_for(Option::is_some).await;
        ended.ok().and_then(|why| *why).unwrap_or(End::Displaced)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut sessions = self.live.lock();
        let is_mine = sessions
            .of
            .get(&self.device)
            .is_some_and(|(number, _)| *number == self.number);
        if is_mine {
            sessions.of.remove(&self.device);
        }
        self.live.metrics.set_sessions(sessions.of.len());
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;

    #[tokio::test]
    async fn the_newest_session_of_a_device_displaces_the_older_and_no_other() {
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let live = Arc::new(Live::new(metrics.clone()));
        let mut older = live.enter(Kid([1; 32]));
        let mut other = live.enter(Kid([2; 32]));
        let mut newest = live.enter(Kid([1; 32]));
        assert_eq!(older.ended().await, End::Displaced);
        drop(older);
        assert_eq!(metrics.live_sessions(), 2);
        live.end(Kid([1; 32]), End::Withdrawn);
        assert_eq!(newest.ended().await, End::Withdrawn);
        live.end_all(End::Unavailable);
        assert_eq!(other.ended().await, End::Unavailable);
        drop((newest, other));
        assert_eq!(metrics.live_sessions(), 0);
    }
}
