//! The one source of randomness.

use pulseward_base::Secret;

/// Returns `N` random bytes that may be seen.
///
/// # Panics
/// When the operating system has no randomness: nothing can be done safely then.
#[must_use]
#[expect(
    clippy::expect_used,
    reason = "without randomness nothing can go on safely"
)]
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).expect("the system has randomness");
    bytes
}

/// Returns `N` random bytes that may not be seen.
///
/// # Panics
/// As [`bytes`].
#[must_use]
pub fn secret<const N: usize>() -> Secret<N> {
    Secret::new(bytes())
}
