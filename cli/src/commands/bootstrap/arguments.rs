//! The arguments of `gitmoor bootstrap` and `gitmoor uninstall`.

use std::path::PathBuf;
use std::time::Duration;

use crate::{cluster::Target, fork_folder::of_fork};

/// Installs or upgrades the agent from your fork, and waits until the platform runs
///
/// Applies the definitions of kinds, then the agent, then the repository's credentials, then the root Application; then
/// shows what is waited for until everything is Synced and Healthy. Running it again upgrades what is there, and goes on
/// where it stopped. Nothing is deleted.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  # In your fork, initialised and pushed
  gitmoor bootstrap
  # A private repository, with a token from the environment or standard input
  gitmoor bootstrap --token-env GIT_TOKEN
  pass git/token | gitmoor bootstrap --token-stdin
  # With a key that is made now; its public part is shown, to be entered at the Git server
  gitmoor bootstrap --ssh-key
  # What would be done, and the same as files
  gitmoor bootstrap --dry-run
  gitmoor bootstrap --export manifests

Exit status: 1 when the agent does not run, or the platform is not Synced and Healthy, in time.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) sources: Sources,
    #[command(flatten)]
    pub(crate) credential: Credential,
    /// Say what would be created and changed, and change nothing
    #[arg(long, conflicts_with = "export")]
    pub(crate) dry_run: bool,
    /// Write the objects into this folder instead of the cluster; credentials are left out
    #[arg(long, value_name = "FOLDER")]
    pub(crate) export: Option<PathBuf>,
    /// Make the repository's credentials, and nothing else
    #[arg(long)]
    pub(crate) credential_only: bool,
    /// Do not wait for the platform
    #[arg(long)]
    pub(crate) no_wait: bool,
    /// How long to wait, such as 90s or 30m
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = crate::commands::duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// What is installed.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Fork")]
pub(crate) struct Sources {
    /// Folder of the distribution
    #[arg(long, value_name = "FOLDER", default_value_os_t = of_fork("distribution"))]
    pub(crate) distribution: PathBuf,
    /// File with the root Application [default: platform.yaml of the distribution]
    #[arg(long, value_name = "FILE")]
    pub(crate) root: Option<PathBuf>,
    /// Folder with the agent's manifests [default: that of the Application gitmoor]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) agent: Option<PathBuf>,
    /// The kustomize program
    #[arg(long, env = "GITMOOR_KUSTOMIZE", default_value = "kustomize", value_name = "PROGRAM")]
    pub(crate) kustomize: PathBuf,
}

/// How the agent opens the repository. Without any of them it keeps what it has.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Credentials of the repository")]
pub(crate) struct Credential {
    /// Address [default: that of the root Application]
    #[arg(long, value_name = "URL")]
    pub(crate) repository: Option<String>,
    /// User name that goes with a token
    #[arg(long, value_name = "NAME", default_value = "git")]
    pub(crate) username: String,
    /// Variable of the environment that holds a token
    #[arg(long, value_name = "VARIABLE", group = "way")]
    pub(crate) token_env: Option<String>,
    /// Read a token from standard input
    #[arg(long, group = "way")]
    pub(crate) token_stdin: bool,
    /// Make an SSH key, unless there is one, and show its public part
    #[arg(long, group = "way")]
    pub(crate) ssh_key: bool,
    /// Id of a GitHub App
    #[arg(long, value_name = "ID", group = "way", requires = "github_app_private_key")]
    pub(crate) github_app_id: Option<u64>,
    /// Id of its installation [default: the one of the repository's owner]
    #[arg(long, value_name = "ID", requires = "github_app_id")]
    pub(crate) github_app_installation_id: Option<u64>,
    /// File with its private key
    #[arg(long, value_name = "FILE", requires = "github_app_id")]
    pub(crate) github_app_private_key: Option<PathBuf>,
    /// Put it in the place of a credential of another kind, or of other repositories
    #[arg(long = "replace-credential", requires = "way")]
    pub(crate) replace: bool,
}

/// Removes the agent; what it has deployed keeps running
///
/// Applications and definitions stay too, so that another agent can go on. With --purge everything goes: what the
/// Applications have deployed, with its data; then the Applications, the agent, the definitions and its namespace. A
/// definition that is somebody else's, or that another namespace has objects of, is left.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gitmoor uninstall
  # What would go?
  gitmoor uninstall --purge --dry-run
  # Everything, with all data
  gitmoor uninstall --purge")]
pub(crate) struct UninstallArguments {
    #[command(flatten)]
    pub(crate) sources: Sources,
    /// Delete everything that the Applications have deployed, too
    #[arg(long)]
    pub(crate) purge: bool,
    /// Say what would go, and delete nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// How long to wait, such as 90s or 30m
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = crate::commands::duration)]
    pub(crate) timeout: Duration,
    #[command(flatten)]
    pub(crate) target: Target,
}
