//! Words for people, out of what services say.

use std::time::Duration;

use pulseward_base::bytes::hex;
use pulseward_proto_pipeline::v1::{
    AlertEvent, AlertSeverity, AlertState, AlertSubject, AlertVital,
};

/// Returns a duration as a person would say it.
#[must_use]
pub fn duration(of: Duration) -> String {
    let seconds = of.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}

/// Returns one step of an alert as one line, with every vital that it rests on. Nobody's name is
/// in it.
#[must_use]
pub fn alert(event: &AlertEvent) -> String {
    let vitals: Vec<_> = event.vitals.iter().map(vital).collect();
    let vitals = if vitals.is_empty() {
        String::new()
    } else {
        format!(" [{}]", vitals.join(", "))
    };
    format!("{}{vitals} alert {}", headline(event), hex(&event.alert_id))
}

/// Returns what fits one line of a screen: only the vitals that add points.
#[must_use]
pub fn alert_short(event: &AlertEvent) -> String {
    let adding = event.vitals.iter().filter(|vital| vital.high > 0);
    let vitals: Vec<_> = adding
        .map(|of| format!("{} {}", short_name(&of.name), value(of)))
        .collect();
    let vitals = if vitals.is_empty() {
        String::new()
    } else {
        format!(": {}", vitals.join(", "))
    };
    format!("{}{vitals}", headline(event))
}

fn headline(event: &AlertEvent) -> String {
    let severity = match event.severity() {
        AlertSeverity::Emergency => "EMERGENCY",
        AlertSeverity::Urgent => "URGENT",
        AlertSeverity::Watch => "watch",
        AlertSeverity::Unspecified => "unknown",
    };
    let state = match event.state() {
        AlertState::Raised => "raised",
        AlertState::Risen => "risen",
        AlertState::Cleared => "cleared",
        AlertState::Acknowledged => "acknowledged",
        AlertState::Snoozed => "snoozed",
        AlertState::Resumed => "resumed",
        AlertState::Unspecified => "unknown",
    };
    let marks = [
        (event.past, ", past"),
        (event.late, ", late"),
        (event.unverified, ", unverified"),
        (
            event.snoozed && event.state() != AlertState::Snoozed,
            ", in a snooze",
        ),
    ];
    let marks: String = marks
        .iter()
        .filter_map(|(is, mark)| is.then_some(*mark))
        .collect();
    format!("{severity} {state}: {}{marks}", subject(event))
}

/// The names that a ward uses on a chart.
fn short_name(name: &str) -> &str {
    match name {
        "heart_rate" => "HR",
        "spo2" => "SpO2",
        "respiratory_rate" => "RR",
        "temperature" => "T",
        "systolic_pressure" => "SBP",
        "consciousness" => "ACVPU",
        "supplemental_oxygen" => "O2",
        other => other,
    }
}

fn subject(event: &AlertEvent) -> String {
    match event.subject() {
        AlertSubject::News2 if event.low == event.high => format!("NEWS2 {}", event.low),
        AlertSubject::News2 => format!("NEWS2 {} to {}", event.low, event.high),
        AlertSubject::DeviceSilent => "a device has fallen silent".to_owned(),
        AlertSubject::StreamSilent => "a vital no longer comes".to_owned(),
        AlertSubject::FeedSilent => "nothing reaches the hospital from any device".to_owned(),
        AlertSubject::Implausible => "values that no living patient shows".to_owned(),
        AlertSubject::ClockSkew => "a device's clock is far off".to_owned(),
        AlertSubject::Forked => "two devices under one key".to_owned(),
        AlertSubject::Unspecified => "something this version does not know".to_owned(),
    }
}

fn vital(vital: &AlertVital) -> String {
    let points = if vital.low == vital.high {
        format!("+{}", vital.low)
    } else {
        format!("+{} to {}", vital.low, vital.high)
    };
    // A unit in braces is UCUM's way to say that there is none.
    let unit = if vital.unit.starts_with('{') {
        String::new()
    } else {
        format!(" {}", vital.unit)
    };
    format!(
        "{} {}{unit} ({points})",
        vital.name.replace('_', " "),
        value(vital)
    )
}

fn value(vital: &AlertVital) -> String {
    match (vital.name.as_str(), vital.value) {
        ("consciousness", 0) => "alert".to_owned(),
        ("consciousness", 1) => "new confusion".to_owned(),
        ("consciousness", 2) => "responds to voice".to_owned(),
        ("consciousness", 3) => "responds to pain".to_owned(),
        ("consciousness", 4) => "unresponsive".to_owned(),
        ("supplemental_oxygen", 0) => "none".to_owned(),
        ("supplemental_oxygen", 1) => "given".to_owned(),
        (_, value) => {
            let places = usize::try_from(vital.scale).unwrap_or_default();
            let scale = i32::try_from(vital.scale).unwrap_or_default();
            format!("{:.places$}", f64::from(value) / 10_f64.powi(scale))
        }
    }
}

/// Returns one step of an alert as one JSON object.
#[must_use]
pub fn alert_json(event: &AlertEvent) -> String {
    let vitals: Vec<_> = event
        .vitals
        .iter()
        .map(|vital| {
            serde_json::json!({
                "kind": vital.name, "value": vital.value, "scale": vital.scale, "unit": vital.unit,
                "points": [vital.low, vital.high],
            })
        })
        .collect();
    serde_json::json!({
        "alert": hex(&event.alert_id),
        "pseudonym": hex(&event.pseudonym),
        "lane": event.lane().as_str_name(),
        "subject": event.subject().as_str_name(),
        "severity": event.severity().as_str_name(),
        "state": event.state().as_str_name(),
        "pages": event.pages, "past": event.past, "late": event.late, "unverified": event.unverified,
        "snoozed": event.snoozed,
        "at": event.at, "score": [event.low, event.high], "vitals": vitals,
    })
    .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_in_their_two_largest_units() {
        let said = [
            (5, "5 s"),
            (65, "1 min 5 s"),
            (3_660, "1 h 1 min"),
            (90_000, "1 d 1 h"),
        ];
        for (seconds, words) in said {
            assert_eq!(duration(Duration::from_secs(seconds)), words);
        }
    }

    #[test]
    fn an_alert_names_its_vitals_with_units_and_points() {
        let pulse = AlertVital {
            kind: 1,
            name: "heart_rate".into(),
            value: 1312,
            scale: 1,
            unit: "/min".into(),
            low: 3,
            high: 3,
        };
        let mut event = AlertEvent {
            alert_id: vec![0xab; 16],
            low: 7,
            high: 9,
            vitals: vec![pulse],
            ..AlertEvent::default()
        };
        event.set_subject(AlertSubject::News2);
        event.set_severity(AlertSeverity::Emergency);
        event.set_state(AlertState::Raised);
        let line = alert(&event);
        assert!(
            line.starts_with(
                "EMERGENCY raised: NEWS2 7 to 9 [heart rate 131.2 /min (+3)] alert abab"
            ),
            "{line}"
        );
        assert_eq!(
            alert_short(&event),
            "EMERGENCY raised: NEWS2 7 to 9: HR 131.2"
        );
        assert!(alert_json(&event).contains(r#""severity":"ALERT_SEVERITY_EMERGENCY""#));
    }
}
