//! The vault's directory: what lies where, and how it is made at first start.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::Context as _;
use prometheus::Registry;
use pulseward_app::{
    SystemClock,
    passphrase::PassphraseArgs,
    tls::{self, Serving},
};
use pulseward_base::{Clock, Kid, bytes};
use pulseward_custody::{Custodian, Passphrase};
use pulseward_identity_store::{Metrics, Vault};

use crate::config::{Config, FILE};

/// The vault's root, public, for `root` to print.
const ROOT: &str = "root";
/// The authority that clients check the server against, public.
const AUTHORITY: &str = "authority.pem";
const CUSTODIAN: &str = "custodian";
const SOCKET: &str = "admin.sock";
/// What the authority's key is called in the custodian.
const AUTHORITY_KEY: &str = "tls-authority";

/// An open vault and what serving it needs.
pub(crate) struct Home {
    pub(crate) vault: Arc<Vault>,
    pub(crate) serving: Serving,
}

/// Returns where the running program's admin socket lies.
pub(crate) fn socket(directory: &Path) -> PathBuf {
    directory.join(SOCKET)
}

/// Returns the vault's root.
pub(crate) fn root(directory: &Path) -> anyhow::Result<String> {
    let path = directory.join(ROOT);
    fs::read_to_string(&path)
        .map(|root| root.trim().to_owned())
        .with_context(|| format!("no vault was made in {}", directory.display()))
}

/// Opens the vault in `directory`, making directory, custodian and keys at first start.
pub(crate) fn open(
    directory: &Path,
    config: &Config,
    passphrase: &PassphraseArgs,
    registry: &Registry,
) -> anyhow::Result<Home> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .with_context(|| format!("couldn't make {}", directory.display()))?;
    let passphrase = Passphrase::new(passphrase.read()?.to_string());
    let custodian = Custodian::open_or_create(&directory.join(CUSTODIAN), &passphrase)
        .context("couldn't open the custodian")?;
    drop(passphrase);
    let clock = Arc::new(SystemClock::start());
    let names: Vec<String> = config
        .grpc
        .names
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect();
    let serving = tls::issue(
        "pulseward-identity",
        &authority_key(&custodian)?,
        &names,
        clock.now(),
    )?;
    let vault = Vault::open(
        directory,
        &custodian,
        config.settings(),
        clock,
        Metrics::new(registry)?,
    )
    .context("couldn't open the vault")?;
    publish(directory, ROOT, &format!("{}\n", hex(vault.root())))?;
    publish(directory, AUTHORITY, &serving.authority_pem)?;
    Ok(Home {
        vault: Arc::new(vault),
        serving,
    })
}

/// Writes a configuration that names the pipeline, unless there is one.
pub(crate) fn write_config(directory: &Path, pipeline_root: Kid) -> anyhow::Result<()> {
    let path = directory.join(FILE);
    let text = format!("[slips]\npipeline_root = \"{}\"\n", hex(pipeline_root));
    fs::OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("couldn't write {}; edit it if it is there", path.display()))
}

/// Returns a key's name as people pass it on.
pub(crate) fn hex(kid: Kid) -> String {
    bytes::hex(&kid.0)
}

fn authority_key(custodian: &Custodian) -> anyhow::Result<zeroize::Zeroizing<Vec<u8>>> {
    if let Some(key) = custodian.blob(AUTHORITY_KEY) {
        return Ok(key);
    }
    let key = tls::new_authority_key()?;
    custodian.store_blob(AUTHORITY_KEY, &key)?;
    Ok(key)
}

/// Writes a small public file whole.
fn publish(directory: &Path, name: &str, text: &str) -> anyhow::Result<()> {
    let path = directory.join(name);
    let beside = directory.join(format!("{name}.new"));
    fs::write(&beside, text)
        .and_then(|()| fs::rename(&beside, &path))
        .with_context(|| format!("couldn't write {}", path.display()))
}
