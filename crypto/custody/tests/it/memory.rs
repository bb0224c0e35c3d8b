//! The source of keys in memory keeps what the trait says.

use pulseward_base::{KeyId, Micros, TicketId};
use pulseward_crypto::{
    SigningKey,
    certificate::{self, Use},
    slips::{Binding, Record, SealedHandle, TicketSlip, TicketTerms, record, ticket::Riders},
};
use pulseward_custody::{AdmitRequest, FileKeys, KeyError, KeySource, memory::MemoryKeys};

const NOW: Micros = Micros(1_000);

fn keys() -> (MemoryKeys, impl Fn(&MemoryKeys, u8) -> Vec<u8>) {
    let (root, vault) = (SigningKey::generate(), SigningKey::generate());
    let forever = (Micros(0), Micros(i64::MAX));
    let certificate = certificate::issue(&root, Use::Vault, &vault.point(), forever.0, forever.1);
    let keys = MemoryKeys::new(root.kid());
    let slip = move |keys: &MemoryKeys, handle| {
        let terms = TicketTerms {
            id: TicketId(pulseward_crypto::random::bytes()),
            root: keys.root().kid(),
            project: 1,
            expiry: Micros(2_000),
            scope: 0b10,
            consent_version: 4,
        };
        let riders = Riders {
            handle: [handle; 16],
            salt: [6; 16],
            sealed_handle: SealedHandle([handle; 44]),
        };
        TicketSlip::issue(&certificate, &vault, &terms, &riders)
    };
    (keys, slip)
}

fn request(ticket_slip: Vec<u8>, device: &SigningKey) -> AdmitRequest {
    AdmitRequest {
        ticket_slip,
        device: device.point(),
        attestation: Vec::new(),
        now: NOW,
    }
}

#[tokio::test]
async fn a11_a_ticket_admits_one_key_and_answers_it_the_same_again() {
    let (keys, slip) = keys();
    let (device, other) = (SigningKey::generate(), SigningKey::generate());
    let slip = slip(&keys, 1);
    let first = keys.admit(&request(slip.clone(), &device)).await.unwrap();
    let again = keys.admit(&request(slip.clone(), &device)).await.unwrap();
    assert_eq!(first, again);
    let refused = keys.admit(&request(slip, &other)).await;
    assert_eq!(refused, Err(KeyError::TicketReused(device.kid())));
}

#[tokio::test]
async fn an_admission_is_signed_and_names_what_the_ticket_granted() {
    let (keys, slip) = keys();
    let device = SigningKey::generate();
    let admission = keys.admit(&request(slip(&keys, 1), &device)).await.unwrap();
    let registry = certificate::verify(
        &admission.certificate,
        &keys.root().kid(),
        Use::Registry,
        NOW,
    )
    .unwrap();
    let record = Record::decode(&admission.record).unwrap();
    let enrolment = record.verify(&registry).unwrap();
    assert_eq!((enrolment.device, enrolment.scope), (device.point(), 0b10));
    let binding = Binding::decode(&admission.binding).unwrap();
    let bound = binding.verify(&registry).unwrap();
    assert_eq!(bound.device, device.kid());
    assert_eq!(bound.record, record::digest(&admission.record));
    assert_eq!(bound.pseudonym, admission.pseudonym);
    assert!(KeySource::open(&keys, &bound.key).await.is_ok());
}

#[tokio::test]
async fn one_patients_devices_share_a_pseudonym_and_two_patients_do_not() {
    let (keys, slip) = keys();
    let mut pseudonyms = Vec::new();
    for handle in [1, 1, 2] {
        let request = request(slip(&keys, handle), &SigningKey::generate());
        pseudonyms.push(keys.admit(&request).await.unwrap().pseudonym);
    }
    assert_eq!(pseudonyms[0], pseudonyms[1]);
    assert_ne!(pseudonyms[0], pseudonyms[2]);
}

#[tokio::test]
async fn an_erased_key_stays_erased_and_an_unavailable_one_comes_back() {
    let (keys, _) = keys();
    let patient = keys.patient();
    let secret = *KeySource::open(&keys, &patient)
        .await
        .unwrap()
        .secret()
        .expose();
    keys.set_unavailable(true);
    let open = async || {
        KeySource::open(&keys, &patient)
            .await
            .map(|key| *key.secret().expose())
    };
    assert_eq!(open().await, Err(KeyError::Unavailable));
    keys.set_unavailable(false);
    assert_eq!(open().await, Ok(secret));
    keys.erase(&patient).await.unwrap();
    keys.erase(&patient).await.unwrap();
    assert_eq!(open().await, Err(KeyError::Erased));
    // A key that is not known may yet be: it is not taken for erased.
    let unknown = KeySource::open(&keys, &KeyId([9; 16])).await;
    assert_eq!(unknown.unwrap_err(), KeyError::Unavailable);
}

#[tokio::test]
async fn a_file_has_one_key_until_it_is_destroyed() {
    let (keys, _) = keys();
    let file = [1; 16];
    let key = *keys.create(file).await.unwrap().expose();
    assert_eq!(keys.create(file).await.unwrap().expose(), &key);
    assert_eq!(FileKeys::open(&keys, file).await.unwrap().expose(), &key);
    keys.destroy(file).await.unwrap();
    assert_eq!(
        FileKeys::open(&keys, file).await.unwrap_err(),
        KeyError::Erased
    );
    assert_eq!(keys.create(file).await.unwrap_err(), KeyError::Erased);
}

#[tokio::test]
async fn two_logs_have_two_pairs_of_keys() {
    let (keys, _) = keys();
    let (a, b) = (
        keys.log_key(&[1; 16]).await.unwrap(),
        keys.log_key(&[2; 16]).await.unwrap(),
    );
    let again = keys.log_key(&[1; 16]).await.unwrap();
    assert_eq!(a.own.expose(), again.own.expose());
    assert_ne!(a.own.expose(), a.mac.expose());
    assert_ne!(a.own.expose(), b.own.expose());
    assert_ne!(a.mac.expose(), b.mac.expose());
}
