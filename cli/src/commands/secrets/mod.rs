//! `gitmoor secrets`: what ExternalSecrets have read and when, and reading them at once.

mod list;
mod refresh;

use std::time::Duration;

use crate::{
    cluster::{Target, complete_secrets},
    failure::{Exit, Failure},
    terminal::Terminal,
};

/// Lists ExternalSecrets: their store, how old their values are, when they are read next, and why they are not
///
/// Of all namespaces, unless one is named; those that are not synced come first, and ClusterExternalSecrets that fail in
/// some namespace. Values are never read or shown.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  gitmoor secrets
  gitmoor secrets --only mlflow
  # Read it again now, and wait until it is
  gitmoor secrets refresh mlflow/database --wait"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Only those of this namespace
    #[arg(long, value_name = "NAMESPACE")]
    only: Option<String>,
    #[command(flatten)]
    target: Target,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Has the agent read ExternalSecrets again now
    Refresh(Refresh),
}

#[derive(Debug, clap::Args)]
struct Refresh {
    /// NAMESPACE/NAME
    #[arg(value_name = "NAMESPACE/NAME", required = true, add = clap_complete::ArgValueCandidates::new(complete_secrets))]
    names: Vec<String>,
    /// Wait until they are read
    #[arg(long)]
    wait: bool,
    /// How long to wait for all of them, such as 90s or 10m
    #[arg(long, value_name = "TIME", default_value = "40s", value_parser = super::duration)]
    timeout: Duration,
    #[command(flatten)]
    target: Target,
}

/// Lists, or refreshes.
pub(crate) fn run(arguments: &Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    match &arguments.action {
        Some(Action::Refresh(arguments)) => refresh::run(arguments, terminal),
        None => list::run(arguments, terminal),
    }
}
