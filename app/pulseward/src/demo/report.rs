//! What a demo found, as one line of JSON with exactly these keys.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

/// The line that `--json` prints. A test freezes its keys.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// Devices that enrolled.
    pub devices: usize,
    /// Batches that devices made.
    pub batches: u64,
    /// Readings in those batches.
    pub readings: u64,
    /// Batches that were acknowledged as durable.
    pub accepted: u64,
    /// What the service refused, by code: its own count.
    pub rejected: BTreeMap<String, u64>,
    /// Acknowledged batches that log, scores or history miss.
    pub lost: u64,
    /// Batches that took effect more than once.
    pub doubled: u64,
    /// What hostile devices tried, and how much of it was refused.
    pub attacks: Attacks,
    /// Alerts raised, each counted once.
    pub alerts: u64,
    /// From handing a batch to the network to its durable answer.
    pub ack_ms: Percentiles,
    /// Rows of readings that the encrypted history holds.
    pub stored_rows: u64,
    /// Batches in the store that no device made: wrongly accepted.
    #[serde(skip)]
    pub foreign: u64,
    /// Whether every stored row is what its device signed.
    #[serde(skip)]
    pub is_verified: bool,
    /// Whether somebody ended the run before its time: what did not happen yet is no failure then.
    #[serde(skip)]
    pub is_cut_short: bool,
}

/// Attempts and refusals.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Attacks {
    /// Attempts.
    pub tried: u64,
    /// Attempts that the service refused by their name.
    pub refused: u64,
}

/// Two points of a distribution, in milliseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Percentiles {
    /// The median.
    pub p50: f64,
    /// What 99 of 100 stay under.
    pub p99: f64,
}

impl Percentiles {
    /// Returns them for `times`; zeros when there are none.
    #[must_use]
    pub fn of(mut times: Vec<Duration>) -> Self {
        times.sort_unstable();
        let at = |share: usize| {
            let index = (times.len() * share / 100).min(times.len().saturating_sub(1));
            let millis = times
                .get(index)
                .map_or(0.0, |time| time.as_secs_f64() * 1e3);
            (millis * 100.0).round() / 100.0
        };
        Self {
            p50: at(50),
            p99: at(99),
        }
    }
}

impl Report {
    /// Returns what makes the demo fail, or nothing.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        let Attacks { tried, refused } = self.attacks;
        let wrong = [
            (
                self.accepted == 0 && !self.is_cut_short,
                "nothing was accepted".to_owned(),
            ),
            (self.lost > 0, format!("{} lost", self.lost)),
            (self.doubled > 0, format!("{} doubled", self.doubled)),
            (
                self.foreign > 0,
                format!("{} wrongly accepted", self.foreign),
            ),
            (
                !self.is_verified,
                "a stored row is not what its device signed".to_owned(),
            ),
            (
                refused != tried,
                format!("{} of {tried} attacks were not refused", tried - refused),
            ),
            (
                tried == 0 && !self.is_cut_short,
                "no attack was tried".to_owned(),
            ),
        ];
        let found: Vec<_> = wrong
            .into_iter()
            .filter_map(|(is, what)| is.then_some(what))
            .collect();
        (!found.is_empty()).then(|| found.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_are_frozen() {
        let mut report = Report::default();
        report.rejected.insert("bad_seal".into(), 1);
        let line = serde_json::to_string(&report).unwrap();
        assert_eq!(
            line,
            r#"{"devices":0,"batches":0,"readings":0,"accepted":0,"rejected":{"bad_seal":1},"lost":0,"doubled":0,"attacks":{"tried":0,"refused":0},"alerts":0,"ack_ms":{"p50":0.0,"p99":0.0},"stored_rows":0}"#
        );
    }

    #[test]
    fn anything_lost_doubled_or_let_in_fails() {
        let good = || Report {
            devices: 1,
            accepted: 1,
            attacks: Attacks {
                tried: 2,
                refused: 2,
            },
            is_verified: true,
            ..Report::default()
        };
        assert_eq!(good().failure(), None);
        let bad: [fn(&mut Report); 7] = [
            |report| report.lost = 1,
            |report| report.doubled = 1,
            |report| report.foreign = 1,
            |report| report.is_verified = false,
            |report| report.accepted = 0,
            |report| report.attacks.refused = 1,
            |report| report.attacks = Attacks::default(),
        ];
        for (index, spoil) in bad.iter().enumerate() {
            let mut report = good();
            spoil(&mut report);
            assert!(report.failure().is_some(), "case {index}");
        }
        let early = Report {
            accepted: 0,
            attacks: Attacks::default(),
            is_cut_short: true,
            ..good()
        };
        assert_eq!(early.failure(), None);
    }

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let times = (1..=100).rev().map(Duration::from_millis).collect();
        let Percentiles { p50, p99 } = Percentiles::of(times);
        assert!((p50 - 51.0).abs() < 1e-9 && (p99 - 100.0).abs() < 1e-9);
        assert!(Percentiles::of(vec![]).p99.abs() < 1e-9);
    }
}
