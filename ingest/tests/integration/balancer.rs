//! What ends TLS before the service: it sees every message that is not sealed, writes it down, and
//! does with it what a test says.

use std::sync::{Arc, Mutex};

use pulseward_device::{LinkSettings, link::connect};
use pulseward_proto_pipeline::v1::{
    Down, Up,
    down::Message as DownMessage,
    ingest_client::IngestClient,
    ingest_server::{Ingest, IngestServer},
    up::Message as UpMessage,
};
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

use crate::house::House;

/// One message on its way.
#[derive(Clone, Debug)]
pub enum Passing {
    Up(UpMessage),
    Down(DownMessage),
}

impl Passing {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Up(UpMessage::Hello(bytes) | UpMessage::Frame(bytes))
            | Self::Down(
                DownMessage::Offer(bytes) | DownMessage::Welcome(bytes) | DownMessage::Frame(bytes),
            ) => bytes,
        }
    }
}

/// What is done with a message.
pub enum Deed {
    Pass,
    /// It never arrives.
    Drop,
    /// The device is told that the stream ends so.
    End(Result<(), Status>),
    /// The device gets this instead.
    Instead(DownMessage),
}

type Rule = Box<dyn FnMut(&Passing) -> Deed + Send>;

/// A balancer that runs.
#[derive(Clone)]
pub struct Balancer {
    inner: Arc<Inner>,
    pub link: LinkSettings,
}

struct Inner {
    upstream: Mutex<LinkSettings>,
    rule: Mutex<Rule>,
    tape: Mutex<Vec<Passing>>,
}

impl Balancer {
    pub async fn start(house: &House, upstream: &LinkSettings) -> Self {
        let listener = TcpListener::bind("localhost:0").await.unwrap();
        let link = house.link(listener.local_addr().unwrap().port());
        let inner = Arc::new(Inner {
            upstream: Mutex::new(upstream.clone()),
            rule: Mutex::new(Box::new(|_| Deed::Pass)),
            tape: Mutex::default(),
        });
        let service = IngestServer::new(Service(Arc::clone(&inner)));
        let server = Server::builder()
            .tls_config(house.tls.server())
            .unwrap()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        Self { inner, link }
    }

    /// Changes what is done with messages from now on.
    pub fn rule(&self, rule: impl FnMut(&Passing) -> Deed + Send + 'static) {
        *self.inner.rule.lock().unwrap() = Box::new(rule);
    }

    /// Sends new streams to another instance.
    pub fn turn_to(&self, upstream: &LinkSettings) {
        *self.inner.upstream.lock().unwrap() = upstream.clone();
    }

    /// Returns all that has passed, whatever was done with it.
    pub fn tape(&self) -> Vec<Passing> {
        self.inner.tape.lock().unwrap().clone()
    }
}

impl Inner {
    fn judge(&self, passing: Passing) -> (Deed, Passing) {
        let deed = (self.rule.lock().unwrap())(&passing);
        self.tape.lock().unwrap().push(passing.clone());
        (deed, passing)
    }
}

struct Service(Arc<Inner>);

#[tonic::async_trait]
impl Ingest for Service {
    type SessionStream = ReceiverStream<Result<Down, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<Up>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let upstream = self.0.upstream.lock().unwrap().clone();
        let unreached = |_| Status::unavailable("upstream");
        let channel = connect(&upstream).await.map_err(unreached)?;
        let (up, ups) = mpsc::channel(64);
        let mut client = IngestClient::new(channel);
        let from_service = client.session(ReceiverStream::new(ups)).await?.into_inner();
        let (down, downs) = mpsc::channel(64);
        let relay = Relay {
            inner: Arc::clone(&self.0),
            from_device: request.into_inner(),
            from_service,
            up,
            down,
        };
        tokio::spawn(relay.run());
        Ok(Response::new(ReceiverStream::new(downs)))
    }
}

struct Relay {
    inner: Arc<Inner>,
    from_device: Streaming<Up>,
    from_service: Streaming<Down>,
    up: mpsc::Sender<Up>,
    down: mpsc::Sender<Result<Down, Status>>,
}

impl Relay {
    async fn run(mut self) {
        while let Some((deed, passing)) = self.next().await {
            let told = match (deed, passing) {
                (Deed::Pass, Passing::Up(message)) => {
                    let message = Some(message);
                    self.up.send(Up { message }).await.is_ok()
                }
                (Deed::Pass, Passing::Down(message)) | (Deed::Instead(message), _) => {
                    self.tell(message).await
                }
                (Deed::Drop, _) => true,
                (Deed::End(end), _) => {
                    if let Err(status) = end {
                        let _ended = self.down.send(Err(status)).await;
                    }
                    false
                }
            };
            if !told {
                return;
            }
        }
    }

    async fn tell(&self, message: DownMessage) -> bool {
        let message = Some(message);
        self.down.send(Ok(Down { message })).await.is_ok()
    }

    async fn next(&mut self) -> Option<(Deed, Passing)> {
        let passing = tokio::select! {
            message = self.from_device.message() => Passing::Up(message.ok()??.message?),
            message = self.from_service.message() => match message {
                Ok(message) => Passing::Down(message?.message?),
                Err(status) => {
                    let _ended = self.down.send(Err(status)).await;
                    return None;
                }
            },
        };
        Some(self.inner.judge(passing))
    }
}
