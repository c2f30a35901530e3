//! New placeholders of components that are off need no values, as in `gitmoor init`.

use std::collections::{BTreeMap, BTreeSet};

use gitmoor_core::{
    init_state::Initialised,
    setup_conf::SetupConf,
    template::{Matcher, changes::placeholders},
    tree::RepoPath,
};
use gitmoor_engine::{git::LocalClone, work_folder::Substituted};

use super::{
    fork::{Fork, covers},
    merge::Templates,
    survey::Survey,
};
use crate::{
    commands::init::unsearchable,
    failure::Failure,
    git::{Objects, TreeFiles},
    reach::paths_that_are_read,
};

/// Sets those apart that no file needs which the agent would read after the merge. Where that cannot be told, all are needed.
pub(super) fn set_apart(survey: &mut Survey, fork: &Fork, templates: &Templates) -> Result<(), Failure> {
    if survey.needed.iter().all(BTreeSet::is_empty) {
        return Ok(());
    }
    let merged = fork.repository.files(&templates.tree, &[])?;
    let mut needed = std::mem::take(&mut survey.needed);
    for (((section, values), conf), needed) in fork.parts().zip(&fork.confs).zip(&mut needed) {
        let given = conf.iter().flat_map(SetupConf::entries).map(|entry| (entry.token.clone(), entry.value.clone()));
        let values = given.chain(values.clone()).collect();
        let Some(read) = read(fork, section, &values, templates)? else { continue };
        let used = used(fork, section, &merged, &read, needed)?;
        survey.idle.extend(needed.difference(&used).cloned());
        needed.retain(|token| used.contains(token));
    }
    // Another part may need it.
    survey.idle.retain(|token| !needed.iter().any(|needed| needed.contains(token)));
    survey.needed = needed;
    Ok(())
}

/// What the agent would read of the folders of a part, or nothing where that cannot be told of all of them.
fn read(
    fork: &Fork,
    section: &Initialised,
    values: &BTreeMap<String, String>,
    templates: &Templates,
) -> Result<Option<BTreeSet<String>>, Failure> {
    let clone = LocalClone::new(fork.repository.top().to_owned());
    let values = Matcher::new(values.iter().map(|(token, value)| (token.as_str(), value.as_str())));
    let values = values.map_err(unsearchable)?;
    let mut all = BTreeSet::new();
    for folder in &section.folders {
        let top = RepoPath::root().join(folder);
        let (Some(top), Ok(tree)) = (top, clone.tree(&templates.tree)) else { return Ok(None) };
        let Some(read) = paths_that_are_read(Substituted::new(tree, values.clone()), &top) else { return Ok(None) };
        all.extend(read.iter().map(ToString::to_string));
    }
    Ok(Some(all))
}

/// Those of the tokens that stand in a file which is read, or which is not in a folder of which that can be told.
fn used(
    fork: &Fork,
    section: &Initialised,
    merged: &TreeFiles,
    read: &BTreeSet<String>,
    tokens: &BTreeSet<String>,
) -> Result<BTreeSet<String>, Failure> {
    let known = Matcher::new(tokens.iter().map(|token| (token.as_str(), ""))).map_err(unsearchable)?;
    let mut objects = Objects::open(&fork.repository)?;
    let mut used = BTreeSet::new();
    let is_inside = |path: &str| {
        let mut folders = section.folders.iter();
        folders
            .any(|folder| folder == "." || path.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/')))
    };
    let counts = |path: &str| covers(section, path) && (read.contains(path) || !is_inside(path));
    for (_, entry) in merged.iter().filter(|(path, entry)| entry.is_file() && counts(path)) {
        let text = objects.blob(&entry.id)?.unwrap_or_default();
        used.extend(placeholders(&text, &known).into_iter().filter(|token| tokens.contains(token)));
    }
    Ok(used)
}
