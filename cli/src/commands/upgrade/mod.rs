//! `gitmoor upgrade`: merges a newer upstream into a fork.
//!
//! A fork is upstream's template with values put in, and edits. Git sees a value and the placeholder it
//! took the place of as different text, so whatever upstream changes beside it conflicts. Here the merge
//! happens between templates:
//!
//! ```text
//! base     upstream's commit that the fork has              (templates, as they are)
//! theirs   upstream's commit to upgrade to                  (templates, as they are)
//! ours     the fork, its values turned back to placeholders (`gitmoor_core::template::recover`)
//!          -git merge-tree-> merged templates -values-> the fork's new tree
//! ```
//!
//! Git's own merge does the middle step, so that renames, deletions, modes, binary files and merge drivers
//! mean what they always mean. A file that only the fork changed keeps its bytes. Everything that is made
//! on the way is an unreferenced object; the work tree is written last, by Git: the merge is begun
//! (`MERGE_HEAD` is the upstream commit), the tree is read into index and work tree, and without conflicts
//! `git commit` ends it, with the user's hooks and signature. Killed in between, `git merge --abort` goes
//! back.

mod arguments;
mod fork;
mod merge;
mod off;
mod report;
mod result;
mod survey;
mod upstream;
mod values;
mod write;

pub(crate) use arguments::Arguments;

use crate::{
    failure::{Exit, Failure},
    terminal::Terminal,
};
use fork::Fork;
use report::Report;

/// Compares fork and upstream, reports, and unless that is all that is wanted, merges.
pub(crate) fn run(arguments: Arguments, terminal: &mut Terminal) -> Result<Exit, Failure> {
    let fork = Fork::open(&arguments)?;
    let upstream = upstream::fetch(&fork, &arguments, terminal)?;
    if upstream.is_contained(&fork) {
        terminal.message(&format!("nothing to do: the fork has {} already", upstream.name));
        return Ok(Exit::Done);
    }
    let mut survey = survey::survey(&fork, &upstream)?;
    let templates = merge::merge(&fork, &upstream, &survey)?;
    off::set_apart(&mut survey, &fork, &templates)?;
    let report = Report::new(&fork, &upstream, &survey, &templates)?;
    report.print(&arguments, terminal);
    let values = values::complete(&fork, &survey, &arguments, terminal)?;
    if !values.missing.is_empty() && !arguments.allow_missing {
        values.list_missing(terminal);
        return Ok(Exit::Findings);
    }
    if arguments.dry_run {
        return Ok(if templates.conflicts.is_empty() { Exit::Done } else { Exit::Findings });
    }
    let result = result::fill(&fork, &upstream, templates, &values)?;
    write::write(&fork, &upstream, &result, terminal)
}
