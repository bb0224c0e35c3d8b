//! `pulseward verify`: proves, without a running program, that every stored row is what its device
//! signed.

use std::{io::Write as _, process::ExitCode, sync::Arc};

use pulseward_app::passphrase::PassphraseArgs;

use crate::{foundation::Foundation, home::Home};

/// Verifies the history and prints what it found; exits 1 when anything does not hold.
pub async fn verify(home: &Home, passphrase: &PassphraseArgs) -> anyhow::Result<ExitCode> {
    let (foundation, _) = Foundation::open(home, passphrase)?;
    // Verifying opens file keys, which is written down, so the audit chain must be open.
    let _log = foundation.log(home).await?;
    let keys = Arc::new(foundation.registry.clone());
    let directory = home.history();
    let report = pulseward_history::verify(&directory, keys, foundation.root).await?;
    let mut out = std::io::stdout();
    writeln!(
        out,
        "{} rows in {} files under {} manifests: {} batches verified, {} unproven, {} series withheld",
        report.rows,
        report.files,
        report.manifests,
        report.verified,
        report.unproven,
        report.withheld
    )?;
    for finding in &report.findings {
        let file = finding.file.as_deref().unwrap_or("the chain");
        writeln!(
            out,
            "partition {}, {file}: {}",
            finding.partition, finding.fault
        )?;
    }
    Ok(if report.holds() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
