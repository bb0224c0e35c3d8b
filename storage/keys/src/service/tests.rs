//! The service before readers with good, narrow, late and forged grants.

use pulseward_base::{Digest, Secret};
use pulseward_crypto::seal::KeyPair;
use pulseward_custody::FileKeys;
use tonic::Code;

use super::*;
use crate::registry::tests::{ModelDisk, World};

const FILE: [u8; 16] = [7; 16];
const HOUR: Duration = Duration::from_secs(3600);

struct Desk {
    world: World,
    service: KeysService,
    reader: KeyPair,
    key: Secret<32>,
}

impl Desk {
    async fn new(settings: KeysSettings) -> Self {
        let world = World::new();
        let registry = world.open(ModelDisk::default()).unwrap();
        let key = FileKeys::create(&registry, FILE).await.unwrap();
        let service = KeysService::new(registry, settings);
        Self {
            world,
            service,
            reader: KeyPair::generate(),
            key,
        }
    }

    async fn grant(&self, classes: Classes) -> Vec<u8> {
        let purpose = GrantPurpose::Research;
        self.service
            .issue_grant(self.reader.public(), classes, purpose, HOUR)
            .await
            .unwrap()
    }

    async fn ask(&self, grant: &[u8], handles: &[String]) -> Result<Vec<Answer>, Status> {
        let request = UnwrapRequest {
            grant: grant.to_vec(),
            handle: handles.to_vec(),
        };
        let answered = self.service.unwrap(Request::new(request)).await?;
        Ok(answered
            .into_inner()
            .key
            .into_iter()
            .map(|key| key.answer.unwrap())
            .collect())
    }

    fn open(&self, reader: &KeyPair, context: &Digest, answer: &Answer) -> Result<Vec<u8>, Reject> {
        let Answer::Sealed(sealed) = answer else {
            panic!("refused: {answer:?}")
        };
        let enc = sealed.enc.clone().try_into().unwrap();
        Ok(reader
            .open(ANSWER_PURPOSE, context, &enc, &sealed.ciphertext)?
            .to_vec())
    }
}

fn handle(class: Class) -> String {
    Handle { file: FILE, class }.text()
}

fn refused(word: &str) -> Answer {
    Answer::Refused(word.to_owned())
}

#[tokio::test]
async fn a_reader_gets_the_classes_of_its_grant_and_nobody_else_can_open_the_answer() {
    let desk = Desk::new(KeysSettings::default()).await;
    let grant = desk.grant(Classes::TIMES).await;
    let handles: Vec<_> = Class::ALL.iter().map(|class| handle(*class)).collect();
    let answers = desk.ask(&grant, &handles).await.unwrap();
    for (at, class) in Class::ALL.iter().enumerate() {
        if matches!(class, Class::Footer | Class::Times) {
            let context = answer_context(&grant, &handles[at]);
            let opened = desk.open(&desk.reader, &context, &answers[at]).unwrap();
            assert_eq!(opened, dek(&desk.key, *class).expose());
            let stranger = desk.open(&KeyPair::generate(), &context, &answers[at]);
            assert_eq!(stranger, Err(Reject::BadSeal));
            let other = answer_context(&grant, "dek:v1:other");
            assert_eq!(
                desk.open(&desk.reader, &other, &answers[at]),
                Err(Reject::BadSeal)
            );
        } else {
            assert_eq!(answers[at], refused("out_of_scope"));
        }
    }
    let given = vec![(FILE, Class::Footer), (FILE, Class::Times)];
    let events = desk.world.events.0.lock().unwrap();
    let told =
        |event: &Event| matches!(event, Event::Unwrapped { handles, .. } if *handles == given);
    assert!(
        events.iter().any(told),
        "what was given is not in the audit"
    );
}

#[tokio::test]
async fn expired_altered_and_foreign_grants_are_refused() {
    let desk = Desk::new(KeysSettings::default()).await;
    let grant = desk.grant(Classes::VALUES).await;
    let handles = [handle(Class::Values)];
    assert!(desk.ask(&grant, &handles).await.is_ok());
    for at in 0..grant.len() {
        let mut altered = grant.clone();
        altered[at] ^= 1;
        let status = desk.ask(&altered, &handles).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "byte {at}");
    }
    let foreign = Desk::new(KeysSettings::default())
        .await
        .grant(Classes::VALUES)
        .await;
    assert_eq!(
        desk.ask(&foreign, &handles).await.unwrap_err().code(),
        Code::PermissionDenied
    );
    desk.world.clock.advance(HOUR + Duration::from_secs(1));
    assert_eq!(
        desk.ask(&grant, &handles).await.unwrap_err().code(),
        Code::PermissionDenied
    );
}

#[tokio::test]
async fn what_is_destroyed_or_no_handle_is_said_one_by_one() {
    let desk = Desk::new(KeysSettings::default()).await;
    let grant = desk.grant(Classes::TIMES).await;
    let handles = [handle(Class::Times), "dek:v1:what".to_owned()];
    let answers = desk.ask(&grant, &handles).await.unwrap();
    assert!(matches!(answers[0], Answer::Sealed(_)));
    assert_eq!(answers[1], refused("malformed"));
    desk.service.registry.destroy(FILE).await.unwrap();
    assert_eq!(
        desk.ask(&grant, &handles).await.unwrap()[0],
        refused("erased")
    );
}

#[tokio::test]
async fn what_a_grant_may_ask_is_bounded_per_request_and_per_minute() {
    let settings = KeysSettings {
        max_handles: 3,
        max_keys_per_minute: 4,
        max_grants: 1,
        max_grant_lifetime: HOUR,
    };
    let desk = Desk::new(settings).await;
    let grant = desk.grant(Classes::TIMES).await;
    let handles = vec![handle(Class::Times); 4];
    let check = |status: Result<Vec<Answer>, Status>| {
        assert_eq!(status.unwrap_err().code(), Code::ResourceExhausted);
    };
    check(desk.ask(&grant, &handles).await);
    assert!(desk.ask(&grant, &handles[..3]).await.is_ok());
    check(desk.ask(&grant, &handles[..2]).await);
    let second = desk.grant(Classes::TIMES).await;
    check(desk.ask(&second, &handles[..1]).await);
    desk.world.clock.advance(Duration::from_secs(60));
    assert!(desk.ask(&grant, &handles[..3]).await.is_ok());
    let public = desk.reader.public();
    let long = desk
        .service
        .issue_grant(public, Classes::TIMES, GrantPurpose::Research, HOUR * 2);
    assert_eq!(long.await, Err(KeyError::Refused(Reject::OverLimit)));
}
