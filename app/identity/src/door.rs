//! What the running program does for whoever owns its admin socket.

use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use pulseward_app::{SystemClock, admin::Handler, status::Board};
use pulseward_base::{Clock as _, Kid, bytes};
use pulseward_identity_store::{
    Actor, NewPerson, Registered, StoreError, TicketWish, Vault, VaultError,
    person::{BirthDate, Consent, Fact, Particulars, PersonId, Purposes, StaffId, Text},
    staff::Role,
    totp,
    vault::MOST_AT_ONCE,
};

use crate::{
    home::hex,
    requests::{
        Answer, ConsentRequest, PersonLine, RegisteredLine, Request, StaffFile, Status, base64,
    },
    synthetic,
};

/// How full the vault may get before `status` says so, in percent.
const NEARLY_FULL: usize = 90;

/// The door for operators.
pub(crate) struct Door {
    pub(crate) vault: Arc<Vault>,
    pub(crate) board: Board,
    pub(crate) clock: SystemClock,
    /// What status and staff files tell of the server.
    pub(crate) facts: ServerFacts,
}

/// What does not change while the program runs.
#[derive(Clone)]
pub(crate) struct ServerFacts {
    pub(crate) pipeline_root: Option<Kid>,
    /// Host and port, as the certificate names the host.
    pub(crate) grpc: String,
    pub(crate) admin: String,
    pub(crate) authority: String,
    pub(crate) max_persons: usize,
}

impl Handler for Door {
    type Request = Request;
    type Answer = Answer;

    async fn handle(&self, request: Request) -> anyhow::Result<Answer> {
        let worker = Worker {
            vault: Arc::clone(&self.vault),
            board: self.board.clone(),
            clock: self.clock,
            facts: self.facts.clone(),
        };
        tokio::task::spawn_blocking(move || worker.act(request))
            .await
            .context("the vault failed")?
    }
}

/// One request's share of the door, on a thread that may block.
struct Worker {
    vault: Arc<Vault>,
    board: Board,
    clock: SystemClock,
    facts: ServerFacts,
}

impl Worker {
    fn act(&self, request: Request) -> anyhow::Result<Answer> {
        match request {
            Request::RegisterSynthetic {
                count,
                tickets,
                project,
                scope,
            } => {
                ensure!(
                    count as usize <= MOST_AT_ONCE,
                    "at most {MOST_AT_ONCE} at once"
                );
                let persons = (0..count)
                    .map(|_| synthetic::person(self.clock.now()))
                    .map(|person| Ok(first_consent(person?, Vec::new(), project, scope)))
                    .collect::<anyhow::Result<_>>()?;
                self.register(persons, tickets)
            }
            Request::Register {
                persons,
                tickets,
                project,
                scope,
            } => {
                let persons = persons
                    .iter()
                    .map(|line| new_person(line, project, scope))
                    .collect::<anyhow::Result<_>>()?;
                self.register(persons, tickets)
            }
            Request::Consent(consent) => self.record_consent(&consent),
            Request::Ticket {
                person,
                project,
                scope,
            } => {
                let wish = TicketWish { project, scope };
                let slip = self
                    .vault
                    .issue_ticket(Actor::Operator, PersonId(person), wish);
                let slip = base64(&logged(slip)?);
                Ok(Answer::Ticket { slip })
            }
            Request::AddStaff { name, role } => self.add_staff(&name, &role),
            Request::RemoveStaff { id } => {
                logged(self.vault.remove_staff(StaffId(id)))?;
                Ok(Answer::Done)
            }
            Request::Status => Ok(Answer::Status(Box::new(self.status()))),
        }
    }

    fn register(&self, persons: Vec<NewPerson>, tickets: bool) -> anyhow::Result<Answer> {
        let registered = logged(self.vault.register(Actor::Operator, persons, tickets))?;
        let line = |one: Registered| RegisteredLine {
            person: bytes::hex(&one.person.0),
            ticket: one.ticket_slip.map(|slip| base64(&slip)),
        };
        Ok(Answer::Registered {
            persons: registered.into_iter().map(line).collect(),
        })
    }

    fn record_consent(&self, request: &ConsentRequest) -> anyhow::Result<Answer> {
        let consent = Consent {
            version: request.version,
            scope: request.scope,
            purposes: Purposes {
                care: request.care,
                training: request.training,
                research: request.research,
            },
        };
        let person = PersonId(request.person);
        let written = self
            .vault
            .record_consent(Actor::Operator, person, request.project, consent);
        logged(written)?;
        Ok(Answer::Done)
    }

    fn add_staff(&self, name: &str, role: &str) -> anyhow::Result<Answer> {
        let Some(role) = Role::from_word(role) else {
            let words = Role::ALL.map(Role::word).join(", ");
            bail!("a role is one of: {words}");
        };
        let credentials = logged(self.vault.add_staff(name, role))?;
        Ok(Answer::Staff(StaffFile {
            id: bytes::hex(&credentials.id.0),
            role: role.word().to_owned(),
            server: self.facts.grpc.clone(),
            authority: self.facts.authority.clone(),
            token: bytes::hex(credentials.token.expose()),
            totp_secret: bytes::hex(credentials.totp.expose()),
            totp_uri: totp::uri(&credentials.totp, role.word()),
            session: None,
        }))
    }

    fn status(&self) -> Status {
        let summary = self.vault.summary();
        let now = self.clock.now();
        let no_pipeline = self.facts.pipeline_root.is_none();
        self.board.set(
            "no_pipeline_root",
            no_pipeline.then(|| "no tickets can be issued, no slips opened".to_owned()),
            now,
        );
        let full = summary.persons >= self.facts.max_persons / 100 * NEARLY_FULL;
        self.board.set(
            "vault_nearly_full",
            full.then(|| format!("{} of {}", summary.persons, self.facts.max_persons)),
            now,
        );
        Status {
            root: hex(self.vault.root()),
            pipeline_root: self.facts.pipeline_root.map(hex),
            grpc: self.facts.grpc.clone(),
            admin: self.facts.admin.clone(),
            persons: summary.persons,
            staff: summary.staff,
            audited: summary.audited,
            audit_head: bytes::hex(&summary.audit_head.0),
            problems: self.board.problems(),
        }
    }
}

/// Returns an act's outcome for its caller; a failure of the store is logged as well.
fn logged<T>(outcome: Result<T, VaultError>) -> anyhow::Result<T> {
    if let Err(VaultError::Store(error)) = &outcome
        && !matches!(error, StoreError::Poisoned)
    {
        tracing::error!(%error, "the vault's store failed");
    }
    Ok(outcome?)
}

/// A first consent covers care alone; training and research are asked for on their own.
fn first_consent(
    particulars: Particulars,
    facts: Vec<Fact>,
    project: u32,
    scope: u64,
) -> NewPerson {
    NewPerson {
        particulars,
        facts,
        project,
        consent: Consent {
            version: 1,
            scope,
            purposes: Purposes {
                care: true,
                ..Purposes::default()
            },
        },
    }
}

fn new_person(line: &PersonLine, project: u32, scope: u64) -> anyhow::Result<NewPerson> {
    let particulars = Particulars {
        name: Text::new(&line.name).context("the name")?,
        birth: BirthDate::parse(&line.birth_date).context("the birth date")?,
        contact: Text::new(&line.contact).context("the contact")?,
    };
    let fact = |(name, value): (&String, &String)| {
        Ok(Fact {
            name: Text::new(name).context("a fact's name")?,
            value: Text::new(value).context("a fact's value")?,
        })
    };
    let facts = line.facts.iter().map(fact).collect::<anyhow::Result<_>>()?;
    Ok(first_consent(particulars, facts, project, scope))
}

/// Returns the address that the certificate is good for.
pub(crate) fn named(names: &str, port: u16) -> String {
    let name = names.split(',').next().unwrap_or_default().trim();
    format!("{name}:{port}")
}
