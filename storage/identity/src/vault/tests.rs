use std::fs;

use pulseward_base::{AlertId, SlipId, clock::ManualClock};
use pulseward_crypto::{
    certificate::{self, CertificateBytes, Use},
    random,
    sign::SigningKey,
    slips::{SealedHandle, Ticket, TicketSlip, WayBack, WayBackTerms},
};

use super::*;
use crate::{
    error::{Refusal, VaultError},
    person::{BirthDate, Consent, Particulars, Purposes, Text},
    staff::{Credentials, Permission, Role},
    totp,
};

const START: Micros = Micros(1_700_000_000_000_000);
const MINUTE: Duration = Duration::from_secs(60);
const PROJECT: u32 = 7;
const NAME: &str = "Zephyrine Quandary";

/// A pipeline's side of the slips.
struct Pipeline {
    root: SigningKey,
    delivery: SigningKey,
    certificate: CertificateBytes,
}

impl Pipeline {
    fn new() -> Self {
        let root = SigningKey::generate();
        let delivery = SigningKey::generate();
        let certificate = certificate::issue(
            &root,
            Use::Delivery,
            &delivery.point(),
            START,
            START.plus(1000 * MINUTE),
        );
        Self {
            root,
            delivery,
            certificate,
        }
    }

    fn slip(&self, sealed_handle: SealedHandle, expiry: Micros) -> Vec<u8> {
        let terms = WayBackTerms {
            id: SlipId(random::bytes()),
            alert: AlertId(random::bytes()),
            sealed_handle,
            expiry,
        };
        WayBack::issue(&self.certificate, &self.delivery, &terms)
    }
}

struct House {
    directory: tempfile::TempDir,
    custodian: Custodian,
    clock: Arc<ManualClock>,
    pipeline: Pipeline,
    registry: prometheus::Registry,
}

impl House {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            custodian: Custodian::in_memory(),
            clock: Arc::new(ManualClock::new(START)),
            pipeline: Pipeline::new(),
            registry: prometheus::Registry::new(),
        }
    }

    fn settings(&self) -> Settings {
        Settings {
            pipeline_root: Some(self.pipeline.root.kid()),
            ticket_life: 60 * MINUTE,
            slip_life: 30 * MINUTE,
            max_persons: 100,
            ways_back_per_hour: 20,
        }
    }

    fn open_with(&self, settings: Settings) -> Result<Vault, StoreError> {
        let registry = prometheus::Registry::new();
        let metrics = Metrics::new(&registry).unwrap();
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        Vault::open(
            self.directory.path(),
            &self.custodian,
            settings,
            clock,
            metrics,
        )
    }

    fn open(&self) -> Vault {
        let metrics = Metrics::new(&self.registry);
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        match metrics {
            Ok(metrics) => Vault::open(
                self.directory.path(),
                &self.custodian,
                self.settings(),
                clock,
                metrics,
            ),
            Err(_) => self.open_with(self.settings()),
        }
        .unwrap()
    }

    fn ticket(&self, vault: &Vault, slip: &[u8]) -> Ticket {
        TicketSlip::decode(slip)
            .unwrap()
            .verify(&vault.root(), &self.pipeline.root.kid(), self.clock.now())
            .unwrap()
    }

    fn in_minutes(&self, minutes: u32) -> Micros {
        self.clock.now().plus(minutes * MINUTE)
    }
}

fn care(version: u32) -> Consent {
    Consent {
        version,
        scope: 0b111,
        purposes: Purposes {
            care: true,
            ..Purposes::default()
        },
    }
}

fn somebody() -> NewPerson {
    NewPerson {
        particulars: Particulars {
            name: Text::new(NAME).unwrap(),
            birth: BirthDate::new(1971, 2, 3).unwrap(),
            contact: Text::new("+00 555 0199").unwrap(),
        },
        facts: Vec::new(),
        project: PROJECT,
        consent: care(1),
    }
}

/// Registers somebody and returns the id and the ticket.
fn registered(house: &House, vault: &Vault) -> (PersonId, Ticket) {
    let mut all = vault
        .register(Actor::Operator, vec![somebody()], true)
        .unwrap();
    let one = all.remove(0);
    (one.person, house.ticket(vault, &one.ticket_slip.unwrap()))
}

fn sign_in(house: &House, vault: &Vault, who: &Credentials) -> [u8; 32] {
    let code = totp::code(&who.totp, totp::step_at(house.clock.now()));
    vault.confirm(who.token.expose(), &code).unwrap().proof
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, VaultError>) -> Refusal {
    match outcome {
        Err(VaultError::Refused(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_slip_that_the_pipeline_signed_leads_back_to_the_person_once() {
    let house = House::new();
    let vault = house.open();
    let (_, ticket) = registered(&house, &vault);
    assert_eq!(ticket.terms.scope, 0b111);
    assert_eq!(ticket.terms.project, PROJECT);
    let who = vault.add_staff("Dr. A", Role::Clinician).unwrap();
    let proof = sign_in(&house, &vault, &who);
    let expiry = house.in_minutes(15);
    let slip = house.pipeline.slip(ticket.riders.sealed_handle, expiry);
    let person = vault.way_back(who.token.expose(), &proof, &slip).unwrap();
    assert_eq!(person.name.expose(), NAME);
    let again = vault.way_back(who.token.expose(), &proof, &slip);
    assert_eq!(refusal(again), Refusal::Spent);

    drop(vault);
    let vault = house.open();
    house.clock.advance(MINUTE);
    let proof = sign_in(&house, &vault, &who);
    let again = vault.way_back(who.token.expose(), &proof, &slip);
    assert_eq!(refusal(again), Refusal::Spent, "after a restart");
}

#[test]
fn a_slip_that_is_expired_forged_foreign_or_too_long_is_refused() {
    let house = House::new();
    let vault = house.open();
    let (_, ticket) = registered(&house, &vault);
    let who = vault.add_staff("Dr. A", Role::Clinician).unwrap();
    let proof = sign_in(&house, &vault, &who);
    let handle = ticket.riders.sealed_handle;
    let good = house.pipeline.slip(handle, house.in_minutes(15));
    let mut changed = good.clone();
    changed[200] ^= 1;
    let another = House::new();
    let foreign_handle = registered(&another, &another.open()).1.riders.sealed_handle;
    let cases = [
        (changed, Refusal::BadSlip),
        (good[1..].to_vec(), Refusal::BadSlip),
        (Vec::new(), Refusal::BadSlip),
        (
            Pipeline::new().slip(handle, house.in_minutes(15)),
            Refusal::BadSlip,
        ),
        (
            house.pipeline.slip(foreign_handle, house.in_minutes(15)),
            Refusal::BadSlip,
        ),
        (
            house.pipeline.slip(handle, Micros(START.0 - 1)),
            // The certificate does not reach back that far.
            Refusal::BadSlip,
        ),
        (
            house.pipeline.slip(handle, house.in_minutes(31)),
            Refusal::Expired,
        ),
    ];
    for (index, (slip, expected)) in cases.into_iter().enumerate() {
        let outcome = vault.way_back(who.token.expose(), &proof, &slip);
        assert_eq!(refusal(outcome), expected, "case {index}");
    }
    house.clock.advance(4 * MINUTE);
    let expired = house
        .pipeline
        .slip(handle, house.in_minutes(0).minus(MINUTE));
    let outcome = vault.way_back(who.token.expose(), &proof, &expired);
    assert_eq!(refusal(outcome), Refusal::Expired);
    assert!(vault.way_back(who.token.expose(), &proof, &good).is_ok());
}

#[test]
fn without_token_role_or_recent_second_factor_nobody_is_shown() {
    let house = House::new();
    let vault = house.open();
    let (_, ticket) = registered(&house, &vault);
    let who = vault.add_staff("Dr. A", Role::Clinician).unwrap();
    let clerk = vault.add_staff("Clerk", Role::Registrar).unwrap();
    let slip = house
        .pipeline
        .slip(ticket.riders.sealed_handle, house.in_minutes(25));
    let unconfirmed = vault.way_back(who.token.expose(), &[0; 32], &slip);
    assert_eq!(refusal(unconfirmed), Refusal::SecondFactor);
    let unknown = vault.way_back(&[9; 32], &[0; 32], &slip);
    assert_eq!(refusal(unknown), Refusal::NotAdmitted);
    let clerks = sign_in(&house, &vault, &clerk);
    let not_hers = vault.way_back(clerk.token.expose(), &clerks, &slip);
    assert_eq!(refusal(not_hers), Refusal::NotPermitted);
    let others = vault.way_back(who.token.expose(), &clerks, &slip);
    assert_eq!(refusal(others), Refusal::SecondFactor);

    let proof = sign_in(&house, &vault, &who);
    let same_code = totp::code(&who.totp, totp::step_at(house.clock.now()));
    let reused = vault.confirm(who.token.expose(), &same_code);
    assert_eq!(refusal(reused), Refusal::SecondFactor);
    assert_eq!(
        refusal(vault.admit(who.token.expose(), &proof, Permission::Register)),
        Refusal::NotPermitted
    );
    house.clock.advance(5 * MINUTE);
    let stale = vault.way_back(who.token.expose(), &proof, &slip);
    assert_eq!(refusal(stale), Refusal::SecondFactor);
    let proof = sign_in(&house, &vault, &who);
    assert!(vault.way_back(who.token.expose(), &proof, &slip).is_ok());
    vault.remove_staff(who.id).unwrap();
    let removed = vault.way_back(who.token.expose(), &proof, &slip);
    assert_eq!(refusal(removed), Refusal::NotAdmitted);
}

#[test]
fn a29_consent_is_looked_up_at_use_and_an_older_one_cannot_come_back() {
    let house = House::new();
    let vault = house.open();
    let (person, ticket) = registered(&house, &vault);
    let narrower = Consent {
        version: 2,
        scope: 0b001,
        purposes: Purposes {
            research: true,
            ..Purposes::default()
        },
    };
    vault
        .record_consent(Actor::Operator, person, PROJECT, narrower)
        .unwrap();
    let older = vault.record_consent(Actor::Operator, person, PROJECT, care(1));
    assert_eq!(refusal(older), Refusal::OldConsent);
    let who = vault.add_staff("Dr. A", Role::Clinician).unwrap();
    let proof = sign_in(&house, &vault, &who);
    let slip = house
        .pipeline
        .slip(ticket.riders.sealed_handle, house.in_minutes(15));
    let outcome = vault.way_back(who.token.expose(), &proof, &slip);
    assert_eq!(refusal(outcome), Refusal::NoConsent);

    let wish = |scope| TicketWish {
        project: PROJECT,
        scope,
    };
    let wide = vault.issue_ticket(Actor::Operator, person, wish(Some(0b011)));
    assert_eq!(refusal(wide), Refusal::OutOfScope);
    let slip = vault
        .issue_ticket(Actor::Operator, person, wish(None))
        .unwrap();
    let terms = house.ticket(&vault, &slip).terms;
    assert_eq!((terms.scope, terms.consent_version), (0b001, 2));

    let withdrawn = Consent {
        version: 3,
        scope: 0,
        purposes: Purposes::default(),
    };
    vault
        .record_consent(Actor::Operator, person, PROJECT, withdrawn)
        .unwrap();
    let none = vault.issue_ticket(Actor::Operator, person, wish(None));
    assert_eq!(refusal(none), Refusal::NoConsent);
}

#[test]
fn a28_what_the_vault_keeps_shares_no_value_with_what_a_registry_keeps() {
    let house = House::new();
    let vault = house.open();
    let (_, ticket) = registered(&house, &vault);
    let who = vault.add_staff("Dr. A", Role::Clinician).unwrap();
    let proof = sign_in(&house, &vault, &who);
    let slip = house
        .pipeline
        .slip(ticket.riders.sealed_handle, house.in_minutes(15));
    vault.way_back(who.token.expose(), &proof, &slip).unwrap();

    // Everything that the vault's files say, unsealed.
    let mut plain = Vec::new();
    for id in PageId::all() {
        if let Some(page) = vault.pages.read(id).unwrap() {
            plain.extend_from_slice(&page.plain);
        }
    }
    plain.extend(fs::read(house.directory.path().join(AUDIT)).unwrap());
    let holds = |value: &[u8]| plain.windows(value.len()).any(|window| window == value);
    assert!(holds(NAME.as_bytes()) && holds(&ticket.riders.handle));
    let decoded = WayBack::decode(&slip).unwrap();
    let terms = decoded
        .verify(&house.pipeline.root.kid(), house.clock.now())
        .unwrap();
    for (what, value) in [
        ("sealed handle", &ticket.riders.sealed_handle.0[..]),
        ("salt", &ticket.riders.salt),
        ("slip", &terms.id.0),
        ("alert", &terms.alert.0),
    ] {
        assert!(!holds(value), "{what}");
    }
}

#[test]
fn no_name_token_or_handle_lies_in_a_file_in_clear() {
    let house = House::new();
    let vault = house.open();
    let (_, ticket) = registered(&house, &vault);
    let who = vault
        .add_staff("Dr. Unmistakable", Role::Clinician)
        .unwrap();
    for file in files(house.directory.path()) {
        let bytes = fs::read(&file).unwrap();
        for planted in [
            NAME.as_bytes(),
            b"Zephyrine",
            b"+00 555 0199",
            b"1971-02-03",
            b"Dr. Unmistakable",
            &ticket.riders.handle,
            who.token.expose(),
            who.totp.expose(),
        ] {
            let found = bytes.windows(planted.len()).any(|window| window == planted);
            assert!(!found, "{}", file.display());
        }
    }
}

fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_page_that_was_put_back_is_named() {
    let house = House::new();
    let vault = house.open();
    let (person, _) = registered(&house, &vault);
    let page = vault.pages.path(PageId::Persons(person.0[0] % 64));
    let older = fs::read(&page).unwrap();
    vault
        .record_consent(Actor::Operator, person, PROJECT, care(2))
        .unwrap();
    drop(vault);
    for put_back in [Some(older), None] {
        let newer = fs::read(&page).unwrap();
        match put_back {
            Some(older) => fs::write(&page, older).unwrap(),
            None => fs::remove_file(&page).unwrap(),
        }
        let outcome = house.open_with(house.settings());
        assert!(
            matches!(&outcome, Err(StoreError::RolledBack { path }) if *path == page),
            "{outcome:?}"
        );
        fs::write(&page, newer).unwrap();
    }
    assert!(house.open_with(house.settings()).is_ok());
}

#[test]
fn a_crash_between_page_and_chain_is_written_down_and_a_cut_chain_is_named() {
    let house = House::new();
    let vault = house.open();
    let chain = house.directory.path().join(AUDIT);
    let (person, _) = registered(&house, &vault);
    let before = fs::read(&chain).unwrap();
    vault
        .record_consent(Actor::Operator, person, PROJECT, care(2))
        .unwrap();
    let one_ahead = vault.summary().audited;
    vault
        .record_consent(Actor::Operator, person, PROJECT, care(3))
        .unwrap();
    drop(vault);
    let whole = fs::read(&chain).unwrap();
    fs::write(&chain, &before).unwrap();
    let cut = house.open_with(house.settings());
    assert!(matches!(cut, Err(StoreError::ChainCut)), "{cut:?}");
    let entry = (whole.len() - before.len()) / 2;
    fs::write(&chain, &whole[..before.len() + entry]).unwrap();
    let vault = house.open();
    assert_eq!(vault.summary().audited, one_ahead + 1);
}

#[test]
fn bounds_hold_and_what_was_refused_left_nothing_behind() {
    let house = House::new();
    let vault = house.open();
    let many = vec![somebody(); 101];
    let outcome = vault.register(Actor::Operator, many, false);
    assert_eq!(refusal(outcome), Refusal::Full);
    vault
        .register(Actor::Operator, vec![somebody(); 100], false)
        .unwrap();
    let one_more = vault.register(Actor::Operator, vec![somebody()], false);
    assert_eq!(refusal(one_more), Refusal::Full);
    assert_eq!(vault.summary().persons, 100);
    drop(vault);
    assert_eq!(house.open().summary().persons, 100);

    let mut settings = house.settings();
    settings.pipeline_root = None;
    settings.max_persons = 200;
    let vault = house.open_with(settings).unwrap();
    let unknown = vault.register(Actor::Operator, vec![somebody()], true);
    assert_eq!(refusal(unknown), Refusal::NoPipeline);
    assert_eq!(vault.summary().persons, 100);
}

#[test]
fn a_failed_write_poisons_the_vault() {
    let house = House::new();
    let vault = house.open();
    registered(&house, &vault);
    fs::remove_dir_all(house.directory.path().join(PAGES)).unwrap();
    let failed = vault.register(Actor::Operator, vec![somebody()], false);
    assert!(matches!(
        failed,
        Err(VaultError::Store(StoreError::Io { .. }))
    ));
    assert!(vault.is_poisoned());
    let after = vault.add_staff("Dr. A", Role::Clinician);
    assert!(matches!(
        after,
        Err(VaultError::Store(StoreError::Poisoned))
    ));
}

#[test]
fn ways_back_and_second_factors_are_counted_by_outcome_from_zero() {
    let house = House::new();
    let vault = house.open();
    let text = |registry: &prometheus::Registry| {
        prometheus::TextEncoder::new()
            .encode_to_string(&registry.gather())
            .unwrap()
    };
    let before = text(&house.registry);
    for refusal in Refusal::ALL {
        let line = format!(
            "pulseward_identity_way_backs_total{{outcome=\"{}\"}} 0",
            refusal.word()
        );
        assert!(before.contains(&line), "{line}");
    }
    let (_, ticket) = registered(&house, &vault);
    let who = vault.add_staff("Dr. A", Role::Clinician).unwrap();
    let proof = sign_in(&house, &vault, &who);
    let expiry = house.in_minutes(15);
    let slip = house.pipeline.slip(ticket.riders.sealed_handle, expiry);
    vault.way_back(who.token.expose(), &proof, &slip).unwrap();
    refusal(vault.way_back(who.token.expose(), &proof, &slip));
    let after = text(&house.registry);
    for line in [
        "pulseward_identity_persons 1",
        "pulseward_identity_tickets_total 1",
        "pulseward_identity_way_backs_total{outcome=\"done\"} 1",
        "pulseward_identity_way_backs_total{outcome=\"spent\"} 1",
        "pulseward_identity_second_factors_total{outcome=\"done\"} 1",
    ] {
        assert!(after.contains(line), "{line} in {after}");
    }
    assert!(!after.contains(NAME));
}
