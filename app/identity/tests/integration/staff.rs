//! The gRPC service, as staff programs use it.

use pulseward_base::{Secret, bytes};
use pulseward_identity_store::totp;
use pulseward_proto_identity::{
    AUTHORIZATION, REFUSAL,
    v1::{self, identity_client::IdentityClient},
};
use serde_json::Value;
use tonic::{
    Code, Request, Status,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::house::{House, now};

async fn channel(staff: &Value) -> Channel {
    let authority = Certificate::from_pem(staff["authority"].as_str().unwrap());
    Endpoint::from_shared(format!("https://{}", staff["server"].as_str().unwrap()))
        .unwrap()
        .tls_config(ClientTlsConfig::new().ca_certificate(authority))
        .unwrap()
        .connect()
        .await
        .unwrap()
}

fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let bearer = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert(AUTHORIZATION, bearer);
    request
}

fn refusal(status: &Status) -> &str {
    status.metadata().get(REFUSAL).unwrap().to_str().unwrap()
}

fn staff(house: &House, role: &str) -> Value {
    let told = house.tell(&["staff", "add", "--name", "Clerk", "--role", role]);
    serde_json::from_str(&told).unwrap()
}

fn somebody() -> v1::RegisterRequest {
    v1::RegisterRequest {
        session: Vec::new(),
        person: Some(v1::Person {
            name: "Zephyrine Quandary".into(),
            birth_date: "1971-02-03".into(),
            contact: "+00 555".into(),
        }),
        consent: Some(v1::Consent {
            project: 3,
            version: 4,
            scope: 0b111,
            care: true,
            ..v1::Consent::default()
        }),
        facts: Vec::new(),
    }
}

#[tokio::test]
async fn a_registrar_registers_consents_and_issues_and_nobody_else_does() {
    let house = House::new();
    let _running = house.serve();
    let clerk = staff(&house, "registrar");
    let token = clerk["token"].as_str().unwrap();
    let mut client = IdentityClient::new(channel(&clerk).await);

    for (token, expected) in [("", "not_admitted"), (token, "second_factor")] {
        let status = client
            .register(with_token(token, somebody()))
            .await
            .unwrap_err();
        assert_eq!(status.code(), Code::Unauthenticated);
        assert_eq!(refusal(&status), expected);
    }
    let session = confirmed(&mut client, &clerk).await;
    let mut request = somebody();
    request.session.clone_from(&session);
    let answer = client.register(with_token(token, request)).await.unwrap();
    let person = answer.into_inner().person;

    let consent = |version| v1::RecordConsentRequest {
        session: session.clone(),
        person: person.clone(),
        consent: Some(v1::Consent {
            version,
            scope: 0b001,
            ..somebody().consent.unwrap()
        }),
    };
    let older = client.record_consent(with_token(token, consent(4))).await;
    assert_eq!(refusal(&older.unwrap_err()), "old_consent");
    client
        .record_consent(with_token(token, consent(5)))
        .await
        .unwrap();

    let ticket = |scope| v1::IssueTicketRequest {
        session: session.clone(),
        person: person.clone(),
        project: 3,
        scope,
    };
    let wide = client.issue_ticket(with_token(token, ticket(0b111))).await;
    assert_eq!(refusal(&wide.unwrap_err()), "out_of_scope");
    let issued = client.issue_ticket(with_token(token, ticket(1))).await;
    assert_eq!(issued.unwrap().into_inner().ticket_slip.len(), 393);

    let slip = v1::WayBackRequest {
        session,
        slip: vec![0; 297],
    };
    let status = client.way_back(with_token(token, slip)).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
}

async fn confirmed(client: &mut IdentityClient<Channel>, staff: &Value) -> Vec<u8> {
    let secret = bytes::unhex(staff["totp_secret"].as_str().unwrap()).unwrap();
    let secret = Secret::new(secret.try_into().unwrap());
    let code = totp::code(&secret, totp::step_at(now()));
    let token = staff["token"].as_str().unwrap();
    let request = with_token(token, v1::ConfirmRequest { code });
    client.confirm(request).await.unwrap().into_inner().session
}

#[tokio::test]
async fn health_and_reflection_are_on() {
    let house = House::new();
    let _running = house.serve();
    let doctor = staff(&house, "clinician");
    let channel = channel(&doctor).await;
    let service = "pulseward.identity.v1.Identity";
    let asked = tonic_health::pb::HealthCheckRequest {
        service: service.to_owned(),
    };
    let health = tonic_health::pb::health_client::HealthClient::new(channel.clone())
        .check(asked)
        .await
        .unwrap();
    let serving = tonic_health::pb::health_check_response::ServingStatus::Serving;
    assert_eq!(health.into_inner().status(), serving);

    use tonic_reflection::pb::v1 as reflection;
    let list = reflection::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(
            reflection::server_reflection_request::MessageRequest::ListServices(String::new()),
        ),
    };
    let mut answers = reflection::server_reflection_client::ServerReflectionClient::new(channel)
        .server_reflection_info(tokio_stream::once(list))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    assert!(format!("{answer:?}").contains(service));
}

#[tokio::test]
async fn guessing_codes_locks_the_account() {
    let house = House::new();
    let running = house.serve();
    let doctor = staff(&house, "clinician");
    let token = doctor["token"].as_str().unwrap();
    let mut client = IdentityClient::new(channel(&doctor).await);
    let mut words = Vec::new();
    for _ in 0..7 {
        let code = "no code".to_owned();
        let request = with_token(token, v1::ConfirmRequest { code });
        let status = client.confirm(request).await.unwrap_err();
        words.push(refusal(&status).to_owned());
    }
    assert_eq!(words[4..], ["second_factor", "locked", "locked"]);
    let metrics = running.page("/metrics");
    let line = "pulseward_identity_second_factors_total{outcome=\"second_factor\"} 5";
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_server_with_another_authority_is_not_spoken_to() {
    let house = House::new();
    let _running = house.serve();
    let other = House::new();
    let _other_running = other.serve();
    let doctor = staff(&house, "clinician");
    let elsewhere = staff(&other, "clinician");
    let authority = Certificate::from_pem(elsewhere["authority"].as_str().unwrap());
    let connected =
        Endpoint::from_shared(format!("https://{}", doctor["server"].as_str().unwrap()))
            .unwrap()
            .tls_config(ClientTlsConfig::new().ca_certificate(authority))
            .unwrap()
            .connect()
            .await;
    assert!(connected.is_err());
}
