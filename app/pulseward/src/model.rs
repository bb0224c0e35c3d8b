//! `pulseward model`: train, judge, attack, compare, promote and roll back, from files.
//!
//! A registry is a directory: for each line of models `LINE/ID.model` with `LINE/ID.listing` beside it
//! (what entered the fit), the chain `LINE/promotions/NNNN.promotion`, and `root.txt`, the root whose
//! operators are believed. Keys lie elsewhere: a signer is a directory with a custodian and a
//! certificate, so that the key that promotes never is on the machine that trains.

mod args;
mod commands;
mod data;
mod defaults;
mod explain;
mod score;
mod signer;
mod store;

use std::{io::Write as _, process::ExitCode};

use clap::Subcommand;
use pulseward_app::passphrase::PassphraseArgs;
use pulseward_base::Micros;
use pulseward_models::features::Hold;

use args::{
    AttackArgs, BisectArgs, CertifyArgs, CompareArgs, DefaultsArgs, EvaluateArgs, ExplainArgs,
    FreezeArgs, ListArgs, OperatorArgs, PromoteArgs, RollbackArgs, ScoreArgs, TrainArgs,
};

/// Models: what is done with them away from patients.
#[derive(Debug, Subcommand)]
pub enum ModelCommand {
    /// Trains candidates from files; the same rows give the same bytes.
    Train(TrainArgs),
    /// Judges a model on a frozen set and writes its page.
    Evaluate(EvaluateArgs),
    /// Asks the gate whether a candidate may take over; exits 1 when not.
    Compare(CompareArgs),
    /// Asks the gate and, if it passes, signs that the candidate decides.
    Promote(PromoteArgs),
    /// Signs that the model before decides again.
    Rollback(RollbackArgs),
    /// Lists the models of a registry and who promoted them.
    List(ListArgs),
    /// Says why a promoted model alerts on a patient, and how sure it is.
    Explain(ExplainArgs),
    /// Poisons retrains and perturbs readings; shows what the gate and the certificates make of it.
    Attack(AttackArgs),
    /// Finds the patients and batches that moved a model.
    Bisect(BisectArgs),
    /// Scores windows from standard input, one JSON a line.
    Score(ScoreArgs),
    /// Freezes a set that candidates are judged on.
    Freeze(FreezeArgs),
    /// Makes an operator's key and prints the point that a root has to certify.
    Operator(OperatorArgs),
    /// Certifies an operator's point under this pipeline's root.
    Certify(CertifyArgs),
    /// Trains, signs and promotes the models that come with the program.
    #[command(hide = true)]
    Defaults(DefaultsArgs),
}

/// Runs a command.
pub fn run(
    command: ModelCommand,
    passphrase: &PassphraseArgs,
    now: Micros,
) -> anyhow::Result<ExitCode> {
    match command {
        ModelCommand::Train(args) => commands::train(&args, passphrase, now),
        ModelCommand::Evaluate(args) => commands::evaluate(&args, now),
        ModelCommand::Compare(args) => commands::compare(&args, now),
        ModelCommand::Promote(args) => commands::promote(&args, passphrase, now),
        ModelCommand::Rollback(args) => commands::rollback(&args, passphrase, now),
        ModelCommand::List(args) => commands::list(&args, now),
        ModelCommand::Explain(args) => explain::explain(&args, now),
        ModelCommand::Attack(args) => commands::attack(&args, now),
        ModelCommand::Bisect(args) => commands::bisect(&args, now),
        ModelCommand::Score(args) => score::score(&args, now),
        ModelCommand::Freeze(args) => commands::freeze(&args, passphrase),
        ModelCommand::Operator(args) => signer::operator(&args, passphrase),
        ModelCommand::Certify(args) => signer::certify(&args, passphrase, now),
        ModelCommand::Defaults(args) => defaults::defaults(&args, now),
    }
}

/// Says one line to whoever called. What was done stays done when nobody reads on.
fn say(line: &str) {
    let _unread = writeln!(std::io::stdout(), "{line}").is_err();
}

/// How long sensors are held, in words.
fn held(hold: Hold) -> String {
    match hold {
        Hold::Hours(0) => "no time".to_owned(),
        Hold::Hours(hours) => format!("{hours} h"),
        Hold::WholeStay => "the whole stay".to_owned(),
    }
}
