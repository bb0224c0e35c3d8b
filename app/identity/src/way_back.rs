//! The clinician's client: carries way-back slips to the vault and shows who it is.
//!
//! The only place where a pipeline's slip and a person's name meet, in this process's memory.

use std::{
    fs,
    io::{self, Read as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use pulseward_app::SystemClock;
use pulseward_base::{Clock as _, Secret, bytes};
use pulseward_crypto::slips::way_back::SIZE;
use pulseward_identity_store::{Refusal, totp};
use pulseward_proto_identity::{
    AUTHORIZATION, REFUSAL,
    v1::{self, identity_client::IdentityClient},
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::{
    cli,
    commands::{print, write_staff_file},
    requests::{StaffFile, unbase64},
};

/// The longest file that is taken for a slip.
const LONGEST: u64 = 4096;
/// How long the vault may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Opens each slip and prints who it is.
pub(crate) async fn run(args: &cli::WayBack) -> anyhow::Result<()> {
    let slips = args
        .slip
        .iter()
        .map(|path| read_slip(path))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut staff = read_staff_file(&args.staff_file)?;
    if let Some(server) = &args.server {
        staff.server.clone_from(server);
    }
    let mut client = Client::connect(staff, SystemClock::start()).await?;
    for slip in slips {
        let person = client.way_back(slip).await;
        // Kept even if the slip was refused: a code is good once only.
        if client.confirmed {
            write_staff_file(&args.staff_file, &client.staff, false)?;
        }
        print(&shown(&person?, args.json))?;
    }
    Ok(())
}

struct Client {
    service: IdentityClient<Channel>,
    staff: StaffFile,
    token: MetadataValue<Ascii>,
    clock: SystemClock,
    /// Whether a session was opened since the staff file was read.
    confirmed: bool,
}

impl Client {
    async fn connect(staff: StaffFile, clock: SystemClock) -> anyhow::Result<Self> {
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&staff.authority));
        let channel = Endpoint::from_shared(format!("https://{}", staff.server))
            .context("the server's address is not one")?
            .tls_config(tls)
            .context("the staff file's authority is damaged")?
            .connect_timeout(PATIENCE)
            .timeout(PATIENCE)
            .connect()
            .await
            .with_context(|| format!("no vault answers at {}", staff.server))?;
        let mut token: MetadataValue<Ascii> = format!("Bearer {}", staff.token)
            .parse()
            .context("the staff file's token is damaged")?;
        token.set_sensitive(true);
        Ok(Self {
            service: IdentityClient::new(channel),
            staff,
            token,
            clock,
            confirmed: false,
        })
    }

    /// Opens one slip, showing the second factor first if the session is not recent.
    async fn way_back(&mut self, slip: Vec<u8>) -> anyhow::Result<v1::Person> {
        if self.staff.session.is_none() {
            self.confirm().await?;
        }
        let answer = match self.try_way_back(slip.clone()).await {
            Err(status) if is(&status, Refusal::SecondFactor) && !self.confirmed => {
                self.confirm().await?;
                self.try_way_back(slip).await
            }
            answer => answer,
        };
        answer
            .map_err(refused)?
            .person
            .context("an answer of another version")
    }

    async fn try_way_back(&mut self, slip: Vec<u8>) -> Result<v1::WayBackResponse, Status> {
        let session = self.staff.session.as_deref().unwrap_or_default();
        let session = bytes::unhex(session).unwrap_or_default();
        let request = self.with_token(v1::WayBackRequest { session, slip });
        Ok(self.service.way_back(request).await?.into_inner())
    }

    /// Shows the second factor. A code that another client used a moment ago is refused: then the
    /// next one is waited for, once.
    async fn confirm(&mut self) -> anyhow::Result<()> {
        let session = match self.try_confirm().await {
            Err(status) if is(&status, Refusal::SecondFactor) => {
                tokio::time::sleep(self.until_next_code()).await;
                self.try_confirm().await
            }
            session => session,
        };
        self.staff.session = Some(bytes::hex(&session.map_err(refused)?.session));
        self.confirmed = true;
        Ok(())
    }

    async fn try_confirm(&mut self) -> Result<v1::ConfirmResponse, Status> {
        let secret = bytes::unhex(&self.staff.totp_secret)
            .ok()
            .and_then(|secret| secret.try_into().ok())
            .map(Secret::new)
            .ok_or_else(|| Status::invalid_argument("the staff file's secret is damaged"))?;
        let code = totp::code(&secret, totp::step_at(self.clock.now()));
        let request = self.with_token(v1::ConfirmRequest { code });
        Ok(self.service.confirm(request).await?.into_inner())
    }

    fn until_next_code(&self) -> Duration {
        let step = totp::STEP_SECONDS * 1_000_000;
        let left = step - self.clock.now().0.rem_euclid(step);
        Duration::from_micros(left.unsigned_abs())
    }

    fn with_token<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request
            .metadata_mut()
            .insert(AUTHORIZATION, self.token.clone());
        request
    }
}

fn is(status: &Status, refusal: Refusal) -> bool {
    refusal_of(status) == Some(refusal)
}

fn refusal_of(status: &Status) -> Option<Refusal> {
    let word = status.metadata().get(REFUSAL)?.to_str().ok()?;
    Refusal::from_word(word)
}

fn refused(status: Status) -> anyhow::Error {
    match refusal_of(&status) {
        Some(refusal) => anyhow::anyhow!("the vault refused: {refusal}"),
        None => anyhow::anyhow!("the vault did not answer: {}", status.message()),
    }
}

/// Reads a staff file, unless others could read it too.
fn read_staff_file(path: &Path) -> anyhow::Result<StaffFile> {
    let failed = || format!("couldn't read {}", path.display());
    let mode = fs::metadata(path)
        .with_context(failed)?
        .permissions()
        .mode();
    ensure!(
        mode & 0o077 == 0,
        "{} can be read by others: chmod 600 it, and have the account replaced",
        path.display()
    );
    let text = fs::read_to_string(path).with_context(failed)?;
    serde_json::from_str(&text).with_context(|| format!("{} is no staff file", path.display()))
}

/// Reads a slip, as bytes or base64.
fn read_slip(path: &Path) -> anyhow::Result<Vec<u8>> {
    let mut read = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(LONGEST).read_to_end(&mut read)
    } else {
        fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_end(&mut read))
    }
    .with_context(|| format!("couldn't read {}", path.display()))?;
    if read.len() == SIZE {
        return Ok(read);
    }
    let text = String::from_utf8(read).ok();
    match text.and_then(|text| unbase64(&text)) {
        Some(slip) => Ok(slip),
        None => bail!("{} is no slip", path.display()),
    }
}

fn shown(person: &v1::Person, json: bool) -> String {
    if json {
        return serde_json::json!({
            "name": person.name,
            "birth_date": person.birth_date,
            "contact": person.contact,
        })
        .to_string();
    }
    format!(
        "{}, born {}, {}",
        person.name, person.birth_date, person.contact
    )
}
