//! The demo on Apache Kafka: a real broker, which the test starts and ends itself.

use std::time::Duration;

use crate::{brokers::Brokers, demo::Demo, ward::left_out};

#[test]
fn a_demo_on_kafka_loses_and_doubles_nothing_through_kills() {
    if left_out("kafka") {
        return;
    }
    let broker = Brokers::start(1);
    let arguments = ["--for", "20s", "--kills", "3", "--kafka", &broker.bootstrap];
    let demo = Demo::run(&arguments, Duration::from_secs(180));
    demo.assert_whole();
    let made = demo.logged("killed and restarted", "kill");
    assert_eq!(made.len(), 3);
}
