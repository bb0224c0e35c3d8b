//! The attackers by name, against the whole front.

use std::sync::Arc;

use pulseward_base::{Clock, Reject};
use pulseward_device::{Attack, AttackSettings, Attackers, queue::new_incarnation};
use pulseward_ingest::Settings;

use crate::{
    client::{Client, batch, now},
    house::{House, quick},
};

async fn attackers(house: &House, link: &pulseward_device::LinkSettings) -> Attackers {
    let settings = AttackSettings {
        flood: 50,
        ..AttackSettings::new(link.clone(), house.ticket())
    };
    let clock = Arc::clone(&house.clock) as Arc<dyn Clock>;
    Attackers::enter(settings, clock).await.unwrap()
}

#[tokio::test]
async fn every_attack_is_refused_by_its_code_and_nothing_of_it_is_stored() {
    let house = House::new();
    let instance = house.start(quick()).await;
    let mut attackers = attackers(&house, &instance.link).await;
    for report in attackers.run_all().await {
        assert!(report.holds(), "{report:?}");
    }
    let earnest = attackers.ledger().acknowledged().count();
    assert_eq!(house.stored().await.len(), earnest);
    assert_eq!(earnest, 2);
    // Each was counted, by its code.
    for attack in Attack::ALL {
        let counted = attack
            .refusals()
            .iter()
            .any(|reject| instance.metrics.rejected(*reject) > 0);
        assert!(counted, "{}", attack.name());
    }
}

#[tokio::test]
async fn a30_a_flood_of_hellos_is_cut_off_and_live_sessions_go_on() {
    let house = House::new();
    let settings = Settings {
        hello_burst: 10,
        hellos_per_second: 1,
        ..quick()
    };
    let instance = house.start(settings).await;
    let identity = house.identity(&instance.link).await;
    let name = new_incarnation(now());
    let mut live = Client::enter(&house, &instance.link, &identity, name)
        .await
        .unwrap();
    let mut attackers = attackers(&house, &instance.link).await;
    let report = attackers.run(Attack::Flood).await;
    assert!(report.holds(), "{report:?}");
    assert!(instance.metrics.rejected(Reject::OverLimit) >= 30);
    let answer = live.ask(&batch(&identity, name, 0, 700).payload).await;
    assert!(answer.is_ok(), "who is inside does not notice");
}
