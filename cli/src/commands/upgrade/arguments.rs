//! The arguments of `gitmoor upgrade`.

use std::path::PathBuf;

use crate::commands::init::pair;

/// Merges a newer upstream distribution into your fork
///
/// Fetches upstream and merges it such that the places with your values do not conflict: both sides
/// are compared as templates. What is new and what it needs is said before anything is written. Without
/// conflicts the result is committed as a merge of the upstream commit. With conflicts they are left to
/// you as those of an ordinary `git merge`: resolve them and `git commit`, or `git merge --abort`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  # Say what upstream's main branch brings, write nothing
  gitmoor upgrade --upstream https://github.com/gitmoor/gitmoor.git --dry-run
  # Upgrade to a release; later upgrades know where upstream is
  gitmoor upgrade --to v1.3.0
  # New placeholders need values; without a terminal they are given here or in setup.conf
  gitmoor upgrade --set new_bucket=my-bucket --accept-suggestions")]
pub(crate) struct Arguments {
    /// Where upstream is: a URL, a path, or the name of a remote [default: that of the last upgrade, else
    /// the remote `upstream`]
    #[arg(long, value_name = "URL|REMOTE")]
    pub(super) upstream: Option<String>,
    /// Branch, tag or commit to upgrade to [default: upstream's default branch]
    #[arg(long, value_name = "REF")]
    pub(super) to: Option<String>,
    /// Write nothing, only report; end with the status that the upgrade would end with
    #[arg(long)]
    pub(super) dry_run: bool,
    /// A value for a new placeholder; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair::<String>)]
    pub(super) set: Vec<(String, String)>,
    /// The same, with the value in a file of its own; its last newline does not count
    #[arg(long, value_name = "NAME=PATH", value_parser = pair::<PathBuf>)]
    pub(super) set_file: Vec<(String, PathBuf)>,
    /// Give a renamed placeholder the value that it had under its old name
    #[arg(long)]
    pub(super) accept_suggestions: bool,
    /// Upgrade although placeholders have no value; they are left where they are
    #[arg(long)]
    pub(super) allow_missing: bool,
    /// Accept values that look like secrets
    #[arg(long)]
    pub(super) allow_secret_values: bool,
    /// What a value that looked like a secret was, when setup.conf no longer has it; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair::<String>)]
    pub(super) was: Vec<(String, String)>,
}
