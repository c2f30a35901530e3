//! Where the templates of the state are, and what to do when they are not there.

use gitmoor_core::init_state::{self, Initialised, Template};

use crate::{
    failure::{Exit, Failure},
    git::{GitError, Repository},
};

/// Files of the state that are no longer where they were: moved since the state was committed, or removed.
/// `to` is where to look, the work tree for `None`. Gives those that are nowhere.
pub(crate) fn follow_renames(
    repository: &Repository,
    section: &mut Initialised,
    is_there: impl Fn(&str) -> bool,
    to: Option<&str>,
) -> Result<Vec<String>, GitError> {
    let absent: Vec<String> = section.files.keys().filter(|path| !is_there(path)).cloned().collect();
    if absent.is_empty() {
        return Ok(absent);
    }
    let mut gone = Vec::new();
    let written = repository.text(&["log", "-1", "--format=%H", "--", init_state::PATH])?;
    let changes = if written.is_empty() { Vec::new() } else { repository.changes(&written, to, &section.scope())? };
    for old in absent {
        let template = section.files.remove(&old);
        let renamed = changes.iter().find(|change| change.from.as_ref() == Some(&old));
        match (renamed, template) {
            (Some(change), Some(template @ Template::Blob(_))) => {
                section.files.entry(change.path.clone()).or_insert(template);
            }
            _ => gone.push(old),
        }
    }
    Ok(gone)
}

/// The files whose templates this clone does not have.
pub(crate) fn absent_templates(repository: &Repository, section: &Initialised) -> Result<Vec<String>, GitError> {
    let ids = section.files.values().filter_map(|template| match template {
        Template::Blob(id) => Some(id.as_str()),
        Template::Kept => None,
    });
    let missing = repository.missing(&ids.collect::<Vec<_>>())?;
    let is_absent = |path: &str, template: &Template| match template {
        Template::Kept => !repository.top().join(init_state::TEMPLATES).join(path).is_file(),
        Template::Blob(id) => missing.contains(id),
    };
    Ok(section
        .files
        .iter()
        .filter(|(path, template)| is_absent(path, template))
        .map(|(path, _)| path.clone())
        .collect())
}

/// What to do about templates that this clone does not have.
pub(crate) fn missing_templates(repository: &Repository, mut paths: Vec<String>) -> Failure {
    let more = paths.len().saturating_sub(10);
    paths.truncate(10);
    let count = if more > 0 { format!("; and {more} more") } else { String::new() };
    let message = format!("this clone does not have the templates of {}{count}; nothing was written", paths.join(", "));
    let failure = Failure::new(Exit::Input, message);
    if repository.is_shallow() {
        failure.hint("the clone is shallow; get the rest of the history: git fetch --unshallow")
    } else {
        failure
            .hint("the history was squashed or rewritten; get the commits that hold them: git fetch URL-OF-UPSTREAM")
            .hint("or make the state anew: gitmoor init SETUP_CONF --adopt --upstream-commit COMMIT")
    }
}
