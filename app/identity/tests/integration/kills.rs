//! What was acknowledged survives `kill -9`.

use std::sync::{
    Mutex,
    atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};

use crate::house::{House, ask};

/// How often the program is killed, unless `PULSEWARD_KILLS` says otherwise.
const KILLS: usize = 4;
/// How many registrations are under way at once.
const CLIENTS: usize = 4;

#[test]
fn kill_9_in_mid_registration_loses_no_acknowledged_person() {
    let kills = std::env::var("PULSEWARD_KILLS")
        .ok()
        .and_then(|kills| kills.parse().ok())
        .unwrap_or(KILLS);
    let house = House::new();
    let mut acknowledged: Vec<String> = Vec::new();
    for round in 0..kills {
        let running = house.serve();
        all_are_there(&house, &acknowledged);
        acknowledged.extend(register_until_killed(&house, running, 5 + round % 7));
    }
    let running = house.serve();
    all_are_there(&house, &acknowledged);
    assert_eq!(running.end().0, Some(0));
}

/// Registers from several clients at once, kills the program when it has acknowledged `enough`,
/// and returns whom it acknowledged.
fn register_until_killed(
    house: &House,
    running: crate::house::Running,
    enough: usize,
) -> Vec<String> {
    let acknowledged = Mutex::new(Vec::new());
    let killed = AtomicBool::new(false);
    let vault = house.vault();
    let (said, hear) = std::sync::mpsc::sync_channel(CLIENTS);
    std::thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                let request = json!({
                    "act": "register_synthetic", "count": 2, "tickets": true, "project": 3, "scope": 1,
                });
                while !killed.load(Ordering::SeqCst) {
                    let Some(answer) = ask(&vault, &request) else { continue };
                    let mut acknowledged = acknowledged.lock().unwrap();
                    acknowledged.extend(ids(&answer));
                    if acknowledged.len() >= enough {
                        let _already = said.try_send(());
                    }
                }
            });
        }
        hear.recv().unwrap();
        running.kill();
        killed.store(true, Ordering::SeqCst);
    });
    acknowledged.into_inner().unwrap()
}

fn ids(answer: &Value) -> Vec<String> {
    let persons = answer["persons"].as_array().unwrap();
    persons
        .iter()
        .map(|person| person["person"].as_str().unwrap().to_owned())
        .collect()
}

fn all_are_there(house: &House, acknowledged: &[String]) {
    let status = house.ask(&json!({"act": "status"})).unwrap();
    let there = status["persons"].as_u64().unwrap();
    assert!(there >= acknowledged.len() as u64, "{status}");
    for id in acknowledged {
        let person = pulseward_base::bytes::unhex(id).unwrap();
        let ticket = json!({"act": "ticket", "person": person, "project": 3, "scope": null});
        assert!(house.ask(&ticket).is_some(), "{id} is gone");
    }
}
