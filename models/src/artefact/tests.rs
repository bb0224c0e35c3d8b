use proptest::prelude::*;
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

#[test]
fn what_is_promoted_loads_as_it_was_and_keeps_its_name() {
    let operator = SigningKey::generate();
    for draft in drafts() {
        let bytes = draft.encode();
        assert_eq!(Draft::decode(&bytes), Ok(draft.clone()));
        let sealed = seal(&bytes, State::Promoted, NOW, &operator).unwrap();
        let loaded = load(&sealed, &operator.verifying_key()).unwrap();
        assert_eq!((loaded.id(), loaded.at()), (draft.id(), NOW));
        assert_eq!(
            (loaded.card(), loaded.parameters()),
            (&draft.card, &draft.parameters)
        );
    }
}

#[test]
fn what_is_unsigned_unpromoted_or_signed_by_another_is_refused() {
    let (operator, other) = (SigningKey::generate(), SigningKey::generate());
    let bytes = drafts().remove(0).encode();
    let key = operator.verifying_key();
    assert_eq!(load(&bytes, &key), Err(ArtefactError::Unsigned));
    let candidate = seal(&bytes, State::Candidate, NOW, &operator).unwrap();
    assert_eq!(load(&candidate, &key), Err(ArtefactError::Unpromoted));
    let foreign = seal(&bytes, State::Promoted, NOW, &other).unwrap();
    assert_eq!(load(&foreign, &key), Err(ArtefactError::BadSignature));
    // A candidate's seal relabelled as promoted.
    let mut relabelled = candidate.clone();
    relabelled[bytes.len()] = 2;
    assert_eq!(load(&relabelled, &key), Err(ArtefactError::BadSignature));
    // A promotion moved to another model.
    let mut moved = drafts().remove(1).encode();
    moved.extend(&seal(&bytes, State::Promoted, NOW, &operator).unwrap()[bytes.len()..]);
    assert_eq!(load(&moved, &key), Err(ArtefactError::BadSignature));
    // Promoting a candidate replaces its seal.
    assert!(
        load(
            &seal(&candidate, State::Promoted, NOW, &operator).unwrap(),
            &key
        )
        .is_ok()
    );
}

#[test]
fn every_cut_flip_and_appended_byte_is_refused() {
    let operator = SigningKey::generate();
    let sealed = seal(
        &drafts().remove(3).encode(),
        State::Promoted,
        NOW,
        &operator,
    )
    .unwrap();
    let key = operator.verifying_key();
    for length in 0..sealed.len() {
        assert!(load(&sealed[..length], &key).is_err(), "cut to {length}");
    }
    for place in 0..sealed.len() {
        for bit in 0..8 {
            let mut flipped = sealed.clone();
            flipped[place] ^= 1 << bit;
            assert!(load(&flipped, &key).is_err(), "bit {bit} of byte {place}");
        }
    }
    assert!(load(&[&sealed[..], &[0]].concat(), &key).is_err());
    assert_eq!(
        load(&vec![0; MOST_BYTES + 1], &key),
        Err(ArtefactError::TooLarge)
    );
    assert_eq!(load(b"", &key), Err(ArtefactError::NotAModel));
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
