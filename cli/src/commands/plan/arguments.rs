//! The arguments of `gitmoor plan`.

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
  gitmoor plan --output markdown origin/main...HEAD")]
pub(crate) struct Arguments {
    /// Commit to compare with; BASE...HEAD stands for where HEAD left BASE [default: where HEAD left its upstream, or the
    /// default branch]
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
    pub(super) render: RenderArguments,
}
