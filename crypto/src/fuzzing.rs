//! What the fuzz targets call, so that a target is one line and a test replays the same.
//!
//! A function here returns when the bytes were refused, or read and written back to themselves; it
//! panics when a decoder does something else.

use pulseward_base::{Digest, Micros};

use crate::{
    certificate::Certificate,
    frame::{self, DownFrame},
    hello::{self, Envelope},
    offer::ClientOffer,
    session::OpenedEnrol,
    sign::SigningKey,
    slips::{Binding, Grant, Record, TicketSlip, WayBack},
};

/// Reads `data` as a hello's message, as what is inside one, and as an offer.
pub fn hello_open(data: &[u8]) {
    let _refused_or_read = Envelope::decode(data);
    hello::fuzz_plaintext(data);
    let refused = ClientOffer::check(data, &pulseward_base::Kid::ZERO, Micros(0));
    assert!(refused.is_err(), "nobody has the kid of zeros");
}

/// Reads `data` as the plaintext of a frame in either direction.
pub fn frame_open(data: &[u8]) {
    let _refused_or_not = frame::check_size(data);
    let Ok((kind, payload)) = frame::unpad(data) else {
        return;
    };
    let padded = frame::pad(kind, payload);
    assert_eq!(padded.as_deref(), Ok(data), "a payload has one padding");
    if let Ok(down) = DownFrame::decode(kind, payload) {
        let encoded = down.encode();
        assert_eq!(encoded, Ok((kind, payload.to_vec())), "one spelling");
    }
    let device = SigningKey::generate().verifying_key();
    if let Ok(enrol) = OpenedEnrol::decode(payload, device, Digest::ZERO) {
        assert!(enrol.verify().is_err(), "nobody signed it");
    }
}

/// Reads `data` as each of the slips.
pub fn slips_decode(data: &[u8]) {
    let now = Micros(0);
    let root = pulseward_base::Kid::ZERO;
    if let Ok(certificate) = Certificate::decode(data) {
        let refused = certificate.verify(&root, certificate.use_, now);
        assert!(refused.is_err(), "nobody has the kid of zeros");
    }
    let _refused_or_read = (Record::decode(data), Binding::decode(data));
    let held = [
        TicketSlip::decode(data).and_then(|slip| slip.verify(&root, &root, now).map(drop)),
        WayBack::decode(data).and_then(|slip| slip.verify(&root, now).map(drop)),
        Grant::decode(data).and_then(|grant| grant.verify(&root, now).map(drop)),
    ];
    assert!(held.iter().all(Result::is_err), "nobody signed it");
}

#[cfg(test)]
mod tests {
    use pulseward_base::{Incarnation, Seq, bytes::unhex};

    use super::*;
    use crate::{
        certificate::{self, Use},
        frame::{AdmissionToken, Answer, Answers, Outcome, Status, UpFrame},
        hello::Resume,
        offer::ServiceOffer,
        slips::ticket,
    };

    const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");

    /// Replays the seeds of one target; writes them first when PULSEWARD_BLESS is set.
    fn replay(folder: &str, target: fn(&[u8]), fresh: Vec<(&str, Vec<u8>)>) {
        let path = format!("{ROOT}/{folder}");
        if std::env::var_os("PULSEWARD_BLESS").is_some() {
            for (name, seed) in fresh {
                std::fs::write(format!("{path}/{name}"), seed).unwrap();
            }
        }
        let mut seeds = 0;
        for file in std::fs::read_dir(path).unwrap() {
            target(&std::fs::read(file.unwrap().path()).unwrap());
            seeds += 1;
        }
        assert!(seeds > 0, "{folder} has seeds");
    }

    #[test]
    fn the_seeds_of_hello_open_pass() {
        let (root, service, device) = (
            SigningKey::generate(),
            SigningKey::generate(),
            SigningKey::generate(),
        );
        let always = (Micros(0), Micros(i64::MAX));
        let certificate =
            certificate::issue(&root, Use::Service, &service.point(), always.0, always.1);
        let offer = ServiceOffer::new(&root.kid(), &certificate, &service, always.0, always.1);
        let checked = ClientOffer::check(offer.message(), &root.kid(), Micros(1)).unwrap();
        let resume = Resume {
            incarnation: Incarnation([1; 16]),
            last_acknowledged: Some((Seq(1), Digest([2; 32]))),
        };
        let (stream, _) = checked
            .hello_stream(
                &device,
                &Digest([3; 32]),
                Micros(1),
                resume,
                AdmissionToken::NONE,
            )
            .unwrap();
        let (enrol, _) = checked
            .hello_enrol(&device, Micros(1), AdmissionToken([4; 16]))
            .unwrap();
        let plaintext = |message: &[u8]| {
            let (_, sealed) = message.split_at(16 + 1 + 16);
            let (enc, ciphertext) = sealed.split_first_chunk().unwrap();
            let opened = offer
                .pair
                .open(hello::PURPOSE, &offer.facts.digest, enc, ciphertext);
            opened.unwrap().to_vec()
        };
        let fresh = vec![
            ("offer", offer.message().to_vec()),
            ("stream-inside", plaintext(&stream)),
            ("enrol-inside", plaintext(&enrol)),
            ("stream", stream),
        ];
        replay("hello_open", hello_open, fresh);
    }

    #[test]
    fn the_seeds_of_frame_open_pass() {
        let status = Status {
            time: Micros(1),
            last_durable: None,
            max_in_flight: 32,
            max_batch_bytes: 65_536,
            max_backlog_age_seconds: 60,
            tokens: vec![AdmissionToken([1; 16])],
        };
        let outcome = Outcome::RetryAfter { ms: 9, limit: None };
        let answer = Answer {
            seq: Seq(1),
            d8: [2; 8],
            outcome,
        };
        let answers = Answers {
            time: Micros(1),
            answers: vec![answer; 3],
        };
        let record = DownFrame::Record {
            certificate: [3; certificate::SIZE],
            record: [4; crate::slips::record::SIZE],
        };
        let down = |frame: DownFrame| {
            let (kind, payload) = frame.encode().unwrap();
            frame::pad(kind, &payload).unwrap()
        };
        let enrol = [&[5; ticket::SIZE][..], &[2, 0, 6, 6], &[7; 64]].concat();
        let fresh = vec![
            ("status", down(DownFrame::Status(status))),
            ("answers", down(DownFrame::Answers(answers))),
            ("record", down(record)),
            ("enrol", frame::pad(UpFrame::ENROL, &enrol).unwrap()),
        ];
        replay("frame_open", frame_open, fresh);
    }

    #[test]
    fn the_seeds_of_slips_decode_pass() {
        let frozen = include_str!("../tests/vectors/slips.txt");
        let fresh = frozen
            .lines()
            .map(|line| line.split_once(' ').unwrap())
            .map(|(name, bytes)| (name, unhex(bytes).unwrap()));
        replay("slips_decode", slips_decode, fresh.collect());
    }
}
