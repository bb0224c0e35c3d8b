//! Names stay inside.

use std::{fs, path::Path};

use serde_json::{Value, json};

use crate::house::House;

#[test]
fn no_name_lies_in_any_file_log_line_or_metric() {
    let house = House::new();
    let running = house.serve();
    let persons = house.file("persons.jsonl");
    let planted = json!({
        "name": "Zephyrine Quandary",
        "birth_date": "1971-02-03",
        "contact": "zephyrine@quandary.example",
        "facts": {"pacemaker": "implanted Xylophone-9"},
    });
    fs::write(&persons, format!("{planted}\n")).unwrap();
    let persons = persons.display().to_string();
    let id = house.tell(&["register", "--from", &persons, "--project", "3"]);
    let slip = house.tell(&["ticket", "--person", id.trim(), "--project", "3"]);
    house.tickets(&running, 20);
    let staff = house.clinician();
    let handle = sealed_handle(&slip);
    let kept = house.keep("slip", &house.pipeline.slip(handle, 10));
    let told = house.tell(&[
        "way-back",
        "--staff-file",
        &staff,
        "--slip",
        &kept,
        "--json",
    ]);
    let person: Value = serde_json::from_str(&told).unwrap();
    assert_eq!(person["name"], planted["name"]);

    // Requests that fail must not be repeated into a log either.
    let broken = house.ask(&json!({"act": "add_staff", "name": "Zephyrine", "role": 5}));
    assert!(broken.is_none());
    house.refuse(&["staff", "add", "--name", "Zephyrine", "--role", "quandary"]);

    let metrics = running.page("/metrics");
    let (code, log) = running.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("serving"), "{log}");
    let mut texts = vec![("log", log.into_bytes()), ("metrics", metrics.into_bytes())];
    files(&house.vault(), &mut |path| {
        texts.push(("file", fs::read(path).unwrap()));
    });
    assert!(texts.len() > 10, "{} texts", texts.len());
    for planted in [
        "Zephyrine",
        "Quandary",
        "quandary.example",
        "1971-02-03",
        "Xylophone",
        "Vantablack",
    ] {
        for (what, text) in &texts {
            let found = text
                .windows(planted.len())
                .any(|window| window.eq_ignore_ascii_case(planted.as_bytes()));
            assert!(!found, "{planted} in a {what}");
        }
    }
}

fn sealed_handle(slip: &str) -> pulseward_crypto::slips::SealedHandle {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let slip = STANDARD.decode(slip.trim()).unwrap();
    pulseward_crypto::slips::SealedHandle(slip[slip.len() - 44..].try_into().unwrap())
}

fn files(directory: &Path, found: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.is_file() {
            found(&path);
        }
    }
}
