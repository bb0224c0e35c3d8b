//! The keys that vouch for models and promote them: each in a custodian of its own.

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context as _, ensure};
use pulseward_app::passphrase::PassphraseArgs;
use pulseward_base::{
    Micros,
    bytes::{hex, unhex},
};
use pulseward_crypto::{
    Point, SigningKey, VerifyingKey,
    certificate::{self, CertificateBytes, Use},
};
use pulseward_custody::{Custodian, Passphrase};
use pulseward_models::artefact::Signer;

use super::{
    args::{CertifyArgs, OperatorArgs},
    say,
};

const CUSTODIAN: &str = "custodian";
const CERTIFICATE: &str = "certificate";
const SECRET: &str = "operator";
const MICROS_A_DAY: i64 = 86_400_000_000;

/// A key with its certificate.
pub(super) struct Keys {
    key: SigningKey,
    certificate: CertificateBytes,
}

impl Keys {
    /// Opens a signer's directory.
    pub(super) fn open(directory: &Path, passphrase: &PassphraseArgs) -> anyhow::Result<Self> {
        let path = directory.join(CERTIFICATE);
        let bytes = fs::read(&path).with_context(|| {
            format!("couldn't read {}: has a root certified it?", path.display())
        })?;
        let certificate: CertificateBytes = bytes
            .try_into()
            .ok()
            .context("the certificate does not have 148 bytes")?;
        let key = custodian(&directory.join(CUSTODIAN), passphrase)?.signing_key(SECRET)?;
        let certified = certificate::Certificate::decode(&certificate)
            .map_err(|reject| anyhow::anyhow!("the certificate: {reject}"))?;
        ensure!(
            certified.subject == key.point(),
            "the certificate is of another key"
        );
        Ok(Self { key, certificate })
    }

    /// Makes a key that lives as long as this value, certified by `root`.
    pub(super) fn passing(root: &SigningKey, until: Micros) -> Self {
        let key = SigningKey::generate();
        let certificate = certificate::issue(root, Use::Operator, &key.point(), Micros(0), until);
        Self { key, certificate }
    }

    pub(super) fn signer(&self) -> Signer<'_> {
        Signer {
            key: &self.key,
            certificate: &self.certificate,
        }
    }
}

/// Makes an operator's key.
pub(super) fn operator(
    args: &OperatorArgs,
    passphrase: &PassphraseArgs,
) -> anyhow::Result<ExitCode> {
    fs::create_dir_all(&args.signer)?;
    let key = custodian(&args.signer.join(CUSTODIAN), passphrase)?.signing_key(SECRET)?;
    say(&hex(&key.point().0));
    Ok(ExitCode::SUCCESS)
}

/// Certifies an operator's point.
pub(super) fn certify(
    args: &CertifyArgs,
    passphrase: &PassphraseArgs,
    now: Micros,
) -> anyhow::Result<ExitCode> {
    let point: [u8; Point::SIZE] = unhex(&args.point)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .context("the point does not have 33 bytes in hexadecimal")?;
    let point = Point(point);
    VerifyingKey::from_point(&point).map_err(|_| anyhow::anyhow!("the point is no key"))?;
    ensure!(
        args.custodian.exists(),
        "there is no custodian at {}",
        args.custodian.display()
    );
    let root = custodian(&args.custodian, passphrase)?.signing_key("root")?;
    let until = Micros(now.0.saturating_add(i64::from(args.days) * MICROS_A_DAY));
    let from = Micros(now.0.saturating_sub(MICROS_A_DAY));
    let certificate = certificate::issue(&root, Use::Operator, &point, from, until);
    fs::write(&args.out, certificate)
        .with_context(|| format!("couldn't write {}", args.out.display()))?;
    say(&format!(
        "certified for {} days under root {}",
        args.days,
        hex(&root.kid().0)
    ));
    Ok(ExitCode::SUCCESS)
}

fn custodian(path: &Path, passphrase: &PassphraseArgs) -> anyhow::Result<Custodian> {
    let passphrase = Passphrase::new(passphrase.read()?.to_string());
    Custodian::open_or_create(path, &passphrase)
        .with_context(|| format!("couldn't open {}", path.display()))
}
