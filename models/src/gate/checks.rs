//! The gate's single questions.

use super::{Limits, Refusal, targets};
use crate::{
    additive::{Additive, Curve},
    anchor::{Anchor, FAR, NEAR, Pool, Values},
    artefact::{Card, Draft, Parameters},
    evaluate::{Evaluation, EvaluationSet, Group},
    features::Hold,
    train::TWINS,
};

/// What must hold of a candidate by itself.
pub(super) fn alone(
    candidate: &Draft,
    set: &EvaluationSet,
    limits: &Limits,
    refusals: &mut Vec<Refusal>,
) {
    if let Some((constants, parts)) = candidate.parameters.constant_parts()
        && 2 * constants > parts
    {
        refusals.push(Refusal::ConstantMajority { constants, parts });
    }
    if let Parameters::Anchor(anchor) = &candidate.parameters {
        let trained_on = metric(&candidate.card, "pool_patients");
        ranks(anchor, trained_on, set, limits, refusals);
    }
    let share = metric(&candidate.card, "author_most_share");
    if share > limits.author_share {
        refusals.push(Refusal::Author { share });
    }
    let share = metric(&candidate.card, TWINS);
    if share > limits.twins {
        refusals.push(Refusal::Twins { share });
    }
    targets::missed(candidate, refusals);
}

/// Group by group, on clean windows.
pub(super) fn clean(
    ours: &Evaluation,
    theirs: &Evaluation,
    limits: &Limits,
    refusals: &mut Vec<Refusal>,
) {
    for (ours, theirs) in ours.groups.iter().zip(&theirs.groups) {
        let group = ours.group;
        if group != Group::All && ours.with_event < limits.least_events {
            continue;
        }
        let fall = if group == Group::All {
            limits.auroc
        } else {
            limits.group_auroc
        };
        // What a candidate gains by knowing the hour of stay does not count.
        for (candidate, serving) in [
            (ours.auroc, theirs.auroc),
            (ours.stratified, theirs.stratified),
        ] {
            if candidate < serving - fall {
                refusals.push(Refusal::Discrimination {
                    group,
                    serving,
                    candidate,
                });
            }
        }
        let (candidate, serving) = (ours.false_share, theirs.false_share);
        let more = candidate > serving * limits.false_share_times + 0.005;
        if more || (group == Group::All && candidate > limits.most_false_share) {
            refusals.push(Refusal::FalseAlerts {
                group,
                serving,
                candidate,
            });
        }
        let (candidate, serving) = (ours.sensitivity, theirs.sensitivity);
        if candidate < serving * limits.sensitivity_times - 0.005 {
            refusals.push(Refusal::Sensitivity {
                group,
                serving,
                candidate,
            });
        }
    }
}

/// What certificates promise when somebody poisoned or perturbs.
pub(super) fn under_attack(
    (ours, our_card): (&Evaluation, &Card),
    (theirs, their_card): (&Evaluation, &Card),
    limits: &Limits,
    refusals: &mut Vec<Refusal>,
) {
    let pools =
        1.0 / metric(our_card, "patients").max(1.0) + 1.0 / metric(their_card, "patients").max(1.0);
    // Few patients make shares differ by chance alone.
    let most =
        |fall: f64, share: f64| fall.max(limits.rank * (share * (1.0 - share) * pools).sqrt());
    for (patients, fall) in [5, 50].into_iter().zip(limits.certified) {
        let (candidate, serving) = (ours.certified_at(patients), theirs.certified_at(patients));
        if candidate < serving - most(fall, serving) {
            refusals.push(Refusal::Certified {
                patients,
                serving,
                candidate,
            });
        }
    }
    let kept = |evaluation: &Evaluation| evaluation.kept_at(4, Hold::Hours(6));
    let (candidate, serving) = (kept(ours), kept(theirs));
    if candidate < serving - most(limits.kept, serving) {
        refusals.push(Refusal::Evadable { serving, candidate });
    }
}

/// What the cards tell of the pools.
pub(super) fn pools(ours: &Card, theirs: &Card, limits: &Limits, refusals: &mut Vec<Refusal>) {
    let both = |name| (metric(ours, name), metric(theirs, name));
    let (candidate, serving) = both("labelled_share");
    let more = candidate > serving * limits.labelled_times;
    let less = candidate * limits.labelled_times < serving;
    if more || less {
        refusals.push(Refusal::Labels { serving, candidate });
    }
    let (candidate, serving) = both("densest_share");
    let (ours, theirs) = both("patients");
    let spread = serving * (1.0 - serving);
    // Chance alone makes two groups of patients so differently crowded.
    let error = (spread / ours.max(1.0) + spread / theirs.max(1.0)).sqrt();
    if candidate > serving + limits.densest + limits.rank * error {
        refusals.push(Refusal::Crowd { serving, candidate });
    }
}

fn metric(card: &Card, name: &str) -> f64 {
    let found = card.metrics.iter().find(|metric| metric.0 == name);
    found.map_or(0.0, |metric| metric.1)
}

/// How many of the frozen patients without the event would have to be others for an anchor's learned
/// places to be theirs. Because the set is frozen, many small steps add up here as one large one does.
fn ranks(
    anchor: &Anchor,
    trained_on: f64,
    set: &EvaluationSet,
    limits: &Limits,
    refusals: &mut Vec<Refusal>,
) {
    let Some(learned) = anchor.brackets().first() else {
        return;
    };
    let mut pool = Pool::default();
    for case in &set.cases {
        if !case.hours.iter().any(|hour| hour.event) {
            let mut windows = Vec::new();
            case.windows(|_, hours| windows.push(Values::of(hours)));
            pool.add_patient(&windows);
        }
    }
    for (term, (ranks, learned)) in pool.ranks().iter().zip(learned).enumerate() {
        let patients = u32::try_from(ranks.patients()).unwrap_or(u32::MAX);
        let places = [(false, NEAR, learned.near), (true, FAR, learned.far)];
        for (far, band, [place, _]) in places {
            let share = (band.from + band.to) as f64 / (2 * band.in_) as f64;
            let spread = share * (1.0 - share);
            // Chance alone puts two groups of patients so far apart.
            let error = (spread / f64::from(patients) + spread / trained_on.max(1.0)).sqrt();
            let most = (f64::from(patients) * limits.rank * error) as u32;
            let holds = |poisoned: u32| {
                let bracket = ranks.between(band, poisoned);
                bracket.is_none_or(|[least, most]| least <= place && place <= most)
            };
            // A set too small to have such a bracket says nothing.
            if patients > 0 && !holds(most) {
                let others = (most..patients).find(|poisoned| holds(*poisoned));
                let others = others.unwrap_or(patients);
                refusals.push(Refusal::Anchor {
                    term,
                    far,
                    others,
                    patients,
                });
            }
        }
    }
}

/// How far curves moved, each against its own middle: whatever a trigger is made of, a sum of curves
/// can only learn it as a bump in one of them.
pub(super) fn shapes(
    ours: &Parameters,
    theirs: &Parameters,
    limits: &Limits,
    refusals: &mut Vec<Refusal>,
) {
    let (Parameters::Additive(ours), Parameters::Additive(theirs)) = (ours, theirs) else {
        return;
    };
    for (vital, looks, by) in moved(ours, theirs) {
        if by > limits.shape {
            refusals.push(Refusal::Shape { vital, looks, by });
        }
    }
}

pub(super) fn moved<'a>(
    ours: &'a Additive,
    theirs: &'a Additive,
) -> impl Iterator<Item = (usize, crate::additive::Looks, f64)> + 'a {
    let middle = |curve: &Curve| {
        curve.knots.iter().map(|knot| knot.1).sum::<f64>() / curve.knots.len().max(1) as f64
    };
    ours.curves()
        .iter()
        .zip(theirs.curves())
        .map(move |(a, b)| {
            let (middle_a, middle_b) = (middle(a), middle(b));
            let differences = a.knots.iter().zip(&b.knots);
            let by = differences
                .map(|(a, b)| ((a.1 - middle_a) - (b.1 - middle_b)).abs())
                .fold(0.0, f64::max);
            (a.vital, a.looks, by)
        })
}
