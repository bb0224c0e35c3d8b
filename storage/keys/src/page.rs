//! The two kinds of page and their bytes: sealed under a key of their own, whole or not at all.
//!
//! A *slot page* has the patients of one slot, a *file page* the keys of some of history's files.
//! Erasing a key is writing its page without it. Layout: `docs/formats/keys.md`.

use std::collections::{BTreeMap, BTreeSet};

use pulseward_base::{
    GroupId, KeyId, Kid, Micros, Pseudonym, Secret,
    bytes::{Malformed, Reader, Writer},
};
use pulseward_crypto::{
    aead, certificate, hash, random,
    slips::{SealedHandle, binding, record},
};
use zeroize::Zeroizing;

const MAGIC: &[u8; 4] = b"PWK1";
const VERSION: u8 = 1;
const NONCE: usize = 12;

/// Which page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum PageName {
    /// The patients of a slot.
    Slot(u16),
    /// The keys of the files whose ids begin with this byte.
    Files(u8),
}

impl PageName {
    const fn parts(self) -> (u8, u16) {
        match self {
            Self::Slot(slot) => (1, slot),
            Self::Files(first) => (2, first as u16),
        }
    }

    /// Returns the page's directory and file name.
    pub(crate) fn path(self) -> String {
        match self {
            Self::Slot(slot) => format!("slots/{slot:04}.{}", crate::disk::PAGE),
            Self::Files(first) => format!("files/{first:02x}.{}", crate::disk::PAGE),
        }
    }
}

/// A page that is not one of this registry's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// The layout is not a page's.
    #[error("malformed page")]
    Malformed,
    /// It was written by a newer version.
    #[error("a page of version {0}, which is newer than this program")]
    Newer(u8),
    /// It does not open under this registry's key, or not in this place.
    #[error("a page's seal does not open")]
    Seal,
}

impl From<Malformed> for PageError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// Seals a page's plaintext.
pub(crate) fn seal(name: PageName, root: &Secret<32>, plain: &Zeroizing<Vec<u8>>) -> Vec<u8> {
    let (kind, number) = name.parts();
    let mut writer = Writer::new();
    writer.put(MAGIC).u8(VERSION).u8(kind).u16(number);
    let nonce = random::bytes::<NONCE>();
    let mut sealed = Vec::with_capacity(plain.len() + aead::TAG_SIZE);
    sealed.extend_from_slice(plain);
    key_of(name, root).seal(nonce, writer.as_slice(), &mut sealed);
    writer.put(&nonce).prefixed(&sealed);
    writer.into_vec()
}

/// Opens what [`seal`] made, in its place.
pub(crate) fn open(
    name: PageName,
    root: &Secret<32>,
    bytes: &[u8],
) -> Result<Zeroizing<Vec<u8>>, PageError> {
    let mut reader = Reader::new(bytes);
    if reader.array::<4>()? != *MAGIC {
        return Err(PageError::Malformed);
    }
    match reader.u8()? {
        VERSION => {}
        newer if newer > VERSION => return Err(PageError::Newer(newer)),
        _ => return Err(PageError::Malformed),
    }
    let place = (reader.u8()?, reader.u16()?);
    let before = bytes
        .get(..bytes.len() - reader.rest().len())
        .ok_or(Malformed)?;
    let nonce = reader.array::<NONCE>()?;
    let mut plain = Zeroizing::new(reader.prefixed(bytes.len())?.to_vec());
    reader.end()?;
    if place != name.parts() {
        return Err(PageError::Seal);
    }
    key_of(name, root)
        .open(nonce, before, &mut plain)
        .map_err(|_| PageError::Seal)?;
    Ok(plain)
}

fn key_of(name: PageName, root: &Secret<32>) -> aead::Key {
    let (kind, number) = name.parts();
    let info = [
        b"pulseward/v1/page\0".as_slice(),
        &[kind],
        &number.to_le_bytes(),
    ];
    aead::Key::new(&hash::hkdf(&[], root.expose(), &info))
}

/// The patients of one slot.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlotPage {
    pub(crate) patients: BTreeMap<Pseudonym, Patient>,
    /// Keys that were destroyed: random names, of nobody any more.
    pub(crate) erased: BTreeSet<KeyId>,
    /// Tickets spent by patients who were erased, kept until they expire by themselves.
    pub(crate) spent: BTreeMap<[u8; 32], Micros>,
}

#[derive(Clone, Debug)]
pub(crate) struct Patient {
    pub(crate) key: KeyId,
    pub(crate) secret: Secret<32>,
    pub(crate) group: GroupId,
    pub(crate) enrolments: Vec<Enrolled>,
}

/// One answer to one ticket, kept so that it can be given again.
#[derive(Clone, Debug)]
pub(crate) struct Enrolled {
    pub(crate) ticket_mac: [u8; 32],
    pub(crate) device: Kid,
    pub(crate) expiry: Micros,
    pub(crate) scope: u64,
    pub(crate) consent_version: u32,
    pub(crate) suspended: bool,
    pub(crate) certificate: certificate::CertificateBytes,
    pub(crate) record: record::RecordBytes,
    pub(crate) binding: binding::BindingBytes,
    pub(crate) sealed_handle: SealedHandle,
}

impl SlotPage {
    /// Writes the plaintext, which holds keys.
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::with_capacity(self.size());
        writer.u32(count(self.patients.len()));
        for (pseudonym, patient) in &self.patients {
            writer
                .put(&pseudonym.0)
                .put(&patient.key.0)
                .put(patient.secret.expose());
            writer
                .u32(patient.group.0)
                .u32(count(patient.enrolments.len()));
            for enrolled in &patient.enrolments {
                enrolled.encode(&mut writer);
            }
        }
        writer.u32(count(self.erased.len()));
        for key in &self.erased {
            writer.put(&key.0);
        }
        writer.u32(count(self.spent.len()));
        for (mac, expiry) in &self.spent {
            writer.put(mac).i64(expiry.0);
        }
        Zeroizing::new(writer.into_vec())
    }

    /// Reads what [`SlotPage::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let mut page = Self::default();
        for _ in 0..reader.u32()? {
            let pseudonym = Pseudonym(reader.array()?);
            let mut patient = Patient {
                key: KeyId(reader.array()?),
                secret: Secret::new(reader.array()?),
                group: GroupId(reader.u32()?),
                enrolments: Vec::new(),
            };
            for _ in 0..reader.u32()? {
                patient.enrolments.push(Enrolled::decode(&mut reader)?);
            }
            page.patients.insert(pseudonym, patient);
        }
        for _ in 0..reader.u32()? {
            page.erased.insert(KeyId(reader.array()?));
        }
        for _ in 0..reader.u32()? {
            page.spent.insert(reader.array()?, Micros(reader.i64()?));
        }
        reader.end()?;
        Ok(page)
    }

    /// Enough that encoding does not move, and leave behind, the keys it has written.
    fn size(&self) -> usize {
        let enrolments: usize = self
            .patients
            .values()
            .map(|patient| patient.enrolments.len())
            .sum();
        64 + self.patients.len() * 72
            + enrolments * 640
            + self.erased.len() * 16
            + self.spent.len() * 40
    }
}

impl Enrolled {
    fn encode(&self, writer: &mut Writer) {
        writer
            .put(&self.ticket_mac)
            .put(&self.device.0)
            .i64(self.expiry.0)
            .u64(self.scope);
        writer
            .u32(self.consent_version)
            .u8(u8::from(self.suspended));
        writer
            .put(&self.certificate)
            .put(&self.record)
            .put(&self.binding);
        writer.put(&self.sealed_handle.0);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            ticket_mac: reader.array()?,
            device: Kid(reader.array()?),
            expiry: Micros(reader.i64()?),
            scope: reader.u64()?,
            consent_version: reader.u32()?,
            suspended: match reader.u8()? {
                0 => false,
                1 => true,
                _ => return Err(Malformed),
            },
            certificate: reader.array()?,
            record: reader.array()?,
            binding: reader.array()?,
            sealed_handle: SealedHandle(reader.array()?),
        })
    }
}

/// The keys of some of history's files.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilePage {
    pub(crate) keys: BTreeMap<[u8; 16], Secret<32>>,
}

impl FilePage {
    /// Writes the plaintext, which holds keys.
    pub(crate) fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::with_capacity(4 + self.keys.len() * 48);
        writer.u32(count(self.keys.len()));
        for (file, key) in &self.keys {
            writer.put(file).put(key.expose());
        }
        Zeroizing::new(writer.into_vec())
    }

    /// Reads what [`FilePage::encode`] wrote.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new(bytes);
        let mut page = Self::default();
        for _ in 0..reader.u32()? {
            page.keys
                .insert(reader.array()?, Secret::new(reader.array()?));
        }
        reader.end()?;
        Ok(page)
    }
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}
