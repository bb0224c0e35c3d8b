use std::fs;

use super::*;

const NOW: Micros = Micros(1_700_000_000_000_000);

fn staff_page(generation: u64) -> Note {
    Note::new(Act::Confirm, NOW)
        .by(StaffId([3; 16]))
        .page(PageId::Staff, generation)
}

struct Kept {
    _directory: tempfile::TempDir,
    path: PathBuf,
    key: Secret<32>,
}

impl Kept {
    fn with(notes: &[Note]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let kept = Self {
            path: directory.path().join("audit.chain"),
            key: random::secret(),
            _directory: directory,
        };
        let (mut ledger, generations) = kept.open().unwrap();
        assert!(generations.is_empty());
        ledger.append(notes).unwrap();
        kept
    }

    fn open(&self) -> Result<(Ledger, BTreeMap<PageId, u64>), StoreError> {
        Ledger::open(&self.path, &self.key, NOW)
    }
}

#[test]
fn a_chain_is_read_back_with_the_newest_generations() {
    let note = Note::new(Act::Register, NOW).page(PageId::Persons(9), 4);
    let kept = Kept::with(&[staff_page(1), note, staff_page(2)]);
    let (mut ledger, generations) = kept.open().unwrap();
    assert_eq!(ledger.count(), 4);
    assert_eq!(
        generations,
        BTreeMap::from([(PageId::Staff, 2), (PageId::Persons(9), 4)])
    );
    ledger.append(&[staff_page(3)]).unwrap();
    let head = ledger.head();
    drop(ledger);
    let (again, generations) = kept.open().unwrap();
    assert_eq!((again.count(), again.head()), (5, head));
    assert_eq!(generations[&PageId::Staff], 3);
}

#[test]
fn a_chain_cut_at_any_byte_keeps_its_whole_entries_and_goes_on() {
    let kept = Kept::with(&[staff_page(1), staff_page(2)]);
    let whole = fs::read(&kept.path).unwrap();
    for length in MAGIC.len()..whole.len() {
        fs::write(&kept.path, &whole[..length]).unwrap();
        let (mut ledger, _) = kept.open().unwrap();
        let entries = (length - MAGIC.len()) / ENTRY;
        assert_eq!(ledger.count(), entries as u64, "cut at {length}");
        ledger.append(&[staff_page(7)]).unwrap();
        assert_eq!(kept.open().unwrap().0.count(), entries as u64 + 1);
    }
    let zeros = [whole.as_slice(), &[0; 2 * ENTRY]].concat();
    fs::write(&kept.path, zeros).unwrap();
    assert_eq!(kept.open().unwrap().0.count(), 3);
}

#[test]
fn a_changed_byte_anywhere_is_seen() {
    let kept = Kept::with(&[staff_page(1)]);
    let whole = fs::read(&kept.path).unwrap();
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&kept.path, &changed).unwrap();
        assert!(kept.open().is_err(), "byte {at}");
    }
}

#[test]
fn an_entry_that_was_removed_moved_or_doubled_is_seen() {
    let kept = Kept::with(&[staff_page(1), staff_page(2)]);
    let whole = fs::read(&kept.path).unwrap();
    let entry = |index: usize| &whole[MAGIC.len() + index * ENTRY..][..ENTRY];
    for order in [&[0, 2][..], &[0, 2, 1], &[0, 1, 1, 2], &[1, 2]] {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(order.iter().flat_map(|index| entry(*index)));
        fs::write(&kept.path, &bytes).unwrap();
        let broken = kept.open();
        assert!(
            matches!(broken, Err(StoreError::ChainBroken { .. })),
            "{order:?}"
        );
    }
}

#[test]
fn another_key_does_not_read_the_notes() {
    let kept = Kept::with(&[staff_page(1)]);
    let other = Ledger::open(&kept.path, &random::secret(), NOW);
    assert!(matches!(other, Err(StoreError::Damaged { .. })));
    let text = fs::read(&kept.path).unwrap();
    let actor = [3; 16];
    assert!(!text.windows(16).any(|window| window == actor));
}

#[test]
fn a_note_has_its_size_and_is_read_back() {
    let note = Note::new(Act::WayBack, NOW)
        .by(StaffId([1; 16]))
        .about(PersonId([2; 16]))
        .reference([3; 16])
        .refused(Refusal::Spent)
        .page(PageId::Spent, 5);
    let bytes = note.encode();
    assert_eq!(bytes.len(), NOTE_SIZE);
    assert_eq!(Note::decode(&bytes), Ok(note));
}
