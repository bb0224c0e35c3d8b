//! Hellos, sessions and who may have them.

use std::time::Duration;

use pulseward_base::Clock;
use pulseward_crypto::{SigningKey, certificate, hello, offer};
use pulseward_device::{
    Identity, LinkSettings,
    link::{Incoming, Link, connect},
    queue::new_incarnation,
};
use pulseward_eventlog::{
    Body, NewEntry, Topic,
    body::{DeviceStatus, Revoke},
};
use pulseward_ingest::{Settings, metrics::End};
use pulseward_proto_pipeline::v1::{down::Message, up::Message as UpMessage};
use tonic::Status;

use crate::{
    balancer::{Balancer, Deed, Passing},
    client::{Client, batch, end_of, now},
    house::{House, PATIENCE, quick, reading, until},
};

async fn opened(link: &LinkSettings) -> Link {
    Link::open(connect(link).await.unwrap(), link)
        .await
        .unwrap()
}

#[tokio::test]
async fn a1_a_replayed_hello_opens_nothing_and_disturbs_nobody() {
    let house = House::new();
    let settings = Settings {
        first_frame: Duration::from_millis(300),
        ..quick()
    };
    let instance = house.start(settings).await;
    let identity = house.identity(&instance.link).await;
    let name = new_incarnation(house.clock.now());
    let mut live = Client::enter(&house, &instance.link, &identity, name)
        .await
        .unwrap();
    let frames = live.send(&[batch(&identity, name, 0, 700).payload]).await;
    live.answers(1).await.unwrap();
    let mut welcomes = Vec::new();
    for later in [Duration::from_secs(1), Duration::from_mins(58)] {
        house.clock.turn(later);
        let mut replay = opened(&instance.link).await;
        replay.offer().await.unwrap();
        replay.send_hello(live.hello.clone()).await.unwrap();
        let Incoming::Welcome(welcome) = replay.next_soon().await.unwrap() else {
            panic!("a hello whose offer lives is welcomed");
        };
        welcomes.push(welcome[..32].to_vec());
        replay.send_frame(frames[0].clone()).await.unwrap();
        assert_eq!(end_of(&mut replay).await.as_deref(), Some("bad_seal"));

        // One that sends no frame is gone by itself.
        let mut quiet = opened(&instance.link).await;
        quiet.offer().await.unwrap();
        quiet.send_hello(live.hello.clone()).await.unwrap();
        assert_eq!(end_of(&mut quiet).await.as_deref(), Some("silent"));
    }
    assert_ne!(welcomes[0], welcomes[1], "R is fresh");
    assert_eq!(instance.metrics.live_sessions(), 1);
    let next = live.ask(&batch(&identity, name, 1, 700).payload).await;
    assert!(next.is_ok(), "the live session goes on");
    assert_eq!(house.stored().await.len(), 2);
}

#[tokio::test]
async fn a2_a_hello_replayed_at_another_instance_gets_a_fresh_offer_and_nothing_else() {
    let house = House::new();
    let (one, other) = (house.start(quick()).await, house.start(quick()).await);
    let identity = house.identity(&one.link).await;
    let name = new_incarnation(now());
    let said = Client::enter(&house, &one.link, &identity, name)
        .await
        .unwrap()
        .hello;
    let mut replay = opened(&other.link).await;
    let first = replay.offer().await.unwrap();
    for _ in 0..3 {
        replay.send_hello(said.clone()).await.unwrap();
        let Incoming::Offer(again) = replay.next_soon().await.unwrap() else {
            panic!("nothing but an offer");
        };
        assert_eq!(again, first, "the same for everybody");
    }
    replay.send_hello(said).await.unwrap();
    assert_eq!(end_of(&mut replay).await.as_deref(), Some("wrong_session"));
}

#[tokio::test]
async fn a6_an_offer_s_keys_are_gone_within_the_hour() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let identity = house.identity(&instance.link).await;
    let name = new_incarnation(house.clock.now());
    let said = Client::enter(&house, &instance.link, &identity, name)
        .await
        .unwrap()
        .hello;
    house.clock.turn(Duration::from_mins(61));
    let mut replay = opened(&instance.link).await;
    replay.offer().await.unwrap();
    replay.send_hello(said).await.unwrap();
    assert!(matches!(replay.next_soon().await, Ok(Incoming::Offer(_))));
}

#[tokio::test]
async fn a12_nothing_in_the_clear_tells_devices_apart() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let recorder = Balancer::start(&house, &instance.link).await;
    let mut secrets: Vec<Vec<u8>> = Vec::new();
    for _ in 0..10 {
        let ticket = house.ticket();
        secrets.push(ticket[148..149 + 16].to_vec());
        secrets.push(ticket[ticket.len() - 76..ticket.len() - 60].to_vec());
        let key = std::sync::Arc::new(SigningKey::generate());
        let clock = house.device_clock();
        let identity = pulseward_device::enrol(&recorder.link, &clock, key, &ticket, &[])
            .await
            .unwrap();
        secrets.push(identity.kid().0.to_vec());
        secrets.push(identity.key.point().0.to_vec());
        secrets.push(identity.record[1..].to_vec());
        for _ in 0..3 {
            let name = new_incarnation(now());
            let mut client = Client::enter(&house, &recorder.link, &identity, name)
                .await
                .unwrap();
            let sent = batch(&identity, name, 0, 700);
            client.ask(&sent.payload).await.unwrap();
            secrets.push(name.0.to_vec());
            secrets.push(sent.digest.0[..8].to_vec());
            secrets.push(sent.payload[40..72].to_vec());
        }
    }
    let mut offers = std::collections::BTreeSet::new();
    for passing in recorder.tape() {
        let bytes = passing.bytes();
        match &passing {
            Passing::Up(UpMessage::Hello(_)) => {
                assert_eq!(bytes.len(), hello::SIZE);
            }
            Passing::Down(Message::Offer(_)) => {
                offers.insert(bytes.to_vec());
            }
            Passing::Down(Message::Welcome(_)) => {
                assert!((bytes.len() - 32).is_power_of_two());
            }
            _ => assert!(bytes.len().is_power_of_two() && bytes.len() >= 256),
        }
        for secret in &secrets {
            let is_there = bytes.windows(secret.len()).any(|window| window == secret);
            assert!(!is_there, "something secret in the clear");
        }
    }
    assert_eq!(offers.len(), 1, "one offer for everybody");
}

#[tokio::test]
async fn a13_unknown_revoked_and_forged_get_one_answer() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let known = house.identity(&instance.link).await;
    let revoked = house.identity(&instance.link).await;
    revoke(&house, &revoked).await;
    let name = new_incarnation(now());
    until("the revocation is seen", async || {
        Client::enter(&house, &instance.link, &revoked, name)
            .await
            .is_err()
    })
    .await;
    let mut unknown = known.clone();
    unknown.key = std::sync::Arc::new(SigningKey::generate());
    let mut forged = known.clone();
    forged.record[140] ^= 1;
    let mut answers = Vec::new();
    for identity in [&unknown, &revoked, &forged] {
        let entered = Client::enter(&house, &instance.link, identity, name).await;
        let Err(pulseward_device::LinkError::Ended(status)) = entered.map(|_| ()) else {
            panic!("the stream ends");
        };
        answers.push((
            status.code(),
            status.message().to_owned(),
            status.details().to_vec(),
            status.metadata().len(),
        ));
    }
    assert!(
        answers.windows(2).all(|pair| pair[0] == pair[1]),
        "{answers:?}"
    );
    assert!(
        Client::enter(&house, &instance.link, &known, name)
            .await
            .is_ok()
    );
}

async fn revoke(house: &House, identity: &Identity) {
    let log = house.log().await;
    let devices = house.bodies(Topic::Devices).await;
    let value = devices.into_iter().find_map(|body| match body {
        Body::Device(device) if device.device == identity.kid() => Some(*device),
        _ => None,
    });
    let mut value = value.unwrap();
    value.status = DeviceStatus::Revoked;
    let (partition, device) = (log.partition_of(value.slot), value.device);
    let key = log.compaction_key(&device.0);
    let body = Body::Device(Box::new(value));
    let time = house.clock.now();
    log.append(NewEntry::for_log(partition, body).compacted(key))
        .await
        .unwrap();
    log.append(NewEntry::for_log(
        partition,
        Body::Revoke(Revoke { device, time }),
    ))
    .await
    .unwrap();
}

#[tokio::test]
async fn b15_a_device_revoked_elsewhere_is_out_within_two_seconds() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let identity = house.identity(&instance.link).await;
    let name = new_incarnation(now());
    let mut live = Client::enter(&house, &instance.link, &identity, name)
        .await
        .unwrap();
    live.ask(&batch(&identity, name, 0, 700).payload)
        .await
        .unwrap();
    let before = house.clock.monotonic();
    revoke(&house, &identity).await;
    assert_eq!(live.end().await.as_deref(), Some("not_admitted"));
    let took = house.clock.monotonic() - before;
    assert!(took <= Duration::from_secs(2), "{took:?}");
    assert_eq!(house.stored().await.len(), 1);
}

#[tokio::test]
async fn the_newest_session_of_a_device_displaces_the_older_once_it_sends() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let identity = house.identity(&instance.link).await;
    let name = new_incarnation(now());
    let mut older = Client::enter(&house, &instance.link, &identity, name)
        .await
        .unwrap();
    older
        .ask(&batch(&identity, name, 0, 700).payload)
        .await
        .unwrap();
    let mut newer = Client::enter(&house, &instance.link, &identity, name)
        .await
        .unwrap();
    older
        .ask(&batch(&identity, name, 1, 700).payload)
        .await
        .unwrap();
    newer
        .ask(&batch(&identity, name, 2, 700).payload)
        .await
        .unwrap();
    assert_eq!(older.end().await.as_deref(), Some("displaced"));
    newer
        .ask(&batch(&identity, name, 3, 700).payload)
        .await
        .unwrap();
    assert_eq!(house.stored().await.len(), 4);
}

#[tokio::test]
async fn a_session_that_is_too_old_goes_on_under_a_new_hello_on_the_same_stream() {
    let house = House::new();
    let settings = Settings {
        session_life: Duration::from_millis(200),
        ..quick()
    };
    let instance = house.start(settings).await;
    let device = house.device(house.identity(&instance.link).await);
    let stop = house.run(&device, &instance.link);
    until("it had several sessions", async || {
        device.collect(&reading(house.clock.now(), 700)).unwrap();
        device.counts().sessions >= 4
    })
    .await;
    until("all is answered", async || device.waiting() == 0).await;
    stop.cancel();
    let counts = device.counts();
    assert_eq!(counts.losses, 0, "the stream was never lost");
    assert_eq!(
        u64::try_from(house.stored().await.len()).unwrap(),
        counts.made
    );
}

#[tokio::test]
async fn a22_nothing_a_balancer_forges_costs_a_batch() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let device = house.device(house.identity(&instance.link).await);
    let balancer = Balancer::start(&house, &instance.link).await;
    let is_frame = |passing: &Passing| matches!(passing, Passing::Down(Message::Frame(_)));
    let instead = |message: fn(Vec<u8>) -> Message| Deed::Instead(message(vec![1; 256]));
    let forgeries: Vec<Box<dyn Fn() -> Deed + Send>> = vec![
        Box::new(|| Deed::End(Ok(()))),
        Box::new(|| Deed::End(Err(Status::ok("done")))),
        Box::new(|| Deed::End(Err(Status::permission_denied("revoked")))),
        Box::new(|| Deed::End(Err(Status::unauthenticated("not_admitted")))),
        Box::new(|| Deed::End(Err(Status::not_found("no such device")))),
        Box::new(move || instead(Message::Frame)),
        Box::new(move || instead(Message::Welcome)),
        Box::new(move || instead(Message::Offer)),
    ];
    let (sender, done) = std::sync::mpsc::sync_channel(64);
    let mut left = forgeries.into_iter();
    balancer.rule(move |passing| {
        if !is_frame(passing) {
            return Deed::Pass;
        }
        match left.next() {
            Some(forge) => {
                sender.send(()).unwrap();
                forge()
            }
            None => Deed::Pass,
        }
    });
    let stop = house.run(&device, &balancer.link);
    let mut tried = 0;
    until("every forgery was tried", async || {
        device.collect(&reading(house.clock.now(), 700)).unwrap();
        tried += done.try_iter().count();
        tried == 8
    })
    .await;
    until("all is answered", async || device.waiting() == 0).await;
    stop.cancel();
    assert_eq!(device.counts().rejected, 0);
    let mut stored: Vec<_> = house
        .stored()
        .await
        .iter()
        .map(|batch| batch.digest())
        .collect();
    let ledger = device.ledger();
    let mut made: Vec<_> = ledger.acknowledged().map(|entry| entry.digest).collect();
    stored.sort();
    made.sort();
    assert_eq!(stored, made);
    assert_eq!(u64::try_from(made.len()).unwrap(), device.counts().made);
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_ends_well() {
    let house = House::new();
    let mut instance = house.start(quick()).await;
    let device = house.device(house.identity(&instance.link).await);
    let balancer = Balancer::start(&house, &instance.link).await;
    let stop = house.run(&device, &balancer.link);
    for round in 0..4 {
        for value in 0..40 {
            device
                .collect(&reading(house.clock.now(), 600 + value))
                .unwrap();
        }
        until("something is answered", async || {
            device.counts().durable > round * 40
        })
        .await;
        let next = house.start(quick()).await;
        balancer.turn_to(&next.link);
        let draining = std::mem::replace(&mut instance, next);
        tokio::time::timeout(PATIENCE, draining.drain())
            .await
            .unwrap()
            .unwrap();
    }
    until("all is answered", async || device.waiting() == 0).await;
    stop.cancel();
    let stored = house.stored().await;
    assert_eq!(stored.len(), 160, "each once");
}

#[tokio::test]
async fn words_for_ends_are_no_secret_and_no_status() {
    for end in End::ALL {
        assert!(end.word().chars().all(|c| c.is_ascii_lowercase()));
    }
    // An offer's name is over the offer alone, so a balancer cannot put a certificate beside it.
    let house = House::new();
    let instance = house.start(quick()).await;
    let mut link = opened(&instance.link).await;
    let message = link.offer().await.unwrap();
    let checked = offer::ClientOffer::check(&message, &house.root.kid(), house.clock.now());
    let digest = pulseward_crypto::hash::sha256(&[&message[certificate::SIZE..]]);
    assert_eq!(checked.unwrap().id().0, digest.0[..16]);
}

/// What a hello costs until it is refused: the service's own work, without the network.
fn cost_of_refusing(
    offer: &offer::ServiceOffer,
    hello: &[u8],
    known: Option<(&pulseward_crypto::VerifyingKey, &pulseward_base::Digest)>,
) -> Duration {
    let start = std::time::Instant::now();
    let opened = offer.open_hello(hello).unwrap();
    let refused = match known {
        Some((key, context)) => opened.verify(key, context).unwrap_err(),
        None => opened.refuse(),
    };
    assert_eq!(refused, pulseward_base::Reject::NotAdmitted);
    start.elapsed()
}

#[tokio::test]
async fn a13_refusing_an_unknown_device_costs_what_refusing_a_forged_one_does() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let known = house.identity(&instance.link).await;
    let (key, context) = (known.key.verifying_key(), known.context());
    let service = house.offer();
    let checked =
        offer::ClientOffer::check(service.message(), &known.root, house.clock.now()).unwrap();
    let hello = |ctx| {
        let resume = hello::Resume {
            incarnation: new_incarnation(now()),
            last_acknowledged: None,
        };
        let token = pulseward_crypto::frame::AdmissionToken::NONE;
        let said = checked.hello_stream(&known.key, &ctx, now(), resume, token);
        said.unwrap().0
    };
    let wrong = pulseward_base::Digest([9; 32]);
    let (mut unknown, mut forged) = (Vec::new(), Vec::new());
    for _ in 0..150 {
        unknown.push(cost_of_refusing(&service, &hello(context), None));
        let facts = Some((&key, &context));
        forged.push(cost_of_refusing(&service, &hello(wrong), facts));
    }
    let median = |costs: &mut Vec<Duration>| {
        costs.sort_unstable();
        costs[costs.len() / 2].as_secs_f64()
    };
    let ratio = median(&mut unknown) / median(&mut forged);
    // The campaign holds it to 5 %; here other tests run on the same cores.
    assert!((0.8..1.25).contains(&ratio), "{ratio}");
    println!("unknown / forged: {ratio:.3}");
}
