//! What alerting costs people: episodes, not windows.
//!
//! An alarm is on while m of the last n windows alert. An episode begins when it comes on after so
//! many windows without. An event is detected by an episode that begins from twelve hours before its
//! onset to three after; data mark the six hours before onset. Time before that, and all time of
//! patients without the event, counts for false episodes.

use crate::measure::quantile;

/// When an alarm is on, and how long it must be off before it counts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hysteresis {
    /// So many.
    pub of: usize,
    /// Of so many.
    pub in_: usize,
    /// Windows without before a new episode.
    pub rearm: usize,
}

impl Default for Hysteresis {
    fn default() -> Self {
        Self {
            of: 2,
            in_: 3,
            rearm: 12,
        }
    }
}

/// Hours from the mark to the onset; and around the mark in which an episode detects.
const MARK_TO_ONSET: usize = 6;
const BEFORE_MARK: usize = 6;
const AFTER_MARK: usize = 9;

/// What a lane costs and finds, over all patients.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Burden {
    false_episodes: usize,
    quiet_hours: usize,
    quiet_hours_on: usize,
    onsets: usize,
    detected: usize,
    episodes: usize,
    true_episodes: usize,
    leads: Vec<f64>,
}

impl Burden {
    /// Counts one patient: for each hour whether each of several judges alerts, and whether the event
    /// is marked. Each judge has episodes of its own, as lanes that are kept apart do.
    pub fn add(&mut self, judges: &[Vec<bool>], events: &[bool], hysteresis: Hysteresis) {
        let on: Vec<Vec<bool>> = judges
            .iter()
            .map(|alerts| runs(alerts, hysteresis))
            .collect();
        let starts: Vec<usize> = on.iter().flat_map(|on| starts(on, hysteresis)).collect();
        let any_on = |hour: &usize| on.iter().any(|on| on.get(*hour) == Some(&true));
        let Some(mark) = events.iter().position(|event| *event) else {
            self.false_episodes += starts.len();
            self.episodes += starts.len();
            self.quiet_hours += events.len();
            self.quiet_hours_on += (0..events.len()).filter(any_on).count();
            return;
        };
        // A stay that begins too close to its event has no time to be right or wrong in.
        let Some(from) = mark.checked_sub(BEFORE_MARK) else {
            return;
        };
        let to = mark + AFTER_MARK;
        let at_onset = starts.iter().filter(|start| (from..=to).contains(*start));
        self.false_episodes += starts.iter().filter(|start| **start < from).count();
        self.episodes += starts.iter().filter(|start| **start <= to).count();
        self.true_episodes += at_onset.clone().count();
        self.quiet_hours += from;
        self.quiet_hours_on += (0..from).filter(any_on).count();
        self.onsets += 1;
        if let Some(first) = at_onset.min() {
            self.detected += 1;
            self.leads
                .push((mark + MARK_TO_ONSET) as f64 - *first as f64);
        }
    }

    /// Returns the false episodes a patient has on a day.
    #[must_use]
    pub fn false_a_day(&self) -> f64 {
        24.0 * ratio(self.false_episodes, self.quiet_hours)
    }

    /// Returns the share of events with a new episode around their onset.
    #[must_use]
    pub fn sensitivity(&self) -> f64 {
        ratio(self.detected, self.onsets)
    }

    /// Returns the share of episodes that are around an onset.
    #[must_use]
    pub fn precision(&self) -> f64 {
        ratio(self.true_episodes, self.episodes)
    }

    /// Returns the share of quiet time in which an alarm is on.
    #[must_use]
    pub fn time_in_alarm(&self) -> f64 {
        ratio(self.quiet_hours_on, self.quiet_hours)
    }

    /// Returns the median hours from the first episode to the onset.
    #[must_use]
    pub fn lead(&self) -> Option<f64> {
        quantile(&self.leads, 0.5)
    }
}

fn ratio(of: usize, all: usize) -> f64 {
    crate::measure::share(of, all)
}

fn runs(alerts: &[bool], hysteresis: Hysteresis) -> Vec<bool> {
    let last = |end: usize| {
        alerts
            .iter()
            .take(end + 1)
            .skip((end + 1).saturating_sub(hysteresis.in_))
    };
    (0..alerts.len())
        .map(|end| last(end).filter(|alert| **alert).count() >= hysteresis.of)
        .collect()
}

fn starts(on: &[bool], hysteresis: Hysteresis) -> Vec<usize> {
    let mut last: Option<usize> = None;
    let mut starts = Vec::new();
    for (hour, _) in on.iter().enumerate().filter(|pair| *pair.1) {
        if last.is_none_or(|last| hour - last > hysteresis.rearm) {
            starts.push(hour);
        }
        last = Some(hour);
    }
    starts
}
