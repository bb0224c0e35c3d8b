//! From an alert's slip to a name.

use std::{io::Write as _, os::unix::fs::PermissionsExt as _, process::Stdio};

use serde_json::Value;

use crate::house::{House, Pipeline};

#[test]
fn a_clinician_carries_a_slip_to_the_vault_and_learns_the_name_once() {
    let house = House::new();
    let running = house.serve();
    let tickets = house.tickets(&running, 2);
    let staff = house.clinician();
    let slip = house.pipeline.slip(tickets[0].riders.sealed_handle, 10);
    let kept = house.keep("slip", &slip);
    let told = house.tell(&[
        "way-back",
        "--staff-file",
        &staff,
        "--slip",
        &kept,
        "--json",
    ]);
    let person: Value = serde_json::from_str(&told).unwrap();
    assert!(person["name"].as_str().unwrap().len() > 8, "{told}");
    assert_eq!(person["birth_date"].as_str().unwrap().len(), 10);

    let again = house.refuse(&["way-back", "--staff-file", &staff, "--slip", &kept]);
    assert!(again.contains("spent"), "{again}");

    // The session is kept, so that a second slip in the same half minute needs no second code;
    // and a slip may come as bytes, from standard input.
    let slip = house.pipeline.slip(tickets[1].riders.sealed_handle, 10);
    let mut child = house
        .command(&["way-back", "--staff-file", &staff, "--slip", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&slip).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains(", born ")
    );

    let metrics = running.page("/metrics");
    for line in [
        "pulseward_identity_persons 2",
        "pulseward_identity_tickets_total 2",
        "pulseward_identity_way_backs_total{outcome=\"done\"} 2",
        "pulseward_identity_way_backs_total{outcome=\"spent\"} 1",
        "pulseward_identity_way_backs_total{outcome=\"expired\"} 0",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[test]
fn a_slip_used_before_a_kill_stays_used() {
    let house = House::new();
    let running = house.serve();
    let tickets = house.tickets(&running, 1);
    let staff = house.clinician();
    let slip = house.pipeline.slip(tickets[0].riders.sealed_handle, 10);
    let kept = house.keep("slip", &slip);
    house.tell(&["way-back", "--staff-file", &staff, "--slip", &kept]);
    running.kill();
    let running = house.serve();
    // Somebody else asks: the first one's code of this half minute is spent, too.
    let staff = house.clinician_in("other.json");
    let server = running.said["grpc"].as_str().unwrap();
    let arguments = ["way-back", "--staff-file", &staff, "--server", server];
    let again = house.refuse(&[&arguments[..], &["--slip", &kept]].concat());
    assert!(again.contains("spent"), "{again}");
}

#[test]
fn an_expired_a_forged_and_a_foreign_slip_are_refused_each_by_its_name() {
    let house = House::new();
    let running = house.serve();
    let handle = house.tickets(&running, 1)[0].riders.sealed_handle;
    let staff = house.clinician();
    let mut forged = house.pipeline.slip(handle, 10);
    forged[200] ^= 1;
    for (slip, word) in [
        (house.pipeline.slip(handle, -1), "expired"),
        (house.pipeline.slip(handle, 25 * 60), "expired"),
        (forged, "bad_slip"),
        (Pipeline::new().slip(handle, 10), "bad_slip"),
    ] {
        let kept = house.keep("slip", &slip);
        let said = house.refuse(&["way-back", "--staff-file", &staff, "--slip", &kept]);
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn a_staff_file_that_others_can_read_is_not_used() {
    let house = House::new();
    let running = house.serve();
    let handle = house.tickets(&running, 1)[0].riders.sealed_handle;
    let staff = house.clinician();
    let mode = std::fs::metadata(&staff).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    std::fs::set_permissions(&staff, std::fs::Permissions::from_mode(0o640)).unwrap();
    let kept = house.keep("slip", &house.pipeline.slip(handle, 10));
    let said = house.refuse(&["way-back", "--staff-file", &staff, "--slip", &kept]);
    assert!(said.contains("read by others"), "{said}");
}
