//! What `pulseward model` is told.

use std::path::PathBuf;

use clap::Args;
use pulseward_base::{Kid, bytes::unhex};

/// Which registry, and whom to believe.
#[derive(Args, Debug)]
pub struct RegistryArgs {
    /// The registry's directory.
    #[arg(long, default_value = "models-registry", value_name = "DIR")]
    pub registry: PathBuf,
    /// The root whose operators are believed; `root.txt` of the registry without it.
    #[arg(long, value_name = "HEX", value_parser = kid)]
    pub root: Option<Kid>,
}

/// Which rows take part.
#[derive(Args, Debug)]
pub struct DataArgs {
    /// A table of hourly vital signs (CSV, gzipped or not) or an archive of annotated beats (tar, gzipped or not); may be repeated.
    #[arg(long, required = true, value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// No reading before: a day (2026-01-31) or microseconds since 1970. In tables that count hours, hour 0 is 1970.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// No reading from then on.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// Only these kinds, by name, separated by commas.
    #[arg(long, value_name = "KINDS")]
    pub kinds: Option<String>,
    /// Only these patients: age=40-79, sex=f, part=0-80 (hundredths of a fixed hash), separated by commas.
    #[arg(long, value_name = "COHORT")]
    pub cohort: Option<String>,
    /// A file with names or pseudonyms of patients to leave out, one a line.
    #[arg(long, value_name = "FILE")]
    pub exclude: Option<PathBuf>,
}

/// How to fit; what is not given is the default.
#[derive(Args, Debug, Default)]
pub struct FitArgs {
    /// Where the model alerts.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    pub threshold: Option<f64>,
    /// How much of an anchor is constant, in percent.
    #[arg(long, value_name = "PERCENT")]
    pub constancy: Option<u8>,
    /// How many parts an ensemble has.
    #[arg(long, value_name = "COUNT")]
    pub parts: Option<u32>,
}

/// `train`
#[derive(Args, Debug)]
pub struct TrainArgs {
    /// What to train: anchor, gaussians, deterioration or rhythm.
    #[arg(value_name = "LINE")]
    pub line: String,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub fit: FitArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// The directory of the key that vouches for the training.
    #[arg(long, value_name = "DIR")]
    pub signer: PathBuf,
}

/// `evaluate`
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("judged-on").required(true).args(["set", "data"]))]
pub struct EvaluateArgs {
    /// The model: the beginning of its name, or a line for the one that decides.
    pub model: String,
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// The frozen set.
    #[arg(long, value_name = "FILE")]
    pub set: Option<PathBuf>,
    /// Instead of a frozen set, tables or archives as in training; may be repeated.
    #[arg(long, value_name = "FILE")]
    pub data: Vec<PathBuf>,
    /// With --data: only these patients, as in training.
    #[arg(long, value_name = "COHORT", requires = "data")]
    pub cohort: Option<String>,
    /// Where to write the page.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// `compare`
#[derive(Args, Debug)]
pub struct CompareArgs {
    /// The candidate: the beginning of its name.
    pub model: String,
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// The frozen set.
    #[arg(long, value_name = "FILE")]
    pub set: PathBuf,
    /// Where to write the page.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// `promote`
#[derive(Args, Debug)]
pub struct PromoteArgs {
    /// The candidate: the beginning of its name.
    pub model: String,
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// The frozen set.
    #[arg(long, value_name = "FILE")]
    pub set: PathBuf,
    /// The directory of the operator's key: another than the one that vouches for the training.
    #[arg(long, value_name = "DIR")]
    pub signer: PathBuf,
}

/// `rollback`
#[derive(Args, Debug)]
pub struct RollbackArgs {
    /// Which line.
    #[arg(value_name = "LINE")]
    pub line: String,
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// The directory of the operator's key.
    #[arg(long, value_name = "DIR")]
    pub signer: PathBuf,
}

/// `list`
#[derive(Args, Debug)]
pub struct ListArgs {
    #[command(flatten)]
    pub registry: RegistryArgs,
}

/// `explain`
#[derive(Args, Debug)]
pub struct ExplainArgs {
    /// The line whose deciding model explains itself.
    #[arg(value_name = "LINE")]
    pub line: String,
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// A table of hourly vital signs.
    #[arg(long, value_name = "FILE")]
    pub data: PathBuf,
    /// The patient's name in the table.
    #[arg(long)]
    pub patient: String,
    /// The hour in the table; the first alert without it.
    #[arg(long)]
    pub hour: Option<u32>,
}

/// `attack`
#[derive(Args, Debug)]
pub struct AttackArgs {
    /// The line whose deciding model is attacked.
    #[arg(value_name = "LINE")]
    pub line: String,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub fit: FitArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// The frozen set.
    #[arg(long, value_name = "FILE")]
    pub set: PathBuf,
    /// Which percentage of the patients an attacker owns.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u8).range(1..=50))]
    pub percent: u8,
    /// How many attacks are tried on each alert.
    #[arg(long, default_value_t = 200)]
    pub tries: usize,
    /// Where to write the page.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
}

/// `bisect`
#[derive(Args, Debug)]
pub struct BisectArgs {
    /// The model that moved: the beginning of its name.
    pub model: String,
    /// The model to compare it with: the beginning of its name; its parent's listing must be there.
    #[arg(long, value_name = "MODEL")]
    pub before: String,
    #[command(flatten)]
    pub data: DataArgs,
    #[command(flatten)]
    pub fit: FitArgs,
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// How small a group of patients is looked for.
    #[arg(long, default_value_t = 8)]
    pub least: usize,
    /// How many groups are looked for.
    #[arg(long, default_value_t = 10)]
    pub most: usize,
}

/// `score`
#[derive(Args, Debug)]
pub struct ScoreArgs {
    /// The model: the beginning of its name, or a line for the one that decides.
    pub model: String,
    #[command(flatten)]
    pub registry: RegistryArgs,
    /// Each line of the input is a JSON array of windows; a window is an array of hours, oldest first; an hour is an
    /// array of vital signs in their units, null where there is none, in the order heart rate, saturation, breathing, temperature, systolic, mean, diastolic pressure.
    #[arg(long)]
    pub jsonl: bool,
}

/// `freeze`
#[derive(Args, Debug)]
pub struct FreezeArgs {
    #[command(flatten)]
    pub data: DataArgs,
    /// What people call the set.
    #[arg(long)]
    pub name: String,
    /// The directory of the operator's key.
    #[arg(long, value_name = "DIR")]
    pub signer: PathBuf,
    /// Where to write it.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// `operator`
#[derive(Args, Debug)]
pub struct OperatorArgs {
    /// The directory of the new key.
    #[arg(long, value_name = "DIR")]
    pub signer: PathBuf,
}

/// `certify`
#[derive(Args, Debug)]
pub struct CertifyArgs {
    /// The point that `operator` printed.
    #[arg(long, value_name = "HEX")]
    pub point: String,
    /// The pipeline's custodian; its passphrase is asked for.
    #[arg(long, value_name = "FILE")]
    pub custodian: PathBuf,
    /// For how many days.
    #[arg(long, default_value_t = 730)]
    pub days: u32,
    /// Where to write the certificate: `certificate` in the signer's directory.
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
}

/// `defaults`
#[derive(Args, Debug)]
pub struct DefaultsArgs {
    /// The directory of the public data.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// Where to write the artefacts.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Where to write the pages.
    #[arg(long, value_name = "DIR")]
    pub reports: Option<PathBuf>,
}

fn kid(text: &str) -> Result<Kid, String> {
    let bytes = unhex(text).map_err(|_| "not hexadecimal".to_owned())?;
    let bytes = bytes.try_into().map_err(|_| "not 32 bytes".to_owned())?;
    Ok(Kid(bytes))
}
