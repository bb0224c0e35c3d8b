//! What an enrolment proves: that the registry under a root bound a device's key to a pseudonym.

use pulseward_base::{Digest, KeyId, Kid, Micros, Pseudonym, Reject};
use pulseward_crypto::{
    VerifyingKey,
    certificate::{Certificate, Use},
    slips::{Binding, Record, record},
};

use crate::rows::Enrolment;

/// An enrolment that holds.
#[derive(Clone, Debug)]
pub(crate) struct Enrolled {
    pub(crate) device: VerifyingKey,
    pub(crate) record: Digest,
    pub(crate) pseudonym: Pseudonym,
    pub(crate) key: KeyId,
    pub(crate) from: Micros,
    pub(crate) until: Micros,
}

/// Checks certificate, record and binding against `root` and against each other. The certificate
/// must have held when the record was made; that it has expired since changes nothing.
pub(crate) fn check(enrolment: &Enrolment, root: &Kid) -> Result<Enrolled, Reject> {
    let certificate = Certificate::decode(&enrolment.certificate)?;
    let registry = VerifyingKey::from_point(&certificate.subject)?;
    let record = Record::decode(&enrolment.record)?.verify(&registry)?;
    certificate.verify(root, Use::Registry, record.time)?;
    let bound = Binding::decode(&enrolment.binding)?.verify(&registry)?;
    let device = VerifyingKey::from_point(&record.device)?;
    let digest = record::digest(&enrolment.record);
    if record.root != *root || bound.device != device.kid() || bound.record != digest {
        return Err(Reject::NotAdmitted);
    }
    Ok(Enrolled {
        device,
        record: digest,
        pseudonym: bound.pseudonym,
        key: bound.key,
        from: bound.from,
        until: bound.until,
    })
}
