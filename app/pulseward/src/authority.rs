//! The pipeline's own keys. Its root, kept in the custodian, certifies one key for each use; a
//! device pins the root, so that nothing it later trusts needs another introduction.

use std::time::Duration;

use pulseward_base::{Kid, Micros};
use pulseward_crypto::{
    SigningKey,
    certificate::{self, Use},
};
use pulseward_custody::Custodian;

/// How long a certificate holds. Each start issues new ones; `key_age` warns two weeks before.
pub const CERTIFICATE_LIFE: Duration = Duration::from_hours(90 * 24);
/// How far the clock of somebody who checks a certificate may lag.
const CLOCK_SLACK: Duration = Duration::from_hours(24);

/// A key for one use, with the root's word that it is.
pub struct Signer {
    /// The key.
    pub key: SigningKey,
    /// Its certificate.
    pub certificate: [u8; certificate::SIZE],
}

/// The keys that stages sign with.
pub struct Signers {
    /// Signs offers.
    pub service: Signer,
    /// Signs manifests.
    pub history: Signer,
    /// Signs way-back slips.
    pub delivery: Signer,
}

/// All keys the pipeline signs with.
pub struct Authority {
    /// The root that devices and the vault pin.
    pub root: Kid,
    /// Signs offers.
    pub service: Signer,
    /// Signs records, bindings and grants.
    pub registry: Signer,
    /// Signs manifests.
    pub history: Signer,
    /// Signs way-back slips.
    pub delivery: Signer,
    /// When the certificates end.
    pub ends: Micros,
}

impl Authority {
    /// Takes the keys out of the custodian, making them at the first start.
    pub fn open(custodian: &Custodian, now: Micros) -> anyhow::Result<Self> {
        let root = custodian.signing_key("root")?;
        let ends = now.plus(CERTIFICATE_LIFE);
        let signer = |name: &str, use_: Use| -> anyhow::Result<Signer> {
            let key = custodian.signing_key(name)?;
            let certificate =
                certificate::issue(&root, use_, &key.point(), now.minus(CLOCK_SLACK), ends);
            Ok(Signer { key, certificate })
        };
        Ok(Self {
            root: root.kid(),
            service: signer("service", Use::Service)?,
            registry: signer("registry", Use::Registry)?,
            history: signer("history", Use::History)?,
            delivery: signer("delivery", Use::Delivery)?,
            ends,
        })
    }
}
