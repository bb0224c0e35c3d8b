use proptest::prelude::*;
use pulseward_base::Micros;
use pulseward_crypto::{
    NO_CONTEXT, Role, SigningKey,
    certificate::{self, CertificateBytes, Use},
};
use pulseward_vitals::Kind;

use super::*;
use crate::{
    additive::{Curve, Looks},
    anchor::{Constancy, Pool, TERMS, Values, fit},
    partition::Part,
};

fn card() -> Card {
    Card {
        name: "anchor".into(),
        purpose: Purpose::Anomaly,
        advisory: false,
        words: "for adults".into(),
        least_age: 16,
        cadence_seconds: 3600,
        kinds: vec![Kind::HeartRate, Kind::SpO2],
        least_kinds: 2,
        code: "0.1.0".into(),
        data: vec![("rows".into(), Digest([7; 32]))],
        settings: vec![("constancy".into(), "50".into())],
        metrics: vec![("auroc".into(), 0.65)],
        parent: ModelId::ZERO,
    }
}

fn drafts() -> Vec<Draft> {
    let mut pool = Pool::default();
    for patient in 0..60 {
        pool.add_patient(&[Values([Some(patient * 1_000); TERMS])]);
    }
    let part = Part::Fitted {
        mean: [0.1; TERMS],
        precision: [1.5; TERMS],
    };
    let curve = Curve {
        vital: 3,
        looks: Looks::Most12h,
        knots: vec![(3700.0, 0.0), (3900.0, 1.5)],
        missing: 0.1,
    };
    let rhythm = RhythmModel {
        weights: [1.0, 2.0],
        intercept: -3.0,
        threshold: 0.5,
    };
    let parameters = [
        Parameters::Anchor(fit(&pool, Constancy::HALF, 2.3).unwrap()),
        Parameters::Gaussians(Gaussians::new(4.0, vec![part, Part::Constant]).unwrap()),
        Parameters::Additive(Additive::new(vec![curve], -4.0, -2.0).unwrap()),
        Parameters::Rhythm(rhythm),
    ];
    parameters
        .into_iter()
        .map(|parameters| Draft {
            card: card(),
            parameters,
        })
        .collect()
}

const NOW: Micros = Micros(1_000_000);

/// A root, the key that trains and the key that promotes.
struct World {
    root: SigningKey,
    keys: [SigningKey; 2],
    certificates: [CertificateBytes; 2],
}

impl World {
    fn new() -> Self {
        let root = SigningKey::generate();
        let keys = [SigningKey::generate(), SigningKey::generate()];
        let certificates = [0, 1].map(|key: usize| {
            let point = keys[key].point();
            certificate::issue(&root, Use::Operator, &point, Micros(0), Micros(i64::MAX))
        });
        Self {
            root,
            keys,
            certificates,
        }
    }

    fn signer(&self, index: usize) -> Signer<'_> {
        Signer {
            key: &self.keys[index],
            certificate: &self.certificates[index],
        }
    }

    fn trainer(&self) -> Signer<'_> {
        self.signer(0)
    }

    fn operator(&self) -> Signer<'_> {
        self.signer(1)
    }

    fn trust(&self) -> Trust {
        Trust {
            root: self.root.kid(),
            now: NOW,
        }
    }

    fn begin(&self, draft: &Draft) -> Vec<u8> {
        let (model, none) = (draft.digest(), Digest::ZERO);
        Promotion::issue(&self.operator(), Act::Begin, &model, None, &none, NOW)
    }
}

#[test]
fn what_is_promoted_loads_as_it_was_and_keeps_its_name() {
    let world = World::new();
    for draft in drafts() {
        assert_eq!(Draft::decode(&draft.encode()), Ok(draft.clone()));
        let signed = draft.sign(&world.trainer());
        let loaded = load(&signed, Some(&world.begin(&draft)), &world.trust()).unwrap();
        assert_eq!(loaded.id(), draft.id());
        assert_eq!(loaded.id().0, draft.digest().0[..16]);
        assert_eq!(
            (loaded.card(), loaded.parameters()),
            (&draft.card, &draft.parameters)
        );
        assert_eq!(loaded.promotion().at(), NOW);
        assert_eq!(loaded.promotion().signer(), world.keys[1].kid());
        // The name is the draft's, whoever signs it.
        let again = Candidate::open(&draft.sign(&world.operator()), &world.trust()).unwrap();
        assert_eq!(again.digest(), loaded.digest());
    }
}

#[test]
fn what_nobody_else_promoted_is_refused() {
    let world = World::new();
    let [draft, other, ..] = &drafts()[..] else {
        panic!("there are four");
    };
    let signed = draft.sign(&world.trainer());
    let refused = |promotion: Option<&[u8]>| load(&signed, promotion, &world.trust()).unwrap_err();
    let (model, none) = (draft.digest(), Digest::ZERO);
    let issue = |signer: &Signer<'_>, act, previous: Option<&Digest>, verdict: &Digest| {
        Promotion::issue(signer, act, &model, previous, verdict, NOW)
    };
    assert_eq!(refused(None), ArtefactError::Unpromoted);
    assert_eq!(refused(Some(&world.begin(other))), ArtefactError::OfAnother);
    let own = issue(&world.trainer(), Act::Begin, None, &none);
    assert_eq!(refused(Some(&own)), ArtefactError::ByItsMaker);
    let stranger = World::new().begin(draft);
    assert_eq!(refused(Some(&stranger)), ArtefactError::NotCertified);
    assert_eq!(refused(Some(&signed)), ArtefactError::OtherFile);
    // A promotion without the gate's verdict, a beginning in place of another, a model in its own.
    let previous = other.digest();
    for (act, previous, verdict) in [
        (Act::Promote, Some(&previous), &none),
        (Act::Begin, Some(&previous), &none),
        (Act::RollBack, None, &none),
        (Act::RollBack, Some(&model), &none),
    ] {
        let promotion = issue(&world.operator(), act, previous, verdict);
        assert_eq!(
            refused(Some(&promotion)),
            ArtefactError::Malformed,
            "{act:?}"
        );
    }
    let judged = issue(
        &world.operator(),
        Act::Promote,
        Some(&previous),
        &Digest([1; 32]),
    );
    assert!(load(&signed, Some(&judged), &world.trust()).is_ok());
}

#[test]
fn what_is_unsigned_or_signed_by_another_is_refused() {
    let world = World::new();
    let draft = drafts().remove(0);
    let refused = |bytes: &[u8], trust: &Trust| Candidate::open(bytes, trust).unwrap_err();
    let signed = draft.sign(&world.trainer());
    let trust = world.trust();
    assert_eq!(refused(&draft.encode(), &trust), ArtefactError::Unsigned);
    assert_eq!(
        refused(&signed, &World::new().trust()),
        ArtefactError::NotCertified
    );
    let early = Trust {
        now: Micros(-1),
        ..trust
    };
    assert_eq!(refused(&signed, &early), ArtefactError::NotCertified);
    let key = &world.keys[0];
    let point = key.point();
    let service = certificate::issue(&world.root, Use::Service, &point, Micros(0), NOW);
    let misused = draft.sign(&Signer {
        key,
        certificate: &service,
    });
    assert_eq!(refused(&misused, &trust), ArtefactError::NotCertified);
    let borrowed = draft.sign(&Signer {
        key: &world.keys[1],
        certificate: &world.certificates[0],
    });
    assert_eq!(refused(&borrowed, &trust), ArtefactError::BadSignature);
    let mut other_role = draft.encode();
    let signature = key.sign(Role::Config, &NO_CONTEXT, &[&other_role]);
    other_role.extend(world.certificates[0]);
    other_role.extend(signature.0);
    assert_eq!(refused(&other_role, &trust), ArtefactError::BadSignature);
}

#[test]
fn every_cut_flip_and_appended_byte_is_refused() {
    let world = World::new();
    let draft = drafts().remove(3);
    let (signed, promotion) = (draft.sign(&world.trainer()), world.begin(&draft));
    let trust = world.trust();
    let whole = |model: &[u8], promotion: &[u8]| load(model, Some(promotion), &trust);
    assert!(whole(&signed, &promotion).is_ok());
    for (bytes, is_model) in [(&signed, true), (&promotion, false)] {
        let refused = |bytes: &[u8]| {
            if is_model {
                whole(bytes, &promotion)
            } else {
                whole(&signed, bytes)
            }
            .unwrap_err()
        };
        for length in 0..bytes.len() {
            refused(&bytes[..length]);
        }
        for place in 0..bytes.len() {
            for bit in [0, 3, 7] {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << bit;
                refused(&flipped);
            }
        }
        assert_eq!(refused(&[bytes, &[0][..]].concat()), ArtefactError::Damaged);
        assert_eq!(refused(b""), ArtefactError::OtherFile);
        let mut endless = bytes.clone();
        endless.resize(MOST_BYTES + 1, 0);
        assert_eq!(refused(&endless), ArtefactError::TooLarge);
    }
}

/// A draft's bytes with a checksum that fits them, whatever they are.
fn with_checksum(mut body: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c::crc32c(&body);
    body.extend(checksum.to_le_bytes());
    body
}

proptest! {
    #[test]
    fn any_bytes_are_a_draft_or_an_error(bytes: Vec<u8>, index in 0..4_usize, place: prop::sample::Index, value: u8) {
        let _refused = Draft::decode(&bytes);
        let _refused = Promotion::open(&bytes, &Trust { root: Kid([0; 32]), now: NOW });
        // Past the checksum: one byte of a real draft changed, the checksum made to fit.
        let mut body = drafts().remove(index).encode();
        body.truncate(body.len() - 4);
        let place = place.index(body.len());
        body[place] = value;
        if let Ok(draft) = Draft::decode(&with_checksum(body)) {
            prop_assert_eq!(Draft::decode(&draft.encode()), Ok(draft));
        }
    }
}
