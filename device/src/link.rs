//! One stream to the service and the session inside it.
//!
//! Whoever ends TLS may forge or cut anything here: nothing but what opens under the session's
//! keys is believed, and no gRPC status means more than that the stream is gone.

use std::{fmt, time::Duration};

use pulseward_base::{Kid, Reject};
use pulseward_crypto::{
    client::{ClientSession, PendingSession},
    frame::{DownFrame, Status, UpFrame},
    offer::ClientOffer,
};
use pulseward_proto_pipeline::v1::{
    Down, Up, down, ingest_client::IngestClient, up::Message as UpMessage,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Streaming,
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint},
};

use crate::clock::DeviceClock;

/// How many messages may wait for the connection: more than one session has in flight.
const OUTBOUND: usize = 64;

/// Where the service is and how patient the device is with it.
#[derive(Clone)]
pub struct LinkSettings {
    /// `https://name:port`.
    pub endpoint: String,
    /// The authority that certified the service's name, PEM.
    pub authority_pem: String,
    /// The name in the service's certificate, where it is not the endpoint's.
    pub server_name: Option<String>,
    /// How long a connection, and each step up to the welcome, may take.
    pub patience: Duration,
    /// How often a quiet connection is asked whether it is still there.
    pub keep_alive: Duration,
    /// The largest message that is read.
    pub max_message_bytes: usize,
    /// How many offers are answered before a welcome must come.
    pub offers: u32,
}

impl LinkSettings {
    /// Returns the usual patience with the service at `endpoint`.
    #[must_use]
    pub fn new(endpoint: String, authority_pem: String) -> Self {
        Self {
            endpoint,
            authority_pem,
            server_name: None,
            patience: Duration::from_secs(10),
            keep_alive: Duration::from_secs(10),
            max_message_bytes: 1 << 20,
            offers: 3,
        }
    }
}

impl fmt::Debug for LinkSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinkSettings({})", self.endpoint)
    }
}

/// Why a stream is of no use any more. None of these may cost a batch.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The service was not reached.
    #[error("the service was not reached")]
    Transport(#[from] tonic::transport::Error),
    /// The stream ended, or somebody ended it.
    #[error("the stream ended: {}", .0.message())]
    Ended(tonic::Status),
    /// The other side took longer than the device waits.
    #[error("the service did not answer in time")]
    Late,
    /// What came is not what the service would send.
    #[error("the service's message is refused: {0}")]
    Refused(Reject),
    /// Another message was due.
    #[error("the service's message came out of turn")]
    OutOfTurn,
}

impl LinkError {
    /// Returns the word that the service ended the stream with, if it did.
    #[must_use]
    pub fn word(&self) -> Option<&str> {
        match self {
            Self::Ended(status) => Some(status.message()),
            _ => None,
        }
    }

    fn closed() -> Self {
        Self::Ended(tonic::Status::unavailable("closed"))
    }
}

impl From<Reject> for LinkError {
    fn from(reject: Reject) -> Self {
        Self::Refused(reject)
    }
}

impl From<tonic::Status> for LinkError {
    fn from(status: tonic::Status) -> Self {
        Self::Ended(status)
    }
}

/// Connects to the service.
pub async fn connect(settings: &LinkSettings) -> Result<Channel, LinkError> {
    let mut tls =
        ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&settings.authority_pem));
    if let Some(name) = &settings.server_name {
        tls = tls.domain_name(name.clone());
    }
    let endpoint = Endpoint::from_shared(settings.endpoint.clone())?
        .tls_config(tls)?
        .tcp_nodelay(true)
        .connect_timeout(settings.patience)
        .http2_keep_alive_interval(settings.keep_alive)
        .keep_alive_timeout(settings.patience)
        .keep_alive_while_idle(true);
    Ok(endpoint.connect().await?)
}

/// One stream.
pub struct Link {
    outbound: mpsc::Sender<Up>,
    inbound: Streaming<Down>,
    patience: Duration,
    offers: u32,
}

/// What a stream brings.
#[derive(Debug)]
pub enum Incoming {
    /// A signed offer, as bytes: to be checked.
    Offer(Vec<u8>),
    /// A welcome, as bytes.
    Welcome(Vec<u8>),
    /// A sealed frame.
    Frame(Vec<u8>),
}

impl Link {
    /// Opens a stream.
    pub async fn open(channel: Channel, settings: &LinkSettings) -> Result<Self, LinkError> {
        let (outbound, messages) = mpsc::channel(OUTBOUND);
        let mut client =
            IngestClient::new(channel).max_decoding_message_size(settings.max_message_bytes);
        let opened = client.session(ReceiverStream::new(messages));
        let inbound = within(settings.patience, opened).await??.into_inner();
        Ok(Self {
            outbound,
            inbound,
            patience: settings.patience,
            offers: settings.offers,
        })
    }

    /// Sends a hello as bytes.
    pub async fn send_hello(&self, hello: Vec<u8>) -> Result<(), LinkError> {
        self.send(UpMessage::Hello(hello)).await
    }

    /// Sends a sealed frame as bytes.
    pub async fn send_frame(&self, frame: Vec<u8>) -> Result<(), LinkError> {
        self.send(UpMessage::Frame(frame)).await
    }

    async fn send(&self, message: UpMessage) -> Result<(), LinkError> {
        let message = Up {
            message: Some(message),
        };
        let sent = within(self.patience, self.outbound.send(message)).await?;
        sent.map_err(|_| LinkError::closed())
    }

    /// Waits for the next message. It may be dropped and called again without losing one.
    pub async fn next(&mut self) -> Result<Incoming, LinkError> {
        let message = self.inbound.message().await?;
        match message.ok_or_else(LinkError::closed)?.message {
            Some(down::Message::Offer(bytes)) => Ok(Incoming::Offer(bytes)),
            Some(down::Message::Welcome(bytes)) => Ok(Incoming::Welcome(bytes)),
            Some(down::Message::Frame(bytes)) => Ok(Incoming::Frame(bytes)),
            None => Err(LinkError::OutOfTurn),
        }
    }

    /// Waits for the next message, but not for ever.
    pub async fn next_soon(&mut self) -> Result<Incoming, LinkError> {
        within(self.patience, self.next()).await?
    }

    /// Takes the service's offer and says hello until it is welcomed. A service that does not know
    /// the offer any more makes a fresh one.
    pub async fn be_welcomed(
        &mut self,
        pinned: &Kid,
        clock: &DeviceClock,
        first: Option<Vec<u8>>,
        mut hello: impl FnMut(&ClientOffer) -> Result<(Vec<u8>, PendingSession), Reject>,
    ) -> Result<(ClientSession, Status), LinkError> {
        let mut offer = match first {
            Some(offer) => offer,
            None => self.offer().await?,
        };
        for _ in 0..self.offers {
            let checked = ClientOffer::check(&offer, pinned, clock.now())?;
            let (message, pending) = hello(&checked)?;
            self.send_hello(message).await?;
            match self.next_soon().await? {
                Incoming::Welcome(welcome) => {
                    let (session, status) = pending.welcome(&welcome)?;
                    clock.welcomed(status.time);
                    return Ok((session, status));
                }
                Incoming::Offer(fresh) => offer = fresh,
                Incoming::Frame(_) => return Err(LinkError::OutOfTurn),
            }
        }
        Err(LinkError::OutOfTurn)
    }

    /// Waits for the service's first word.
    pub async fn offer(&mut self) -> Result<Vec<u8>, LinkError> {
        match self.next_soon().await? {
            Incoming::Offer(offer) => Ok(offer),
            Incoming::Welcome(_) | Incoming::Frame(_) => Err(LinkError::OutOfTurn),
        }
    }

    /// Seals and sends a frame.
    pub async fn send_sealed(
        &self,
        session: &mut ClientSession,
        frame: &UpFrame,
    ) -> Result<(), LinkError> {
        self.send_frame(session.seal(frame)?).await
    }

    /// Waits a while for a frame and opens it.
    pub async fn frame_soon(
        &mut self,
        session: &mut ClientSession,
    ) -> Result<DownFrame, LinkError> {
        match self.next_soon().await? {
            Incoming::Frame(frame) => Ok(session.open(&frame)?),
            Incoming::Offer(_) | Incoming::Welcome(_) => Err(LinkError::OutOfTurn),
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link(..)")
    }
}

async fn within<T>(patience: Duration, wait: impl Future<Output = T>) -> Result<T, LinkError> {
    tokio::time::timeout(patience, wait)
        .await
        .map_err(|_| LinkError::Late)
}
