//! Derived keys, kept for a while: a bounded cache, so that a patient's key is fetched and derived
//! from once and not per entry.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use pulseward_base::{KeyId, WriterId};
use pulseward_crypto::aead;

use crate::entry::Place;

/// What a derived key belongs to. No key id: the log's own key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CipherId {
    key: Option<KeyId>,
    writer: WriterId,
    topic: u8,
    generation: u32,
    partition: u32,
}

impl CipherId {
    pub(crate) const fn new(key: Option<KeyId>, writer: WriterId, place: &Place) -> Self {
        Self {
            key,
            writer,
            topic: place.topic.number(),
            generation: place.generation.0,
            partition: place.partition.0,
        }
    }
}

/// The keys used last, at most as many as the limit says.
pub(crate) struct Ciphers {
    limit: usize,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    clock: u64,
    by_id: BTreeMap<CipherId, (u64, Arc<aead::Key>)>,
    by_use: BTreeMap<u64, CipherId>,
}

impl Ciphers {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            kept: Mutex::default(),
        }
    }

    pub(crate) fn find(&self, id: &CipherId) -> Option<Arc<aead::Key>> {
        let mut kept = self.lock();
        let kept = &mut *kept;
        let (used, cipher) = kept.by_id.get_mut(id)?;
        kept.by_use.remove(used);
        kept.clock += 1;
        *used = kept.clock;
        kept.by_use.insert(kept.clock, *id);
        Some(Arc::clone(cipher))
    }

    pub(crate) fn keep(&self, id: CipherId, cipher: Arc<aead::Key>) {
        let mut kept = self.lock();
        kept.clock += 1;
        let now = kept.clock;
        if let Some((used, _)) = kept.by_id.insert(id, (now, cipher)) {
            kept.by_use.remove(&used);
        }
        kept.by_use.insert(now, id);
        while kept.by_id.len() > self.limit
            && let Some((_, oldest)) = kept.by_use.pop_first()
        {
            kept.by_id.remove(&oldest);
        }
    }

    /// Drops all keys that were derived from one patient's.
    pub(crate) fn forget(&self, key: KeyId) {
        let mut kept = self.lock();
        let kept = &mut *kept;
        kept.by_id.retain(|id, (used, _)| {
            let stays = id.key != Some(key);
            if !stays {
                kept.by_use.remove(used);
            }
            stays
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        // The maps agree before and after each call, whatever a panicking caller did.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use pulseward_base::{Generation, Partition, Secret};

    use super::*;
    use crate::Topic;

    fn id(key: u8, partition: u32) -> CipherId {
        let place = Place {
            log_id: [0; 16],
            topic: Topic::Feed,
            generation: Generation(0),
            partition: Partition(partition),
        };
        CipherId::new(Some(KeyId([key; 16])), WriterId([0; 16]), &place)
    }

    fn cipher() -> Arc<aead::Key> {
        Arc::new(aead::Key::new(&Secret::new([0; 32])))
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let ciphers = Ciphers::new(2);
        ciphers.keep(id(1, 0), cipher());
        ciphers.keep(id(2, 0), cipher());
        assert!(ciphers.find(&id(1, 0)).is_some());
        ciphers.keep(id(3, 0), cipher());
        assert!(ciphers.find(&id(1, 0)).is_some());
        assert!(ciphers.find(&id(2, 0)).is_none());
        assert!(ciphers.find(&id(3, 0)).is_some());
    }

    #[test]
    fn a_forgotten_key_is_gone_everywhere_and_others_stay() {
        let ciphers = Ciphers::new(8);
        for (key, partition) in [(1, 0), (1, 1), (2, 0)] {
            ciphers.keep(id(key, partition), cipher());
        }
        ciphers.forget(KeyId([1; 16]));
        assert!(ciphers.find(&id(1, 0)).is_none());
        assert!(ciphers.find(&id(1, 1)).is_none());
        assert!(ciphers.find(&id(2, 0)).is_some());
        assert_eq!(ciphers.lock().by_use.len(), 1);
    }
}
