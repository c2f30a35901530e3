//! From what was rendered to manifests that can be applied, and what there is to say of them.

use std::collections::BTreeSet;

use gitmoor_core::hook;
use gitmoor_core::manifest::{ManifestError, Manifests, Rendered, Stamp, Stamped};
use gitmoor_core::status::{Condition, ConditionKind};
use gitmoor_engine::manifests;
use gitmoor_engine::render::RenderOutput;
use serde_json::Value;

use super::{Subject, problem};
use crate::context::Context;

/// Reads the rendered documents, away from the threads that serve everything else.
pub(super) async fn read(
    subject: &Subject<'_>,
    outputs: Vec<RenderOutput>,
    warnings: &mut Vec<Condition>,
) -> Result<Manifests<Rendered>, Vec<Condition>> {
    let namespace = subject.namespace().to_owned();
    let read = tokio::task::spawn_blocking(move || manifests::read(outputs, &namespace)).await;
    let interrupted = || problem("Interrupted", format!("reading {} was interrupted", subject.key));
    let invalid = |error: String| problem("InvalidManifest", error);
    let read = read.map_err(|_| vec![interrupted()])?;
    let (manifests, repeated) = read.map_err(|errors| errors.into_iter().map(invalid).collect::<Vec<_>>())?;
    warnings.extend(repeated.into_iter().map(|message| Condition {
        kind: ConditionKind::RepeatedResourceWarning,
        category: "RepeatedResource",
        message,
    }));
    Ok(manifests)
}

/// Binds the manifests to what the cluster serves; asks it again when it seems not to serve something.
pub(super) async fn stamp(
    context: &Context,
    subject: &Subject<'_>,
    manifests: Manifests<Rendered>,
) -> (Manifests<Stamped>, Unbound) {
    let bind = |manifests: Manifests<Rendered>| {
        manifests.stamp(&Stamp {
            installation: &context.state.installation,
            application: subject.key,
            namespace: subject.spec.destination.namespace.as_deref().filter(|namespace| !namespace.is_empty()),
            resources: &context.state.resources(),
            digester: &context.digester,
        })
    };
    let (stamped, errors) = bind(manifests.clone());
    let unknown = errors
        .iter()
        .any(|error| matches!(error, ManifestError::UnknownKind { .. } | ManifestError::AwaitedKind { .. }));
    let (stamped, errors) = if unknown && context.kinds.refresh().await { bind(manifests) } else { (stamped, errors) };
    let mut unbound = Unbound::default();
    for error in errors {
        match error {
            ManifestError::AwaitedKind { .. } => unbound.awaited.push(error.to_string()),
            _ => unbound.problems.push(problem(category(&error), error.to_string())),
        }
    }
    (stamped, unbound)
}

/// What could not be bound.
#[derive(Default)]
pub(super) struct Unbound {
    /// What is wrong.
    pub(super) problems: Vec<Condition>,
    /// Objects whose kind comes with them.
    pub(super) awaited: Vec<String>,
}

fn category(error: &ManifestError) -> &'static str {
    match error {
        ManifestError::UnknownKind { .. } | ManifestError::AwaitedKind { .. } => "UnknownKind",
        ManifestError::Unresolved { .. } => "UnresolvedPlaceholder",
        ManifestError::GeneratedName { .. }
        | ManifestError::NoNamespace { .. }
        | ManifestError::Duplicate { .. }
        | ManifestError::NotAnObject { .. } => "InvalidManifest",
    }
}

/// Hooks that never run here.
pub(super) fn useless_hooks(manifests: &Manifests<Stamped>) -> Vec<Condition> {
    let found = manifests.items().iter().filter_map(|manifest| {
        let words = hook::without_effect(&manifest.object)?;
        let message = format!("{}: {} is a hook for {words}, which never comes here", manifest.origin, manifest.id);
        Some(Condition { kind: ConditionKind::UnsupportedFieldWarning, category: "UnsupportedHook", message })
    });
    found.collect()
}

/// Every image of every pod template.
pub(super) fn images(manifests: &Manifests<Stamped>) -> BTreeSet<String> {
    fn collect(value: &Value, images: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                for (key, item) in map {
                    match item {
                        Value::Array(containers) if key == "containers" || key == "initContainers" => {
                            let found = containers.iter().filter_map(|container| container["image"].as_str());
                            images.extend(found.map(str::to_owned));
                        }
                        _ => collect(item, images),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| collect(item, images)),
            _ => {}
        }
    }
    let mut found = BTreeSet::new();
    manifests
        .items()
        .iter()
        .filter_map(|manifest| manifest.object.get("spec"))
        .for_each(|spec| collect(spec, &mut found));
    found
}
