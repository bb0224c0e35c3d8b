//! A care team's commands, from the terminal through the feed and the detector back to the screen.

use std::{sync::Arc, time::Duration};

use pulseward::{client::Staff, config::Config, home::Home};
use pulseward_app::SystemClock;
use pulseward_base::bytes::hex;
use pulseward_device::{Fleet, FleetSettings};
use pulseward_proto_pipeline::v1::{AlertEvent, AlertState, AlertSubject};

use crate::ward::{PATIENCE, Ward};

async fn next(events: &mut tonic::Streaming<AlertEvent>) -> AlertEvent {
    let event = tokio::time::timeout(PATIENCE, events.message()).await;
    event.expect("in time").unwrap().expect("it goes on")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c10_an_alert_is_acknowledged_and_snoozed_by_command_and_every_screen_hears_of_it() {
    let ward = Ward::with("[detector]\ndevice_silence = \"1s\"\n");
    let vault = ward.serve();
    let pipeline = ward.up();
    let directory = ward.pipeline.directory.clone();
    let config = Config::read(&directory, None).unwrap();
    let staff = Staff::connect(&Home { directory, config }).await.unwrap();
    let mut events = staff.watch().await.unwrap();
    // A device that has sent, and falls silent.
    let mut settings = FleetSettings::new(ward.link(), ward.tickets(1));
    settings.interval = Duration::from_millis(50);
    let fleet = Fleet::start(settings, Arc::new(SystemClock::start()));
    crate::ward::eventually("it has sent", PATIENCE, || {
        (fleet.snapshot().total.durable > 3).then_some(())
    });
    fleet.stop(PATIENCE).await;
    let raised = loop {
        let event = next(&mut events).await;
        if event.subject() == AlertSubject::DeviceSilent {
            break event;
        }
    };
    assert!(raised.pages && raised.state() == AlertState::Raised);

    let alert = hex(&raised.alert_id);
    let expect = [
        (vec!["alerts", "ack", &alert], AlertState::Acknowledged),
        (
            vec!["alerts", "snooze", &alert, "--for", "1h"],
            AlertState::Snoozed,
        ),
    ];
    for (command, state) in expect {
        ward.pipeline.tell(&command);
        let event = next(&mut events).await;
        assert_eq!((event.state(), event.pages), (state, false));
        assert_eq!(event.alert_id, raised.alert_id);
    }
    let unknown = ward.pipeline.refuse(&["alerts", "ack", &"00".repeat(16)]);
    assert!(unknown.contains("unknown_alert"), "{unknown}");
    // After a restart it is as it was left.
    pipeline.drain();
    let pipeline = ward.up();
    let directory = ward.pipeline.directory.clone();
    let config = Config::read(&directory, None).unwrap();
    let staff = Staff::connect(&Home { directory, config }).await.unwrap();
    let event = next(&mut staff.watch().await.unwrap()).await;
    assert_eq!(event.alert_id, raised.alert_id);
    assert_eq!((event.state(), event.pages), (AlertState::Snoozed, false));
    pipeline.drain();
    drop(vault);
}
