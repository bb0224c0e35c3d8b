//! The gRPC service: reads a request, hands it to the vault on a blocking thread, writes the answer.

use std::sync::Arc;

use pulseward_base::Secret;
use pulseward_proto_identity::{
    AUTHORIZATION, REFUSAL,
    v1::{self, identity_server::Identity},
};
use tokio::sync::Semaphore;
use tonic::{Code, Request, Response, Status, metadata::MetadataMap};

use crate::{
    error::{Refusal, VaultError},
    person::{BirthDate, Consent, Fact, MOST_FACTS, Particulars, PersonId, Purposes, Text},
    staff::Permission,
    vault::{NewPerson, TicketWish, Vault},
};

/// The scheme in front of a token.
const SCHEME: &str = "Bearer ";

/// The service.
#[derive(Clone, Debug)]
pub struct IdentityService {
    vault: Arc<Vault>,
    /// How many calls may wait for the vault; more are turned away.
    calls: Arc<Semaphore>,
}

impl IdentityService {
    /// Returns a service in front of `vault` that lets `calls_at_once` calls wait for it.
    #[must_use]
    pub fn new(vault: Arc<Vault>, calls_at_once: usize) -> Self {
        Self {
            vault,
            calls: Arc::new(Semaphore::new(calls_at_once)),
        }
    }

    /// Runs one act where it may block.
    async fn act<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Vault) -> Result<T, VaultError> + Send + 'static,
    ) -> Result<Response<T>, Status> {
        let permit = Arc::clone(&self.calls)
            .try_acquire_owned()
            .map_err(|_| Status::resource_exhausted("too many calls at once"))?;
        let vault = Arc::clone(&self.vault);
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            act(&vault)
        });
        match done.await {
            Ok(outcome) => outcome.map(Response::new).map_err(|error| status(&error)),
            Err(_) => Err(Status::internal("the vault failed")),
        }
    }
}

#[tonic::async_trait]
impl Identity for IdentityService {
    async fn confirm(
        &self,
        request: Request<v1::ConfirmRequest>,
    ) -> Result<Response<v1::ConfirmResponse>, Status> {
        let token = token(request.metadata())?;
        let request = request.into_inner();
        self.act(move |vault| {
            let session = vault.confirm(token.expose(), &request.code)?;
            Ok(v1::ConfirmResponse {
                session: session.proof.to_vec(),
                until: session.until.0,
            })
        })
        .await
    }

    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterResponse>, Status> {
        let token = token(request.metadata())?;
        let request = request.into_inner();
        self.act(move |vault| {
            let actor = vault.admit(token.expose(), &request.session, Permission::Register)?;
            let person = new_person(&request)?;
            let registered = vault.register(actor, vec![person], false)?;
            let person = registered.first().ok_or(Refusal::Malformed)?.person;
            Ok(v1::RegisterResponse {
                person: person.0.to_vec(),
            })
        })
        .await
    }

    async fn record_consent(
        &self,
        request: Request<v1::RecordConsentRequest>,
    ) -> Result<Response<v1::RecordConsentResponse>, Status> {
        let token = token(request.metadata())?;
        let request = request.into_inner();
        self.act(move |vault| {
            let actor = vault.admit(token.expose(), &request.session, Permission::Register)?;
            let (project, consent) = consent(request.consent.as_ref())?;
            vault.record_consent(actor, person_id(&request.person)?, project, consent)?;
            Ok(v1::RecordConsentResponse {})
        })
        .await
    }

    async fn issue_ticket(
        &self,
        request: Request<v1::IssueTicketRequest>,
    ) -> Result<Response<v1::IssueTicketResponse>, Status> {
        let token = token(request.metadata())?;
        let request = request.into_inner();
        self.act(move |vault| {
            let actor = vault.admit(token.expose(), &request.session, Permission::Register)?;
            let wish = TicketWish {
                project: request.project,
                scope: Some(request.scope),
            };
            let ticket_slip = vault.issue_ticket(actor, person_id(&request.person)?, wish)?;
            Ok(v1::IssueTicketResponse { ticket_slip })
        })
        .await
    }

    async fn way_back(
        &self,
        request: Request<v1::WayBackRequest>,
    ) -> Result<Response<v1::WayBackResponse>, Status> {
        let token = token(request.metadata())?;
        let request = request.into_inner();
        self.act(move |vault| {
            let person = vault.way_back(token.expose(), &request.session, &request.slip)?;
            Ok(v1::WayBackResponse {
                person: Some(v1::Person {
                    name: person.name.expose().to_owned(),
                    birth_date: person.birth.to_string(),
                    contact: person.contact.expose().to_owned(),
                }),
            })
        })
        .await
    }
}

/// Returns the staff member's token; one that is missing or misspelt is nobody's.
fn token(metadata: &MetadataMap) -> Result<Secret<32>, Status> {
    metadata
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix(SCHEME))
        .and_then(|token| pulseward_base::bytes::unhex(token).ok())
        .and_then(|token| token.try_into().ok())
        .map(Secret::new)
        .ok_or_else(|| refused(Refusal::NotAdmitted))
}

fn person_id(bytes: &[u8]) -> Result<PersonId, Refusal> {
    bytes
        .try_into()
        .map(PersonId)
        .map_err(|_| Refusal::Malformed)
}

fn new_person(request: &v1::RegisterRequest) -> Result<NewPerson, Refusal> {
    let person = request.person.as_ref().ok_or(Refusal::Malformed)?;
    if request.facts.len() > MOST_FACTS {
        return Err(Refusal::Full);
    }
    let (project, consent) = consent(request.consent.as_ref())?;
    let fact = |fact: &v1::Fact| {
        Ok(Fact {
            name: Text::new(&fact.name)?,
            value: Text::new(&fact.value)?,
        })
    };
    Ok(NewPerson {
        particulars: Particulars {
            name: Text::new(&person.name)?,
            birth: BirthDate::parse(&person.birth_date)?,
            contact: Text::new(&person.contact)?,
        },
        facts: request
            .facts
            .iter()
            .map(fact)
            .collect::<Result<_, Refusal>>()?,
        project,
        consent,
    })
}

fn consent(consent: Option<&v1::Consent>) -> Result<(u32, Consent), Refusal> {
    let consent = consent.ok_or(Refusal::Malformed)?;
    Ok((
        consent.project,
        Consent {
            version: consent.version,
            scope: consent.scope,
            purposes: Purposes {
                care: consent.care,
                training: consent.training,
                research: consent.research,
            },
        },
    ))
}

fn status(error: &VaultError) -> Status {
    match error {
        VaultError::Refused(refusal) => refused(*refusal),
        VaultError::Store(error) => {
            tracing::error!(%error, "the vault's store failed");
            Status::unavailable("the vault's store failed")
        }
    }
}

fn refused(refusal: Refusal) -> Status {
    let code = match refusal {
        Refusal::BadSlip | Refusal::Malformed => Code::InvalidArgument,
        Refusal::Expired
        | Refusal::NoConsent
        | Refusal::NoPipeline
        | Refusal::OldConsent
        | Refusal::OutOfScope
        | Refusal::Spent => Code::FailedPrecondition,
        Refusal::Full | Refusal::Locked | Refusal::OverLimit => Code::ResourceExhausted,
        Refusal::NotAdmitted | Refusal::SecondFactor => Code::Unauthenticated,
        Refusal::NotPermitted => Code::PermissionDenied,
        Refusal::UnknownPerson => Code::NotFound,
    };
    let mut status = Status::new(code, refusal.word());
    let word = tonic::metadata::MetadataValue::from_static(refusal.word());
    status.metadata_mut().insert(REFUSAL, word);
    status
}
