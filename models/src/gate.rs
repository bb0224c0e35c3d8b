//! The gate: whether a candidate may take over, judged on a frozen set, clean and under attack.
//!
//! It looks at the whole pool and the whole model, and can only refuse: rows are never dropped here.
//! A set is frozen, so a pool that creeps from one training to the next is measured against where it
//! began, not against yesterday. Reasons are a closed list.

mod checks;
mod targets;

pub(crate) use targets::aimed_at;

use std::fmt;

use pulseward_base::{Digest, bytes::hex};
use pulseward_crypto::hash::sha256;

use crate::{
    additive::Looks,
    anchor::{RECIPE, Reads},
    artefact::{Draft, Parameters},
    evaluate::{Decider, Evaluation, EvaluationSet, Group, Judged, judge_set},
    features::VITALS,
};

/// How much worse a candidate may be. All are constants of an operator.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// The area may fall so much, over all patients.
    pub auroc: f64,
    /// The same in a group.
    pub group_auroc: f64,
    /// A group with fewer patients with the event is not compared.
    pub least_events: usize,
    /// Share of false alerts: at most so many times, and never above.
    pub false_share_times: f64,
    /// See there.
    pub most_false_share: f64,
    /// Sensitivity: at least so many times.
    pub sensitivity_times: f64,
    /// Certified shares may fall so much at five and at fifty poisoned patients, or as much as chance makes
    /// them where few patients trained.
    pub certified: [f64; 2],
    /// The share of alerts nobody can silence may fall so much, or as much as chance makes it.
    pub kept: f64,
    /// How far an anchor may lie from where the frozen patients would put it: so many standard errors
    /// of a share of two groups of patients.
    pub rank: f64,
    /// A clinical presentation may fall so far among windows without the event.
    pub percentile: f64,
    /// A curve may move so much anywhere: a trigger has to show as a bump.
    pub shape: f64,
    /// The share of labelled patients may be so many times more or less.
    pub labelled_times: f64,
    /// The share of patients in the most crowded cell may be so much more.
    pub densest: f64,
    /// No author may have labelled a larger share of the patients.
    pub author_share: f64,
    /// No larger share of the patients may have the very readings of another.
    pub twins: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            auroc: 0.01,
            group_auroc: 0.03,
            least_events: 30,
            false_share_times: 1.25,
            most_false_share: 0.20,
            sensitivity_times: 0.85,
            certified: [0.01, 0.04],
            kept: 0.05,
            rank: 3.2,
            percentile: 0.01,
            shape: 0.5,
            labelled_times: 1.3,
            densest: 0.01,
            author_share: 0.05,
            twins: 0.002,
        }
    }
}

impl Limits {
    /// Returns the limits for a model. One that only informs is fitted on labels, of which there are
    /// few, so chance alone moves it further from one training to the next.
    #[must_use]
    pub fn of(draft: &Draft) -> Self {
        if !draft.card.advisory {
            return Self::default();
        }
        Self {
            auroc: 0.025,
            group_auroc: 0.05,
            false_share_times: 1.5,
            sensitivity_times: 0.75,
            percentile: 0.15,
            ..Self::default()
        }
    }
}

/// Why a candidate is refused.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Refusal {
    /// It is another kind of model, or reads other kinds.
    NotComparable,
    /// It tells events from others less well.
    Discrimination {
        /// For whom.
        group: Group,
        /// The serving model's area.
        serving: f64,
        /// Its own.
        candidate: f64,
    },
    /// It alerts too often without reason.
    FalseAlerts {
        /// For whom.
        group: Group,
        /// The serving model's share.
        serving: f64,
        /// Its own.
        candidate: f64,
    },
    /// It misses more.
    Sensitivity {
        /// For whom.
        group: Group,
        /// The serving model's share.
        serving: f64,
        /// Its own.
        candidate: f64,
    },
    /// Fewer alerts survive poisoned patients.
    Certified {
        /// So many of them.
        patients: u32,
        /// The serving model's share.
        serving: f64,
        /// Its own.
        candidate: f64,
    },
    /// More alerts can be silenced by false readings.
    Evadable {
        /// The serving model's share that cannot.
        serving: f64,
        /// Its own.
        candidate: f64,
    },
    /// Most of its parts vote a constant: its certificates prove nothing.
    ConstantMajority {
        /// So many.
        constants: usize,
        /// Of so many.
        parts: usize,
    },
    /// An anchor is not where the frozen patients would have put it.
    Anchor {
        /// Of which term.
        term: usize,
        /// Whether it is the far one.
        far: bool,
        /// So many of them would have to be others.
        others: u32,
        /// Of so many.
        patients: u32,
    },
    /// A presentation that must alert does not.
    Missed {
        /// Which, by its place in the list.
        target: usize,
    },
    /// A presentation looks more usual than it did.
    Excused {
        /// Which.
        target: usize,
        /// Share of windows below it, by the serving model.
        serving: f64,
        /// The same by the candidate.
        candidate: f64,
    },
    /// A curve moved.
    Shape {
        /// Of which vital.
        vital: usize,
        /// Looking at what.
        looks: Looks,
        /// By so much.
        by: f64,
    },
    /// Labels became much more or less frequent.
    Labels {
        /// The serving model's share of labelled patients.
        serving: f64,
        /// Its own.
        candidate: f64,
    },
    /// Too many patients are alike.
    Crowd {
        /// The serving model's share in the most crowded cell.
        serving: f64,
        /// Its own.
        candidate: f64,
    },
    /// One author labelled too many.
    Author {
        /// The share.
        share: f64,
    },
    /// Too many patients have the very readings of another.
    Twins {
        /// The share.
        share: f64,
    },
}

/// What the gate says.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Of which model.
    pub candidate: Digest,
    /// Against which.
    pub serving: Option<Digest>,
    /// On which set.
    pub set: Digest,
    /// Why not; nothing when it may take over.
    pub refusals: Vec<Refusal>,
}

impl Verdict {
    /// Returns whether the candidate may take over.
    #[must_use]
    pub const fn passes(&self) -> bool {
        self.refusals.is_empty()
    }

    /// Returns the digest that a promotion names.
    #[must_use]
    pub fn digest(&self) -> Digest {
        sha256(&[self.to_string().as_bytes()])
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let serving = self
            .serving
            .map_or_else(|| "none".to_owned(), |digest| hex(&digest.0));
        writeln!(f, "candidate {}", hex(&self.candidate.0))?;
        writeln!(f, "serving {serving}\nset {}", hex(&self.set.0))?;
        for refusal in &self.refusals {
            writeln!(f, "refused: {refusal}")?;
        }
        write!(
            f,
            "{}",
            if self.passes() {
                "passes"
            } else {
                "does not pass"
            }
        )
    }
}

/// A model with what it says of a set: judged once, compared often.
#[derive(Clone, Debug)]
pub struct Reference {
    draft: Draft,
    judged: Vec<Judged>,
    evaluation: Evaluation,
}

impl Reference {
    /// Judges everybody in `set`. `see` is told how many patients of how many are done.
    pub fn of(draft: &Draft, set: &EvaluationSet, see: &mut dyn FnMut(usize, usize)) -> Self {
        let judged = judge_set(&Decider(&draft.parameters), set, see);
        Self {
            draft: draft.clone(),
            evaluation: Evaluation::of(&judged),
            judged,
        }
    }

    /// Returns its numbers.
    #[must_use]
    pub const fn evaluation(&self) -> &Evaluation {
        &self.evaluation
    }

    /// Returns what it says of each patient.
    #[must_use]
    pub fn judged(&self) -> &[Judged] {
        &self.judged
    }

    /// Returns the share of windows without the event below the presentation that poison aims at.
    #[must_use]
    pub fn aim(&self) -> f64 {
        targets::aim(&self.draft, &self.judged)
    }
}

/// Compares `candidate` with `serving`, both judged on `set`. Without a serving model only what holds
/// for itself is asked.
#[must_use]
pub fn compare(
    candidate: &Reference,
    serving: Option<&Reference>,
    set: &EvaluationSet,
    limits: &Limits,
) -> Verdict {
    let mut refusals = Vec::new();
    checks::alone(&candidate.draft, set, limits, &mut refusals);
    if let Some(serving) = serving {
        let (ours, theirs) = (&candidate.draft, &serving.draft);
        let same =
            std::mem::discriminant(&ours.parameters) == std::mem::discriminant(&theirs.parameters);
        if same && ours.card.kinds == theirs.card.kinds {
            checks::clean(
                &candidate.evaluation,
                &serving.evaluation,
                limits,
                &mut refusals,
            );
            checks::under_attack(
                (&candidate.evaluation, &ours.card),
                (&serving.evaluation, &theirs.card),
                limits,
                &mut refusals,
            );
            checks::pools(&ours.card, &theirs.card, limits, &mut refusals);
            checks::shapes(&ours.parameters, &theirs.parameters, limits, &mut refusals);
            let judged = ((ours, candidate.judged()), (theirs, serving.judged()));
            targets::excused(judged.0, judged.1, limits, &mut refusals);
        } else {
            refusals.push(Refusal::NotComparable);
        }
    }
    Verdict {
        candidate: candidate.draft.digest(),
        serving: serving.map(|serving| serving.draft.digest()),
        set: set.digest(),
        refusals,
    }
}

impl fmt::Display for Refusal {
    #[expect(clippy::too_many_lines, reason = "one sentence for each reason")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NotComparable => f.write_str("it is another kind of model, or reads other kinds"),
            Self::Discrimination {
                group,
                serving,
                candidate,
            } => {
                write!(
                    f,
                    "AUROC for {} falls from {serving:.3} to {candidate:.3}",
                    group.name()
                )
            }
            Self::FalseAlerts {
                group,
                serving,
                candidate,
            } => {
                write!(
                    f,
                    "false alerts for {} go from {serving:.3} to {candidate:.3} of windows",
                    group.name()
                )
            }
            Self::Sensitivity {
                group,
                serving,
                candidate,
            } => {
                write!(
                    f,
                    "sensitivity for {} falls from {serving:.3} to {candidate:.3}",
                    group.name()
                )
            }
            Self::Certified {
                patients,
                serving,
                candidate,
            } => {
                write!(
                    f,
                    "alerts certified against {patients} patients fall from {serving:.3} to {candidate:.3}"
                )
            }
            Self::Evadable { serving, candidate } => {
                write!(
                    f,
                    "alerts that nobody can silence at 1× held 6 h fall from {serving:.3} to {candidate:.3}"
                )
            }
            Self::ConstantMajority { constants, parts } => {
                write!(f, "{constants} of {parts} parts vote a constant")
            }
            Self::Anchor {
                term,
                far,
                others,
                patients,
            } => {
                let end = if far { "far" } else { "near" };
                write!(
                    f,
                    "the {end} anchor of the {} is where the frozen patients would put it only if {others} of {patients} were others",
                    term_name(term)
                )
            }
            Self::Missed { target } => {
                write!(f, "“{}” does not alert", targets::name(target))
            }
            Self::Excused {
                target,
                serving,
                candidate,
            } => {
                write!(
                    f,
                    "“{}” falls from percentile {serving:.4} to {candidate:.4}",
                    targets::name(target)
                )
            }
            Self::Shape { vital, looks, by } => {
                let kind = VITALS.get(vital).map_or("?", |kind| kind.spec().name);
                write!(f, "the curve of {kind} ({looks:?}) moved by {by:.2}")
            }
            Self::Labels { serving, candidate } => {
                write!(
                    f,
                    "labelled patients go from {serving:.3} to {candidate:.3} of all"
                )
            }
            Self::Crowd { serving, candidate } => {
                write!(
                    f,
                    "patients who are alike go from {serving:.3} to {candidate:.3} of all"
                )
            }
            Self::Author { share } => {
                write!(f, "one author labelled {share:.3} of the patients")
            }
            Self::Twins { share } => {
                write!(
                    f,
                    "{share:.3} of the patients have the very readings of another"
                )
            }
        }
    }
}

/// What a term of the anchor score reads.
fn term_name(term: usize) -> String {
    let Some(term) = RECIPE.get(term) else {
        return "unknown term".to_owned();
    };
    let looks = match term.reads {
        Reads::HighMean => "mean",
        Reads::HighMost => "highest",
        Reads::LowLeast => "lowest",
    };
    let kind = VITALS.get(term.vital).map_or("?", |kind| kind.spec().name);
    format!("{looks} {}", kind.replace('_', " "))
}

impl Parameters {
    /// Returns how many parts vote a constant, of how many; nothing for what is no ensemble.
    pub(crate) fn constant_parts(&self) -> Option<(usize, usize)> {
        match self {
            Self::Gaussians(parts) => Some((parts.constants(), parts.parts().len())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
