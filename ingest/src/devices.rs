//! The devices that are enrolled, as the log's `devices` topic says, never older than a setting.
//!
//! Nothing is admitted by a view that was not brought up to an end fetched a moment ago: a device
//! that was revoked elsewhere is out within that time, also when the log is cut off.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use pulseward_base::{Kid, Partition};
use pulseward_batch::BindingFacts;
use pulseward_crypto::{Point, VerifyingKey};
use pulseward_eventlog::{
    Body, Content, Entry, Follower, Log, LogError, Position, Topic,
    body::{Device, DeviceStatus},
};

/// What ingest knows of one device.
#[derive(Debug)]
pub(crate) struct Credential {
    /// Its value in the log.
    pub(crate) device: Device,
    /// Its key, parsed once.
    pub(crate) key: VerifyingKey,
}

impl Credential {
    pub(crate) fn is_active(&self) -> bool {
        self.device.status == DeviceStatus::Active
    }

    /// Returns whose device it is.
    pub(crate) const fn facts(&self) -> BindingFacts {
        BindingFacts {
            device: self.device.device,
            record: self.device.record,
            pseudonym: self.device.pseudonym,
            key: self.device.key,
            slot: self.device.slot,
        }
    }
}

/// The view.
#[derive(Debug, Default)]
pub(crate) struct Devices {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    known: BTreeMap<Kid, Known>,
    fresh: Duration,
}

#[derive(Debug)]
struct Known {
    credential: Arc<Credential>,
    at: Position,
}

impl Devices {
    /// Returns what is known of a device.
    pub(crate) fn find(&self, device: Kid) -> Option<Arc<Credential>> {
        let state = self.read();
        let known = state.known.get(&device)?;
        Some(Arc::clone(&known.credential))
    }

    /// Returns how many devices are known.
    pub(crate) fn len(&self) -> usize {
        self.read().known.len()
    }

    /// Returns how old the view is at `now`.
    pub(crate) fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.read().fresh)
    }

    /// Takes in a device's value that stands at `at`, unless a newer one is known. Returns whether
    /// the device may not send any more.
    pub(crate) fn apply(&self, device: Device, at: Position) -> bool {
        let kid = device.device;
        let parsed = VerifyingKey::from_point(&Point(device.point));
        let Some(key) = parsed.ok().filter(|key| key.kid() == kid) else {
            tracing::error!(offset = at.offset.0, "a device's value has another key");
            return false;
        };
        let mut state = self.write();
        let is_older = state.known.get(&kid).is_some_and(|known| known.at >= at);
        if is_older {
            return false;
        }
        let credential = Arc::new(Credential { device, key });
        let is_out = !credential.is_active();
        state.known.insert(kid, Known { credential, at });
        is_out
    }

    fn set_fresh(&self, at: Duration) {
        self.write().fresh = at;
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Brings the view up to date.
pub(crate) struct ViewReader {
    log: Log,
    followers: Vec<(Partition, Follower)>,
}

impl ViewReader {
    /// Reads every device's newest value.
    pub(crate) async fn open(
        log: &Log,
        devices: &Devices,
        now: Duration,
    ) -> Result<Self, LogError> {
        let mut followers = Vec::new();
        for partition in (0..log.partitions()).map(Partition) {
            let compacted = log.compacted(Topic::Devices, partition).await?;
            for entry in compacted.entries.into_values() {
                apply(devices, entry);
            }
            let follower = log.follow(Topic::Devices, partition, compacted.next);
            followers.push((partition, follower));
        }
        devices.set_fresh(now);
        Ok(Self {
            log: log.clone(),
            followers,
        })
    }

    /// Reads to the ends that the log has from `now` on. Returns the devices that may not send any
    /// more.
    pub(crate) async fn refresh(
        &mut self,
        devices: &Devices,
        now: Duration,
    ) -> Result<Vec<Kid>, LogError> {
        let mut out = Vec::new();
        for (partition, follower) in &mut self.followers {
            let end = self.log.bounds(Topic::Devices, *partition).await?.end;
            while follower.position().offset < end {
                let entries = follower.ready().await?;
                if entries.is_empty() {
                    break;
                }
                out.extend(
                    entries
                        .into_iter()
                        .filter_map(|entry| apply(devices, entry)),
                );
            }
        }
        devices.set_fresh(now);
        Ok(out)
    }
}

fn apply(devices: &Devices, entry: Entry) -> Option<Kid> {
    let (at, partition) = (entry.position, entry.partition.0);
    match entry.content {
        Content::Body(Body::Device(device)) => {
            let kid = device.device;
            devices.apply(*device, at).then_some(kid)
        }
        Content::Batch(_) | Content::Body(_) | Content::Erased | Content::Unreadable(_) => {
            // What was known of the device stays: a revoked one stays revoked.
            tracing::error!(
                partition,
                offset = at.offset.0,
                "a device's value does not open"
            );
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use pulseward_base::{Digest, Generation, GroupId, KeyId, Offset, Pseudonym, Slot};
    use pulseward_crypto::SigningKey;

    use super::*;

    fn value(key: &SigningKey, status: DeviceStatus) -> Device {
        Device {
            device: key.kid(),
            point: key.point().0,
            record: Digest([1; 32]),
            pseudonym: Pseudonym([2; 16]),
            key: KeyId([3; 16]),
            slot: Slot(4),
            group: GroupId(5),
            scope: 6,
            status,
        }
    }

    fn at(offset: u64) -> Position {
        Position {
            generation: Generation(1),
            offset: Offset(offset),
        }
    }

    #[test]
    fn a24_an_older_value_never_brings_a_revoked_device_back() {
        let devices = Devices::default();
        let key = SigningKey::generate();
        assert!(!devices.apply(value(&key, DeviceStatus::Active), at(1)));
        assert!(devices.find(key.kid()).unwrap().is_active());
        assert!(devices.apply(value(&key, DeviceStatus::Revoked), at(3)));
        for older in [1, 2, 3] {
            devices.apply(value(&key, DeviceStatus::Active), at(older));
            assert!(!devices.find(key.kid()).unwrap().is_active());
        }
    }

    #[test]
    fn a_value_whose_key_is_not_the_device_s_is_not_taken() {
        let devices = Devices::default();
        let (key, other) = (SigningKey::generate(), SigningKey::generate());
        let mut wrong = value(&key, DeviceStatus::Active);
        wrong.point = other.point().0;
        devices.apply(wrong, at(1));
        assert!(devices.find(key.kid()).is_none());
    }
}
