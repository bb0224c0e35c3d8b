//! What the service pays to take a device's hello and to welcome it, against the least that a
//! sealed and signed hello can cost: one agreement of keys and one verification of a signature.
//!
//! A device that nobody knows costs the same, by design; a frame that names no living offer is
//! refused before any of this.

use aws_lc_rs::agreement::{ECDH_P256, PrivateKey, UnparsedPublicKey, agree};
use pulseward_base::{Digest, Incarnation, Micros};
use pulseward_crypto::{
    SigningKey,
    certificate::{self, Use},
    frame::AdmissionToken,
    hello::Resume,
    offer::{ClientOffer, ServiceOffer},
    random,
};

use super::{
    readings::{DAY, NOW, status},
    signatures::Bare,
    timing::{median, micros_each, on_cpu},
};
use crate::figure::{Figure, Lines, Target};

const ROUNDS: usize = 41;
const HELLOS: usize = 200;

pub(crate) fn measure() -> anyhow::Result<Figure> {
    let mut lines = Lines::default();
    let front = Front::new();
    let floor = Floor::new()?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let hellos = (0..HELLOS).map(|_| front.hello());
        let hellos = hellos.collect::<Result<Vec<_>, _>>()?;
        let (welcomed, took) = on_cpu(|| front.welcome_all(&hellos));
        welcomed?;
        ours.push(micros_each(took, HELLOS));
        let (done, took) = on_cpu(|| floor.run());
        done?;
        theirs.push(micros_each(took, HELLOS));
    }
    let (ours, theirs) = (median(ours), median(theirs));
    lines.say(format!("{HELLOS} hellos a round, {ROUNDS} rounds, medians"));
    lines.say(format!("opened, verified, welcomed        {ours:8.2} us"));
    lines.say(format!("an agreement and a verification   {theirs:8.2} us"));
    lines.say(format!(
        "so a core welcomes {:.0} devices a second",
        1e6 / ours
    ));
    let figure = Figure::new(
        "hello",
        "us of CPU to take a hello and welcome its device",
        ours,
        theirs,
        Target::RatioAtMost(1.5),
    );
    Ok(figure
        .versus("us: aws-lc's bare ECDH and ECDSA verify")
        .with_lines(lines.into_vec()))
}

/// A service with one offer, and a device that is enrolled with it.
struct Front {
    root: SigningKey,
    device: SigningKey,
    record: Digest,
    offer: ServiceOffer,
}

impl Front {
    fn new() -> Self {
        let (root, service) = (SigningKey::generate(), SigningKey::generate());
        let until = Micros(NOW.0 + DAY);
        let certificate = certificate::issue(&root, Use::Service, &service.point(), NOW, until);
        Self {
            offer: ServiceOffer::new(&root.kid(), &certificate, &service, NOW, until),
            root,
            device: SigningKey::generate(),
            record: Digest([7; 32]),
        }
    }

    fn hello(&self) -> anyhow::Result<Vec<u8>> {
        let resume = Resume {
            incarnation: Incarnation([1; 16]),
            last_acknowledged: None,
        };
        let offer = ClientOffer::check(self.offer.message(), &self.root.kid(), NOW)?;
        let token = AdmissionToken::NONE;
        Ok(offer
            .hello_stream(&self.device, &self.record, NOW, resume, token)?
            .0)
    }

    fn welcome_all(&self, hellos: &[Vec<u8>]) -> anyhow::Result<()> {
        let key = self.device.verifying_key();
        for hello in hellos {
            self.offer
                .open_hello(hello)?
                .verify(&key, &self.record)?
                .welcome(random::bytes(), &status())?;
        }
        Ok(())
    }
}

/// What nobody can do without.
struct Floor {
    signatures: Bare,
    own: PrivateKey,
    other: Vec<u8>,
}

impl Floor {
    fn new() -> anyhow::Result<Self> {
        let other = PrivateKey::generate(&ECDH_P256)?.compute_public_key()?;
        Ok(Self {
            signatures: Bare::new(HELLOS)?,
            own: PrivateKey::generate(&ECDH_P256)?,
            other: other.as_ref().to_vec(),
        })
    }

    fn run(&self) -> anyhow::Result<()> {
        for _ in 0..HELLOS {
            let other = UnparsedPublicKey::new(&ECDH_P256, &self.other);
            agree(&self.own, other, aws_lc_rs::error::Unspecified, |_| Ok(()))?;
        }
        self.signatures.verify_all()
    }
}
