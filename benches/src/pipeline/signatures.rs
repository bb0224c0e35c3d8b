//! The floor under everything that proves origin: bare signatures, made and verified by aws-lc.

use anyhow::Context;
use aws_lc_rs::{
    digest,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
        ParsedPublicKey,
    },
};
use pulseward_crypto::{hash::sha256, random};

/// What nobody can do without: signatures over 32 bytes, and their verification.
pub(crate) struct Bare {
    key: ParsedPublicKey,
    signed: Vec<(digest::Digest, Vec<u8>)>,
}

impl Bare {
    pub(crate) fn new(count: usize) -> anyhow::Result<Self> {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?;
        let key = ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key())?;
        let sign = |_| {
            let prehash = sha256(&[&random::bytes::<32>()]);
            let digest = digest::Digest::import_less_safe(&prehash.0, &digest::SHA256)?;
            let signature = pair.sign_digest(&digest)?;
            Ok((digest, signature.as_ref().to_vec()))
        };
        let signed = (0..count).map(sign).collect::<anyhow::Result<_>>()?;
        Ok(Self { key, signed })
    }

    pub(crate) fn verify_all(&self) -> anyhow::Result<()> {
        for (digest, signature) in &self.signed {
            self.key
                .verify_digest_sig(digest, signature)
                .context("its own signature holds")?;
        }
        Ok(())
    }
}
