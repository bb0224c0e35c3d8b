//! A step as it goes over the wire. Neither the sealed handle nor a device is in it.

use pulseward_base::Pseudonym;
use pulseward_eventlog::body::{Alert, AlertReading};
use pulseward_proto_pipeline::v1::{AlertEvent, AlertVital};
use pulseward_vitals::Kind;

use crate::view::Step;

/// Returns the message that tells `step`.
pub(crate) fn event(step: &Step) -> AlertEvent {
    let alert = &step.alert;
    let has = |flag| alert.flags & flag != 0;
    let whole_partition = alert.pseudonym == Pseudonym::ZERO;
    AlertEvent {
        alert_id: alert.id.0.to_vec(),
        pseudonym: if whole_partition {
            Vec::new()
        } else {
            alert.pseudonym.0.to_vec()
        },
        lane: i32::from(alert.lane.number()),
        subject: i32::from(alert.what),
        severity: i32::from(alert.severity.number()),
        state: i32::from(alert.state.number()),
        pages: step.pages(),
        past: has(Alert::PAST),
        late: has(Alert::LATE),
        unverified: has(Alert::UNVERIFIED),
        at: alert.at.0,
        model: alert.model.0.to_vec(),
        low: alert.low,
        high: alert.high,
        vitals: alert.readings.iter().map(vital).collect(),
        partition: step.partition.0,
        snoozed: has(Alert::SNOOZED),
    }
}

fn vital(reading: &AlertReading) -> AlertVital {
    let spec = Kind::from_number(reading.kind).map(Kind::spec);
    AlertVital {
        kind: u32::from(reading.kind),
        name: spec.map_or_else(String::new, |spec| spec.name.to_owned()),
        value: reading.value,
        scale: spec.map_or(0, |spec| u32::from(spec.scale)),
        unit: spec.map_or_else(String::new, |spec| spec.ucum.to_owned()),
        low: reading.low,
        high: reading.high,
    }
}
