//! Hysteresis: an alert is raised by m of the last n votes and ends when none of n would keep it.
//!
//! A vote is cast by a reading, never by time: a gap freezes an episode, it neither ends one nor
//! brings one nearer. What is missing votes neither way: it cannot raise an alert above a watch, and
//! it cannot end one, so withholding a vital never silences anybody.

use pulseward_base::Micros;
use pulseward_eventlog::body::Severity;

/// How many votes raise, out of how many that are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MOfN {
    /// As many of the remembered votes raise.
    pub m: u8,
    /// As many votes are remembered, and as many must agree to end. At most [`MOfN::MOST`].
    pub n: u8,
}

impl MOfN {
    /// The most votes that are remembered.
    pub const MOST: u8 = 8;
}

/// What one evaluation says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Vote {
    /// The severity that is certain.
    pub certain: Option<Severity>,
    /// Whether what is missing could make it urgent: worth watching.
    pub watch: bool,
    /// The highest severity that what is missing leaves open.
    pub possible: Option<Severity>,
}

/// What a vote changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// An alert begins.
    Raised(Severity),
    /// An open alert becomes more severe.
    Risen(Severity),
    /// An open alert ends; this is how severe it was last.
    Cleared(Severity),
}

/// The last votes of one lane, and how severe its open alert is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Votes {
    /// Newest first.
    pub(crate) votes: Vec<Vote>,
    /// The time of the newest vote.
    pub(crate) last: Option<Micros>,
}

impl Votes {
    /// None cast yet.
    pub const EMPTY: Self = Self {
        votes: Vec::new(),
        last: None,
    };

    /// Counts `vote`, cast at `at`. A vote that follows the one before it by more than `sparse`
    /// stands for all m: a patient who is seen every four hours is not made to wait for the next.
    pub fn cast(
        &mut self,
        vote: Vote,
        at: Micros,
        rule: Rule,
        open: Option<Severity>,
    ) -> Option<Change> {
        let alone = self
            .last
            .is_none_or(|last| last.until(at) > rule.sparse_after);
        self.last = self.last.max(Some(at));
        self.votes.insert(0, vote);
        self.votes
            .truncate(usize::from(rule.of.n.clamp(1, MOfN::MOST)));
        let needed = if alone && rule.alone_counts {
            1
        } else {
            rule.of.m.max(1)
        };
        let raised = self.raised(needed);
        match open {
            None => raised.map(Change::Raised),
            Some(open) if raised > Some(open) => raised.map(Change::Risen),
            Some(open) => self.lowered(open, rule.of),
        }
    }

    /// Returns how severe the open alert is from now on: a level that nothing keeps any more is left
    /// without a word, so that reaching it again is a rise again.
    #[must_use]
    pub fn level(&self, open: Severity, of: MOfN) -> Severity {
        if self.keeps(open, of) {
            open
        } else {
            self.raised(of.m).unwrap_or(Severity::Watch).min(open)
        }
    }

    fn raised(&self, needed: u8) -> Option<Severity> {
        let enough = |count: usize| count >= usize::from(needed);
        let certain = |severity| {
            self.votes
                .iter()
                .filter(|vote| vote.certain >= Some(severity))
                .count()
        };
        [Severity::Emergency, Severity::Urgent]
            .into_iter()
            .find(|severity| enough(certain(*severity)))
            .or_else(|| {
                let watched = |vote: &&Vote| vote.watch || vote.certain.is_some();
                enough(self.votes.iter().filter(watched).count()).then_some(Severity::Watch)
            })
    }

    fn keeps(&self, severity: Severity, of: MOfN) -> bool {
        let full = self.votes.len() >= usize::from(of.n.clamp(1, MOfN::MOST));
        !full
            || self
                .votes
                .iter()
                .any(|vote| vote.possible >= Some(severity))
    }

    fn lowered(&self, open: Severity, of: MOfN) -> Option<Change> {
        (!self.keeps(Severity::Watch, of)).then_some(Change::Cleared(open))
    }
}

/// How votes are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// m and n.
    pub of: MOfN,
    /// Whether a vote after a long gap raises alone.
    pub alone_counts: bool,
    /// How long such a gap is.
    pub sparse_after: std::time::Duration,
}
