//! The demo on Apache Kafka: a real broker, which the test starts and ends itself.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use crate::{demo::Demo, house::root, ward::left_out};

/// A broker on loopback that ends with this value, and with this process however it ends.
struct Broker {
    bootstrap: String,
    process: Child,
    /// The script runs until this ends.
    input: Option<ChildStdin>,
}

impl Broker {
    fn start() -> Self {
        let mut process = Command::new(root().join("deploy/kafka/run"))
            .arg("1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take();
        let mut line = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let bootstrap = line.trim().strip_prefix("ready ");
        Self {
            bootstrap: bootstrap.expect("a broker: ./check --install").to_owned(),
            process,
            input,
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.input = None;
        let _it_has_ended = self.process.wait();
    }
}

#[test]
fn a_demo_on_kafka_loses_and_doubles_nothing_through_kills() {
    if left_out("kafka") {
        return;
    }
    let broker = Broker::start();
    let arguments = ["--for", "20s", "--kills", "3", "--kafka", &broker.bootstrap];
    let demo = Demo::run(&arguments, Duration::from_secs(180));
    demo.assert_whole();
    let made = demo.logged("killed and restarted", "kill");
    assert_eq!(made.len(), 3);
}
