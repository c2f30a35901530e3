//! `--commit`: what a run has written, as one commit.

use std::{collections::HashSet, path::Path};

use super::{Arguments, report::Report, setup_conf_in};
use crate::{failure::Failure, git::Repository, terminal::Terminal};

/// Commits the files that were written, the state and setup.conf, and nothing else that may be staged. What Git ignores
/// stays out, as of any commit.
pub(super) fn commit(
    repository: &Repository,
    report: &Report,
    mut paths: Vec<String>,
    arguments: &Arguments,
    terminal: &mut Terminal,
) -> Result<(), Failure> {
    paths.extend(report.written().filter_map(|path| repository.relative(Path::new(path))));
    paths.extend(repository.relative(&arguments.setup_conf));
    leave_out_ignored(repository, &mut paths)?;
    let listed = paths.join("\0");
    let from_standard_input = ["--pathspec-from-file=-", "--pathspec-file-nul"];
    repository.run_with(&[&["add"], &from_standard_input[..]].concat(), listed.as_bytes())?;
    let staged = repository.run(&["diff", "--cached", "--name-only", "--no-renames", "-z"])?;
    let staged: HashSet<&[u8]> = staged.split(|byte| *byte == 0).collect();
    if !paths.iter().any(|path| staged.contains(path.as_bytes())) {
        terminal.message("nothing to commit");
        return Ok(());
    }
    let message = report.commit_message(&setup_conf_in(repository, &arguments.setup_conf));
    repository.run_with(
        &[&["commit", "--quiet", "--message", &message], &from_standard_input[..]].concat(),
        listed.as_bytes(),
    )?;
    let commit = repository.text(&["log", "-1", "--format=%h %s"])?;
    terminal.message(&format!("committed {commit}"));
    Ok(())
}

/// `git add` would refuse them all for one of these.
fn leave_out_ignored(repository: &Repository, paths: &mut Vec<String>) -> Result<(), Failure> {
    let ignored: HashSet<String> = repository.ignored()?.into_iter().collect();
    paths.retain(|path| !Path::new(path).ancestors().any(|at| at.to_str().is_some_and(|at| ignored.contains(at))));
    Ok(())
}
