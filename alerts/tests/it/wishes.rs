//! What care teams make of alerts: it goes into the feed, and comes back as a step.

use pulseward_base::{AlertId, Offset, Partition, Pseudonym};
use pulseward_eventlog::{
    Body, Content, ReadLimits, Topic,
    body::{
        Alert,
        AlertState::{Acknowledged, Cleared, Raised, Resumed, Snoozed},
        Lane,
        Severity::Urgent,
        Wish,
    },
};
use pulseward_proto_pipeline::v1::{AcknowledgeRequest, SnoozeRequest};
use tonic::{Code, Status};

use crate::world::{Running, TOKEN, World, alert, authorised, next, told};

async fn acknowledge(running: &mut Running, id: u8, token: &str) -> Result<(), Status> {
    let request = AcknowledgeRequest {
        alert_id: vec![id; 16],
    };
    let answer = running.client.acknowledge(authorised(request, token));
    answer.await.map(|_| ())
}

async fn snooze(running: &mut Running, id: u8, seconds: u32) -> Result<(), Status> {
    let request = SnoozeRequest {
        alert_id: vec![id; 16],
        seconds,
    };
    let answer = running.client.snooze(authorised(request, TOKEN));
    answer.await.map(|_| ())
}

/// What stands in the feed, each sealed under its patient's key.
async fn wishes(world: &World) -> Vec<(Pseudonym, Wish)> {
    let limits = ReadLimits::default();
    let read = world.log.read(Topic::Feed, Partition(0), Offset(0), limits);
    let entries = read.await.unwrap().into_iter();
    let wish = |entry: pulseward_eventlog::Entry| {
        assert_eq!(entry.key, Some(world.key));
        match entry.content {
            Content::Body(Body::Control(control)) => Wish::of_control(&control).unwrap(),
            content => panic!("{content:?}"),
        }
    };
    entries.map(wish).collect()
}

#[tokio::test]
async fn a_wish_stands_in_the_feed_under_the_patients_key_when_it_is_answered() {
    let mut world = World::new().await;
    let mut running = world.start(|_| {}).await;
    world.say(1, Raised, Urgent).await;
    running.until("pulseward_alerts_open_alerts", 1.0).await;
    acknowledge(&mut running, 1, TOKEN).await.unwrap();
    snooze(&mut running, 1, 1800).await.unwrap();
    let of = Pseudonym([4; 16]);
    let expect = [
        (of, Wish::Acknowledge(AlertId([1; 16]))),
        (
            of,
            Wish::Snooze {
                lane: Lane::Rules,
                seconds: 1800,
            },
        ),
    ];
    assert_eq!(wishes(&world).await, expect);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_people_made_of_an_alert_is_told_with_the_score_and_the_vitals_it_had() {
    let mut world = World::new().await;
    let mut running = world.start(|_| {}).await;
    let mut stream = running.watch().await;
    world.say(1, Raised, Urgent).await;
    assert!(next(&mut stream).await.unwrap().unwrap().pages);
    for (state, flags, pages) in [
        (Acknowledged, 0, false),
        (Snoozed, Alert::SNOOZED, false),
        (Resumed, 0, true),
    ] {
        let step = Alert {
            flags,
            low: 0,
            high: 0,
            readings: Vec::new(),
            ..alert(1, state, Urgent)
        };
        world.step(step).await;
        let event = next(&mut stream).await.unwrap().unwrap();
        assert_eq!(event.state, i32::from(state.number()));
        assert_eq!((event.low, event.high, event.vitals.len()), (7, 9, 1));
        assert_eq!((event.pages, event.snoozed), (pages, flags != 0));
        // Whoever comes later is told the same, and is called or left alone in the same way.
        let mut again = running.watch().await;
        assert_eq!(next(&mut again).await.unwrap().unwrap(), event);
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_an_alert_was_made_of_is_known_again_after_a_restart() {
    let mut world = World::new().await;
    let mut running = world.start(|_| {}).await;
    let mut stream = running.watch().await;
    world.say(1, Raised, Urgent).await;
    world.say(1, Acknowledged, Urgent).await;
    assert_eq!(told(&mut stream).await, (1, 1));
    assert_eq!(told(&mut stream).await, (1, 4));
    running.stop().await.unwrap();
    let mut running = world.start(|_| {}).await;
    running.until("pulseward_alerts_open_alerts", 1.0).await;
    let mut stream = running.watch().await;
    let event = next(&mut stream).await.unwrap().unwrap();
    assert_eq!((event.state, event.vitals.len()), (4, 1));
    assert!(!event.pages);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn wishes_that_mean_nothing_are_refused_by_their_code_and_write_nothing() {
    let mut world = World::new().await;
    let mut running = world.start(|settings| settings.wishes_per_minute = 4).await;
    world.say(1, Raised, Urgent).await;
    world.say(1, Cleared, Urgent).await;
    let about = Alert {
        pseudonym: Pseudonym::ZERO,
        sealed_handle: [0; 44],
        ..alert(2, Raised, Urgent)
    };
    world.step(about).await;
    running.until("pulseward_alerts_steps_total", 3.0).await;
    let code = |answer: Result<(), Status>| answer.unwrap_err().code();
    let over = acknowledge(&mut running, 1, TOKEN).await;
    assert_eq!(code(over), Code::NotFound);
    let unknown = snooze(&mut running, 9, 60).await;
    assert_eq!(code(unknown), Code::NotFound);
    let nobody = acknowledge(&mut running, 2, TOKEN).await;
    assert_eq!(code(nobody), Code::FailedPrecondition);
    let stranger = acknowledge(&mut running, 2, "another").await;
    assert_eq!(code(stranger), Code::Unauthenticated);
    acknowledge(&mut running, 9, TOKEN).await.unwrap_err();
    let too_many = acknowledge(&mut running, 2, TOKEN).await;
    assert_eq!(code(too_many), Code::ResourceExhausted);
    assert_eq!(wishes(&world).await, []);
    assert_eq!(running.metric("pulseward_alerts_wishes_total"), 5.0);
    running.stop().await.unwrap();
}
