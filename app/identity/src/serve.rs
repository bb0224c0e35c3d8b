//! The running program: gRPC for staff, a port to look, a socket to act, and an end in order.

use std::{io::Write as _, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use anyhow::{Context as _, anyhow};
use prometheus::Registry;
use pulseward_app::{
    SystemClock,
    admin::{self, Ready},
    passphrase::PassphraseArgs,
    shutdown,
    status::Board,
};
use pulseward_identity_store::{IdentityService, Vault};
use pulseward_proto_identity::{DESCRIPTOR, v1::identity_server::IdentityServer};
use tokio::{
    net::TcpListener,
    task::{JoinError, JoinHandle},
};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Identity, Server, ServerTlsConfig};

use crate::{
    config::{Config, Grpc},
    door::{Door, ServerFacts, named},
    home::{self, Home},
    incoming::Incoming,
};

/// The largest request; a way-back slip has 297 bytes, a person some hundred.
const LARGEST_REQUEST: usize = 64 * 1024;
/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// How long the closing port waits for calls under way.
const LINGER: Duration = Duration::from_secs(3);
/// How often the store is asked whether it failed.
const WATCH: Duration = Duration::from_millis(200);

/// Serves until a signal, or until the store fails.
pub(crate) async fn run(
    directory: &Path,
    config: &Config,
    passphrase: &PassphraseArgs,
) -> anyhow::Result<()> {
    let shutdown = shutdown::on_signals()?;
    let registry = Registry::new();
    let Home { vault, serving } = home::open(directory, config, passphrase, &registry)?;
    let grpc_listener = bind(config.grpc.address).await?;
    let admin_listener = bind(config.admin.address).await?;
    let facts = ServerFacts {
        pipeline_root: config.slips.pipeline_root,
        grpc: named(&config.grpc.names, grpc_listener.local_addr()?.port()),
        admin: admin_listener.local_addr()?.to_string(),
        authority: serving.authority_pem.clone(),
        max_persons: config.store.max_persons,
    };
    let ready = Ready::default();
    let admin_end = CancellationToken::new();
    let port = tokio::spawn(admin::serve_http(
        admin_listener,
        registry,
        ready.clone(),
        admin_end.clone(),
    ));
    let socket = open_door(directory, &vault, &facts, &shutdown)?;
    let tls = Identity::from_pem(&serving.certificate_pem, serving.key_pem.as_bytes());
    let mut calls = serve_grpc(
        grpc_listener,
        &config.grpc,
        tls,
        Arc::clone(&vault),
        shutdown.clone(),
    )?;
    ready.set(true);
    announce(&vault, &facts)?;

    let (outcome, over) = tokio::select! {
        () = shutdown.cancelled() => (Ok(()), false),
        () = failed(&vault) => (Err(anyhow!("the store failed; the next start shows how it stands")), false),
        ended = &mut calls => (flat(ended), true),
    };
    ready.set(false);
    shutdown.cancel();
    let drained = shutdown::within(config.admin.grace, async {
        if !over {
            // A peer that holds a stream open must not hold the end.
            match tokio::time::timeout(LINGER, &mut calls).await {
                Ok(ended) => flat(ended)?,
                Err(_) => calls.abort(),
            }
        }
        socket.await.context("the admin socket failed")
    })
    .await;
    admin_end.cancel();
    port.await.context("the admin port failed")??;
    tracing::info!("ended");
    outcome.and(drained)
}

fn flat(ended: Result<anyhow::Result<()>, JoinError>) -> anyhow::Result<()> {
    ended.context("the gRPC port failed")?
}

fn open_door(
    directory: &Path,
    vault: &Arc<Vault>,
    facts: &ServerFacts,
    shutdown: &CancellationToken,
) -> anyhow::Result<JoinHandle<()>> {
    let door = Door {
        vault: Arc::clone(vault),
        board: Board::default(),
        clock: SystemClock::start(),
        facts: facts.clone(),
    };
    let socket = admin::bind_socket(&home::socket(directory))?;
    let served = admin::serve_socket(socket, Arc::new(door), shutdown.clone());
    Ok(tokio::spawn(served))
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("couldn't listen on {address}"))
}

fn serve_grpc(
    listener: TcpListener,
    settings: &Grpc,
    tls: Identity,
    vault: Arc<Vault>,
    shutdown: CancellationToken,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    let service = IdentityServer::new(IdentityService::new(vault, settings.max_calls))
        .max_decoding_message_size(LARGEST_REQUEST);
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(DESCRIPTOR)
        .build_v1()
        .context("the service's description is damaged")?;
    let (reporter, health) = tonic_health::server::health_reporter();
    let tls = ServerTlsConfig::new().identity(tls).timeout(HANDSHAKE_TIME);
    let router = Server::builder()
        .tls_config(tls)
        .context("couldn't set up TLS")?
        .timeout(settings.call_time)
        .concurrency_limit_per_connection(settings.calls_per_connection)
        .load_shed(true)
        .max_concurrent_streams(u32::try_from(settings.calls_per_connection)?)
        .max_connection_age(settings.connection_life)
        .http2_keepalive_interval(Some(settings.call_time))
        .add_service(health)
        .add_service(reflection)
        .add_service(service);
    let incoming = Incoming::new(listener, settings.max_connections);
    Ok(tokio::spawn(async move {
        reporter
            .set_serving::<IdentityServer<IdentityService>>()
            .await;
        router
            .serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned())
            .await
            .context("the gRPC port failed")
    }))
}

/// Waits until the store has failed.
async fn failed(vault: &Vault) {
    let mut ticks = tokio::time::interval(WATCH);
    while !vault.is_poisoned() {
        ticks.tick().await;
    }
}

/// Says on standard output, in one line of JSON, that the program is up and where.
fn announce(vault: &Vault, facts: &ServerFacts) -> anyhow::Result<()> {
    let line = serde_json::json!({
        "root": home::hex(vault.root()),
        "grpc": facts.grpc,
        "admin": facts.admin,
    });
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    tracing::info!(grpc = %facts.grpc, admin = %facts.admin, "serving");
    Ok(())
}
