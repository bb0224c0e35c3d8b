//! A simulated ward: the two programs as processes with a directory each, persons who exist in the
//! vault only, and tickets and slips that pass through here as opaque bytes.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use pulseward_crypto::random;
use pulseward_device::LinkSettings;

use super::{DemoArgs, children::Program};
use crate::{
    client,
    config::{self, Config},
    home::Home,
};

/// The vault's program, found beside this one.
const VAULT: &str = "pulseward-identity";

/// The ward.
pub(super) struct Ward {
    /// The pipeline's process.
    pub pipeline: Program,
    /// The vault's process.
    pub vault: Program,
    /// Where the pipeline's clients find it.
    pub home: Home,
    staff_file: PathBuf,
    slips: PathBuf,
}

impl Ward {
    /// Makes both programs' directories and keys, tells each the other's root, and starts them.
    pub(super) async fn open(at: &Path, args: &DemoArgs) -> anyhow::Result<Self> {
        let directory = |name: &str| -> anyhow::Result<PathBuf> {
            let path = at.join(name);
            std::fs::create_dir_all(&path)
                .with_context(|| format!("couldn't make {}", path.display()))?;
            Ok(path)
        };
        let mut pipeline = Program::beside("pulseward", directory("pipeline")?)?;
        let mut vault = Program::beside(VAULT, directory("vault")?)?;
        // Both configurations stand before the first start, which checks them.
        let ports = free_ports::<5>()?;
        // A run's keys are new, so its log must be, also on a cluster that has seen a run before.
        let [a, b, c, _] = random::bytes::<4>();
        let generation = if args.kafka.is_none() {
            1
        } else {
            u32::from_le_bytes([a, b, c, 0]) + 1
        };
        write_config(
            &pipeline,
            config::FILE,
            &pipeline_config(args, ports, generation, None),
        )?;
        write_config(&vault, "identity.toml", &vault_config(ports))?;
        let (root, vault_root) = tokio::try_join!(pipeline.run(&["init"]), vault.run(&["init"]))?;
        let (root, vault_root) = (root.trim(), vault_root.trim());
        write_config(
            &pipeline,
            config::FILE,
            &pipeline_config(args, ports, generation, Some(vault_root)),
        )?;
        pipeline.start(&["up"], ports[2]).await?;
        vault
            .start(&["serve", "--pipeline-root", root], ports[4])
            .await?;

        let staff_file = at.join("staff.json");
        let staff = staff_file.display().to_string();
        vault
            .run(&[
                "staff",
                "add",
                "--name",
                "Demo Clinician",
                "--role",
                "clinician",
                "--out",
                &staff,
            ])
            .await?;
        let config = Config::read(pipeline.directory(), None)?;
        let home = Home {
            directory: pipeline.directory().to_owned(),
            config,
        };
        Ok(Self {
            pipeline,
            vault,
            home,
            staff_file,
            slips: directory("slips")?,
        })
    }

    /// Registers made-up persons in the vault and returns one ticket slip each. Their names stay there.
    pub(super) async fn tickets(&self, count: usize) -> anyhow::Result<Vec<Vec<u8>>> {
        let count_text = count.to_string();
        let printed = self
            .vault
            .run(&["register", "--synthetic", &count_text, "--tickets"])
            .await?;
        let tickets: Vec<_> = printed
            .lines()
            .map(decode_base64)
            .collect::<anyhow::Result<_>>()?;
        ensure!(
            tickets.len() == count,
            "the vault issued {} tickets",
            tickets.len()
        );
        Ok(tickets)
    }

    /// Returns where devices find the service.
    pub(super) fn link(&self) -> anyhow::Result<LinkSettings> {
        let authority = std::fs::read_to_string(self.home.tls_authority())?;
        let listen = &self.home.config.listen;
        let mut link = LinkSettings::new(format!("https://{}", listen.devices), authority);
        link.server_name = Some(listen.name.clone());
        Ok(link)
    }

    /// Kills the pipeline as a power cut would, and starts it again.
    pub(super) async fn kill_and_restart(&mut self) -> anyhow::Result<()> {
        self.pipeline.kill().await?;
        let ready = self.home.config.listen.admin.port();
        self.pipeline.start(&["up"], ready).await
    }

    /// Takes the way back from an alert: the slip from the pipeline, the name from the vault's own
    /// client, which prints it.
    pub(super) async fn way_back(&self, alert: pulseward_base::AlertId) -> anyhow::Result<String> {
        let staff = client::Staff::connect(&self.home).await?;
        let slip = self
            .slips
            .join(format!("{}.slip", pulseward_base::bytes::hex(&alert.0)));
        client::write_slip(&slip, &staff.way_back(alert).await?)?;
        let (slip, staff_file) = (
            slip.display().to_string(),
            self.staff_file.display().to_string(),
        );
        let printed = self
            .vault
            .run(&["way-back", "--slip", &slip, "--staff-file", &staff_file])
            .await?;
        Ok(printed.trim().to_owned())
    }

    /// Drains both programs.
    pub(super) async fn close(&mut self) -> anyhow::Result<()> {
        self.pipeline.stop().await?;
        self.vault.stop().await
    }
}

fn decode_base64(line: &str) -> anyhow::Result<Vec<u8>> {
    STANDARD
        .decode(line.trim())
        .context("the vault printed something else than a ticket slip")
}

fn write_config(program: &Program, name: &str, text: &str) -> anyhow::Result<()> {
    let path = program.directory().join(name);
    std::fs::write(&path, text).with_context(|| format!("couldn't write {}", path.display()))
}

fn pipeline_config(
    args: &DemoArgs,
    ports: [u16; 5],
    generation: u32,
    vault_root: Option<&str>,
) -> String {
    let [devices, staff, admin, ..] = ports;
    let kafka = args.kafka.as_deref().unwrap_or_default();
    let replicas = args.kafka_replicas;
    format!(
        r#"vault_root = "{}"
log_filter = "warn"

[listen]
devices = "127.0.0.1:{devices}"
staff = "127.0.0.1:{staff}"
admin = "127.0.0.1:{admin}"

[log]
kafka = "{kafka}"
replicas = {replicas}
generation = {generation}
max_size = "512MiB"
segment = "16MiB"

[detector]
device_silence = "4s"

[history]
commit_after = "2s"
"#,
        vault_root.unwrap_or_default()
    )
}

fn vault_config(ports: [u16; 5]) -> String {
    let [.., grpc, admin] = ports;
    format!("[grpc]\naddress = \"127.0.0.1:{grpc}\"\n\n[admin]\naddress = \"127.0.0.1:{admin}\"\n")
}

/// Returns ports that are free now. They lie below those that systems give to outgoing connections:
/// a device that dials while the pipeline is dead must not come to sit on its port.
fn free_ports<const N: usize>() -> anyhow::Result<[u16; N]> {
    let first = 12_000 + u16::from_le_bytes(random::bytes()) % 16_000;
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    let mut free = (first..32_000).filter(is_free);
    let mut ports = [0; N];
    for port in &mut ports {
        *port = free.next().context("no port is free")?;
    }
    Ok(ports)
}

/// Returns a directory for one run.
pub(super) fn temporary() -> anyhow::Result<PathBuf> {
    let name = format!(
        "pulseward-demo-{}",
        pulseward_base::bytes::hex(&random::bytes::<8>())
    );
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir(&path).with_context(|| format!("couldn't make {}", path.display()))?;
    Ok(path)
}
