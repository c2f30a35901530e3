//! The merge becomes the user's: begun, read into index and work tree, and ended unless there are conflicts.

use std::collections::BTreeSet;

use super::{fork::Fork, merge::Stage, result::Outcome, upstream::Upstream};
use crate::{
    failure::{Exit, Failure},
    terminal::{Style, Terminal},
};

/// Writes index and work tree through Git, which refuses to overwrite what it does not know.
pub(super) fn write(
    fork: &Fork,
    upstream: &Upstream,
    outcome: &Outcome,
    terminal: &mut Terminal,
) -> Result<Exit, Failure> {
    let repository = &fork.repository;
    let read_tree = ["read-tree", "-m", "-u", "HEAD", &outcome.tree];
    let trial: Vec<&str> = [&["read-tree", "-n"], &read_tree[1..]].concat();
    repository.run(&trial).map_err(|error| {
        let failure = Failure::from(error).hint("move these files away, or commit them; nothing was written");
        Failure { exit: Exit::Refused, ..failure }
    })?;

    let message = format!("Upgrade to {}", upstream.name);
    let mut begin = vec!["merge", "--quiet", "--strategy=ours", "--no-commit", "--no-ff", "-m", &message];
    if !upstream.is_related {
        begin.push("--allow-unrelated-histories");
    }
    begin.push(&upstream.commit);
    repository.run(&begin)?;
    repository.run(&read_tree)?;
    if outcome.conflicts.is_empty() {
        return finish(fork, terminal);
    }
    mark_conflicts(fork, outcome)?;
    let paths: BTreeSet<&str> = outcome.conflicts.iter().map(|stage| stage.path.as_str()).collect();
    terminal.data(Style::Red, "in conflict: resolve, `git add`, and `git commit`; or go back with `git merge --abort`");
    for path in &paths {
        terminal.data(Style::Plain, &format!("  {path}"));
    }
    Ok(Exit::Findings)
}

fn finish(fork: &Fork, terminal: &mut Terminal) -> Result<Exit, Failure> {
    fork.repository.run_visibly(&["commit", "--quiet", "--no-edit"]).map_err(|error| {
        Failure::from(error)
            .hint("everything is merged and staged: `git commit` ends it, `git merge --abort` goes back")
    })?;
    let commit = fork.repository.text(&["log", "-1", "--format=%h %s"])?;
    terminal.message(&format!("committed {commit}"));
    Ok(Exit::Done)
}

fn mark_conflicts(fork: &Fork, outcome: &Outcome) -> Result<(), Failure> {
    let paths: BTreeSet<&str> = outcome.conflicts.iter().map(|stage| stage.path.as_str()).collect();
    let no_longer_merged = paths.into_iter().map(|path| format!("0 {}\t{path}\0", "0".repeat(40)));
    let sides = outcome
        .conflicts
        .iter()
        .map(|Stage { path, side, entry }| format!("{} {} {side}\t{path}\0", entry.mode, entry.id));
    let lines: Vec<String> = no_longer_merged.chain(sides).collect();
    let lines = lines.concat();
    fork.repository.run_with(&["update-index", "-z", "--index-info"], lines.as_bytes())?;
    Ok(())
}
