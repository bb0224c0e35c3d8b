//! A real Prometheus, with the configuration and the rules that are shipped, on a running pipeline.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use pulseward_app::SystemClock;
use pulseward_device::{Fleet, FleetSettings};
use serde_json::Value;

use crate::{
    house::root,
    ward::{PATIENCE, Ward, eventually, free_ports, left_out, page},
};

/// Ends with the test.
struct Prometheus {
    child: Child,
    port: u16,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Prometheus {
    /// Starts one with copies of the shipped files in which the ports are this ward's and the
    /// interval is short; nothing when it is left out.
    fn start(ward: &Ward) -> Option<Self> {
        if left_out("prometheus") {
            return None;
        }
        let shipped = root().join("deploy/prometheus");
        let mut targets = [ward.admin, ward.vault_admin].into_iter();
        let config: String = fs::read_to_string(shipped.join("prometheus.yml"))
            .unwrap()
            .lines()
            .map(|line| match line.split_once("targets:") {
                Some((before, _)) => {
                    let port = targets.next().expect("two targets");
                    format!("{before}targets: [\"127.0.0.1:{port}\"]\n")
                }
                None => format!("{line}\n")
                    .replace(": 15s", ": 1s")
                    .replace(": 5s", ": 1s"),
            })
            .collect();
        assert!(targets.next().is_none(), "{config}");
        let path = ward.file("prometheus.yml");
        fs::write(&path, config).unwrap();
        fs::copy(shipped.join("rules.yml"), ward.file("rules.yml")).unwrap();
        let [port] = free_ports();
        let log = File::create(ward.file("prometheus.log")).unwrap();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                ward.file("tsdb").display()
            ))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("prometheus is not there: ./check --install");
        Some(Self { child, port })
    }

    fn api(&self, path: &str) -> Option<Value> {
        let page = page(self.port, &format!("/api/v1/{path}"))?;
        let mut answer: Value = serde_json::from_str(&page).ok()?;
        (answer["status"] == "success").then(|| answer["data"].take())
    }

    /// Returns the value of each series of a query.
    fn query(&self, query: &str) -> Vec<f64> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let data = self
            .api(&format!("query?query={encoded}"))
            .unwrap_or_default();
        let series = data["result"].as_array().cloned().unwrap_or_default();
        let value = |one: &Value| one["value"][1].as_str().unwrap().parse().unwrap();
        series.iter().map(value).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_real_prometheus_scrapes_both_programs_and_evaluates_every_rule() {
    let ward = Ward::new();
    let (vault, pipeline) = (ward.serve(), ward.up());
    let Some(prometheus) = Prometheus::start(&ward) else {
        return;
    };
    let mut settings = FleetSettings::new(ward.link(), ward.tickets(1));
    settings.interval = Duration::from_millis(100);
    let fleet = Fleet::start(settings, Arc::new(SystemClock::start()));
    for query in [
        "up{job=\"pulseward\"} == 1",
        "up{job=\"pulseward-identity\"} == 1",
        "sum(pulseward_ingest_batches_total) > 0",
        "pulseward_ingest_batches_total{answer=\"durable\"} > 0",
        "pulseward_ingest_rejects_total{code=\"forked\"} == 0",
        "rate(pulseward_ingest_ack_seconds_count[10s]) > 0",
    ] {
        eventually(query, PATIENCE, || {
            (prometheus.query(query).len() == 1).then_some(())
        });
    }
    let rules = eventually("evaluated", PATIENCE, || {
        let groups = prometheus.api("rules")?["groups"].take();
        let rules = groups[0]["rules"].as_array()?.clone();
        rules
            .iter()
            .all(|rule| rule["health"] != "unknown")
            .then_some(rules)
    });
    assert_eq!(rules.len(), 6);
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        assert_ne!(rule["state"], "firing", "{rule}");
    }
    // It must be seen when the pipeline is gone.
    fleet.stop(PATIENCE).await;
    pipeline.kill();
    let down = "up{job=\"pulseward\"} == 0";
    eventually(down, PATIENCE, || {
        (prometheus.query(down).len() == 1).then_some(())
    });
    drop(vault);
}

#[test]
fn every_metric_that_rules_and_dashboards_name_is_shown() {
    let ward = Ward::new();
    let _running = (ward.serve(), ward.up());
    let shown: BTreeSet<String> = [ward.admin, ward.vault_admin]
        .iter()
        .flat_map(|port| samples(&page(*port, "/metrics").unwrap()))
        .collect();
    for file in [
        "deploy/prometheus/rules.yml",
        "deploy/prometheus/rules_test.yml",
        "deploy/grafana/pulseward.json",
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
        let named: BTreeSet<_> = words
            .filter(|word| word.starts_with("pulseward_"))
            .collect();
        assert!(named.len() >= 5, "{file}: {named:?}");
        for name in named {
            assert!(
                shown.contains(name),
                "{file} names {name}, which nobody shows"
            );
        }
    }
}

/// The names of all samples; one that counts up is there from the start, at zero.
fn samples(metrics: &str) -> Vec<String> {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    lines
        .filter_map(|line| line.split([' ', '{']).next())
        .map(str::to_owned)
        .collect()
}
