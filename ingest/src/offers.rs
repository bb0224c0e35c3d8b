//! The offers that hellos may be made for. Their private keys are here, in memory, and nowhere else.
//!
//! An offer is given to devices for half of its life and opens hellos for all of it, an hour at
//! most; then it is dropped and its key wiped: what was sealed to it opens never again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pulseward_base::{Kid, Micros};
use pulseward_crypto::{
    SigningKey,
    certificate::CertificateBytes,
    offer::{OfferId, ServiceOffer},
};

use crate::Settings;

/// Who the service is to devices: a key that signs offers, and the root's word for it.
#[derive(Debug)]
pub struct ServiceIdentity {
    /// The root that devices pin.
    pub root: Kid,
    /// The root's certificate for the key, use *service*.
    pub certificate: CertificateBytes,
    /// The key.
    pub key: SigningKey,
}

/// The offer that is given now and those that may still be answered.
#[derive(Debug)]
pub(crate) struct Offers {
    identity: ServiceIdentity,
    /// The newest last. Never empty.
    kept: Mutex<Vec<Kept>>,
}

#[derive(Debug)]
struct Kept {
    offer: Arc<ServiceOffer>,
    given_until: Micros,
}

impl Offers {
    /// Makes the first offer.
    pub(crate) fn new(identity: ServiceIdentity, settings: &Settings, now: Micros) -> Self {
        let first = make(&identity, settings, now);
        Self {
            identity,
            kept: Mutex::new(vec![first]),
        }
    }

    /// Drops what is too old and makes a new offer when the newest was given long enough.
    pub(crate) fn rotate(&self, settings: &Settings, now: Micros) {
        let is_due = self
            .lock()
            .last()
            .is_none_or(|kept| kept.given_until <= now);
        // Making a key takes a while: nobody waits for it.
        let fresh = is_due.then(|| make(&self.identity, settings, now));
        let mut kept = self.lock();
        kept.extend(fresh);
        kept.retain(|kept| now <= kept.offer.not_after());
    }

    /// Returns the offer to give.
    pub(crate) fn current(&self) -> Option<Arc<ServiceOffer>> {
        self.lock().last().map(|kept| Arc::clone(&kept.offer))
    }

    /// Returns the offer of this name, while hellos for it may come.
    pub(crate) fn find(&self, id: OfferId, now: Micros) -> Option<Arc<ServiceOffer>> {
        let kept = self.lock();
        let named = kept.iter().find(|kept| kept.offer.id() == id)?;
        (now <= named.offer.not_after()).then(|| Arc::clone(&named.offer))
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn make(identity: &ServiceIdentity, settings: &Settings, now: Micros) -> Kept {
    let given_until = now.plus(settings.offer_life);
    let offer = ServiceOffer::new(
        &identity.root,
        &identity.certificate,
        &identity.key,
        // A device whose clock is behind shall take it too.
        now.minus(settings.max_ahead),
        given_until.plus(settings.offer_life),
    );
    Kept {
        offer: Arc::new(offer),
        given_until,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pulseward_crypto::certificate::{self, Use};

    use super::*;

    fn offers(settings: &Settings) -> Offers {
        let (root, key) = (SigningKey::generate(), SigningKey::generate());
        let (from, until) = (Micros(i64::MIN), Micros(i64::MAX));
        let certificate = certificate::issue(&root, Use::Service, &key.point(), from, until);
        let identity = ServiceIdentity {
            root: root.kid(),
            certificate,
            key,
        };
        Offers::new(identity, settings, Micros(0))
    }

    #[test]
    fn an_offer_is_given_for_half_its_life_and_is_gone_within_the_hour() {
        let settings = Settings::default();
        let offers = offers(&settings);
        let at = |minutes| Micros(0).plus(Duration::from_mins(minutes));
        let first = offers.current().unwrap().id();
        offers.rotate(&settings, at(29));
        assert_eq!(offers.current().unwrap().id(), first);
        offers.rotate(&settings, at(30));
        let second = offers.current().unwrap().id();
        assert_ne!(second, first);
        assert!(offers.find(first, at(59)).is_some());
        assert!(offers.find(first, at(61)).is_none());
        offers.rotate(&settings, at(61));
        assert_eq!(offers.lock().len(), 2, "the second and the third");
        assert!(offers.find(first, at(0)).is_none(), "its key is gone");
    }
}
