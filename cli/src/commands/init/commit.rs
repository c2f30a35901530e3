//! `--commit`: what a run has written, as one commit.

use std::path::Path;

use super::{Arguments, report::Report};
use crate::{failure::Failure, git::Repository, terminal::Terminal};

/// Commits the files that were written, the state and setup.conf, and nothing else that may be staged.
pub(super) fn commit(
    repository: &Repository,
    report: &Report,
    mut paths: Vec<String>,
    arguments: &Arguments,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    paths.extend(report.written().filter_map(|path| repository.relative(Path::new(path))));
    let setup_conf = repository.relative(&arguments.setup_conf);
    paths.extend(setup_conf.filter(|path| !repository.is_ignored(path)));
    let listed = paths.join("\0");
    let from_standard_input = ["--pathspec-from-file=-", "--pathspec-file-nul"];
    repository.run_with(&[&["add"], &from_standard_input[..]].concat(), listed.as_bytes())?;
    if repository.ask(&["diff", "--cached", "--quiet"]).is_some() {
        terminal.message("nothing to commit");
        return Ok(());
    }
    let message = report.commit_message();
    repository.run_with(
        &[&["commit", "--quiet", "--message", &message], &from_standard_input[..]].concat(),
        listed.as_bytes(),
    )?;
    let commit = repository.text(&["log", "-1", "--format=%h %s"])?;
    terminal.message(&format!("committed {commit}"));
    Ok(())
}
