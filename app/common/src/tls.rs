//! Certificates for local use, made at first start. A small authority lives in the custodian; its
//! certificate is a public file that clients pin. The serving key is new at every start and never
//! leaves memory.

use anyhow::Context as _;
use pulseward_base::Micros;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

/// How long a serving certificate holds; a start makes a new one.
const SERVING_LIFE: Duration = Duration::days(397);
/// How far a client's clock may lag.
const CLOCK_SLACK: Duration = Duration::days(1);

/// What a TLS server needs, and what its clients pin.
pub struct Serving {
    /// The serving certificate, PEM.
    pub certificate_pem: String,
    /// Its key, PEM.
    pub key_pem: Zeroizing<String>,
    /// The authority's certificate, PEM: public.
    pub authority_pem: String,
}

/// Makes a new authority's key, in PKCS #8.
pub fn new_authority_key() -> anyhow::Result<Zeroizing<Vec<u8>>> {
    Ok(Zeroizing::new(
        KeyPair::generate()
            .context("couldn't make a TLS key")?
            .serialize_der(),
    ))
}

/// Issues a serving certificate for `names` under the authority of `program`.
pub fn issue(
    program: &str,
    authority_key: &[u8],
    names: &[String],
    now: Micros,
) -> anyhow::Result<Serving> {
    let authority_key =
        KeyPair::try_from(authority_key).context("the authority's key is damaged")?;
    let authority = authority_params(program)?;
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    let issuer = Issuer::new(authority, authority_key);

    let serving_key = KeyPair::generate().context("couldn't make a TLS key")?;
    let mut serving = CertificateParams::new(names).context("a TLS name is not one")?;
    let now = OffsetDateTime::from_unix_timestamp(now.0.div_euclid(1_000_000))?;
    serving.not_before = now - CLOCK_SLACK;
    serving.not_after = now + SERVING_LIFE;
    serving.distinguished_name.push(DnType::CommonName, program);
    serving.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    serving.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    serving.use_authority_key_identifier_extension = true;
    let certificate_pem = serving.signed_by(&serving_key, &issuer)?.pem();
    let key_pem = Zeroizing::new(serving_key.serialize_pem());
    Ok(Serving {
        certificate_pem,
        key_pem,
        authority_pem,
    })
}

/// The authority's certificate is written anew from these at every start; clients that pinned an
/// older writing go on, since its name and key are the same.
fn authority_params(program: &str) -> anyhow::Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new())?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
        .distinguished_name
        .push(DnType::CommonName, format!("{program} local authority"));
    params.not_before = rcgen::date_time_ymd(2025, 1, 1);
    params.not_after = rcgen::date_time_ymd(2075, 1, 1);
    Ok(params)
}
