//! The merge of templates, by Git.

use std::collections::{BTreeMap, BTreeSet};

use gitmoor_core::{
    init_state::{self, Template},
    template::{Matcher, substitute},
};

use super::{fork::Fork, survey::Survey, upstream::Upstream};
use crate::{
    commands::init::unsearchable,
    failure::Failure,
    git::{Entry, GitError, Objects, Repository},
};

/// The merged templates, as Git objects that nothing refers to.
pub(super) struct Templates {
    pub(super) tree: String,
    /// The fork's tree with placeholders in place of values.
    pub(super) ours: String,
    /// The tree that both were compared with.
    pub(super) base: String,
    pub(super) conflicts: Vec<Stage>,
    /// What the conflict markers call the two sides.
    pub(super) labels: [String; 2],
}

/// One side of a file in conflict: 1 the base, 2 the fork, 3 upstream.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    pub(super) path: String,
    pub(super) side: u8,
    pub(super) entry: Entry,
}

/// Merges the fork, as a template, with upstream. Writes objects, no files.
pub(super) fn merge(fork: &Fork, upstream: &Upstream, survey: &Survey) -> Result<Templates, Failure> {
    let repository = &fork.repository;
    let renames = survey.plain_renames();
    let rename = Matcher::new(renames.iter().map(|(old, new)| (*old, *new))).map_err(unsearchable)?;
    let ours = fork_tree(fork, survey, &rename)?;
    let base = base_tree(fork, upstream, survey, &rename)?;

    // Commits of their own with one common parent: there is one merge base, whatever the histories are.
    let base_commit = synthetic(repository, &base, None)?;
    let our_commit = synthetic(repository, &ours, Some(&base_commit))?;
    let their_commit = synthetic(repository, &upstream.tree, Some(&base_commit))?;
    let output =
        repository.run_or_one(&["merge-tree", "--write-tree", "-z", "--no-messages", &our_commit, &their_commit])?;
    let (tree, conflicts) = parse(&output)?;
    Ok(Templates { tree, ours, base, conflicts, labels: [our_commit, their_commit] })
}

fn fork_tree(fork: &Fork, survey: &Survey, rename: &Matcher) -> Result<String, Failure> {
    let of_upstream: BTreeSet<&str> = survey.base.values().map(|entry| entry.id.as_str()).collect();
    let is_upstreams = |path: &str| {
        let templates = fork.state.initialised.iter().filter_map(|section| section.files.get(path));
        let is_known =
            |template: &Template| matches!(template, Template::Blob(id) if of_upstream.contains(id.as_str()));
        survey.base.contains_key(path) || templates.into_iter().any(is_known)
    };
    let mut texts = fork.templates()?;
    for (path, text) in &mut texts {
        if is_upstreams(path) {
            *text = substitute(text, rename).text.into_owned();
        }
    }
    let ids = fork.repository.write_blobs(texts.values().map(Vec::as_slice))?;
    let mut changes: Vec<(String, Option<Entry>)> = Vec::new();
    for (path, id) in texts.into_keys().zip(ids) {
        let mode = fork.head[&path].mode.clone();
        changes.push((path, Some(Entry { mode, id })));
    }
    // The state is written anew; what else is there, such as a pinned certificate, is the fork's as any file.
    let own = fork.head.keys().filter(|path| init_state::is_state(path));
    changes.extend(own.map(|path| (path.clone(), None)));
    Ok(fork.repository.tree_with("HEAD", &changes)?)
}

/// Upstream's old tree, with the names that its placeholders have now.
fn base_tree(fork: &Fork, upstream: &Upstream, survey: &Survey, rename: &Matcher) -> Result<String, Failure> {
    let mut texts: BTreeMap<&String, Vec<u8>> = BTreeMap::new();
    if !survey.plain_renames().is_empty() {
        let mut objects = Objects::open(&fork.repository)?;
        for (path, entry) in survey.base.iter().filter(|(path, entry)| entry.is_file() && fork.covers(path)) {
            let text = objects.blob(&entry.id)?.unwrap_or_default();
            let renamed = substitute(&text, rename);
            if !renamed.replaced.is_empty() {
                texts.insert(path, renamed.text.into_owned());
            }
        }
    }
    if texts.is_empty() {
        return Ok(upstream.base_tree.clone());
    }
    let ids = fork.repository.write_blobs(texts.values().map(Vec::as_slice))?;
    let entry = |path: &String, id| Some(Entry { mode: survey.base[path].mode.clone(), id });
    let changes: Vec<_> = texts.keys().zip(ids).map(|(path, id)| ((*path).clone(), entry(path, id))).collect();
    Ok(fork.repository.tree_with(&upstream.base_tree, &changes)?)
}

fn synthetic(repository: &Repository, tree: &str, parent: Option<&str>) -> Result<String, GitError> {
    let mut arguments =
        vec!["-c", "user.name=gitmoor", "-c", "user.email=gitmoor@localhost", "-c", "commit.gpgSign=false"];
    arguments.extend(["commit-tree", tree, "-m", "for a merge"]);
    arguments.extend(parent.iter().flat_map(|parent| ["-p", parent]));
    repository.text(&arguments)
}

/// `TREE\0` and, for each side of each conflict, `MODE ID STAGE\tPATH\0`.
fn parse(output: &[u8]) -> Result<(String, Vec<Stage>), GitError> {
    let text = String::from_utf8_lossy(output);
    let mut fields = text.split('\0').map(str::trim_start).filter(|field| !field.is_empty());
    let tree = fields.next().ok_or(GitError::Unexpected { command: "merge-tree" })?.to_owned();
    let stage = |field: &str| {
        let (entry, path) = field.split_once('\t')?;
        let [mode, id, stage] = entry.split(' ').collect::<Vec<_>>()[..] else { return None };
        let entry = Entry { mode: mode.to_owned(), id: id.to_owned() };
        Some(Stage { path: path.to_owned(), side: stage.parse().ok()?, entry })
    };
    Ok((tree, fields.filter_map(stage).collect()))
}
