//! Who may watch, and what they are told: at least once, in order, with one id.

use pulseward_alerts::Error;
use pulseward_base::Pseudonym;
use pulseward_eventlog::body::{
    Alert,
    AlertState::{Acknowledged, Cleared, Raised, Risen},
    Severity::{Emergency, Urgent, Watch},
};
use pulseward_proto_pipeline::v1::{AlertSeverity, WatchRequest};
use tonic::Code;

use crate::world::{TOKEN, World, alert, authorised, next, told};

const TAKEN: &str = "pulseward_alerts_steps_total";

#[tokio::test]
async fn a_step_is_told_with_all_that_a_care_team_needs_and_no_handle() {
    let mut world = World::new().await;
    let mut running = world.start(|_| {}).await;
    let mut stream = running.watch().await;
    world.say(1, Raised, Emergency).await;
    let event = next(&mut stream).await.unwrap().unwrap();
    assert_eq!(event.pseudonym, [4; 16]);
    assert_eq!((event.low, event.high, event.pages), (7, 9, true));
    assert_eq!(event.severity(), AlertSeverity::Emergency);
    let vital = &event.vitals[0];
    assert_eq!(
        (vital.name.as_str(), vital.value, vital.scale),
        ("heart_rate", 1350, 1)
    );
    let bytes = format!("{event:?}");
    assert!(
        !bytes.contains(&"9, ".repeat(44)),
        "the sealed handle goes to nobody but the vault"
    );
    running.stop().await.unwrap();
}

#[tokio::test]
async fn whoever_comes_later_or_again_is_told_what_is_open() {
    let mut world = World::new().await;
    let mut running = world.start(|_| {}).await;
    world.say(1, Raised, Urgent).await;
    world.say(2, Raised, Urgent).await;
    world.say(1, Cleared, Urgent).await;
    running.until(TAKEN, 3.0).await;
    let mut first = running.watch().await;
    assert_eq!(told(&mut first).await, (1, 3), "an end that was missed");
    assert_eq!(told(&mut first).await, (2, 1));
    let mut again = running.watch().await;
    assert_eq!(told(&mut again).await, (2, 1));
    world.say(2, Risen, Emergency).await;
    assert_eq!(told(&mut first).await, (2, 2));
    assert_eq!(told(&mut again).await, (2, 2));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn b24_after_a_restart_open_alerts_are_told_again_with_the_same_id_and_old_ends_are_not() {
    let mut world = World::new().await;
    let mut running = world.start(|_| {}).await;
    let mut stream = running.watch().await;
    world.say(1, Raised, Urgent).await;
    world.say(2, Raised, Urgent).await;
    world.say(2, Cleared, Urgent).await;
    for expect in [(1, 1), (2, 1), (2, 3)] {
        assert_eq!(told(&mut stream).await, expect);
    }
    running.stop().await.unwrap();
    world.say(3, Raised, Watch).await;
    let mut running = world.start(|_| {}).await;
    running.until("pulseward_alerts_open_alerts", 2.0).await;
    let mut stream = running.watch().await;
    assert_eq!(told(&mut stream).await, (1, 1));
    assert_eq!(told(&mut stream).await, (3, 1));
    world.say(1, Cleared, Urgent).await;
    assert_eq!(told(&mut stream).await, (1, 3));
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b24_whoever_watches_right_after_a_restart_is_not_called_by_steps_that_are_over() {
    let mut world = World::new().await;
    world.say(1, Raised, Urgent).await;
    for _ in 0..200 {
        world.say(1, Risen, Emergency).await;
    }
    world.say(1, Acknowledged, Emergency).await;
    let acknowledged = pulseward_proto_pipeline::v1::AlertState::Acknowledged as i32;
    for _ in 0..20 {
        let mut running = world.start(|_| {}).await;
        let mut stream = running.watch().await;
        assert_eq!(told(&mut stream).await, (1, acknowledged));
        running.stop().await.unwrap();
    }
}

#[tokio::test]
async fn b7_a_step_that_a_zombie_says_again_is_told_once() {
    let mut world = World::new().await;
    let mut running = world.start(|_| {}).await;
    let mut stream = running.watch().await;
    world.say(1, Raised, Urgent).await;
    world.say_because(0, None, alert(1, Raised, Urgent)).await;
    world.say(2, Raised, Urgent).await;
    assert_eq!(told(&mut stream).await, (1, 1));
    assert_eq!(told(&mut stream).await, (2, 1));
    assert_eq!(running.metric("pulseward_alerts_repeated_steps_total"), 1.0);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_step_that_is_missing_stops_the_stage_and_is_told_by_name() {
    let mut world = World::new().await;
    let running = world.start(|_| {}).await;
    world.say(1, Raised, Urgent).await;
    world.say_because(7, None, alert(2, Raised, Urgent)).await;
    assert!(matches!(running.ended().await, Err(Error::Chain { .. })));
}

#[tokio::test]
async fn calls_without_a_care_teams_token_are_refused_and_counted() {
    let world = World::new().await;
    let mut running = world.start(|_| {}).await;
    for token in [
        "",
        "another",
        TOKEN.trim_start_matches("a "),
        &format!("{TOKEN} "),
    ] {
        let refused = running
            .client
            .watch(authorised(WatchRequest::default(), token))
            .await;
        assert_eq!(
            refused.unwrap_err().code(),
            Code::Unauthenticated,
            "{token:?}"
        );
    }
    let bare = running.client.watch(WatchRequest::default()).await;
    assert_eq!(bare.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(running.metric("pulseward_alerts_refused_tokens_total"), 5.0);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_watcher_that_does_not_keep_up_is_let_go_with_a_code_and_the_others_go_on() {
    let mut world = World::new().await;
    let mut running = world.start(|settings| settings.watcher_queue = 2).await;
    // More than the transport's own buffers take.
    let mut slow = running.watch().await;
    for _ in 0..40 {
        for id in 0..=255 {
            world.say(id, Raised, Urgent).await;
        }
        if running.metric("pulseward_alerts_ended_watchers_total") > 0.0 {
            break;
        }
    }
    running
        .until("pulseward_alerts_ended_watchers_total", 1.0)
        .await;
    let end = loop {
        if let Err(status) = next(&mut slow).await {
            break status;
        }
    };
    assert_eq!(
        (end.code(), end.message()),
        (Code::ResourceExhausted, "slow_watcher")
    );
    running.stop().await.unwrap();
}

#[tokio::test]
async fn watchers_are_bounded_and_a_place_is_free_when_one_leaves() {
    let world = World::new().await;
    let mut running = world.start(|settings| settings.watchers = 1).await;
    let first = running.watch().await;
    let second = running
        .client
        .watch(authorised(WatchRequest::default(), TOKEN))
        .await;
    assert_eq!(second.unwrap_err().message(), "too_many_watchers");
    drop(first);
    running
        .until("pulseward_alerts_ended_watchers_total", 1.0)
        .await;
    running.watch().await;
    running.stop().await.unwrap();
}

#[tokio::test]
async fn who_asks_for_urgent_ones_is_told_no_watch() {
    let mut world = World::new().await;
    let mut running = world.start(|_| {}).await;
    let request = WatchRequest {
        at_least: AlertSeverity::Urgent.into(),
    };
    let mut stream = running
        .client
        .watch(authorised(request, TOKEN))
        .await
        .unwrap()
        .into_inner();
    world.say(1, Raised, Watch).await;
    world.say(2, Raised, Urgent).await;
    assert_eq!(told(&mut stream).await, (2, 1));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_alert_about_a_partition_names_nobody() {
    let mut world = World::new().await;
    let mut running = world.start(|_| {}).await;
    let mut stream = running.watch().await;
    let about = Alert {
        pseudonym: Pseudonym::ZERO,
        sealed_handle: [0; 44],
        ..alert(1, Raised, Emergency)
    };
    world.say_because(0, None, about).await;
    assert!(
        next(&mut stream)
            .await
            .unwrap()
            .unwrap()
            .pseudonym
            .is_empty()
    );
    running.stop().await.unwrap();
}

#[tokio::test]
async fn watchers_are_told_when_the_program_stops() {
    let world = World::new().await;
    let mut running = world.start(|_| {}).await;
    let mut stream = running.watch().await;
    let told = tokio::spawn(async move { next(&mut stream).await });
    running.stop().await.unwrap();
    // Either the status arrives, or the connection is gone with the program.
    assert_eq!(told.await.unwrap().unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn more_open_alerts_than_the_setting_stop_the_stage() {
    let mut world = World::new().await;
    let running = world.start(|settings| settings.open_alerts = 2).await;
    for id in 0..3 {
        world.say(id, Raised, Urgent).await;
    }
    assert!(matches!(
        running.ended().await,
        Err(Error::TooManyOpen { limit: 2 })
    ));
}
