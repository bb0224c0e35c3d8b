//! Ensembles whose vote a counted number of poisoned patients cannot change.
//!
//! Every patient belongs to one part, by the hash of the pseudonym; every model is fitted on its own
//! parts alone, deterministically, with constants for scaling and imputation and one constant
//! threshold. So r poisoned patients change at most the models that saw r parts, and a majority larger
//! than that stands (deep partition aggregation, Levine and Feizi 2021; with overlapping parts,
//! finite aggregation, Wang et al. 2022). A model that cannot be fitted votes a constant; it is
//! counted, because a certificate full of constants would prove nothing.

mod gaussians;
mod votes;

pub use gaussians::{Gaussians, Part, PartValues, SHRINK};
pub use votes::{Layout, Tally, VoteRadius, part_of};
