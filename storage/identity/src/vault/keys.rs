//! The vault's keys, all from its custodian.

use std::time::Duration;

use pulseward_base::{Micros, Secret};
use pulseward_crypto::{
    certificate::{self, CertificateBytes, Use},
    hash::{hkdf, hmac},
    random,
    sign::SigningKey,
};
use pulseward_custody::Custodian;

use crate::{error::StoreError, handles::HandleKey};

/// How long the certificate in a ticket slip holds: longer than any ticket.
const CERTIFICATE_LIFE: Duration = Duration::from_secs(400 * 24 * 60 * 60);
/// How far a pipeline's clock may lag behind.
const CLOCK_SLACK: Duration = Duration::from_secs(60 * 60);

pub(super) struct Keys {
    /// By which pipelines know the vault.
    pub(super) root: SigningKey,
    /// What signs tickets.
    pub(super) signer: SigningKey,
    /// What pages are sealed under.
    pub(super) pages: Secret<32>,
    /// What the audit chain is keyed with.
    pub(super) audit: Secret<32>,
    /// What handles are sealed under.
    pub(super) handles: HandleKey,
    references: Secret<32>,
}

impl Keys {
    pub(super) fn load(custodian: &Custodian) -> Result<Self, StoreError> {
        let store = custodian
            .secret("vault-store", random::secret)
            .map_err(StoreError::Custody)?;
        let handles = custodian
            .secret("vault-handles", random::secret)
            .map_err(StoreError::Custody)?;
        let derived = |what: &[u8]| hkdf(&[], store.expose(), &[b"pulseward/v1/identity/", what]);
        Ok(Self {
            root: custodian
                .signing_key("vault-root")
                .map_err(StoreError::Custody)?,
            signer: custodian
                .signing_key("vault-signer")
                .map_err(StoreError::Custody)?,
            pages: derived(b"pages"),
            audit: derived(b"audit"),
            handles: HandleKey::new(&handles),
            references: derived(b"references"),
        })
    }

    /// Certifies the signer from now on.
    pub(super) fn certificate(&self, now: Micros) -> CertificateBytes {
        certificate::issue(
            &self.root,
            Use::Vault,
            &self.signer.point(),
            now.minus(CLOCK_SLACK),
            now.plus(CERTIFICATE_LIFE),
        )
    }

    /// Returns the name under which the vault remembers a slip or ticket. Whoever holds the slip
    /// and this key can tell that they belong together; the pipeline's own records cannot.
    pub(super) fn reference(&self, slip: &[u8; 16]) -> [u8; 16] {
        let mac = hmac(self.references.expose(), &[slip]);
        let mut reference = [0; 16];
        for (to, from) in reference.iter_mut().zip(mac) {
            *to = from;
        }
        reference
    }
}
