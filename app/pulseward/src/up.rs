//! `pulseward up`: the whole pipeline in one process, assembled in the order in which a batch meets
//! the stages, and drained in the same order.

mod doors;
mod stages;

use std::{io::Write as _, path::Path, process::ExitCode, sync::Arc};

use anyhow::Context as _;
use pulseward_app::{admin::Ready, passphrase::PassphraseArgs, shutdown, status::Board, tls};
use pulseward_base::bytes::hex;
use zeroize::Zeroizing;

use crate::{
    checks::Checks,
    foundation::Foundation,
    home::Home,
    requests::Operator,
    up::{doors::Admin, stages::Stages},
};

/// Makes the directory and the keys and prints the root.
pub fn init(home: &Home, passphrase: &PassphraseArgs) -> anyhow::Result<ExitCode> {
    let (foundation, _) = Foundation::open(home, passphrase)?;
    publish(home, &foundation)?;
    writeln!(std::io::stdout(), "{}", hex(&foundation.root.0))?;
    Ok(ExitCode::SUCCESS)
}

/// Writes what is public: the root's name and the TLS authority's certificate.
fn publish(home: &Home, foundation: &Foundation) -> anyhow::Result<tls::Serving> {
    let custodian = &foundation.custodian;
    let key = match custodian.blob("tls-authority") {
        Some(key) => key,
        None => {
            let key = tls::new_authority_key()?;
            custodian.store_blob("tls-authority", &key)?;
            key
        }
    };
    let names = [
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        home.config.listen.name.clone(),
    ];
    let serving = tls::issue("pulseward", &key, &names, foundation.clock.now())?;
    write_public(&home.tls_authority(), serving.authority_pem.as_bytes())?;
    write_public(&home.root(), hex(&foundation.root.0).as_bytes())?;
    Ok(serving)
}

/// Replaces a public file in one step, so that nobody reads half of it.
fn write_public(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let fresh = path.with_extension("new");
    std::fs::write(&fresh, content)
        .with_context(|| format!("couldn't write {}", fresh.display()))?;
    std::fs::rename(&fresh, path).with_context(|| format!("couldn't write {}", path.display()))
}

/// Runs the pipeline until a signal, or until a stage ends.
pub async fn up(home: Home, passphrase: &PassphraseArgs) -> anyhow::Result<ExitCode> {
    let signal = shutdown::on_signals()?;
    let (foundation, signers) = Foundation::open(&home, passphrase)?;
    let serving = publish(&home, &foundation)?;
    let (doors, operator_doors) = doors::bind(&home, &serving).await?;
    let log = foundation.log(&home).await?;
    let care_token = Zeroizing::new(hex(foundation
        .custodian
        .random_secret("care-team")?
        .expose()));
    let stages = Stages::assemble(&home, &foundation, signers, &log, &care_token).await?;
    drop(log);

    let (ready, board) = (Ready::default(), Board::default());
    let operator = Operator {
        board: board.clone(),
        ready: ready.clone(),
        keys: stages.keys.clone(),
        care_token,
        started: foundation.clock.now().0,
        clock: Arc::clone(&foundation.clock),
    };
    let checks = Checks::new(&home, &foundation, board, ready.clone())?;
    let admin = Admin::open(
        operator_doors,
        operator,
        checks,
        foundation.metrics.clone(),
        ready.clone(),
    );
    let ended = stages
        .run(doors, signal, &ready, home.config.top.shutdown_grace)
        .await;
    admin.close().await;
    ended.map(|()| ExitCode::SUCCESS)
}
