//! Where a chain stands, and a signed word on it.

use pulseward_base::{
    Digest, Micros, Reject,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_crypto::{NO_CONTEXT, Role, Signature, SigningKey, VerifyingKey};

const VERSION: u8 = 1;

/// Where a chain stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// How many records there are.
    pub count: u64,
    /// The digest of the last; zeros when there is none.
    pub last: Digest,
    /// The time of the last.
    pub time: Micros,
}

impl Head {
    /// The head of a chain without records.
    pub const EMPTY: Self = Self {
        count: 0,
        last: Digest::ZERO,
        time: Micros(i64::MIN),
    };

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new();
        writer.u8(VERSION).u64(self.count).put(&self.last.0);
        writer.i64(self.time.0);
        writer.into_vec()
    }
}

/// A head with its signature, 113 bytes: whoever keeps one sees a chain that was cut or rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedHead {
    head: Head,
    signature: Signature,
}

impl SignedHead {
    /// How many bytes it has.
    pub const SIZE: usize = 113;

    /// Signs `head`.
    #[must_use]
    pub fn issue(key: &SigningKey, head: &Head) -> Vec<u8> {
        let mut bytes = head.encode();
        let signature = key.sign(Role::Head, &NO_CONTEXT, &[&bytes]);
        bytes.extend_from_slice(&signature.0);
        bytes
    }

    /// Reads a signed head without checking it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Reject> {
        let fields = |bytes| -> Result<_, Malformed> {
            let mut reader = Reader::new(bytes);
            let version = reader.u8()?;
            let head = Head {
                count: reader.u64()?,
                last: Digest(reader.array()?),
                time: Micros(reader.i64()?),
            };
            let signature = Signature(reader.array()?);
            reader.end()?;
            (version == VERSION)
                .then_some(Self { head, signature })
                .ok_or(Malformed)
        };
        fields(bytes).map_err(|Malformed| Reject::Malformed)
    }

    /// Returns the head when `key` signed it.
    pub fn verify(&self, key: &VerifyingKey) -> Result<Head, Reject> {
        key.verify(
            Role::Head,
            &NO_CONTEXT,
            &[&self.head.encode()],
            &self.signature,
        )?;
        Ok(self.head)
    }
}
