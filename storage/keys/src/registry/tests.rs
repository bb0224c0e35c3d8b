//! The registry against crashes, reuse and dumps.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use pulseward_base::{GroupId, Micros, Pseudonym, TicketId, clock::ManualClock};
use pulseward_crypto::{
    certificate::{self, Use},
    slips::{SealedHandle, TicketSlip, TicketTerms, ticket::Riders},
};

use super::{
    admission::{OPEN_GROUPS, open_group},
    *,
};
use crate::{
    audit::NotRecorded,
    page::{Patient, SlotPage},
};

/// The vault's side, the pipeline's root, and what a registry is opened with.
pub(crate) struct World {
    vault: SigningKey,
    vault_certificate: CertificateBytes,
    vault_root: Kid,
    custodian: Custodian,
    pub(crate) tools: RegistryTools,
    pub(crate) events: Arc<Recorded>,
    pub(crate) clock: Arc<ManualClock>,
}

#[derive(Default)]
pub(crate) struct Recorded(pub(crate) Mutex<Vec<Event>>);

#[async_trait]
impl AuditSink for Recorded {
    async fn record(&self, event: Event) -> Result<(), NotRecorded> {
        self.0.lock().unwrap().push(event);
        Ok(())
    }
}

const NOW: Micros = Micros(1_000_000);

impl World {
    pub(crate) fn new() -> Self {
        let (vault_root, vault) = (SigningKey::generate(), SigningKey::generate());
        let (root, registry) = (SigningKey::generate(), SigningKey::generate());
        let certify = |root: &SigningKey, use_, key: &SigningKey| {
            certificate::issue(root, use_, &key.point(), Micros(0), Micros(i64::MAX))
        };
        let identity = RegistryIdentity {
            root: root.kid(),
            certificate: certify(&root, Use::Registry, &registry),
            key: registry,
        };
        let events = Arc::new(Recorded::default());
        let clock = Arc::new(ManualClock::new(NOW));
        Self {
            vault_certificate: certify(&vault_root, Use::Vault, &vault),
            vault,
            vault_root: vault_root.kid(),
            custodian: Custodian::in_memory(),
            tools: RegistryTools {
                identity: Arc::new(identity),
                audit: Arc::clone(&events) as Arc<dyn AuditSink>,
                clock: Arc::clone(&clock) as Arc<dyn Clock>,
                metrics: Metrics::new(&prometheus::Registry::new()).unwrap(),
            },
            events,
            clock,
        }
    }

    pub(crate) fn open(&self, disk: impl Disk + 'static) -> Result<Registry, RegistryError> {
        let settings = RegistrySettings::new(self.vault_root);
        let (home, tools) = (Path::new("/registry"), self.tools.clone());
        Registry::open_on(Box::new(disk), home, &self.custodian, settings, tools, None)
    }

    fn ticket(&self, person: u8, ticket: u8) -> Vec<u8> {
        let terms = TicketTerms {
            id: TicketId([ticket; 16]),
            root: self.tools.identity.root,
            project: 7,
            expiry: NOW.plus(Duration::from_secs(60)),
            scope: 0b110,
            consent_version: 3,
        };
        let riders = Riders {
            handle: [person; 16],
            salt: [ticket ^ 0x55; 16],
            sealed_handle: SealedHandle([person ^ 0xaa; 44]),
        };
        TicketSlip::issue(&self.vault_certificate, &self.vault, &terms, &riders)
    }

    fn wish(&self, person: u8, ticket: u8, device: &SigningKey) -> AdmitRequest {
        AdmitRequest {
            ticket_slip: self.ticket(person, ticket),
            device: device.point(),
            attestation: Vec::new(),
            now: NOW,
        }
    }
}

/// A disk that tells what is written from what is durable, and that can stop at any step. Names
/// are durable when their directory is synced, bytes when their file is.
#[derive(Clone, Default)]
pub(crate) struct ModelDisk(Arc<Mutex<Model>>);

#[derive(Default)]
struct Model {
    inodes: Vec<Inode>,
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    steps_left: Option<u32>,
}

#[derive(Clone, Default)]
struct Inode {
    written: Vec<u8>,
    durable: Vec<u8>,
}

/// What is left after the power is cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// Only what was made durable.
    Least,
    /// Everything that was written.
    Most,
    /// All names, but of files only the bytes that were made durable.
    NamesOnly,
}

impl ModelDisk {
    fn stop_after(&self, steps: u32) {
        self.0.lock().unwrap().steps_left = Some(steps);
    }

    /// Returns the disk as it is found after a crash.
    fn after(&self, cut: Cut) -> Self {
        let model = self.0.lock().unwrap();
        let names = match cut {
            Cut::Least => &model.durable_names,
            Cut::Most | Cut::NamesOnly => &model.names,
        };
        let inodes = model.inodes.iter().map(|inode| {
            let left = match cut {
                Cut::Most => &inode.written,
                Cut::Least | Cut::NamesOnly => &inode.durable,
            };
            Inode {
                written: left.clone(),
                durable: left.clone(),
            }
        });
        Self(Arc::new(Mutex::new(Model {
            inodes: inodes.collect(),
            names: names.clone(),
            durable_names: names.clone(),
            steps_left: None,
        })))
    }

    fn step(&self) -> io::Result<std::sync::MutexGuard<'_, Model>> {
        let mut model = self.0.lock().unwrap();
        match &mut model.steps_left {
            Some(0) => Err(io::Error::other("the power is cut")),
            Some(left) => {
                *left -= 1;
                Ok(model)
            }
            None => Ok(model),
        }
    }

    fn everything(&self) -> Vec<u8> {
        let model = self.0.lock().unwrap();
        model
            .inodes
            .iter()
            .flat_map(|inode| inode.written.clone())
            .collect()
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for ModelDisk {
    fn make_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let model = self.0.lock().unwrap();
        Ok(model
            .names
            .keys()
            .filter(|name| name.parent() == Some(path))
            .cloned()
            .collect())
    }

    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let model = self.0.lock().unwrap();
        Ok(model
            .names
            .get(path)
            .map(|inode| model.inodes[*inode].written.clone()))
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        // A cut in the middle of a write leaves half of it.
        let cut = self.0.lock().unwrap().steps_left == Some(0);
        let mut model = if cut {
            self.0.lock().unwrap()
        } else {
            self.step()?
        };
        let new = model.inodes.len();
        let inode = *model.names.entry(path.to_owned()).or_insert(new);
        if inode == new {
            model.inodes.push(Inode::default());
        }
        let half = if cut { bytes.len() / 2 } else { bytes.len() };
        model.inodes[inode].written = bytes[..half].to_vec();
        if cut {
            Err(io::Error::other("the power is cut"))
        } else {
            Ok(())
        }
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut model = self.step()?;
        let inode = *model.names.get(path).ok_or_else(missing)?;
        model.inodes[inode].durable = model.inodes[inode].written.clone();
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut model = self.step()?;
        let inode = *model.names.get(from).ok_or_else(missing)?;
        if model.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        model.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut model = self.step()?;
        let inode = model.names.remove(from).ok_or_else(missing)?;
        model.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut model = self.step()?;
        let names: BTreeMap<_, _> = model
            .names
            .iter()
            .filter(|(name, _)| name.parent() == Some(path))
            .map(|(name, inode)| (name.clone(), *inode))
            .collect();
        model
            .durable_names
            .retain(|name, _| name.parent() != Some(path));
        model.durable_names.extend(names);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut model = self.step()?;
        model.names.remove(path).map(drop).ok_or_else(missing)
    }
}

#[tokio::test]
async fn the_same_ticket_and_device_get_the_same_answer_also_after_a_restart() {
    let world = World::new();
    let disk = ModelDisk::default();
    let device = SigningKey::generate();
    let registry = world.open(disk.clone()).unwrap();
    let first = registry.admit(&world.wish(1, 1, &device)).await.unwrap();
    assert_eq!(
        registry.admit(&world.wish(1, 1, &device)).await.unwrap(),
        first
    );
    let key = KeySource::open(&registry, &first.key).await.unwrap();
    drop(registry);
    let again = world.open(disk.after(Cut::Least)).unwrap();
    assert_eq!(
        again.admit(&world.wish(1, 1, &device)).await.unwrap(),
        first
    );
    let same = KeySource::open(&again, &first.key).await.unwrap();
    assert_eq!(key.secret().expose(), same.secret().expose());
    // Another device of the same person: same patient, same key, another enrolment.
    let other = again
        .admit(&world.wish(1, 2, &SigningKey::generate()))
        .await
        .unwrap();
    assert_eq!(
        (other.pseudonym, other.key, other.group),
        (first.pseudonym, first.key, first.group)
    );
    assert_ne!(other.record, first.record);
}

#[tokio::test]
async fn a11_a_ticket_shown_by_another_device_is_refused_and_suspends_the_first() {
    let world = World::new();
    let registry = world.open(ModelDisk::default()).unwrap();
    let device = SigningKey::generate();
    let bad = Err(KeyError::TicketReused(device.kid()));
    let first = registry.admit(&world.wish(1, 1, &device)).await.unwrap();
    assert_eq!(
        registry
            .admit(&world.wish(1, 1, &SigningKey::generate()))
            .await,
        bad
    );
    assert!(registry.is_suspended(first.slot, &first.kid));
    assert_eq!(registry.admit(&world.wish(1, 1, &device)).await, bad);
    let reused = Event::TicketReused {
        device: device.kid(),
    };
    assert!(world.events.0.lock().unwrap().contains(&reused));
}

#[tokio::test]
async fn a11_foreign_late_and_altered_tickets_are_refused() {
    let world = World::new();
    let registry = world.open(ModelDisk::default()).unwrap();
    let device = SigningKey::generate();
    let good = world.wish(1, 1, &device);
    let late = AdmitRequest {
        now: NOW.plus(Duration::from_secs(61)),
        ..good.clone()
    };
    let foreign = World::new().wish(1, 1, &device);
    let mut wishes = vec![late, foreign];
    for at in 0..good.ticket_slip.len() - 44 {
        let mut altered = good.clone();
        altered.ticket_slip[at] ^= 1;
        wishes.push(altered);
    }
    for wish in wishes {
        assert_eq!(
            registry.admit(&wish).await,
            Err(KeyError::Refused(Reject::BadTicket))
        );
    }
    assert!(registry.admit(&good).await.is_ok());
}

#[tokio::test]
async fn a25_whatever_was_acknowledged_opens_after_a_crash_at_any_step() {
    for cut in [Cut::Least, Cut::Most, Cut::NamesOnly] {
        for steps in 0..40 {
            let world = World::new();
            let disk = ModelDisk::default();
            let registry = world.open(disk.clone()).unwrap();
            disk.stop_after(steps);
            let mut admitted = Vec::new();
            for number in 0..8 {
                let device = SigningKey::generate();
                // Few persons, so that pages are rewritten and not only made.
                let wish = world.wish(number % 3, number, &device);
                if let Ok(admission) = registry.admit(&wish).await {
                    let key = KeySource::open(&registry, &admission.key).await.unwrap();
                    admitted.push((wish, admission, key));
                }
            }
            let found = world.open(disk.after(cut)).unwrap();
            for (wish, admission, key) in &admitted {
                let same = KeySource::open(&found, &admission.key).await.unwrap();
                assert_eq!(
                    key.secret().expose(),
                    same.secret().expose(),
                    "{cut:?} {steps}"
                );
                assert_eq!(
                    found.admit(wish).await.as_ref(),
                    Ok(admission),
                    "{cut:?} {steps}"
                );
            }
            assert_eq!(registry.has_failed(), admitted.len() < 8);
        }
    }
}

#[tokio::test]
async fn a26_after_an_erasure_no_page_opens_to_the_key_also_after_a_crash_at_any_step() {
    for cut in [Cut::Least, Cut::Most, Cut::NamesOnly] {
        for steps in 0..16 {
            let world = World::new();
            let disk = ModelDisk::default();
            let registry = world.open(disk.clone()).unwrap();
            let gone = registry
                .admit(&world.wish(1, 1, &SigningKey::generate()))
                .await
                .unwrap();
            let stays = registry
                .admit(&world.wish(2, 2, &SigningKey::generate()))
                .await
                .unwrap();
            disk.stop_after(steps);
            let erased = registry.erase(&gone.key).await;
            let found = world.open(disk.after(cut)).unwrap();
            assert!(KeySource::open(&found, &stays.key).await.is_ok());
            let left = KeySource::open(&found, &gone.key).await;
            if erased.is_ok() {
                assert_eq!(left.map(drop), Err(KeyError::Erased), "{cut:?} {steps}");
            } else {
                assert_ne!(
                    left.map(drop),
                    Err(KeyError::Unavailable),
                    "{cut:?} {steps}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a26_an_erased_page_is_overwritten_and_its_tickets_stay_spent() {
    let world = World::new();
    let disk = ModelDisk::default();
    let registry = world.open(disk.clone()).unwrap();
    let device = SigningKey::generate();
    let gone = registry.admit(&world.wish(1, 1, &device)).await.unwrap();
    let page = disk.read(&Path::new("/registry").join(format!("slots/{:04}.page", gone.slot.0)));
    let page = page.unwrap().unwrap();
    let holds = |bytes: &[u8]| bytes.windows(page.len()).any(|window| window == page);
    assert!(holds(&disk.everything()));
    registry.erase(&gone.key).await.unwrap();
    registry.erase(&gone.key).await.unwrap();
    assert!(
        !holds(&disk.everything()),
        "the old page's blocks still hold it"
    );
    let again = registry.admit(&world.wish(1, 1, &device)).await;
    assert_eq!(again, Err(KeyError::Refused(Reject::BadTicket)));
    // A new ticket of the same person: the same pseudonym, another key.
    let back = registry.admit(&world.wish(1, 2, &device)).await.unwrap();
    assert_eq!(back.pseudonym, gone.pseudonym);
    assert_ne!(back.key, gone.key);
    assert_eq!(
        world
            .events
            .0
            .lock()
            .unwrap()
            .iter()
            .filter(|e| matches!(e, Event::Erased { .. }))
            .count(),
        1
    );
}

#[tokio::test]
async fn a28_the_registry_keeps_nothing_that_a_vault_dump_has() {
    let world = World::new();
    let disk = ModelDisk::default();
    let registry = world.open(disk.clone()).unwrap();
    let (person, ticket) = (0x31, 0x77);
    let device = SigningKey::generate();
    let admission = registry
        .admit(&world.wish(person, ticket, &device))
        .await
        .unwrap();
    let page = registry
        .inner
        .store
        .pages()
        .slot(admission.slot.0)
        .unwrap()
        .encode();
    let slip = world.ticket(person, ticket);
    // What the vault has: handle, salt, ticket id, the ticket's commitment and signature.
    let commitment = hash::sha256(&[&[ticket ^ 0x55; 16], &[person; 16]]);
    let vault: [(&str, &[u8]); 5] = [
        ("handle", &[person; 16]),
        ("salt", &[ticket ^ 0x55; 16]),
        ("ticket", &[ticket; 16]),
        ("commitment", &commitment.0),
        ("signature", &slip[253..317]),
    ];
    for (what, bytes) in vault {
        assert!(
            !page.windows(bytes.len()).any(|window| window == bytes),
            "{what} is kept"
        );
    }
}

#[tokio::test]
async fn groups_have_at_most_their_size_and_belong_to_one_slot() {
    let world = World::new();
    let registry = world.open(ModelDisk::default()).unwrap();
    let mut groups: BTreeMap<GroupId, Vec<Slot>> = BTreeMap::new();
    for person in 0..120 {
        let wish = world.wish(person, person, &SigningKey::generate());
        let admission = registry.admit(&wish).await.unwrap();
        groups
            .entry(admission.group)
            .or_default()
            .push(admission.slot);
    }
    for (group, slots) in groups {
        assert!(slots.len() <= GROUP_SIZE);
        assert!(slots.iter().all(|slot| group.0 >> 16 == u32::from(slot.0)));
    }
    // Within one slot, where groups do fill up:
    let mut page = SlotPage::default();
    let mut counts: BTreeMap<u32, usize> = BTreeMap::new();
    for number in 0..200_u8 {
        let group = open_group(&page, Slot(5));
        *counts.entry(group.0).or_default() += 1;
        let patient = Patient {
            key: KeyId([number; 16]),
            secret: random::secret(),
            group,
            enrolments: Vec::new(),
        };
        page.patients.insert(Pseudonym([number; 16]), patient);
    }
    assert!(counts.values().all(|count| *count <= GROUP_SIZE));
    assert!(counts.len() <= 200 / GROUP_SIZE + 1 + usize::try_from(OPEN_GROUPS).unwrap());
}

#[tokio::test]
async fn file_keys_are_made_once_and_destroyed_for_good() {
    let world = World::new();
    let disk = ModelDisk::default();
    let registry = world.open(disk.clone()).unwrap();
    let key = FileKeys::create(&registry, [9; 16]).await.unwrap();
    let same = FileKeys::create(&registry, [9; 16]).await.unwrap();
    assert_eq!(key.expose(), same.expose());
    let found = world.open(disk.after(Cut::Least)).unwrap();
    assert_eq!(
        FileKeys::open(&found, [9; 16]).await.unwrap().expose(),
        key.expose()
    );
    found.destroy([9; 16]).await.unwrap();
    found.destroy([9; 16]).await.unwrap();
    assert_eq!(
        FileKeys::open(&found, [9; 16]).await.map(drop),
        Err(KeyError::Erased)
    );
}

#[tokio::test]
async fn a_key_that_nobody_destroyed_is_unavailable_and_not_erased() {
    let world = World::new();
    let registry = world.open(ModelDisk::default()).unwrap();
    let missing = KeySource::open(&registry, &KeyId([1; 16])).await;
    assert_eq!(missing.map(drop), Err(KeyError::Unavailable));
}

#[tokio::test]
async fn limits_refuse_before_anything_is_written() {
    let world = World::new();
    let mut settings = RegistrySettings::new(world.vault_root);
    settings.max_enrolments_per_patient = 2;
    let disk = ModelDisk::default();
    let (home, tools) = (Path::new("/registry"), world.tools.clone());
    let registry = Registry::open_on(
        Box::new(disk),
        home,
        &world.custodian,
        settings,
        tools,
        None,
    )
    .unwrap();
    for ticket in 0..2 {
        registry
            .admit(&world.wish(1, ticket, &SigningKey::generate()))
            .await
            .unwrap();
    }
    let third = registry
        .admit(&world.wish(1, 2, &SigningKey::generate()))
        .await;
    assert_eq!(third, Err(KeyError::Refused(Reject::OverLimit)));
}

#[tokio::test]
async fn b16_a_second_registry_on_one_directory_is_refused() {
    let world = World::new();
    let home = tempfile::tempdir().unwrap();
    let open = || {
        let settings = RegistrySettings::new(world.vault_root);
        Registry::open(home.path(), &world.custodian, settings, world.tools.clone())
    };
    let first = open().unwrap();
    assert!(matches!(
        open(),
        Err(RegistryError::Store(StoreError::Locked))
    ));
    let admission = first
        .admit(&world.wish(1, 1, &SigningKey::generate()))
        .await
        .unwrap();
    drop(first);
    let second = open().unwrap();
    assert!(KeySource::open(&second, &admission.key).await.is_ok());
    second.erase(&admission.key).await.unwrap();
    drop(second);
    assert_eq!(
        KeySource::open(&open().unwrap(), &admission.key)
            .await
            .map(drop),
        Err(KeyError::Erased)
    );
}

#[tokio::test]
async fn b16_a_page_that_is_altered_or_in_another_place_is_named() {
    let world = World::new();
    let disk = ModelDisk::default();
    let registry = world.open(disk.clone()).unwrap();
    let admission = registry
        .admit(&world.wish(1, 1, &SigningKey::generate()))
        .await
        .unwrap();
    drop(registry);
    let path = |slot: u16| Path::new("/registry").join(format!("slots/{slot:04}.page"));
    let here = path(admission.slot.0);
    let page = disk.read(&here).unwrap().unwrap();
    for at in 0..page.len() {
        let mut altered = page.clone();
        altered[at] ^= 1;
        disk.write(&here, &altered).unwrap();
        assert!(matches!(
            world.open(disk.clone()),
            Err(RegistryError::Store(StoreError::Page { .. }))
        ));
        disk.write(&here, &page[..at]).unwrap();
        assert!(matches!(
            world.open(disk.clone()),
            Err(RegistryError::Store(StoreError::Page { .. }))
        ));
    }
    disk.write(&here, &page).unwrap();
    disk.rename(&here, &path((admission.slot.0 + 1) % Slot::COUNT))
        .unwrap();
    assert!(matches!(
        world.open(disk),
        Err(RegistryError::Store(StoreError::Page { .. }))
    ));
}
