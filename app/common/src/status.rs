//! What is wrong now, since when, and which page of the runbook helps.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use pulseward_base::Micros;
use serde::{Deserialize, Serialize};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Its name, which is also its heading in the runbook.
    pub name: String,
    /// What was seen. Never names a person, a pseudonym or a key.
    pub detail: String,
    /// Since when, in microseconds.
    pub since: i64,
}

/// The board that checks write on and `status` reads.
#[derive(Clone, Debug, Default)]
pub struct Board {
    problems: Arc<Mutex<BTreeMap<&'static str, Problem>>>,
}

impl Board {
    /// Raises or clears the problem called `name`. A problem that stays keeps its first time.
    pub fn set(&self, name: &'static str, detail: Option<String>, now: Micros) {
        let mut problems = self.problems.lock().unwrap_or_else(PoisonError::into_inner);
        match detail {
            Some(detail) => {
                let fresh = Problem {
                    name: name.to_owned(),
                    detail: String::new(),
                    since: now.0,
                };
                problems.entry(name).or_insert(fresh).detail = detail;
            }
            None => {
                problems.remove(name);
            }
        }
    }

    /// Returns what is wrong now.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.problems
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_that_stays_keeps_its_first_time() {
        let board = Board::default();
        board.set("disk", Some("95 % full".into()), Micros(1));
        board.set("disk", Some("96 % full".into()), Micros(2));
        let seen = board.problems();
        assert_eq!((seen[0].since, seen[0].detail.as_str()), (1, "96 % full"));
        board.set("disk", None, Micros(3));
        assert!(board.problems().is_empty());
    }
}
