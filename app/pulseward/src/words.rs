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

/// Returns one step of an alert as one line. Nobody's name is in it.
#[must_use]
pub fn alert(event: &AlertEvent) -> String {
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
        AlertState::Unspecified => "unknown",
    };
    let mut line = format!("{severity} {state}: {}", subject(event));
    let marks = [
        (event.past, "past"),
        (event.late, "late"),
        (event.unverified, "unverified"),
    ];
    for (_, mark) in marks.iter().filter(|(is, _)| *is) {
        line += &format!(", {mark}");
    }
    if !event.vitals.is_empty() {
        let vitals: Vec<_> = event.vitals.iter().map(vital).collect();
        line += &format!(" [{}]", vitals.join(", "));
    }
    line + &format!(" alert {}", hex(&event.alert_id))
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
    let places = usize::try_from(vital.scale).unwrap_or_default();
    let value =
        f64::from(vital.value) / 10_f64.powi(i32::try_from(vital.scale).unwrap_or_default());
    let name = vital.name.replace('_', " ");
    let points = if vital.low == vital.high {
        format!("+{}", vital.low)
    } else {
        format!("+{} to {}", vital.low, vital.high)
    };
    format!("{name} {value:.places$} {} ({points})", vital.unit)
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
        assert!(alert_json(&event).contains(r#""severity":"ALERT_SEVERITY_EMERGENCY""#));
    }
}
