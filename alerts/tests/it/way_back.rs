//! The way back from an alert to its person: a slip that only the vault can use.

use std::time::Duration;

use pulseward_base::{AlertId, Pseudonym};
use pulseward_crypto::{SigningKey, slips::WayBack};
use pulseward_eventlog::body::{Alert, AlertState::Raised, Severity::Urgent};
use pulseward_proto_pipeline::v1::WayBackRequest;
use tonic::Code;

use crate::world::{Running, TOKEN, World, alert, authorised};

async fn ask(running: &mut Running, id: &[u8]) -> Result<Vec<u8>, tonic::Status> {
    let request = WayBackRequest {
        alert_id: id.to_vec(),
    };
    let answer = running.client.way_back(authorised(request, TOKEN)).await?;
    Ok(answer.into_inner().slip)
}

#[tokio::test]
async fn a_slip_names_the_alert_and_its_sealed_handle_and_expires() {
    let mut world = World::new().await;
    let mut running = world.start(|_| {}).await;
    world.say(1, Raised, Urgent).await;
    running.until("pulseward_alerts_steps_total", 1.0).await;
    let slip = ask(&mut running, &[1; 16]).await.unwrap();
    let slip = WayBack::decode(&slip).unwrap();
    let terms = slip.verify(&world.root.kid(), world.now()).unwrap();
    assert_eq!(
        (terms.alert, terms.sealed_handle.0),
        (AlertId([1; 16]), [9; 44])
    );
    assert_eq!(terms.expiry, world.now().plus(Duration::from_secs(600)));
    assert!(
        slip.verify(&world.root.kid(), terms.expiry.plus(Duration::from_secs(1)))
            .is_err()
    );
    assert!(
        slip.verify(&SigningKey::generate().kid(), world.now())
            .is_err()
    );
    let another = WayBack::decode(&ask(&mut running, &[1; 16]).await.unwrap()).unwrap();
    assert_ne!(
        another.verify(&world.root.kid(), world.now()).unwrap().id,
        terms.id
    );
    running.stop().await.unwrap();
}

#[tokio::test]
async fn there_is_no_slip_without_a_person_an_alert_or_a_token() {
    let mut world = World::new().await;
    let mut running = world.start(|_| {}).await;
    let nobody = Alert {
        pseudonym: Pseudonym::ZERO,
        sealed_handle: [0; 44],
        ..alert(1, Raised, Urgent)
    };
    world.say_because(0, None, nobody).await;
    running.until("pulseward_alerts_steps_total", 1.0).await;
    let code = |answer: Result<Vec<u8>, tonic::Status>| answer.unwrap_err().code();
    assert_eq!(
        code(ask(&mut running, &[1; 16]).await),
        Code::FailedPrecondition
    );
    assert_eq!(code(ask(&mut running, &[2; 16]).await), Code::NotFound);
    assert_eq!(code(ask(&mut running, b"short").await), Code::NotFound);
    let request = WayBackRequest {
        alert_id: vec![1; 16],
    };
    let refused = running.client.way_back(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn slips_are_bounded_by_the_minute() {
    let mut world = World::new().await;
    let mut running = world.start(|settings| settings.slips_per_minute = 2).await;
    world.say(1, Raised, Urgent).await;
    running.until("pulseward_alerts_steps_total", 1.0).await;
    for _ in 0..2 {
        ask(&mut running, &[1; 16]).await.unwrap();
    }
    assert_eq!(
        ask(&mut running, &[1; 16]).await.unwrap_err().code(),
        Code::ResourceExhausted
    );
    world.clock.advance(Duration::from_secs(60));
    ask(&mut running, &[1; 16]).await.unwrap();
    running.stop().await.unwrap();
}
