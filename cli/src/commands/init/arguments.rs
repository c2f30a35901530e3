//! The arguments of `gitmoor init`.

use std::path::PathBuf;

/// Puts the values of setup.conf into a distribution
///
/// Replaces every <<__name__>> that stands in the distribution's files by its value in setup.conf:
/// literally, all at once, and each file as a whole. Binary files, symbolic links and .git are left
/// alone. Running it again changes nothing; running it with a changed value changes that value wherever it
/// stands, also in files that were edited since. A placeholder without a value is left where it is and
/// listed; the exit status is then 1.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  # Put the values into ./distribution
  gitmoor init setup.conf
  # Say what would be replaced and what has no value, write nothing
  gitmoor init setup.conf --check
  # See the change as a diff; values are masked without --show-values
  gitmoor init setup.conf --dry-run --show-values
  # Put the values in and commit the result
  gitmoor init setup.conf --commit
  # Take over a fork that a script has initialised
  gitmoor init setup.conf --adopt --upstream-commit v1.2.0
  # Values from elsewhere, and files beside ./distribution
  gitmoor init setup.conf --set domain=example.org --set-file ca_bundle=ca.pem --also README.md

setup.conf holds one <<__name__>>=value a line. The value is everything after the
first \"=\", as it is; it may contain other names. Lines that start with # or // are
comments.

In a Git repository, what was done is recorded in .gitmoor/init.yaml: commit it. With it, a
later run with a changed value changes the places where that value stands, and
`gitmoor upgrade` merges a newer distribution.")]
pub(crate) struct Arguments {
    /// The file with the values
    #[arg(value_name = "SETUP_CONF")]
    pub(crate) setup_conf: PathBuf,
    /// Folder with the files to fill in; may be repeated [default: distribution, and what earlier runs
    /// with this setup.conf worked on]
    #[arg(long, value_name = "DIR")]
    pub(crate) distribution: Vec<PathBuf>,
    /// One more file to fill in; may be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) also: Vec<PathBuf>,
    /// A value that takes the place of the one in the file; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair::<String>)]
    pub(crate) set: Vec<(String, String)>,
    /// The same, with the value in a file of its own; its last newline does not count
    #[arg(long, value_name = "NAME=PATH", value_parser = pair::<PathBuf>)]
    pub(crate) set_file: Vec<(String, PathBuf)>,
    /// Write nothing, only report
    #[arg(long)]
    pub(crate) check: bool,
    /// Write nothing, show what would change as a unified diff
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// End with status 0 although placeholders without a value are left over
    #[arg(long)]
    pub(crate) allow_missing: bool,
    /// Show values in the report and in the diff
    #[arg(long)]
    pub(crate) show_values: bool,
    /// Accept values that look like secrets
    #[arg(long)]
    pub(crate) allow_secret_values: bool,
    /// Write into files also where that overwrites what was never committed
    #[arg(long)]
    pub(crate) force: bool,
    /// Commit what was written
    #[arg(long, conflicts_with_all = ["check", "dry_run"])]
    pub(crate) commit: bool,
    /// What a value that looked like a secret was before it changed; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair::<String>)]
    pub(crate) was: Vec<(String, String)>,
    /// Write no file but the state: for a fork that was initialised by another tool
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) adopt: bool,
    /// With --adopt: the upstream commit that the fork was made from [default: what it has in common with
    /// the remote `upstream`]
    #[arg(long, value_name = "COMMIT", requires = "adopt")]
    pub(crate) upstream_commit: Option<String>,
}

/// What happens to the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    Write,
    Check,
    DryRun,
}

impl Arguments {
    pub(crate) fn mode(&self) -> Mode {
        match (self.dry_run, self.check) {
            (true, _) => Mode::DryRun,
            (false, true) => Mode::Check,
            (false, false) => Mode::Write,
        }
    }
}

pub(crate) fn pair<T: From<String>>(text: &str) -> Result<(String, T), String> {
    let (name, value) = text.split_once('=').ok_or("no `=` in it")?;
    Ok((name.to_owned(), T::from(value.to_owned())))
}
