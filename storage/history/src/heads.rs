//! All chains' heads under one signature, each minute: who has kept one of these knows when a
//! chain was rolled back. Layout: `docs/formats/history.md`.

use std::io;

use pulseward_base::{
    Digest, Kid, Micros, Partition,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_crypto::{
    NO_CONTEXT, Role, Signature,
    certificate::{self, Use},
};

use crate::{
    manifest::{ManifestError, Signer},
    shelf::{self, Shelf},
};

const MAGIC: &[u8; 4] = b"PWH1";
const VERSION: u8 = 1;

/// How large a list of heads may be.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// The newest manifest of one chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// Whose chain.
    pub partition: Partition,
    /// The manifest's number.
    pub number: u64,
    /// SHA-256 of its bytes.
    pub digest: Digest,
}

/// The heads of all chains at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heads {
    /// When.
    pub time: Micros,
    /// The heads, by partition.
    pub chains: Vec<ChainHead>,
}

impl Heads {
    /// Signs them.
    #[must_use]
    pub fn sign(&self, signer: &Signer) -> Vec<u8> {
        let mut writer = Writer::new();
        writer
            .put(MAGIC)
            .u8(VERSION)
            .i64(self.time.0)
            .put(&signer.certificate);
        writer.u32(u32::try_from(self.chains.len()).unwrap_or(u32::MAX));
        for chain in &self.chains {
            writer
                .u32(chain.partition.0)
                .u64(chain.number)
                .put(&chain.digest.0);
        }
        let signature = signer
            .key
            .sign(Role::Head, &NO_CONTEXT, &[writer.as_slice()]);
        writer.put(&signature.0);
        writer.into_vec()
    }

    /// Returns the heads that a history under `root` signed.
    pub fn verify(bytes: &[u8], root: &Kid) -> Result<Self, ManifestError> {
        let split = bytes.len().checked_sub(Signature::SIZE);
        let (signed, signature) = split
            .and_then(|at| bytes.split_at_checked(at))
            .ok_or(Malformed)?;
        let (heads, certificate) = Self::decode(signed)?;
        let signature = Signature::from_slice(signature).map_err(ManifestError::Signature)?;
        certificate::verify(&certificate, root, Use::History, heads.time)
            .and_then(|key| key.verify(Role::Head, &NO_CONTEXT, &[signed], &signature))
            .map_err(ManifestError::Signature)?;
        Ok(heads)
    }

    fn decode(signed: &[u8]) -> Result<(Self, certificate::CertificateBytes), ManifestError> {
        let mut reader = Reader::new(signed);
        if reader.array::<4>()? != *MAGIC {
            return Err(ManifestError::Malformed);
        }
        match reader.u8()? {
            VERSION => {}
            newer if newer > VERSION => return Err(ManifestError::Newer(newer)),
            _ => return Err(ManifestError::Malformed),
        }
        let time = Micros(reader.i64()?);
        let certificate = reader.array()?;
        let mut chains = Vec::new();
        for _ in 0..reader.u32()? {
            chains.push(ChainHead {
                partition: Partition(reader.u32()?),
                number: reader.u64()?,
                digest: Digest(reader.array()?),
            });
        }
        reader.end()?;
        Ok((Self { time, chains }, certificate))
    }
}

/// Returns the numbers of the signed heads on a shelf, ascending.
pub(crate) fn numbers(shelf: &dyn Shelf) -> io::Result<Vec<u64>> {
    shelf::numbers(shelf, ".heads", heads_name)
}

/// Returns what the signed heads are called.
#[must_use]
pub fn heads_name(number: u64) -> String {
    format!("{number:020}.heads")
}
