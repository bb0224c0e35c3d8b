//! What a device states about itself when it enrols, and which statements are accepted.
//!
//! ```text
//! vendor point (33) | SHA-256 of the firmware (32) | signature (64)
//! ```
//!
//! The vendor signs SHA-256("pulseward/v1/attestation" | 0 | device point | firmware digest).

use pulseward_base::{
    Digest, Kid, Reject,
    bytes::{Malformed, Reader},
};
use pulseward_crypto::{Point, Signature, SigningKey, VerifyingKey, hash};

/// No statement was made.
pub const NONE: u8 = 0;
/// A statement was made and accepted.
pub const ACCEPTED: u8 = 1;

/// Which statements are accepted.
#[derive(Clone, Debug, Default)]
pub struct AttestationPolicy {
    /// Whether a device without a statement is refused.
    pub required: bool,
    /// Vendors whose word is taken.
    pub vendors: Vec<Kid>,
    /// Firmware that may enrol; empty: any that an accepted vendor signs for.
    pub firmware: Vec<Digest>,
}

impl AttestationPolicy {
    /// Returns the verdict that the record keeps.
    pub fn judge(&self, device: &Point, statement: &[u8]) -> Result<u8, Reject> {
        if statement.is_empty() {
            return if self.required {
                Err(Reject::NotAttested)
            } else {
                Ok(NONE)
            };
        }
        let (vendor, firmware, signature) = decode(statement).map_err(|_| Reject::NotAttested)?;
        let vendor = VerifyingKey::from_point(&vendor).map_err(|_| Reject::NotAttested)?;
        let known = self.vendors.contains(&vendor.kid())
            && (self.firmware.is_empty() || self.firmware.contains(&firmware));
        let signed = vendor
            .verify_prehash(&prehash(device, &firmware), &signature)
            .is_ok();
        if known && signed {
            Ok(ACCEPTED)
        } else {
            Err(Reject::NotAttested)
        }
    }
}

/// Makes a vendor's statement about a device.
#[must_use]
pub fn attest(vendor: &SigningKey, device: &Point, firmware: &Digest) -> Vec<u8> {
    let signature = vendor.sign_prehash(&prehash(device, firmware));
    [&vendor.point().0[..], &firmware.0, &signature.0].concat()
}

fn decode(statement: &[u8]) -> Result<(Point, Digest, Signature), Malformed> {
    let mut reader = Reader::new(statement);
    let parts = (
        Point(reader.array()?),
        Digest(reader.array()?),
        Signature(reader.array()?),
    );
    reader.end()?;
    Ok(parts)
}

fn prehash(device: &Point, firmware: &Digest) -> Digest {
    hash::sha256(&[b"pulseward/v1/attestation\0", &device.0, &firmware.0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a31_only_firmware_that_an_accepted_vendor_signed_for_this_device_may_enrol() {
        let (vendor, other) = (SigningKey::generate(), SigningKey::generate());
        let (device, twin) = (
            SigningKey::generate().point(),
            SigningKey::generate().point(),
        );
        let (good, bad) = (Digest([1; 32]), Digest([2; 32]));
        let policy = AttestationPolicy {
            required: true,
            vendors: vec![vendor.kid()],
            firmware: vec![good],
        };
        let check = |statement: &[u8], expect| assert_eq!(policy.judge(&device, statement), expect);
        check(&attest(&vendor, &device, &good), Ok(ACCEPTED));
        check(&attest(&vendor, &device, &bad), Err(Reject::NotAttested));
        check(&attest(&other, &device, &good), Err(Reject::NotAttested));
        check(&attest(&vendor, &twin, &good), Err(Reject::NotAttested));
        check(b"", Err(Reject::NotAttested));
        check(b"whatever", Err(Reject::NotAttested));
        assert_eq!(AttestationPolicy::default().judge(&device, b""), Ok(NONE));
    }
}
