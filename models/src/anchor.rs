//! The anomaly score that carries exact certificates.
//!
//! ```text
//! score = Σ weight · clip((x − near) / (far − near), 0, 3)²      over seven terms
//! ```
//! `x` is a mean over twelve hours or a least or a most over eight, turned so that more is worse. Its
//! two anchors are mixed of clinical constants and quantiles of a pool in which each patient weighs
//! the same, however many rows one sent.
//!
//! - *Poison*: r patients altered, inserted or deleted move a rank by at most r patients, so both
//!   anchors stay in a bracket; the score is monotone in each anchor, so four corners hold its
//!   extremes. Ranks are integers and bounds are rounded outward: ties cannot slip through.
//! - *Evasion*: the score is monotone in every reading, with the rounding that is really done, so
//!   moving each held reading to its end of the sensor's error is the worst there is. Temperature
//!   is in two terms: moving it towards normal from both sides at once bounds every single move.
//!
//! The threshold is a signed constant. It is never fitted on a pool, else poison could move it.

mod certificate;
mod fit;
mod ranks;

pub use certificate::{Certificate, Evasion, Radius};
pub use fit::{FitError, Pool, fit};
pub use ranks::{Band, Bracket, Ranks};

use crate::features::{Hold, Hours, PARTS, VITALS};

/// How many terms the score has.
pub const TERMS: usize = 7;

/// A term's hinge stops growing here.
pub const CAP: f64 = 3.0;

/// The most poisoned patients that a radius is told for; beyond, it is "at least".
pub const MOST_RADIUS: u32 = 200;

/// What a term reads of its vital.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reads {
    /// The mean of twelve hours, high is bad.
    HighMean,
    /// The most of [`EXTREME_HOURS`], high is bad.
    HighMost,
    /// The least of [`EXTREME_HOURS`], low is bad.
    LowLeast,
}

/// Over how many hours a least or a most is taken: long enough that an attacker must hold a sensor
/// for longer than a break, short enough that an alarm ends some hours after its cause.
pub const EXTREME_HOURS: usize = 8;

/// One term of the score: all of it is constant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Term {
    /// The place of its vital in [`VITALS`].
    pub vital: usize,
    /// What it reads.
    pub reads: Reads,
    /// How much it counts.
    pub weight: f64,
    /// The clinical constant at which it starts, in steps.
    pub near: i32,
    /// The clinical constant at which its hinge is one, in steps.
    pub far: i32,
}

/// The seven terms. Fever and breathing, which infection moves first, count most; saturation and
/// systolic pressure, which treatment hides, count least.
pub const RECIPE: [Term; TERMS] = [
    term(0, Reads::HighMost, 0.75, 800, 1250),
    term(2, Reads::HighMean, 1.0, 130, 270),
    term(3, Reads::HighMost, 3.5, 3740, 3850),
    term(5, Reads::LowLeast, 0.75, 750, 550),
    term(1, Reads::LowLeast, 0.25, 940, 890),
    term(3, Reads::LowLeast, 1.0, 3550, 3450),
    term(4, Reads::LowLeast, 0.25, 1100, 850),
];

const fn term(vital: usize, reads: Reads, weight: f64, near: i32, far: i32) -> Term {
    Term {
        vital,
        reads,
        weight,
        near,
        far,
    }
}

/// Around the median: where a learned hinge starts.
pub const NEAR: Band = Band {
    from: 19,
    to: 21,
    in_: 40,
};

/// Around the 90th percentile: where a learned hinge is one.
pub const FAR: Band = Band {
    from: 35,
    to: 37,
    in_: 40,
};

/// How much of an anchor is constant, in percent; the rest is learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Constancy(u8);

impl Constancy {
    /// Half and half.
    pub const HALF: Self = Self(50);

    /// What ships: a little more than half constant, which costs no detection and pays in
    /// certificates (docs/MODELS.md).
    pub const SHIPPED: Self = Self(60);

    /// Takes a share in percent.
    #[must_use]
    pub const fn percent(share: u8) -> Option<Self> {
        if share <= 100 {
            Some(Self(share))
        } else {
            None
        }
    }

    /// Returns the share in percent.
    #[must_use]
    pub const fn as_percent(self) -> u8 {
        self.0
    }

    /// Mixes a constant and a learned value, both in parts of a step. Monotone in the learned one.
    fn mix(self, constant: i64, learned: i64) -> f64 {
        let share = i64::from(self.0);
        (share * constant + (100 - share) * learned) as f64 / 100.0
    }
}

/// The anchors of all terms when at most r patients are poisoned, ready to be used: the two places
/// where each near anchor can be, with the reciprocal of the hinge's width from there.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Corners {
    near: [[f64; TERMS]; 2],
    /// For the least score: to the farthest `far`.
    silence: [[f64; TERMS]; 2],
    /// For the most score: to the nearest `far`.
    force: [[f64; TERMS]; 2],
}

/// A fitted score.
#[derive(Clone, Debug, PartialEq)]
pub struct Anchor {
    constancy: Constancy,
    threshold: f64,
    /// `levels[r]` holds for r poisoned patients; the first is the score itself.
    levels: Vec<Corners>,
    /// The brackets that `levels` is made of; what an artefact stores.
    brackets: Vec<[Bracket; TERMS]>,
}

/// What the model reads of a patient: each term's value in parts of a step, turned so that more is
/// worse; nothing where the vital is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values(pub [Option<i64>; TERMS]);

impl Values {
    /// Reads the terms.
    #[must_use]
    pub fn of(hours: &Hours) -> Self {
        Self(RECIPE.map(|term| term.true_value(hours)))
    }

    /// Reads the terms as they would be with the sensors held for `hold` and each reading moved by
    /// `quarters` quarters of its sensor's error, towards less alarming or more.
    #[must_use]
    pub fn held(hours: &Hours, hold: Hold, quarters: u16, towards: Towards) -> Self {
        Self(RECIPE.map(|term| {
            let parts = term.turned(error_parts(term.vital, quarters));
            let parts = match towards {
                Towards::Silence => -parts,
                Towards::Alarm => parts,
            };
            term.value(hours, hold, parts)
        }))
    }

    /// Returns these values with every reading of the stay moved: the same as [`Values::held`] for
    /// the whole stay, because a mean, a least and a most move by as much as all their readings.
    #[must_use]
    pub fn moved(&self, quarters: u16, towards: Towards) -> Self {
        let mut moved = *self;
        for (value, term) in moved.0.iter_mut().zip(RECIPE) {
            let parts = error_parts(term.vital, quarters);
            *value = value.map(|value| match towards {
                Towards::Silence => value - parts,
                Towards::Alarm => value + parts,
            });
        }
        moved
    }

    /// Returns how many terms have a value.
    #[must_use]
    pub fn known(&self) -> usize {
        self.0.iter().flatten().count()
    }
}

/// Which way an attacker moves readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Towards {
    /// To keep an alert from being raised.
    Silence,
    /// To raise a false one.
    Alarm,
}

/// A sensor's error in parts of a step.
fn error_parts(vital: usize, quarters: u16) -> i64 {
    let error = VITALS.get(vital).map_or(0, |kind| kind.spec().sensor_error);
    i64::from(error) * i64::from(quarters) * (PARTS / 4)
}

impl Term {
    /// Returns its value: what [`Term::value`] gives when nothing is held.
    fn true_value(self, hours: &Hours) -> Option<i64> {
        let vital = hours.vital(self.vital)?;
        match self.reads {
            Reads::HighMean => vital.mean(),
            Reads::HighMost => vital.most(EXTREME_HOURS),
            Reads::LowLeast => vital.least(EXTREME_HOURS).map(|least| -least),
        }
    }

    /// Returns its value with the held readings moved by `parts`.
    fn value(self, hours: &Hours, hold: Hold, parts: i64) -> Option<i64> {
        let vital = hours.vital(self.vital)?;
        match self.reads {
            Reads::HighMean => vital.mean_held(hold, parts),
            Reads::HighMost => vital.most_held(EXTREME_HOURS, hold, parts),
            Reads::LowLeast => vital
                .least_held(EXTREME_HOURS, hold, parts)
                .map(|least| -least),
        }
    }

    /// Returns a number turned so that more is worse.
    const fn turned(self, number: i64) -> i64 {
        match self.reads {
            Reads::HighMean | Reads::HighMost => number,
            Reads::LowLeast => -number,
        }
    }

    /// Returns its clinical constants in parts of a step, turned like its value.
    const fn constants(self) -> (i64, i64) {
        let near = self.near as i64 * PARTS;
        let far = self.far as i64 * PARTS;
        (self.turned(near), self.turned(far))
    }
}

impl Anchor {
    /// Makes a score of the brackets of its learned quantiles, the first for no poison. Levels at
    /// which a term's anchors could cross are left out; without the first there is no score.
    #[must_use]
    pub fn new(
        constancy: Constancy,
        threshold: f64,
        brackets: Vec<[Bracket; TERMS]>,
    ) -> Option<Self> {
        if !threshold.is_finite() {
            return None;
        }
        let levels: Vec<_> = brackets
            .iter()
            .map_while(|terms| corners(constancy, terms))
            .take(MOST_RADIUS as usize + 1)
            .collect();
        let mut brackets = brackets;
        brackets.truncate(levels.len());
        (!levels.is_empty()).then_some(Self {
            constancy,
            threshold,
            levels,
            brackets,
        })
    }

    /// Returns the score.
    #[must_use]
    pub fn score(&self, values: &Values) -> f64 {
        self.score_at(&values.numbers())
    }

    fn score_at(&self, numbers: &Numbers) -> f64 {
        let adds = self.levels.first().map(|level| level.score(numbers));
        adds.map_or(0.0, |adds| adds.iter().sum())
    }

    /// Returns what each term adds to the score.
    #[must_use]
    pub fn contributions(&self, values: &Values) -> [f64; TERMS] {
        let level = self.levels.first();
        level.map_or([0.0; TERMS], |level| level.score(&values.numbers()))
    }

    /// Returns whether `score` alerts.
    #[must_use]
    pub fn alerts(&self, score: f64) -> bool {
        score > self.threshold
    }

    /// Returns the threshold.
    #[must_use]
    pub const fn threshold(&self) -> f64 {
        self.threshold
    }

    /// Returns the same score with another threshold.
    #[must_use]
    pub fn with_threshold(mut self, threshold: f64) -> Self {
        self.threshold = threshold;
        self
    }

    /// Returns how much of it is constant.
    #[must_use]
    pub const fn constancy(&self) -> Constancy {
        self.constancy
    }

    /// Returns the brackets of its learned quantiles, for no poison and up.
    #[must_use]
    pub fn brackets(&self) -> &[[Bracket; TERMS]] {
        &self.brackets
    }
}

/// Values as numbers; what is missing is minus infinity, for which every hinge is zero.
type Numbers = [f64; TERMS];

impl Values {
    fn numbers(&self) -> Numbers {
        self.0
            .map(|value| value.map_or(f64::NEG_INFINITY, |value| value as f64))
    }
}

const WEIGHTS: [f64; TERMS] = {
    let [a, b, c, d, e, f, g] = RECIPE;
    [
        a.weight, b.weight, c.weight, d.weight, e.weight, f.weight, g.weight,
    ]
};

impl Corners {
    /// Returns what each term adds at the first corner, which at no poison is the only one.
    fn score(&self, numbers: &Numbers) -> [f64; TERMS] {
        let ([near, _], [width, _]) = (&self.near, &self.silence);
        hinges(numbers, near, width)
    }
}

/// Returns all terms with their weights.
fn hinges(numbers: &Numbers, near: &Numbers, widths: &Numbers) -> [f64; TERMS] {
    let mut adds = WEIGHTS;
    for (((add, number), near), width) in adds.iter_mut().zip(numbers).zip(near).zip(widths) {
        let height = ((number - near) * width).clamp(0.0, CAP);
        *add *= height * height;
    }
    adds
}

/// Returns the corners of all terms; none when a term's anchors could cross.
fn corners(constancy: Constancy, brackets: &[Bracket; TERMS]) -> Option<Corners> {
    let mut all = Corners::default();
    for (term, (bracket, of)) in brackets.iter().zip(RECIPE).enumerate() {
        let (near, far) = of.constants();
        let near = bracket.near.map(|learned| constancy.mix(near, learned));
        let [nearest, farthest] = bracket.far.map(|learned| constancy.mix(far, learned));
        // A hinge a thousandth of a step wide is already nonsense; none may be narrower.
        let least_width = PARTS as f64 / 1000.0;
        if near.iter().any(|near| nearest - near < least_width) {
            return None;
        }
        let ends = all
            .near
            .iter_mut()
            .zip(&mut all.silence)
            .zip(&mut all.force);
        for (((near_slot, silence), force), near) in ends.zip(near) {
            *near_slot.get_mut(term)? = near;
            *silence.get_mut(term)? = 1.0 / (farthest - near);
            *force.get_mut(term)? = 1.0 / (nearest - near);
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests;
