//! The sockets. They are bound before anything is opened, so that a taken port is told at once.

use std::sync::Arc;

use anyhow::Context as _;
use pulseward_app::{
    admin::{self, Ready},
    tls::Serving,
};
use tokio::{
    net::{TcpListener, UnixListener},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Identity, ServerTlsConfig, server::TcpIncoming};

use crate::{checks::Checks, home::Home, requests::Operator};

/// Where peers come in: devices at one, staff at the other. Both show one certificate.
pub(super) struct Doors {
    /// For devices.
    pub devices: TcpIncoming,
    /// For care teams and data scientists.
    pub staff: TcpIncoming,
    /// What both show.
    pub tls: ServerTlsConfig,
}

/// Where operators come in.
pub(super) struct OperatorDoors {
    http: TcpListener,
    socket: UnixListener,
}

/// Binds them all.
pub(super) async fn bind(home: &Home, serving: &Serving) -> anyhow::Result<(Doors, OperatorDoors)> {
    let listen = &home.config.listen;
    let bind = async |address| {
        TcpListener::bind(address)
            .await
            .with_context(|| format!("couldn't listen on {address}"))
    };
    let identity = Identity::from_pem(&serving.certificate_pem, serving.key_pem.as_bytes());
    let doors = Doors {
        devices: TcpIncoming::from(bind(listen.devices).await?).with_nodelay(Some(true)),
        staff: TcpIncoming::from(bind(listen.staff).await?).with_nodelay(Some(true)),
        tls: ServerTlsConfig::new().identity(identity),
    };
    let operators = OperatorDoors {
        http: bind(listen.admin).await?,
        socket: admin::bind_socket(&home.socket())?,
    };
    Ok((doors, operators))
}

/// The operators' doors while they are open. They close last.
pub(super) struct Admin {
    shutdown: CancellationToken,
    tasks: JoinSet<()>,
}

impl Admin {
    /// Opens them.
    pub(super) fn open(
        doors: OperatorDoors,
        operator: Operator,
        checks: Checks,
        metrics: prometheus::Registry,
        ready: Ready,
    ) -> Self {
        let shutdown = CancellationToken::new();
        let mut tasks = JoinSet::new();
        let http = admin::serve_http(doors.http, metrics, ready, shutdown.clone());
        tasks.spawn(async move {
            if let Err(error) = http.await {
                tracing::error!(%error, "the admin port failed");
            }
        });
        tasks.spawn(admin::serve_socket(
            doors.socket,
            Arc::new(operator),
            shutdown.clone(),
        ));
        tasks.spawn(checks.run(shutdown.clone()));
        Self { shutdown, tasks }
    }

    /// Closes them.
    pub(super) async fn close(mut self) {
        self.shutdown.cancel();
        while self.tasks.join_next().await.is_some() {}
    }
}
