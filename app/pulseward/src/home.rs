//! Where the program lives: its directory, what lies in it by which name, and how it is set.

use std::path::PathBuf;

use crate::config::Config;

/// The admin socket.
const SOCKET: &str = "admin.sock";
/// The TLS authority's certificate, public.
const TLS_AUTHORITY: &str = "tls-ca.pem";
/// The root's name, public.
const ROOT: &str = "root.txt";
/// The history.
const HISTORY: &str = "history";

/// Where the program lives and how it is set.
#[derive(Clone, Debug)]
pub struct Home {
    /// Its directory.
    pub directory: PathBuf,
    /// Its configuration.
    pub config: Config,
}

impl Home {
    /// Returns where the admin socket is.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.directory.join(SOCKET)
    }

    /// Returns where the TLS authority's certificate is.
    #[must_use]
    pub fn tls_authority(&self) -> PathBuf {
        self.directory.join(TLS_AUTHORITY)
    }

    /// Returns where the root's name is.
    #[must_use]
    pub fn root(&self) -> PathBuf {
        self.directory.join(ROOT)
    }

    /// Returns where the history is.
    #[must_use]
    pub fn history(&self) -> PathBuf {
        self.directory.join(HISTORY)
    }
}
