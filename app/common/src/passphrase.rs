//! The passphrase that seals a program's custodian: from a file descriptor, a systemd credential
//! or the terminal; never from the command line or the environment.

use std::{fs::File, io::Read as _, path::PathBuf};

use anyhow::{Context as _, ensure};
use zeroize::Zeroizing;

/// The credential's name under systemd's `LoadCredentialEncrypted=`.
pub const CREDENTIAL: &str = "passphrase";

/// How long a passphrase may be.
const LONGEST: u64 = 1024;

/// Where the passphrase comes from.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PassphraseArgs {
    /// Read the passphrase from this open file descriptor, up to the first line's end.
    #[arg(long, value_name = "FD", global = true)]
    pub passphrase_fd: Option<u32>,
}

impl PassphraseArgs {
    /// Returns the passphrase: from the descriptor if one was named, else from systemd's
    /// credential if there is one, else from the terminal.
    pub fn read(&self) -> anyhow::Result<Zeroizing<String>> {
        if let Some(descriptor) = self.passphrase_fd {
            return first_line(PathBuf::from(format!("/dev/fd/{descriptor}")));
        }
        if let Some(directory) = credentials_directory() {
            let path = directory.join(CREDENTIAL);
            if path.exists() {
                return first_line(path);
            }
        }
        let typed = rpassword::prompt_password("Passphrase: ")
            .context("couldn't ask for the passphrase")?;
        checked(Zeroizing::new(typed))
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "systemd names the credentials' directory there"
)]
fn credentials_directory() -> Option<PathBuf> {
    std::env::var("CREDENTIALS_DIRECTORY")
        .ok()
        .map(PathBuf::from)
}

fn first_line(path: PathBuf) -> anyhow::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    let file = File::open(&path).with_context(|| format!("couldn't open {}", path.display()))?;
    file.take(LONGEST)
        .read_to_string(&mut text)
        .context("couldn't read the passphrase")?;
    let line = text.lines().next().unwrap_or_default();
    checked(Zeroizing::new(line.to_owned()))
}

fn checked(passphrase: Zeroizing<String>) -> anyhow::Result<Zeroizing<String>> {
    ensure!(
        passphrase.len() >= 12,
        "a passphrase has at least 12 characters"
    );
    Ok(passphrase)
}
