//! The arguments of `gitmoor plan`.

use std::path::PathBuf;

use crate::fleet::RenderArguments;

/// Shows what a change does to the cluster before it is merged
///
/// Finds the Applications that the change touches, by what each of them reads, and shows what becomes of their objects:
/// made, changed, moved from one Application to another, pruned, and which prunes the agent would hold back. Renders as
/// the agent does, without a cluster. Values of Secrets are never shown. An Application that cannot be rendered is
/// reported and hides no other; when it could be rendered before, the exit status is 3.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  # What has not been pushed yet, committed or not
  gitmoor plan
  # A branch, from where it left main
  gitmoor plan main...feature
  # As a comment for a pull request
  gitmoor plan --output markdown origin/main...HEAD
  # What the agent would do to the cluster at hand
  gitmoor plan --live")]
pub(crate) struct Arguments {
    /// Commit to compare with; BASE..HEAD names both, BASE...HEAD stands for where HEAD left BASE [default: where HEAD left
    /// its upstream, or the default branch]
    #[arg(value_name = "BASE")]
    pub(super) base: Option<String>,
    /// Commit that is looked at [default: the files as they are]
    #[arg(value_name = "HEAD")]
    pub(super) head: Option<String>,
    /// End with status 1 when anything would change
    #[arg(long)]
    pub(super) exit_code: bool,
    /// Leave the differences of the objects out
    #[arg(long)]
    pub(super) summary: bool,
    #[command(flatten)]
    pub(super) live: Live,
    #[command(flatten)]
    pub(super) render: RenderArguments,
}

/// Comparing with a cluster.
#[derive(Debug, clap::Args)]
pub(super) struct Live {
    /// Compare the Applications that the change touches with the cluster, by applying without effect (dry run)
    #[arg(long = "live", id = "live")]
    pub(super) asked: bool,
    /// With --live: all Applications, also those that the change does not touch
    #[arg(long, requires = "live")]
    pub(super) all: bool,
    /// The kubeconfig file [default: KUBECONFIG, or ~/.kube/config]
    #[arg(long, value_name = "FILE", requires = "live")]
    pub(super) kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context
    #[arg(long, value_name = "NAME", requires = "live")]
    pub(super) context: Option<String>,
}
