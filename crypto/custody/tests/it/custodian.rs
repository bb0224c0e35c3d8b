//! Secrets that are durable before anybody learns them, and nothing else in the file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use pulseward_base::{
    Secret,
    bytes::{hex, unhex},
};
use pulseward_custody::{Cost, Custodian, CustodyError, Passphrase};

const VECTOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/custodian.txt");

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.to_owned())
}

fn open(path: &Path, text: &str) -> Result<Custodian, CustodyError> {
    Custodian::open_or_create_at(path, &passphrase(text), Cost::CHEAPEST)
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys");
    (folder, path)
}

#[test]
fn a_secret_is_in_the_file_before_it_is_returned_and_stays_the_same() {
    let (_folder, path) = place();
    let custodian = open(&path, "open sesame").unwrap();
    let secret = custodian.random_secret("one").unwrap();
    let kid = custodian.signing_key("signer").unwrap().kid();
    let public = *custodian.key_pair("reader").unwrap().public();
    custodian.store_blob("tls", b"certificate").unwrap();
    // What a crash now would leave.
    let crashed = path.with_extension("crashed");
    fs::copy(&path, &crashed).unwrap();
    let again = open(&crashed, "open sesame").unwrap();
    assert_eq!(
        again.random_secret("one").unwrap().expose(),
        secret.expose()
    );
    assert_eq!(again.signing_key("signer").unwrap().kid(), kid);
    assert_eq!(again.key_pair("reader").unwrap().public(), &public);
    assert_eq!(again.blob("tls").unwrap().as_slice(), b"certificate");
    assert!(again.blob("nothing").is_none());
}

#[test]
fn a_generator_runs_at_the_first_use_only() {
    let custodian = Custodian::in_memory();
    let first = custodian.secret("one", || Secret::new([1; 32])).unwrap();
    let second = custodian.secret("one", || Secret::new([2; 32])).unwrap();
    assert_eq!((first.expose(), second.expose()), (&[1; 32], &[1; 32]));
}

#[test]
fn what_is_destroyed_is_gone_from_the_file() {
    let (_folder, path) = place();
    let custodian = open(&path, "open sesame").unwrap();
    let secret = custodian.random_secret("one").unwrap();
    custodian.destroy("one").unwrap();
    custodian.destroy("one").unwrap();
    drop(custodian);
    let again = open(&path, "open sesame").unwrap();
    assert!(again.blob("one").is_none());
    let new = again.random_secret("one").unwrap();
    assert_ne!(new.expose(), secret.expose());
}

#[test]
fn another_passphrase_opens_nothing() {
    let (_folder, path) = place();
    drop(open(&path, "open sesame").unwrap());
    for wrong in ["open sesamE", "", "open sesame "] {
        assert!(matches!(
            open(&path, wrong),
            Err(CustodyError::WrongPassphrase)
        ));
    }
    assert!(open(&path, "open sesame").is_ok());
}

#[test]
fn a_file_with_any_bit_flipped_or_cut_does_not_open() {
    let (_folder, path) = place();
    let custodian = open(&path, "open sesame").unwrap();
    custodian.random_secret("one").unwrap();
    drop(custodian);
    let good = fs::read(&path).unwrap();
    let refused = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        open(&path, "open sesame").is_err()
    };
    for at in 0..good.len() {
        // Costs that a flipped bit makes too high to try in a test are refused by their bound,
        // which has a test of its own.
        if (5..17).contains(&at) {
            continue;
        }
        let mut changed = good.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(refused(&changed), "byte {at}");
    }
    for length in [0, 4, 44, 45, good.len() - 1] {
        assert!(refused(&good[..length]), "{length} bytes");
    }
    assert!(!refused(&good));
}

#[test]
fn a_file_that_would_cost_too_much_to_try_is_damaged() {
    let (_folder, path) = place();
    drop(open(&path, "open sesame").unwrap());
    let mut bytes = fs::read(&path).unwrap();
    for field in [5, 9, 13] {
        let good: [u8; 4] = bytes[field..field + 4].try_into().unwrap();
        bytes[field..field + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        fs::write(&path, &bytes).unwrap();
        assert!(matches!(
            open(&path, "open sesame"),
            Err(CustodyError::Damaged)
        ));
        bytes[field..field + 4].copy_from_slice(&good);
    }
}

#[test]
fn no_secret_and_no_name_lies_in_the_clear() {
    let (_folder, path) = place();
    let custodian = open(&path, "open sesame").unwrap();
    let secret = custodian.random_secret("pseudonym-key").unwrap();
    let bytes = fs::read(&path).unwrap();
    let shows = |part: &[u8]| bytes.windows(part.len()).any(|seen| seen == part);
    assert!(!shows(&secret.expose()[..8]));
    assert!(!shows(b"pseudonym") && !shows(b"sesame"));
    let debug = format!("{custodian:?} {:?}", passphrase("open sesame"));
    assert_eq!(debug, "Custodian(..) Passphrase(..)");
}

#[cfg(unix)]
#[test]
fn only_its_owner_may_read_the_file() {
    use std::os::unix::fs::PermissionsExt as _;

    let (_folder, path) = place();
    let custodian = open(&path, "open sesame").unwrap();
    custodian.random_secret("one").unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn two_programs_do_not_hold_one_file() {
    let (_folder, path) = place();
    let first = open(&path, "open sesame").unwrap();
    assert!(matches!(
        open(&path, "open sesame"),
        Err(CustodyError::InUse)
    ));
    drop(first);
    assert!(open(&path, "open sesame").is_ok());
}

#[test]
fn what_a_crash_left_of_a_write_is_written_over() {
    let (_folder, path) = place();
    drop(open(&path, "open sesame").unwrap());
    let mut leftover = path.as_os_str().to_owned();
    leftover.push(".new");
    fs::write(&leftover, b"half").unwrap();
    let custodian = open(&path, "open sesame").unwrap();
    custodian.random_secret("one").unwrap();
    assert!(!Path::new(&leftover).exists());
}

#[test]
fn a_secret_that_could_not_be_kept_is_not_given() {
    let (folder, path) = place();
    let custodian = open(&path, "open sesame").unwrap();
    folder.close().unwrap();
    assert!(matches!(
        custodian.random_secret("one"),
        Err(CustodyError::Io(_))
    ));
    assert!(custodian.blob("one").is_none());
    let too_long = custodian.store_blob(&"n".repeat(200), b"");
    assert!(matches!(too_long, Err(CustodyError::Full)));
}

#[test]
fn a_value_of_another_size_is_no_secret() {
    let custodian = Custodian::in_memory();
    custodian.store_blob("one", b"short").unwrap();
    assert!(matches!(
        custodian.random_secret("one"),
        Err(CustodyError::Damaged)
    ));
}

/// A file of version 1, kept: whatever comes later must open it or say why not.
#[test]
fn a_file_of_version_1_opens() {
    let (_folder, path) = place();
    if std::env::var_os("PULSEWARD_BLESS").is_some() {
        let custodian = open(&path, "correct horse").unwrap();
        custodian.secret("one", || Secret::new([7; 32])).unwrap();
        drop(custodian);
        fs::write(VECTOR, hex(&fs::read(&path).unwrap()) + "\n").unwrap();
    }
    let text = fs::read_to_string(VECTOR).unwrap();
    fs::write(&path, unhex(text.trim_end()).unwrap()).unwrap();
    let custodian = open(&path, "correct horse").unwrap();
    let secret = custodian.random_secret("one").unwrap();
    assert_eq!(secret.expose(), &[7; 32]);
    drop(custodian);
    let mut newer = fs::read(&path).unwrap();
    newer[4] = 2;
    fs::write(&path, newer).unwrap();
    assert!(matches!(
        open(&path, "correct horse"),
        Err(CustodyError::Damaged)
    ));
}
