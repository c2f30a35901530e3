//! What an Application reads of the clone at hand. Nothing is rendered, and nothing fetched.

use gitmoor_core::{
    application::ApplicationSpec,
    closure::{self, ClosureError, ReadSet},
    object::text_at,
    source::{Names, Source, recipes},
};
use serde_json::Value;

use crate::fork::Fork;

/// What its sources read at a commit; of one that cannot be followed to its end, as far as that goes. A change to any of
/// it may be what broke it, or what mends it.
pub(super) fn of(application: &Value, fork: &Fork, commit: &str) -> Vec<ReadSet> {
    read(application, fork, commit).unwrap_or_default()
}

fn read(application: &Value, fork: &Fork, commit: &str) -> Option<Vec<ReadSet>> {
    let spec = ApplicationSpec::read(application).ok()?;
    let sources = spec.validate().ok()?;
    let name = text_at(application, &["metadata", "name"])?;
    let namespace = spec.destination.namespace.as_deref().unwrap_or_default();
    let recipes = recipes(sources, &Names { name, namespace, project: &spec.project }).ok()?;
    let tree = fork.tree(commit)?;
    let here = here(application, sources, fork);
    let mut sets = Vec::new();
    for (recipe, is_here) in recipes.iter().zip(&here) {
        if *is_here && !recipe.reference_only {
            sets.push(as_far_as_it_goes(closure::read_set_of(&tree, recipe)));
        }
        let values = recipe.helm.files().filter(|(_, file)| file.source.is_some_and(|at| here[at]));
        let missing = recipe.helm.ignore_missing_value_files;
        sets.push(as_far_as_it_goes(closure::read_set_of_files(&tree, values, missing)));
    }
    Some(sets)
}

fn as_far_as_it_goes(read: Result<ReadSet, ClosureError>) -> ReadSet {
    read.unwrap_or_else(|error| *error.read_set)
}

/// Which sources stand in this clone. One that has never been compared is taken to: what is not here gives nothing.
fn here(application: &Value, sources: &[Source], fork: &Fork) -> Vec<bool> {
    let sync = &application["status"]["sync"];
    let several = sync["revisions"].as_array().into_iter().flatten();
    let revisions: Vec<&str> = several.chain([&sync["revision"]]).filter_map(Value::as_str).collect();
    let compared = |index: usize| revisions.get(index).copied().filter(|revision| !revision.is_empty());
    let is_here = |(index, source): (usize, &Source)| {
        source.chart().is_none() && compared(index).is_none_or(|revision| fork.id(revision).is_some())
    };
    sources.iter().enumerate().map(is_here).collect()
}
