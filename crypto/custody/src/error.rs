//! What can go wrong with a program's own secrets.

use std::io;

/// Why a custodian did not serve.
#[derive(Debug, thiserror::Error)]
pub enum CustodyError {
    /// The file could not be read or written.
    #[error("the custodian's file could not be used")]
    Io(#[from] io::Error),
    /// Another program holds the file.
    #[error("the custodian's file is in use")]
    InUse,
    /// The passphrase is another, or the file was changed.
    #[error("the passphrase does not open the custodian's file")]
    WrongPassphrase,
    /// The file does not have its layout, or a value not its size.
    #[error("the custodian's file is damaged")]
    Damaged,
    /// A name or value is too long, or there are too many.
    #[error("the custodian is full")]
    Full,
}
