//! Tickets and those who show them.

use std::sync::Arc;

use pulseward_base::{Clock, Kid, Pseudonym, Reject};
use pulseward_crypto::{SigningKey, frame::Outcome};
use pulseward_device::{EnrolError, Identity, LinkSettings, enrol, queue::new_incarnation};
use pulseward_eventlog::{Body, Topic};

use crate::{
    client::{Client, batch, now},
    house::{House, quick, reading, until},
};

async fn shown(
    house: &House,
    link: &LinkSettings,
    key: &Arc<SigningKey>,
    ticket: &[u8],
) -> Result<Identity, EnrolError> {
    enrol(link, &house.device_clock(), Arc::clone(key), ticket, &[]).await
}

fn key() -> Arc<SigningKey> {
    Arc::new(SigningKey::generate())
}

fn is_bad_ticket(shown: &Result<Identity, EnrolError>) -> bool {
    matches!(shown, Err(EnrolError::Rejected(Reject::BadTicket)))
}

#[tokio::test]
async fn the_same_ticket_with_the_same_key_is_given_the_same_record() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let (key, ticket) = (key(), house.ticket());
    let first = shown(&house, &instance.link, &key, &ticket).await.unwrap();
    let again = shown(&house, &instance.link, &key, &ticket).await.unwrap();
    assert_eq!(first.record, again.record);
    assert_eq!(house.bodies(Topic::Devices).await.len(), 1);
}

#[tokio::test]
async fn a11_a_ticket_used_twice_is_refused_and_suspends_who_had_it() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let ticket = house.ticket();
    let first = shown(&house, &instance.link, &key(), &ticket)
        .await
        .unwrap();
    let name = new_incarnation(now());
    let live = Client::enter(&house, &instance.link, &first, name)
        .await
        .unwrap();
    let second = shown(&house, &instance.link, &key(), &ticket).await;
    assert!(is_bad_ticket(&second));
    let mut live = live;
    live.send(&[crate::client::batch(&first, name, 0, 700).payload])
        .await;
    assert_eq!(live.end().await.as_deref(), Some("not_admitted"));
    let back = Client::enter(&house, &instance.link, &first, name).await;
    assert_eq!(back.err().unwrap().word(), Some("not_admitted"));
    assert!(house.stored().await.is_empty());
}

#[tokio::test]
async fn a11_one_ticket_on_two_instances_at_once_enrols_exactly_one() {
    let house = House::new();
    let (one, other) = (house.start(quick()).await, house.start(quick()).await);
    for _ in 0..25 {
        let ticket = house.ticket();
        let (a, b) = (key(), key());
        let (first, second) = tokio::join!(
            shown(&house, &one.link, &a, &ticket),
            shown(&house, &other.link, &b, &ticket),
        );
        let enrolled = [&first, &second]
            .iter()
            .filter(|shown| shown.is_ok())
            .count();
        assert!(enrolled <= 1, "both were enrolled");
        assert!(is_bad_ticket(&first) || is_bad_ticket(&second));
    }
}

#[tokio::test]
async fn a11_a_ticket_for_another_root_or_with_a_bit_changed_is_refused() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let other_root: Kid = SigningKey::generate().kid();
    let foreign = house.ticket_for(&other_root, u64::MAX);
    // The device pins the root of its ticket, so it never takes this service's offer.
    let shown_foreign = shown(&house, &instance.link, &key(), &foreign).await;
    assert!(matches!(shown_foreign, Err(EnrolError::Link(_))));

    // certificate 148, version 1, ticket id 16, root 32, project 4, expiry 8, scope 8.
    let scope = 148 + 1 + 16 + 32 + 4 + 8;
    for bit in [scope * 8, (148 + 1) * 8, 393 * 8 - 1 - 44 * 8] {
        let mut ticket = house.ticket();
        ticket[bit / 8] ^= 1 << (bit % 8);
        let changed = shown(&house, &instance.link, &key(), &ticket).await;
        assert!(is_bad_ticket(&changed), "bit {bit}");
    }
    assert!(house.bodies(Topic::Devices).await.is_empty());
}

#[tokio::test]
async fn a_device_enrolled_on_one_instance_is_soon_admitted_by_the_other() {
    let house = House::new();
    let (one, other) = (house.start(quick()).await, house.start(quick()).await);
    let identity = house.identity(&one.link).await;
    until("the other knows it", async || {
        let name = new_incarnation(now());
        Client::enter(&house, &other.link, &identity, name)
            .await
            .is_ok()
    })
    .await;
}

/// Whom the registry bound a device to: version, kid, record digest, then the pseudonym.
async fn bound_to(house: &House, device: Kid) -> Pseudonym {
    let bodies = house.bodies(Topic::Feed).await.into_iter();
    let mut bound = bodies.filter_map(|body| match body {
        Body::Bind(bind) if bind.binding[1..33] == device.0 => Some(bind.binding),
        _ => None,
    });
    Pseudonym(bound.next_back().unwrap()[65..81].try_into().unwrap())
}

#[tokio::test]
async fn a32_a_device_handed_on_with_a_backlog_sends_old_rows_for_the_old_patient_and_new_for_the_new()
 {
    let house = House::new();
    let instance = house.start(quick()).await;
    let before = house.device(house.identity(&instance.link).await);
    for value in 0..60 {
        let old = reading(house.clock.now(), 600 + value);
        before.collect(&old).unwrap();
    }
    // Handed on before any of it was sent: the next patient's ticket makes it another device.
    let after = house.device(house.identity(&instance.link).await);
    for value in 0..60 {
        let new = reading(house.clock.now(), 1600 + value);
        after.collect(&new).unwrap();
    }
    let stops = [&before, &after].map(|device| house.run(device, &instance.link));
    until("both queues are drained", async || {
        before.waiting() + after.waiting() == 0
    })
    .await;
    stops.iter().for_each(|stop| stop.cancel());

    let (old, new) = (before.identity().kid(), after.identity().kid());
    let (old_patient, new_patient) = (bound_to(&house, old).await, bound_to(&house, new).await);
    assert_ne!(old_patient, new_patient);
    let stored = house.stored().await;
    assert_eq!(stored.len(), 120, "each once");
    for batch in stored {
        let value = batch.contents.columns.leaves()[0].rows[0].value;
        let expect = if value < 1000 {
            (old, old_patient)
        } else {
            (new, new_patient)
        };
        assert_eq!((batch.device, batch.pseudonym), expect, "{value}");
    }
}

#[tokio::test]
async fn a32_an_old_row_sent_in_the_next_patients_session_is_refused_and_stored_for_nobody() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let before = house.identity(&instance.link).await;
    let after = house.identity(&instance.link).await;
    let name = new_incarnation(now());
    let mut client = Client::enter(&house, &instance.link, &after, name)
        .await
        .unwrap();
    let old = batch(&before, name, 0, 700);
    let answer = client.ask(&old.payload).await.unwrap();
    assert_eq!(answer.outcome, Outcome::Rejected(Reject::BadSignature));
    assert!(house.stored().await.is_empty());
}
