//! `pulseward.v1.Keys`: data keys of history files for whoever shows a grant.
//!
//! A grant is no secret and neither is the way to here: what is answered is sealed to the reader's
//! key that the registry signed into the grant. What is asked is bounded, counted and audited.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use pulseward_base::{Micros, Reject, SlipId};
use pulseward_crypto::{
    random,
    seal::{self, PublicKey},
    slips::{
        Classes, Grant, GrantPurpose, GrantTerms,
        grant::{ANSWER_PURPOSE, answer_context},
    },
};
use pulseward_custody::{
    KeyError,
    dek::{Class, Handle, dek},
};
use pulseward_proto_pipeline::v1::{
    SealedKey, UnwrapRequest, UnwrapResponse, UnwrappedKey,
    keys_server::{Keys, KeysServer},
    unwrapped_key::Answer,
};
use tonic::{Request, Response, Status};

use crate::{audit::Event, registry::Registry};

/// How large a request may be.
const MAX_REQUEST_BYTES: usize = 64 << 10;

/// What bounds the service.
#[derive(Clone, Debug)]
pub struct KeysSettings {
    /// How many handles a request may name.
    pub max_handles: usize,
    /// How many keys a grant may be given in a minute.
    pub max_keys_per_minute: u32,
    /// How many grants' counts are kept.
    pub max_grants: usize,
    /// How long a grant may be issued for.
    pub max_grant_lifetime: Duration,
}

impl Default for KeysSettings {
    fn default() -> Self {
        Self {
            max_handles: 256,
            max_keys_per_minute: 100_000,
            max_grants: 1024,
            max_grant_lifetime: Duration::from_secs(30 * 24 * 3600),
        }
    }
}

/// The service.
#[derive(Clone)]
pub struct KeysService {
    registry: Registry,
    settings: KeysSettings,
    spent: Arc<Mutex<BTreeMap<SlipId, Spent>>>,
}

/// What a grant was given in the present minute.
struct Spent {
    minute: u64,
    keys: u32,
}

impl KeysService {
    /// Returns the service over `registry`.
    #[must_use]
    pub fn new(registry: Registry, settings: KeysSettings) -> Self {
        Self {
            registry,
            settings,
            spent: Arc::default(),
        }
    }

    /// Returns it as what a server routes to.
    #[must_use]
    pub fn into_server(self) -> KeysServer<Self> {
        KeysServer::new(self).max_decoding_message_size(MAX_REQUEST_BYTES)
    }

    /// Issues a grant for the holder of `reader`'s private key.
    pub async fn issue_grant(
        &self,
        reader: &PublicKey,
        classes: Classes,
        purpose: GrantPurpose,
        lifetime: Duration,
    ) -> Result<Vec<u8>, KeyError> {
        if lifetime > self.settings.max_grant_lifetime {
            return Err(KeyError::Refused(Reject::OverLimit));
        }
        let tools = self.registry.tools();
        let now = tools.clock.now();
        let terms = GrantTerms {
            id: SlipId(random::bytes()),
            reader: *reader,
            classes,
            not_before: now,
            not_after: now.plus(lifetime),
            purpose,
        };
        let event = Event::Granted {
            grant: terms.id,
            purpose,
        };
        tools
            .audit
            .record(event)
            .await
            .map_err(|_| KeyError::Unavailable)?;
        Ok(Grant::issue(
            &tools.identity.certificate,
            &tools.identity.key,
            &terms,
        ))
    }

    /// Counts `keys` against a grant's minute.
    fn take(&self, grant: SlipId, keys: u32) -> bool {
        let minute = self.registry.tools().clock.monotonic().as_secs() / 60;
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        spent.retain(|_, spent| spent.minute == minute);
        if !spent.contains_key(&grant) && spent.len() >= self.settings.max_grants {
            return false;
        }
        let spent = spent.entry(grant).or_insert(Spent { minute, keys: 0 });
        spent.keys = spent.keys.saturating_add(keys);
        spent.keys <= self.settings.max_keys_per_minute
    }

    fn answer(&self, bytes: &[u8], terms: &GrantTerms, handle: &str) -> (Answer, Option<Handle>) {
        let counted = &self.registry.tools().metrics.unwraps;
        let refuse = |word: &str| (Answer::Refused(word.to_owned()), None);
        let Ok(parsed) = Handle::parse(handle) else {
            counted.malformed.inc();
            return refuse("malformed");
        };
        if !covers(terms.classes, parsed.class) {
            counted.out_of_scope.inc();
            return refuse("out_of_scope");
        }
        let key = match self.registry.file_key(parsed.file) {
            Ok(key) => dek(&key, parsed.class),
            Err(_) => {
                counted.erased.inc();
                return refuse("erased");
            }
        };
        let context = answer_context(bytes, handle);
        match seal::seal(&terms.reader, ANSWER_PURPOSE, &context, key.expose()) {
            Ok(sealed) => {
                counted.given.inc();
                let key = SealedKey {
                    enc: sealed.enc.to_vec(),
                    ciphertext: sealed.ciphertext,
                };
                (Answer::Sealed(key), Some(parsed))
            }
            Err(_) => {
                counted.bad_grant.inc();
                refuse("malformed")
            }
        }
    }
}

/// Every grant covers the structure of files; without it nothing else can be read.
fn covers(classes: Classes, class: Class) -> bool {
    classes.covers(match class {
        Class::Footer => Classes::default(),
        Class::Times => Classes::TIMES,
        Class::Values => Classes::VALUES,
        Class::Proofs => Classes::PROOFS,
    })
}

#[tonic::async_trait]
impl Keys for KeysService {
    async fn unwrap(
        &self,
        request: Request<UnwrapRequest>,
    ) -> Result<Response<UnwrapResponse>, Status> {
        let UnwrapRequest {
            grant,
            handle: handles,
        } = request.into_inner();
        let tools = self.registry.tools();
        let now: Micros = tools.clock.now();
        let terms = Grant::decode(&grant)
            .and_then(|decoded| decoded.verify(&tools.identity.root, now))
            .map_err(|reject| {
                tools.metrics.unwraps.bad_grant.inc();
                Status::permission_denied(reject.code())
            })?;
        let count = u32::try_from(handles.len()).unwrap_or(u32::MAX);
        if handles.len() > self.settings.max_handles || !self.take(terms.id, count) {
            tools.metrics.unwraps.over_limit.inc();
            return Err(Status::resource_exhausted(Reject::OverLimit.code()));
        }
        let answers: Vec<_> = handles
            .iter()
            .map(|handle| self.answer(&grant, &terms, handle))
            .collect();
        let given = answers.iter().filter_map(|(_, handle)| *handle);
        let event = Event::Unwrapped {
            grant: terms.id,
            purpose: terms.purpose,
            handles: given.map(|handle| (handle.file, handle.class)).collect(),
        };
        tools
            .audit
            .record(event)
            .await
            .map_err(|_| Status::unavailable("audit"))?;
        let key = answers.into_iter().map(|(answer, _)| UnwrappedKey {
            answer: Some(answer),
        });
        Ok(Response::new(UnwrapResponse { key: key.collect() }))
    }
}

#[cfg(test)]
mod tests;
