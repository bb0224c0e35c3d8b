//! Which model of a line decides: the chain of its promotions.
//!
//! Each promotion names the model before it, so the order in which they are found changes nothing and
//! none can be left out of the middle. That the newest ones are all there is for the log to say: a
//! directory that was put back to an older state follows an older chain.

use std::collections::BTreeSet;

use pulseward_base::Digest;

use crate::artefact::{Act, Promotion};

/// The most promotions that are followed.
const MOST: usize = 1 << 16;

/// A chain of promotions, the first one first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain(Vec<Promotion>);

/// Why promotions are no chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// There are more than anybody made.
    #[error("there are too many promotions")]
    TooMany,
    /// A promotion names a model before it that does not decide then.
    #[error("a promotion does not follow on the one before it")]
    Gap,
    /// A promotion is older than the one before it.
    #[error("a promotion is older than the one before it")]
    Backwards,
    /// Something is rolled back to that never decided.
    #[error("a model is rolled back to that never decided")]
    NeverServed,
}

impl Chain {
    /// Takes promotions one after another.
    pub fn follow(promotions: impl IntoIterator<Item = Promotion>) -> Result<Self, ChainError> {
        let mut chain = Self::default();
        for promotion in promotions {
            chain.push(promotion)?;
        }
        Ok(chain)
    }

    /// Takes one more promotion, if it follows.
    pub fn push(&mut self, promotion: Promotion) -> Result<(), ChainError> {
        if self.0.len() >= MOST {
            return Err(ChainError::TooMany);
        }
        if promotion.previous() != self.serving() {
            return Err(ChainError::Gap);
        }
        if self.0.last().is_some_and(|last| promotion.at() < last.at()) {
            return Err(ChainError::Backwards);
        }
        let served: BTreeSet<Digest> = self.0.iter().map(Promotion::model).collect();
        if promotion.act() == Act::RollBack && !served.contains(&promotion.model()) {
            return Err(ChainError::NeverServed);
        }
        self.0.push(promotion);
        Ok(())
    }

    /// Returns the model that decides.
    #[must_use]
    pub fn serving(&self) -> Option<Digest> {
        self.0.last().map(Promotion::model)
    }

    /// Returns the model to roll back to: the one that the serving model took over from.
    #[must_use]
    pub fn before(&self) -> Option<Digest> {
        self.0.last().and_then(Promotion::previous)
    }

    /// Returns the promotions, the first one first.
    #[must_use]
    pub fn promotions(&self) -> &[Promotion] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use pulseward_base::Micros;
    use pulseward_crypto::{
        SigningKey,
        certificate::{self, Use},
    };

    use super::*;
    use crate::artefact::{Signer, Trust};

    fn promotions(acts: &[(Act, u8, Option<u8>, i64)]) -> Vec<Promotion> {
        let (root, key) = (SigningKey::generate(), SigningKey::generate());
        let certificate =
            certificate::issue(&root, Use::Operator, &key.point(), Micros(0), Micros(99));
        let signer = Signer {
            key: &key,
            certificate: &certificate,
        };
        let trust = Trust {
            root: root.kid(),
            now: Micros(1),
        };
        let issue = |&(act, model, previous, at): &(Act, u8, Option<u8>, i64)| {
            let digest = |number| Digest([number; 32]);
            let verdict = digest(if act == Act::Promote { 9 } else { 0 });
            let previous = previous.map(digest);
            let bytes = Promotion::issue(
                &signer,
                act,
                &digest(model),
                previous.as_ref(),
                &verdict,
                Micros(at),
            );
            Promotion::open(&bytes, &trust).unwrap()
        };
        acts.iter().map(issue).collect()
    }

    #[test]
    fn a_chain_says_who_decides_and_who_did() {
        let all = promotions(&[
            (Act::Begin, 1, None, 1),
            (Act::Promote, 2, Some(1), 2),
            (Act::RollBack, 1, Some(2), 3),
        ]);
        let chain = Chain::follow(all).unwrap();
        assert_eq!(chain.serving(), Some(Digest([1; 32])));
        assert_eq!(chain.before(), Some(Digest([2; 32])));
        assert_eq!(Chain::default().serving(), None);
    }

    #[test]
    fn what_does_not_follow_is_refused() {
        for (acts, expected) in [
            (vec![(Act::Promote, 2, Some(1), 1)], ChainError::Gap),
            (
                vec![(Act::Begin, 1, None, 1), (Act::Begin, 2, None, 2)],
                ChainError::Gap,
            ),
            (
                vec![(Act::Begin, 1, None, 5), (Act::Promote, 2, Some(1), 4)],
                ChainError::Backwards,
            ),
            (
                vec![(Act::Begin, 1, None, 1), (Act::RollBack, 3, Some(1), 2)],
                ChainError::NeverServed,
            ),
        ] {
            assert_eq!(Chain::follow(promotions(&acts)), Err(expected));
        }
    }
}
