//! Placeholders in the paths of a kustomization, such as `applications/<<__environment__>>`: whether their values lead
//! anywhere, and which would.

use serde_json::Value;

use crate::{
    closure::KUSTOMIZATION_FILES,
    template::{Matcher, substitute},
    tree::{EntryKind, RepoPath, Tree},
    yaml::{Limits, read_documents},
};

/// The lists of a kustomization whose entries are files and folders.
const LISTS: [&str; 3] = ["resources", "components", "bases"];

/// A placeholder whose value names nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadEnd {
    /// The whole token.
    pub token: String,
    /// Where its value would have to name something.
    pub folder: RepoPath,
    /// The values that do, in order.
    pub choices: Vec<String>,
}

/// The placeholders in paths of a kustomization's text that lead nowhere with these values. `folder` is the kustomization's.
///
/// Only what other values would mend: where none would, something else is missing.
pub fn dead_ends(tree: &impl Tree, folder: &RepoPath, template: &str, values: &Matcher) -> Vec<DeadEnd> {
    let documents = read_documents(template, &Limits::default()).unwrap_or_default();
    let lists = documents.iter().flat_map(|document| LISTS.map(|list| &document.value[list]));
    let entries = lists.filter_map(Value::as_array).flatten().filter_map(Value::as_str);
    let mut found: Vec<DeadEnd> = Vec::new();
    for dead_end in entries.filter_map(|entry| dead_end(tree, folder, entry, values)) {
        if !found.contains(&dead_end) {
            found.push(dead_end);
        }
    }
    found
}

fn dead_end(tree: &impl Tree, folder: &RepoPath, entry: &str, values: &Matcher) -> Option<DeadEnd> {
    if filled(entry, values).contains([':', '?']) {
        // It is elsewhere.
        return None;
    }
    let segments: Vec<&str> = entry.split('/').collect();
    let mut at = folder.clone();
    for (position, segment) in segments.iter().enumerate() {
        let part = filled(segment, values);
        let next = at.join(&part)?;
        match tree.entry(&next).ok()?.filter(|_| !part.is_empty()) {
            // Where it leads is not followed here.
            Some(entry) if entry.kind == EntryKind::Link => return None,
            Some(_) => at = next,
            None => {
                let [token] = values.tokens_in(segment.as_bytes())[..] else { return None };
                let around = segment.split_once(token)?;
                let rest = filled(&segments[position + 1..].join("/"), values);
                let choices = choices(tree, &at, around, &rest);
                return Some(DeadEnd { token: token.to_owned(), folder: at, choices })
                    .filter(|it| !it.choices.is_empty());
            }
        }
    }
    None
}

fn filled(text: &str, values: &Matcher) -> String {
    String::from_utf8_lossy(&substitute(text.as_bytes(), values).text).into_owned()
}

/// What the placeholder could be, for the path to lead to a kustomization; where it leads to none, to anything.
fn choices(tree: &impl Tree, folder: &RepoPath, (prefix, suffix): (&str, &str), rest: &str) -> Vec<String> {
    let exists = |path: &RepoPath| tree.entry(path).is_ok_and(|entry| entry.is_some());
    let fitting = tree.list(folder).unwrap_or_default().into_iter().filter_map(|(name, _)| {
        let choice = name.strip_prefix(prefix)?.strip_suffix(suffix).filter(|choice| !choice.is_empty())?.to_owned();
        let path = folder.join(&name)?.join(rest).filter(exists)?;
        let is_kustomization = KUSTOMIZATION_FILES.iter().any(|file| path.join(file).is_some_and(|path| exists(&path)));
        Some((choice, is_kustomization))
    });
    let fitting: Vec<(String, bool)> = fitting.collect();
    let any_kustomization = fitting.iter().any(|(_, is_kustomization)| *is_kustomization);
    let mut choices: Vec<String> =
        fitting.into_iter().filter(|(_, is)| *is || !any_kustomization).map(|(choice, _)| choice).collect();
    choices.sort();
    choices
}
