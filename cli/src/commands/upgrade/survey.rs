//! What upstream's new templates bring: components and placeholders that came, went, or have another name.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

use gitmoor_core::{
    setup_conf::SetupConf,
    template::{
        Matcher,
        changes::{Renames, placeholders},
        is_binary,
    },
};
use serde::Serialize;

use super::{
    fork::{Fork, covers},
    upstream::Upstream,
};
use crate::{
    commands::init::unsearchable,
    failure::Failure,
    git::{Change, Objects, TreeFiles},
};

/// Names that came, went, or changed.
#[derive(Debug, Default, Serialize)]
pub(super) struct Names {
    pub(super) added: BTreeSet<String>,
    pub(super) removed: BTreeSet<String>,
    /// New name to old name. Both are among the added and the removed, too.
    pub(super) renamed: BTreeMap<String, String>,
}

/// What there is to know before merging.
pub(super) struct Survey {
    pub(super) components: Names,
    pub(super) placeholders: Names,
    /// For each part of the fork's state: the placeholders of its files that are new and have no value.
    pub(super) needed: Vec<BTreeSet<String>>,
    /// Those that only components which are off would need.
    pub(super) idle: BTreeSet<String>,
    pub(super) base: TreeFiles,
    pub(super) theirs: TreeFiles,
}

type Tokens = HashMap<String, Rc<BTreeSet<String>>>;

/// Compares both upstream trees as far as the fork's state covers them.
pub(super) fn survey(fork: &Fork, upstream: &Upstream) -> Result<Survey, Failure> {
    let repository = &fork.repository;
    let base = repository.files(&upstream.base_tree, &[])?;
    let theirs = repository.files(&upstream.tree, &[])?;
    let changes = repository.changes(&upstream.base_tree, Some(&upstream.tree), &[])?;
    let mut objects = Objects::open(repository)?;
    let known = known(fork)?;
    let mut tokens = Tokens::new();
    for (path, entry) in base.iter().chain(&theirs) {
        if entry.is_file() && fork.covers(path) && !tokens.contains_key(&entry.id) {
            let text = objects.blob(&entry.id)?.unwrap_or_default();
            let found = if is_binary(&text) { BTreeSet::new() } else { placeholders(&text, &known) };
            tokens.insert(entry.id.clone(), Rc::new(found));
        }
    }
    let mut placeholders = difference(&all(&base, &tokens), &all(&theirs, &tokens));
    placeholders.renamed = renamed(&changes, &base, &theirs, &placeholders, &mut objects)?;
    let components = components(fork, &base, &theirs, &changes);
    let needed = needed(fork, &theirs, &tokens, &placeholders.added);
    Ok(Survey { components, placeholders, needed, idle: BTreeSet::new(), base, theirs })
}

/// Tokens of any form: those that have a value, or could get one.
fn known(fork: &Fork) -> Result<Matcher, Failure> {
    let in_confs = fork.confs.iter().flatten().flat_map(SetupConf::entries).map(|entry| entry.token.as_str());
    let tokens: BTreeSet<&str> = fork.known().into_iter().chain(in_confs).collect();
    Matcher::new(tokens.into_iter().map(|token| (token, ""))).map_err(unsearchable)
}

fn all(files: &TreeFiles, tokens: &Tokens) -> BTreeSet<String> {
    files.values().filter_map(|entry| tokens.get(&entry.id)).flat_map(|found| found.iter().cloned()).collect()
}

fn difference(old: &BTreeSet<String>, new: &BTreeSet<String>) -> Names {
    Names { added: new - old, removed: old - new, renamed: BTreeMap::new() }
}

fn renamed(
    changes: &[Change],
    base: &TreeFiles,
    theirs: &TreeFiles,
    names: &Names,
    objects: &mut Objects,
) -> Result<BTreeMap<String, String>, Failure> {
    let mut renames = Renames::default();
    if names.added.is_empty() || names.removed.is_empty() {
        return Ok(BTreeMap::new());
    }
    for change in changes {
        let old = base.get(change.from.as_ref().unwrap_or(&change.path));
        let (Some(old), Some(new)) = (old, theirs.get(&change.path)) else { continue };
        if let (Some(old), Some(new)) = (objects.blob(&old.id)?, objects.blob(&new.id)?) {
            renames.look_at(&old, &new, &names.removed, &names.added);
        }
    }
    Ok(renames.pairs())
}

/// A component is a folder below `components/` of a folder that is filled in.
fn components(fork: &Fork, base: &TreeFiles, theirs: &TreeFiles, changes: &[Change]) -> Names {
    let component = |path: &str| {
        let folders = fork.state.initialised.iter().flat_map(|section| &section.folders);
        folders.into_iter().find_map(|folder| {
            let start = if folder == "." { "components/".to_owned() } else { format!("{folder}/components/") };
            let (name, _) = path.strip_prefix(&start)?.split_once('/')?;
            Some(name.to_owned())
        })
    };
    let set = |files: &TreeFiles| files.keys().filter_map(|path| component(path)).collect();
    let mut names = difference(&set(base), &set(theirs));
    let mut moved: BTreeMap<(String, String), usize> = BTreeMap::new();
    for change in changes {
        if let (Some(old), Some(new)) = (change.from.as_deref().and_then(component), component(&change.path)) {
            *moved.entry((new, old)).or_default() += 1;
        }
    }
    for ((new, old), count) in moved {
        let files = base.keys().filter(|path| component(path).as_ref() == Some(&old)).count();
        if 2 * count >= files && names.added.contains(&new) && names.removed.contains(&old) {
            names.renamed.insert(new, old);
        }
    }
    names
}

fn needed(fork: &Fork, theirs: &TreeFiles, tokens: &Tokens, added: &BTreeSet<String>) -> Vec<BTreeSet<String>> {
    let of = |(section, values): (&gitmoor_core::init_state::Initialised, &BTreeMap<String, String>)| {
        let files = theirs.iter().filter(|(path, _)| covers(section, path));
        let found = files.filter_map(|(_, entry)| tokens.get(&entry.id)).flat_map(|found| found.iter());
        found.filter(|token| added.contains(*token) && !values.contains_key(*token)).cloned().collect()
    };
    fork.parts().map(of).collect()
}

impl Survey {
    /// The placeholders that are only called differently: one old name for one new name.
    pub(super) fn plain_renames(&self) -> BTreeMap<&str, &str> {
        let renamed = &self.placeholders.renamed;
        let is_only = |old: &String| renamed.values().filter(|other| *other == old).count() == 1;
        renamed.iter().filter(|(_, old)| is_only(old)).map(|(new, old)| (old.as_str(), new.as_str())).collect()
    }
}
