//! From what was rendered to manifests: YAML read, sources merged, and how each object is handled.

use std::path::PathBuf;

use gitmoor_core::application::ApplicationSpec;
use gitmoor_core::handling::Handling;
use gitmoor_core::ignore::{IgnoreRule, Ignored, rules_for};
use gitmoor_core::manifest::{Manifest, Manifests, Origin, Rendered, Stamped};
use gitmoor_core::yaml;
use serde_json::Value;

use crate::jq::{self, JqError, Query};
use crate::render::{RenderOutput, SourceDocument};

/// Reads the rendered documents of all sources. All that cannot be read are reported together. Of the same object in
/// several sources the last one counts, as in Argo CD; gives what to warn of. `namespace`: where objects go that name
/// none. Blocking.
///
/// # Errors
/// What cannot be read, each with file and position.
pub fn read(outputs: Vec<RenderOutput>, namespace: &str) -> Result<(Manifests<Rendered>, Vec<String>), Vec<String>> {
    let (mut of_sources, mut problems) = (Vec::new(), Vec::new());
    for output in outputs {
        let mut values = Vec::new();
        for document in output.documents {
            match read_document(document, &output.command) {
                Ok(read) => values.extend(read),
                Err(errors) => problems.extend(errors),
            }
        }
        let (manifests, errors) = Manifests::read(values);
        problems.extend(errors.into_iter().map(|error| error.to_string()));
        of_sources.push(manifests);
    }
    if problems.is_empty() { Ok(Manifests::merge(of_sources, namespace)) } else { Err(problems) }
}

fn read_document(document: SourceDocument, built: &str) -> Result<Vec<(Origin, Value)>, Vec<String>> {
    let source = document.file.map_or_else(|| built.to_owned(), |file| file.to_string());
    match yaml::read_documents(&document.text, &yaml::Limits::default()) {
        Ok(read) => Ok(read
            .into_iter()
            .map(|document| (Origin { source: source.clone(), document: document.index }, document.value))
            .collect()),
        Err(errors) => Err(errors.into_iter().map(|error| format!("{source}: {error}")).collect()),
    }
}

/// Reads the options and rules of the Application into its manifests. `program` answers to [`jq::SUBCOMMAND`].
///
/// # Errors
/// When a rule cannot be evaluated: what belongs to others would count as ours.
pub async fn settle(
    spec: &ApplicationSpec,
    manifests: &mut Manifests<Stamped>,
    program: PathBuf,
) -> Result<(), JqError> {
    for manifest in manifests.items_mut() {
        manifest.handling = Handling::of(&manifest.object, &spec.sync_policy.sync_options);
    }
    if spec.ignore_differences.is_empty() {
        return Ok(());
    }
    let asked: Vec<Asked<'_>> = manifests.items().iter().map(|manifest| Asked::of(spec, manifest)).collect();
    let queries: Vec<Query> = asked.iter().filter_map(Asked::query).collect();
    let found = if queries.is_empty() { Vec::new() } else { jq::paths(program, &queries).await? };
    let mut found = found.into_iter();
    let ignored: Vec<Option<Ignored>> = asked
        .iter()
        .map(|asked| {
            let paths = if asked.asks() { found.next().unwrap_or_default() } else { Vec::new() };
            Ignored::of(&asked.manifest.object, &asked.rules, paths)
        })
        .collect();
    for (manifest, ignored) in manifests.items_mut().iter_mut().zip(ignored) {
        manifest.handling.ignored = ignored.map(Box::new);
    }
    Ok(())
}

/// A manifest and the rules about it.
struct Asked<'a> {
    manifest: &'a Manifest,
    rules: Vec<&'a IgnoreRule>,
}

impl<'a> Asked<'a> {
    fn of(spec: &'a ApplicationSpec, manifest: &'a Manifest) -> Self {
        Self { manifest, rules: rules_for(&spec.ignore_differences, &manifest.id).collect() }
    }

    fn asks(&self) -> bool {
        self.rules.iter().any(|rule| !rule.jq_path_expressions.is_empty())
    }

    fn query(&self) -> Option<Query> {
        let expressions = self.rules.iter().flat_map(|rule| rule.jq_path_expressions.iter().cloned()).collect();
        self.asks().then(|| Query { object: self.manifest.object.clone(), expressions })
    }
}
