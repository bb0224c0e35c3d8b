//! Start, status, configuration, end.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::Value;

use crate::house::{House, PROGRAM};

#[test]
fn it_comes_up_says_how_it_is_and_ends_in_order_at_sigterm() {
    let house = House::new();
    let running = house.serve();
    assert!(running.page("/healthz").contains("200 OK"));
    assert!(running.page("/readyz").contains("200 OK"));
    let status: Value = serde_json::from_str(&house.tell(&["status", "--json"])).unwrap();
    assert_eq!(status["root"], running.said["root"]);
    assert_eq!(status["pipeline_root"], house.pipeline.root_hex().as_str());
    assert_eq!(status["problems"], Value::Array(Vec::new()));
    assert!(house.tell(&["status"]).contains("all is well"));
    let root = house.tell(&["root"]);
    assert_eq!(root.trim(), running.said["root"].as_str().unwrap());
    let (code, log) = running.end();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("draining") && log.contains("ended"), "{log}");
    assert!(house.refuse(&["status"]).contains("no running program"));
}

#[test]
fn init_makes_the_keys_once_and_the_root_stays() {
    let house = House::new();
    let root = house.pipeline.root_hex();
    let made = house.spawn(&["init", "--pipeline-root", &root]);
    let made = made.wait_with_output().unwrap();
    assert!(made.status.success());
    let first = String::from_utf8(made.stdout).unwrap();
    assert_eq!(first.trim().len(), 64);
    let config = fs::read_to_string(house.vault().join("identity.toml")).unwrap();
    assert!(config.contains(&root));
    let again = house.spawn(&["init"]).wait_with_output().unwrap();
    assert_eq!(String::from_utf8(again.stdout).unwrap(), first);
    assert_eq!(house.tell(&["root"]), first);
}

#[test]
fn only_its_owner_may_enter_and_one_process_holds_it() {
    let house = House::new();
    let _running = house.serve();
    let mode = |name: &str| {
        let metadata = fs::metadata(house.vault().join(name)).unwrap();
        metadata.permissions().mode() & 0o777
    };
    assert_eq!(mode(""), 0o700);
    for private in ["admin.sock", "audit.chain", "custodian", "pages/lock"] {
        assert_eq!(mode(private), 0o600, "{private}");
    }
    let second = house.spawn(&["serve"]).wait_with_output().unwrap();
    assert!(!second.status.success());
    let said = String::from_utf8(second.stderr).unwrap();
    assert!(said.contains("another process holds"), "{said}");
}

#[test]
fn another_passphrase_opens_nothing() {
    let house = House::new();
    drop(house.serve());
    let mut other = House::new();
    other.directory = house.directory;
    let refused = other.spawn(&["serve"]).wait_with_output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("passphrase does not open"), "{said}");
}

#[test]
fn all_mistakes_of_the_configuration_are_said_before_anything_is_made() {
    let house = House::new();
    let config = house.file("bad.toml");
    fs::write(
        &config,
        "[slips]\npipeline_root = \"no\"\n[grpc]\nport = 1\n",
    )
    .unwrap();
    let config = config.display().to_string();
    let refused = house.spawn(&["serve", "--config", &config]);
    let refused = refused.wait_with_output().unwrap();
    assert!(!refused.status.success());
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(
        said.contains("pipeline_root") && said.contains("grpc.port"),
        "{said}"
    );
    assert!(!house.vault().exists());
}

#[test]
fn help_names_every_command() {
    let help = std::process::Command::new(PROGRAM)
        .arg("--help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for command in [
        "init", "serve", "register", "consent", "ticket", "way-back", "root", "status", "staff",
    ] {
        assert!(help.contains(command), "{command} in {help}");
    }
}
