use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn page(id: PageId, generation: u64, plain: &[u8]) -> NewPage {
    NewPage {
        id,
        generation,
        plain: Zeroizing::new(plain.to_vec()),
    }
}

#[test]
fn a_page_is_read_back_and_only_its_owner_may() {
    let directory = tempfile::tempdir().unwrap();
    let pages = Pages::open(directory.path(), random::secret()).unwrap();
    assert!(pages.read(PageId::Staff).unwrap().is_none());
    pages
        .write(vec![
            page(PageId::Staff, 1, b"staff"),
            page(PageId::Persons(3), 9, b""),
        ])
        .unwrap();
    let staff = pages.read(PageId::Staff).unwrap().unwrap();
    assert_eq!(
        (staff.generation, staff.plain.as_slice()),
        (1, &b"staff"[..])
    );
    for file in fs::read_dir(directory.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[test]
fn a_page_that_was_cut_changed_moved_or_sealed_under_another_key_is_damaged() {
    let key = random::secret();
    let sealed = seal(&key, page(PageId::Persons(1), 7, b"somebody"));
    assert_eq!(
        open(&key, PageId::Persons(1), sealed.clone())
            .unwrap()
            .generation,
        7
    );
    assert!(open(&key, PageId::Persons(2), sealed.clone()).is_err());
    assert!(open(&random::secret(), PageId::Persons(1), sealed.clone()).is_err());
    for length in 0..sealed.len() {
        let cut = sealed[..length].to_vec();
        assert!(open(&key, PageId::Persons(1), cut).is_err(), "{length}");
    }
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert!(
            open(&key, PageId::Persons(1), changed).is_err(),
            "byte {at}"
        );
    }
}

#[test]
fn one_process_holds_the_store() {
    let directory = tempfile::tempdir().unwrap();
    let first = Pages::open(directory.path(), random::secret()).unwrap();
    let second = Pages::open(directory.path(), random::secret());
    assert!(matches!(second, Err(StoreError::Held { .. })));
    drop(first);
    assert!(Pages::open(directory.path(), random::secret()).is_ok());
}

#[test]
fn what_a_crash_left_half_written_is_forgotten() {
    let directory = tempfile::tempdir().unwrap();
    let key: Secret<32> = random::secret();
    let pages = Pages::open(directory.path(), key.clone()).unwrap();
    pages.write(vec![page(PageId::Spent, 1, b"old")]).unwrap();
    fs::write(directory.path().join("spent.new"), b"half").unwrap();
    drop(pages);
    let pages = Pages::open(directory.path(), key).unwrap();
    let spent = pages.read(PageId::Spent).unwrap().unwrap();
    assert_eq!(spent.plain.as_slice(), b"old");
    assert!(!directory.path().join("spent.new").exists());
}

#[test]
fn every_page_has_a_number_and_a_file_of_its_own() {
    let mut numbers: Vec<_> = PageId::all().map(PageId::number).collect();
    let mut names: Vec<_> = PageId::all().map(PageId::file_name).collect();
    assert!(PageId::all().all(|page| PageId::from_number(page.number()) == Some(page)));
    numbers.sort_unstable();
    numbers.dedup();
    names.sort_unstable();
    names.dedup();
    assert_eq!((numbers.len(), names.len()), (66, 66));
}
