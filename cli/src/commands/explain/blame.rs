//! Who changed last what findings are about, where this is a clone of the repository.

use gitmoor_core::{
    closure::ReadSet,
    explain::{Cause, Facts, Finding, Origin},
    template::placeholders_in,
    tree::RepoPath,
    view::ApplicationView,
};
use serde_json::Value;

use super::reads;
use crate::{
    age::age,
    fork::{Change, Commit, Fork},
};

/// Where it is looked for.
struct Place<'f> {
    fork: &'f Fork,
    facts: &'f Facts,
    /// The commit whose content the findings are about.
    content: Option<String>,
    /// The file in which the Application stands, and the commit that it was applied from.
    definition: Option<(String, String)>,
}

/// Adds to the first finding, and to those that name a file, the commit that changed last what they are about; and to what is
/// wrong with the Application itself, the file that it stands in. What does not come from Git gets none.
pub(super) fn add(fork: &Fork, facts: &Facts, findings: &mut [Finding]) {
    let place = Place::of(fork, facts);
    for (position, finding) in findings.iter_mut().enumerate() {
        // Of those below it has been said where they were found.
        if finding.application.is_some() || finding.cause.origin() == Origin::Nowhere {
            continue;
        }
        if position == 0 || !finding.files.is_empty() {
            let told = place.changes(finding).iter().map(told).collect::<Vec<_>>();
            *finding = told.into_iter().fold(finding.clone(), |finding, told| finding.shown_by("commit", told));
            place.name_definition(finding);
        }
    }
}

impl<'f> Place<'f> {
    fn of(fork: &'f Fork, facts: &'f Facts) -> Self {
        let revision = facts.view.revision();
        let known = fork.newest(&revision);
        // What came after the commit of the status is what cannot be compared.
        let content = match known {
            // A clone of another repository does not have it.
            None if !revision.is_empty() => None,
            known if facts.view.sync() == "Unknown" => fork.id(&fork.head_of(facts.branch(), known.as_deref())),
            // Without a revision, what is here is as good as anything.
            known => known.or_else(|| fork.id("HEAD")),
        };
        let above = facts.parent.as_ref().map(ApplicationView::revision).filter(|revision| !revision.is_empty());
        let applied = above.map_or_else(|| content.clone(), |revision| fork.newest(&revision));
        let definition =
            applied.and_then(|commit| Some((fork.definition_at(&commit, &facts.view.key().name)?, commit)));
        Self { fork, facts, content, definition }
    }

    /// What was changed last of what a finding is about: of files that it names each, else the newest of all that counts.
    fn changes(&self, finding: &Finding) -> Vec<Change> {
        let definition = || self.definition.as_ref().and_then(|(file, commit)| self.fork.last_change(commit, file));
        let of_file = |file: &String| self.fork.last_change(self.content.as_ref()?, file);
        if finding.cause.origin() == Origin::Definition {
            return definition().into_iter().collect();
        }
        let named: Vec<Change> = finding.files.iter().filter_map(of_file).collect();
        if !named.is_empty() {
            return named;
        }
        let read = self.content.as_ref().and_then(|commit| self.read(commit, finding));
        match (read, definition()) {
            (Some(read), Some(own)) => vec![self.fork.later(read, own)],
            (read, own) => read.or(own).into_iter().collect(),
        }
    }

    /// Of what the Application reads.
    fn read(&self, commit: &str, finding: &Finding) -> Option<Change> {
        let sets = reads::of(&self.facts.application, self.fork, commit);
        let sentence = Value::String(finding.sentence.clone());
        let left =
            placeholders_in(&sentence).into_iter().next().filter(|_| finding.cause == Cause::UnresolvedPlaceholder);
        let holding = left.map(|left| self.fork.holding_at(commit, left, &self.files(&sets))).unwrap_or_default();
        let changes = holding.iter().filter_map(|file| self.fork.last_change(commit, file));
        changes.reduce(|one, other| self.fork.later(one, other)).or_else(|| self.fork.last_change_of(commit, &sets))
    }

    /// All files that it reads, and the one that it stands in.
    fn files(&self, sets: &[ReadSet]) -> Vec<String> {
        let members = sets.iter().flat_map(|set| set.members.keys().map(RepoPath::to_string));
        members.chain(self.definition.iter().map(|(file, _)| file.clone())).collect()
    }

    /// An edit in the cluster does not last: what is wrong with the Application itself is mended where it stands.
    fn name_definition(&self, finding: &mut Finding) {
        let of_spec = finding.cause.origin() == Origin::Definition || finding.cause == Cause::PathMissing;
        let Some((file, _)) = self.definition.as_ref().filter(|_| of_spec) else { return };
        let undone = match &self.facts.parent {
            Some(parent) => format!("; {} would undo an edit in the cluster", parent.key().name),
            None => String::new(),
        };
        finding
            .remedy
            .push(format!("{} stands in {file}: correct it there, commit and push{undone}", self.facts.name()));
    }
}

fn told(change: &Change) -> String {
    let Change { commit: Commit { id, author, date, subject }, files } = change;
    let ago = age(date).map(|age| format!(", {age} ago")).unwrap_or_default();
    let what = match files.as_slice() {
        [] => "what it reads was".to_owned(),
        [file] => format!("{file} was"),
        [file, more @ ..] => format!("{file} and {} more were", more.len()),
    };
    format!("{what} changed last in {id} by {author}{ago}: {subject}")
}
