//! Parts, votes, and how many patients a vote surely survives.

use pulseward_crypto::hash::sha256;

/// Returns the part of `parts` that a patient belongs to.
#[must_use]
pub fn part_of(patient: &[u8], parts: u32) -> u32 {
    let digest = sha256(&[b"pulseward/v1/part\0", patient]);
    let first = digest
        .as_bytes()
        .first_chunk::<8>()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes));
    // A remainder by a u32 fits one.
    (first % u64::from(parts.max(1))) as u32
}

/// Which models see which part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    models: u32,
    /// A model sees the parts this far after its own number.
    offsets: Vec<u32>,
}

impl Layout {
    /// Each model sees one part, each part one model.
    #[must_use]
    pub fn disjoint(models: u32) -> Self {
        Self {
            models: models.max(1),
            offsets: vec![0],
        }
    }

    /// Each model sees `degree` parts and each part is seen by as many models; there are `models`
    /// times `degree` of both.
    #[must_use]
    pub fn overlapping(models: u32, degree: u32) -> Self {
        let all = models.max(1).saturating_mul(degree.max(1));
        // A fixed spread: squares repeat no difference as long as there are parts enough.
        let offsets = (0..degree.max(1))
            .map(|index| (index * index + index) / 2 % all)
            .collect();
        Self {
            models: all,
            offsets,
        }
    }

    /// Returns how many models, and parts, there are.
    #[must_use]
    pub const fn models(&self) -> u32 {
        self.models
    }

    /// Returns the parts that `model` is fitted on.
    pub fn parts_of(&self, model: u32) -> impl Iterator<Item = u32> {
        self.offsets
            .iter()
            .map(move |offset| (model + offset) % self.models)
    }

    /// Returns the models that see `part`.
    pub fn models_of(&self, part: u32) -> impl Iterator<Item = u32> {
        self.offsets
            .iter()
            .map(move |offset| (part + self.models - offset) % self.models)
    }

    /// Returns the patients whose poisoning a vote surely survives. `votes` are in the order of the
    /// models.
    #[must_use]
    pub fn radius(&self, votes: &[bool]) -> VoteRadius {
        let for_alert = votes.iter().filter(|vote| **vote).count();
        let alert = 2 * for_alert > votes.len();
        let supporting = if alert {
            for_alert
        } else {
            votes.len() - for_alert
        };
        // How many supporters each poisoned part costs at most, the costliest first. Parts that
        // share a model count it twice, which only makes the radius smaller.
        let mut costs: Vec<usize> = (0..self.models)
            .map(|part| {
                self.models_of(part)
                    .filter(|model| votes.get(*model as usize) == Some(&alert))
                    .count()
            })
            .collect();
        costs.sort_unstable_by(|a, b| b.cmp(a));
        let mut left = supporting;
        let mut patients = 0;
        for cost in costs {
            left = left.saturating_sub(cost);
            // An alert needs more than half; no alert stands with exactly half.
            let stands = if alert {
                2 * left > votes.len()
            } else {
                2 * left >= votes.len()
            };
            if !stands {
                return VoteRadius { alert, patients };
            }
            patients += 1;
        }
        VoteRadius { alert, patients }
    }
}

/// A vote's outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VoteRadius {
    /// Whether more than half of the models alert.
    pub alert: bool,
    /// How many patients may be altered, inserted or deleted without changing that.
    pub patients: u32,
}

/// A count of votes, when each part has one model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Models for an alert.
    pub for_alert: u32,
    /// All models.
    pub models: u32,
}

impl Tally {
    /// Returns the outcome and the patients it survives.
    #[must_use]
    pub const fn radius(self) -> VoteRadius {
        // As many votes may be lost as leave more than half.
        let half = self.models / 2;
        if self.for_alert > half {
            VoteRadius {
                alert: true,
                patients: self.for_alert - half - 1,
            }
        } else {
            VoteRadius {
                alert: false,
                patients: half - self.for_alert,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model votes for an alert when the sum of what its parts hold is positive.
    fn votes(layout: &Layout, parts: &[i32]) -> Vec<bool> {
        (0..layout.models())
            .map(|model| {
                layout
                    .parts_of(model)
                    .map(|part| parts[part as usize])
                    .sum::<i32>()
                    > 0
            })
            .collect()
    }

    /// Tries everything `left` poisoned parts can hold and returns whether the outcome ever flips.
    fn flips(layout: &Layout, parts: &[i32], from: usize, left: u32, alert: bool) -> bool {
        let now = votes(layout, parts);
        let outcome = 2 * now.iter().filter(|vote| **vote).count() > now.len();
        if outcome != alert || left == 0 {
            return outcome != alert;
        }
        (from..parts.len()).any(|part| {
            [-9, 9].into_iter().any(|hostile| {
                let mut changed = parts.to_vec();
                changed[part] = hostile;
                flips(layout, &changed, part + 1, left - 1, alert)
            })
        })
    }

    fn check_all(layout: &Layout) -> u32 {
        let mut tight = 0;
        for case in 0..1_u32 << layout.models() {
            let parts: Vec<i32> = (0..layout.models())
                .map(|part| if case >> part & 1 == 1 { 1 } else { -1 })
                .collect();
            let radius = layout.radius(&votes(layout, &parts));
            assert!(
                !flips(layout, &parts, 0, radius.patients, radius.alert),
                "{parts:?} {radius:?}"
            );
            tight += u32::from(flips(layout, &parts, 0, radius.patients + 1, radius.alert));
        }
        tight
    }

    #[test]
    fn c4_no_replacement_of_parts_flips_a_decision_inside_the_radius_at_seven() {
        let layout = Layout::disjoint(7);
        assert_eq!(
            check_all(&layout),
            1 << 7,
            "one part more always flips: the radius is exact"
        );
    }

    #[test]
    fn c4_finite_aggregation_counts_shared_models_at_five_by_two() {
        let layout = Layout::overlapping(5, 2);
        assert_eq!(layout.models(), 10);
        for part in 0..10 {
            let seen: Vec<u32> = layout.models_of(part).collect();
            assert_eq!(seen.len(), 2);
            assert!(
                seen.iter()
                    .all(|model| layout.parts_of(*model).any(|of| of == part))
            );
        }
        assert!(check_all(&layout) > 0);
    }

    #[test]
    fn c4_the_tally_agrees_with_the_layout() {
        for models in [1, 2, 7, 8, 201] {
            let layout = Layout::disjoint(models);
            for for_alert in 0..=models {
                let votes: Vec<bool> = (0..models).map(|model| model < for_alert).collect();
                assert_eq!(
                    Tally { for_alert, models }.radius(),
                    layout.radius(&votes),
                    "{for_alert} of {models}"
                );
            }
        }
    }

    #[test]
    fn c5_a_patient_has_one_part_and_parts_fill_evenly() {
        let mut counts = vec![0; 201];
        for patient in 0..40_000_u32 {
            let part = part_of(&patient.to_le_bytes(), 201);
            assert_eq!(part, part_of(&patient.to_le_bytes(), 201));
            counts[part as usize] += 1;
        }
        assert!(
            counts.iter().all(|count| (120..290).contains(count)),
            "{counts:?}"
        );
    }
}
