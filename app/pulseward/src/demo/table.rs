//! The live table: one screen, drawn whole each time.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::report::{Attacks, Percentiles};

/// One device's line.
#[derive(Clone, Debug, Default)]
pub(super) struct DeviceLine {
    /// What the ward calls the bed; never a person.
    pub bed: String,
    /// What happens to the simulated patient.
    pub patient: String,
    /// Batches made and acknowledged.
    pub made: u64,
    /// Of those, acknowledged.
    pub acknowledged: u64,
    /// What the device is doing.
    pub state: String,
}

/// One alert's line.
#[derive(Clone, Debug)]
pub(super) struct AlertLine {
    /// How serious: decides the colour.
    pub severity: Severity,
    /// What it says.
    pub text: String,
}

/// How serious an alert is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// Not a page.
    Watch,
    /// An urgent review.
    Urgent,
    /// Act now.
    Emergency,
}

/// Everything one screen shows.
#[derive(Clone, Debug, Default)]
pub(super) struct Screen {
    /// Since the start.
    pub elapsed: Duration,
    /// The devices, in the order of their beds.
    pub devices: Vec<DeviceLine>,
    /// The newest alerts, newest first.
    pub alerts: Vec<AlertLine>,
    /// Batches acknowledged and readings in them.
    pub accepted: u64,
    /// Readings made.
    pub readings: u64,
    /// Acknowledgement times.
    pub ack: Percentiles,
    /// Hostile devices.
    pub attacks: Attacks,
    /// What the service refused, by code.
    pub rejected: BTreeMap<String, u64>,
    /// The name that a way back found, as the vault's own client printed it.
    pub way_back: Option<String>,
    /// The latest thing that happened to the run itself.
    pub note: String,
}

const RESET: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const CYAN: &str = "\x1b[36m";

/// How many devices and alerts fit on the screen.
const DEVICES_SHOWN: usize = 12;
const ALERTS_SHOWN: usize = 6;
/// Where a line of refusals is broken.
const WIDTH: usize = 100;

impl Screen {
    /// Draws it, from the top left of a cleared screen.
    #[must_use]
    pub(super) fn draw(&self) -> String {
        let mut text = String::from("\x1b[H\x1b[J");
        // Writing to a String does not fail.
        let _infallible = self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let seconds = self.elapsed.as_secs();
        writeln!(
            out,
            "{BOLD}Pulseward{RESET}  {DIM}a simulated ward; not a medical device{RESET}   {seconds} s   {}",
            self.note
        )?;
        writeln!(
            out,
            "batches {GREEN}{}{RESET} durable   readings {}   ack p50 {:.1} ms, p99 {:.1} ms   attacks {}/{} refused\n",
            self.accepted,
            self.readings,
            self.ack.p50,
            self.ack.p99,
            self.attacks.refused,
            self.attacks.tried
        )?;
        writeln!(
            out,
            "{DIM}{:<8} {:<14} {:>9} {:>9}  device{RESET}",
            "bed", "patient", "made", "durable"
        )?;
        for device in self.devices.iter().take(DEVICES_SHOWN) {
            writeln!(
                out,
                "{CYAN}{:<8}{RESET} {:<14} {:>9} {:>9}  {}",
                device.bed, device.patient, device.made, device.acknowledged, device.state
            )?;
        }
        let hidden = self.devices.len().saturating_sub(DEVICES_SHOWN);
        if hidden > 0 {
            writeln!(out, "{DIM}and {hidden} more{RESET}")?;
        }
        writeln!(out, "\n{BOLD}Alerts{RESET}")?;
        for alert in self.alerts.iter().take(ALERTS_SHOWN) {
            let colour = match alert.severity {
                Severity::Emergency => RED,
                Severity::Urgent => YELLOW,
                Severity::Watch => DIM,
            };
            writeln!(out, "{colour}{}{RESET}", alert.text)?;
        }
        if let Some(name) = &self.way_back {
            writeln!(
                out,
                "\n{BOLD}Way back{RESET}, as pulseward-identity printed it: {name}"
            )?;
        }
        if !self.rejected.is_empty() {
            writeln!(out, "\n{DIM}{}{RESET}", refusals(&self.rejected))?;
        }
        Ok(())
    }
}

/// Returns what was refused, in lines that fit.
fn refusals(rejected: &BTreeMap<String, u64>) -> String {
    let mut text = String::from("refused:");
    let mut width = text.len();
    for (code, count) in rejected {
        let word = format!(" {code} {count},");
        if width + word.len() > WIDTH {
            text += "\n        ";
            width = "refused:".len();
        }
        width += word.len();
        text += &word;
    }
    text.trim_end_matches(',').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_shows_devices_alerts_and_the_way_back_and_fits_30_lines() {
        let device = DeviceLine {
            bed: "bed 1".into(),
            ..DeviceLine::default()
        };
        let alert = AlertLine {
            severity: Severity::Emergency,
            text: "NEWS2 9".into(),
        };
        let screen = Screen {
            devices: vec![device; 30],
            alerts: vec![alert; 30],
            way_back: Some("a name".into()),
            rejected: BTreeMap::from([("bad_seal".into(), 3)]),
            ..Screen::default()
        };
        let drawn = screen.draw();
        for expected in ["bed 1", "and 18 more", "NEWS2 9", "a name", "bad_seal 3"] {
            assert!(drawn.contains(expected), "{expected} is missing in {drawn}");
        }
        assert!(drawn.lines().count() <= 30);
    }

    #[test]
    fn refusals_are_broken_between_codes() {
        let rejected = (0..20).map(|code| (format!("code_{code:02}"), 7)).collect();
        let text = refusals(&rejected);
        assert!(
            text.lines().count() == 3 && text.lines().all(|line| line.len() <= WIDTH),
            "{text}"
        );
        assert!(
            text.lines()
                .skip(1)
                .all(|line| line.starts_with("         code_")),
            "{text}"
        );
    }
}
