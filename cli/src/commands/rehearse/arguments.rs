//! The arguments of `gitmoor rehearse`.

use std::{path::PathBuf, time::Duration};

use crate::fleet::RenderArguments;

/// Syncs the whole tree onto an empty API server of this machine, and says what would go wrong on a new cluster
///
/// Starts etcd and kube-apiserver on loopback, lets the agent sync the files as they are, and ends both. Names
/// Applications that do not render, kinds whose definition is missing, objects that the API server refuses, deprecated API
/// versions, webhooks that nobody serves, Secrets that nobody provides, and what only came right after a retry. AWS and
/// controllers are answered by stand-ins. The exit status is 1 when there is a finding.
///
/// With --watch it stays, until Ctrl-C: whatever is saved is synced, and what that changes, what goes wrong, and what comes
/// right is told. Ignored files are left out, as from a commit.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  # With the programs that setup-envtest installs
  KUBEBUILDER_ASSETS=$(setup-envtest use -p path) gitmoor rehearse
  gitmoor rehearse --tools ~/bin --output json
  # While you edit
  gitmoor rehearse --watch")]
pub(crate) struct Arguments {
    /// Folder with etcd and kube-apiserver [default: KUBEBUILDER_ASSETS, else PATH]
    #[arg(long, value_name = "DIR")]
    pub(super) tools: Option<PathBuf>,
    /// The agent's program [default: beside this one, else PATH]
    #[arg(long, env = "GITMOOR_AGENT", value_name = "PROGRAM")]
    pub(super) agent: Option<PathBuf>,
    /// Stay, and sync whatever is saved, until Ctrl-C
    #[arg(long, short)]
    pub(super) watch: bool,
    /// After this time it ends in any case; does not count with --watch
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = crate::commands::duration)]
    pub(super) timeout: Duration,
    /// Time without any change after which it ends; with --watch, after which what is unfinished is told
    #[arg(long, value_name = "TIME", default_value = "15s", value_parser = crate::commands::duration)]
    pub(super) quiet_seconds: Duration,
    #[command(flatten)]
    pub(super) render: RenderArguments,
}
