//! Neither program holds what is the other's: names are planted in the vault and vital signs in the
//! pipeline, and all that either one wrote is searched for both.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use memchr::memmem;
use pulseward::{client::Staff, config::Config, home::Home};
use pulseward_app::SystemClock;
use pulseward_base::{
    Micros,
    bytes::{hex, unhex},
};
use pulseward_crypto::{SigningKey, random};
use pulseward_device::{
    Backoff, Device, DeviceClock, dice::Dice, enrol, queue::MemoryQueue, queue::QueueLimits,
    queue::new_incarnation,
};
use pulseward_proto_pipeline::v1::AlertEvent;
use pulseward_vitals::{Columns, Kind, Leaf, Row};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::ward::{PATIENCE, Ward, decoded, page};

/// Bytes to be searched for, and what they are.
struct Needle {
    what: String,
    bytes: Vec<u8>,
    /// Whether letters may be of either case.
    is_text: bool,
}

fn text(what: &str, text: &str) -> Needle {
    Needle {
        what: what.to_owned(),
        bytes: text.to_ascii_lowercase().into_bytes(),
        is_text: true,
    }
}

fn raw(what: &str, bytes: &[u8]) -> Needle {
    Needle {
        what: what.to_owned(),
        bytes: bytes.to_vec(),
        is_text: false,
    }
}

/// What somebody wrote: a file, or a page.
struct Written {
    place: String,
    bytes: Vec<u8>,
}

/// Everything under a directory: logs, stores, sockets' names, configuration.
fn written_under(directory: &Path) -> Vec<Written> {
    let mut written = Vec::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        for entry in fs::read_dir(path).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            let place = path.display().to_string();
            written.push(Written {
                bytes: place.clone().into_bytes(),
                place: format!("the name of {place}"),
            });
            if path.is_dir() {
                left.push(path);
            } else if path.is_file() {
                let bytes = fs::read(&path).unwrap();
                written.push(Written { place, bytes });
            }
        }
    }
    written
}

/// Returns what was found, and where.
fn search(written: &[Written], needles: &[Needle]) -> Vec<String> {
    let mut found = Vec::new();
    for Written { place, bytes } in written {
        let lower = bytes.to_ascii_lowercase();
        for needle in needles {
            let hay = if needle.is_text { &lower } else { bytes };
            if memmem::find(hay, &needle.bytes).is_some() {
                found.push(format!("{} in {place}", needle.what));
            }
        }
    }
    found
}

/// A person whom nobody else is called like.
fn person() -> (Value, Vec<Needle>) {
    let word = || hex(&random::bytes::<6>());
    let (given, family, mail, street, fact) = (word(), word(), word(), word(), word());
    let person = json!({
        "name": format!("{given} {family}"),
        "birth_date": "1931-10-29",
        "contact": format!("{mail}@{street}.example"),
        "facts": {"pacemaker": fact},
    });
    let mut needles = Vec::new();
    for word in [&given, &family, &mail, &street, &fact] {
        needles.push(text("a name", word));
        needles.push(text("a name in hexadecimal", &hex(word.as_bytes())));
    }
    needles.push(text("a birth date", "1931-10-29"));
    (person, needles)
}

/// Values that no file has by chance: pairs that stand beside each other in a batch.
struct Vitals {
    values: Vec<i32>,
}

impl Vitals {
    fn new() -> Self {
        let value = || i32::from_le_bytes(random::bytes::<4>()) | 0x4100_0001;
        Self {
            values: std::iter::repeat_with(value).take(8).collect(),
        }
    }

    fn columns(&self, now: Micros) -> Columns {
        let row = |(place, value): (i64, &i32)| Row {
            time: Micros(now.0 + place * 1_000),
            value: *value,
            quality: 0,
        };
        let leaf = |kind, values: &[i32]| Leaf {
            kind,
            channel: 0,
            rows: (0..).zip(values).map(row).collect(),
        };
        let (one, two) = self.values.split_at(4);
        Columns::new(vec![leaf(Kind::HeartRate, one), leaf(Kind::SpO2, two)]).unwrap()
    }

    fn needles(&self) -> Vec<Needle> {
        let mut needles = Vec::new();
        for pair in self.values.chunks(2) {
            let bytes = |one: fn(i32) -> [u8; 4]| [one(pair[0]), one(pair[1])].concat();
            needles.push(raw("a pair of values", &bytes(i32::to_le_bytes)));
            needles.push(raw(
                "a pair of values, big end first",
                &bytes(i32::to_be_bytes),
            ));
        }
        for value in &self.values {
            let float = f64::from(*value) / 10.0;
            needles.push(text("a value in decimals", &value.to_string()));
            needles.push(text("a value in its unit", &float.to_string()));
            needles.push(raw("a value as a float", &float.to_le_bytes()));
        }
        needles
    }
}

/// Enrols a device, sends the planted values, and returns the first alert of its patient.
async fn live(ward: &Ward, slip: &[u8], vitals: &Vitals) -> (Device, AlertEvent) {
    let config = Config::read(&ward.pipeline.directory, None).unwrap();
    let directory = ward.pipeline.directory.clone();
    let staff = Staff::connect(&Home { directory, config }).await.unwrap();
    let mut alerts = staff.watch().await.unwrap();

    let clock = DeviceClock::new(Arc::new(SystemClock::start()), Micros(0));
    let (link, key) = (ward.link(), Arc::new(SigningKey::generate()));
    let identity = enrol(&link, &clock, key, slip, &[]).await.unwrap();
    let queue = MemoryQueue::new(new_incarnation(clock.now()), QueueLimits::default());
    let device = Device::new(identity, clock.clone(), vec![], Box::new(queue), 1_000);
    let stop = CancellationToken::new();
    let sending = {
        let (device, stop) = (device.clone(), stop.clone());
        let backoff = Backoff::new(Duration::from_millis(50), PATIENCE, Dice::new(1));
        tokio::spawn(async move { device.run(&link, backoff, stop).await })
    };
    let alert = tokio::time::timeout(PATIENCE, async {
        let mut tick = tokio::time::interval(Duration::from_millis(200));
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    device.collect(&vitals.columns(clock.now())).unwrap();
                }
                event = alerts.message() => {
                    let event = event.unwrap().expect("the stream goes on");
                    if !event.pseudonym.is_empty() && !event.vitals.is_empty() {
                        return event;
                    }
                }
            }
        }
    });
    let alert = alert.await.expect("an alert");
    tokio::time::timeout(PATIENCE, device.drained())
        .await
        .unwrap();
    stop.cancel();
    sending.await.unwrap().unwrap();
    (device, alert)
}

/// Asks for the alert's way back in the pipeline, shows it to the vault, and returns the person.
fn way_back(ward: &Ward, alert: &AlertEvent) -> Value {
    let [staff, slip] =
        ["staff.json", "back.slip"].map(|name| ward.file(name).display().to_string());
    let add = [
        "staff",
        "add",
        "--name",
        "Somebody",
        "--role",
        "clinician",
        "--out",
        &staff,
    ];
    ward.vault.tell(&add);
    let id = hex(&alert.alert_id);
    ward.pipeline
        .tell(&["alerts", "way-back", &id, "--out", &slip]);
    let shown = [
        "way-back",
        "--slip",
        &slip,
        "--staff-file",
        &staff,
        "--json",
    ];
    serde_json::from_str(&ward.vault.tell(&shown)).unwrap()
}

/// Returns all that the program in `directory`, which has ended, wrote, and its metrics.
fn all_written(directory: &Path, metrics: String) -> Vec<Written> {
    let mut written = written_under(directory);
    let is_log = |one: &&Written| one.place.ends_with("/log.txt") && one.bytes.contains(&b'\n');
    let log = String::from_utf8_lossy(&written.iter().find(is_log).unwrap().bytes).into_owned();
    assert!(log.lines().count() > 50, "all that can be logged is: {log}");
    written.push(Written {
        place: "the metrics".to_owned(),
        bytes: metrics.into_bytes(),
    });
    assert!(written.len() > 20, "{} places", written.len());
    written
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_name_is_on_the_pipelines_side_and_no_vital_sign_on_the_vaults() {
    let ward = Ward::new();
    ward.talk_much();
    let (vault, pipeline) = (ward.serve(), ward.up());
    let (person, names) = person();
    let persons = ward.file("persons.jsonl");
    fs::write(&persons, format!("{person}\n")).unwrap();
    let register = ["register", "--from", &persons.display().to_string()];
    let id = ward.vault.tell(&register).trim().to_owned();
    let slip = decoded(&ward.vault.tell(&["ticket", "--person", &id])).remove(0);
    let vitals = Vitals::new();
    let (device, alert) = live(&ward, &slip, &vitals).await;
    // Alert and name come together in the clinician's client alone.
    let shown = way_back(&ward, &alert);
    assert_eq!(
        (&shown["name"], &shown["contact"]),
        (&person["name"], &person["contact"])
    );

    let metrics = [ward.admin, ward.vault_admin].map(|port| page(port, "/metrics").unwrap());
    pipeline.drain();
    vault.drain();
    let [of_pipeline, of_vault] = metrics;
    let on_pipeline = all_written(&ward.pipeline.directory, of_pipeline);
    let on_vault = all_written(&ward.vault.directory, of_vault);
    let mut of_patients = vitals.needles();
    let (pseudonym, kid) = (&alert.pseudonym, device.identity().kid());
    for (what, bytes) in [("a pseudonym", &pseudonym[..]), ("a device's kid", &kid.0)] {
        of_patients.push(raw(what, bytes));
        of_patients.push(text(what, &hex(bytes)));
    }
    let of_vault = [
        text("the vault's name for a person", &id),
        raw("the vault's name for a person", &unhex(&id).unwrap()),
    ];
    assert_eq!(search(&on_pipeline, &names), [""; 0]);
    assert_eq!(search(&on_pipeline, &of_vault), [""; 0]);
    assert_eq!(search(&on_vault, &of_patients), [""; 0]);
    // At rest nobody's name, value or pseudonym is in the clear on its own side either.
    assert_eq!(search(&on_vault, &names), [""; 0]);
    assert_eq!(search(&on_pipeline, &of_patients), [""; 0]);
    assert_search_sees(&persons, &names, &vitals);
}

/// The search is no blind one: it finds names in what they came from, and values in a batch.
fn assert_search_sees(persons: &Path, names: &[Needle], vitals: &Vitals) {
    let found = |bytes: Vec<u8>, needles: &[Needle]| {
        let place = "what it came from".to_owned();
        search(&[Written { place, bytes }], needles).len()
    };
    assert_eq!(found(fs::read(persons).unwrap(), names), 6);
    let batch = vitals.columns(Micros(1)).encode();
    assert_eq!(found(batch, &vitals.needles()), 4);
}
