//! Says of every manifest how it is compared and applied. May run the jq child.

use std::hash::{DefaultHasher, Hash, Hasher};

use gitmoor_core::application::ApplicationSpec;
use gitmoor_core::handling::Handling;
use gitmoor_core::ignore::{IgnoreRule, Ignored, rules_for};
use gitmoor_core::manifest::{Manifest, Manifests, Stamped};
use gitmoor_core::status::{Condition, ConditionKind};
use gitmoor_engine::jq::{self, Query};

/// What of the spec the problems of [`settle`] depend on; empty without rules.
pub(crate) fn digest(spec: &ApplicationSpec) -> String {
    if spec.ignore_differences.is_empty() {
        return String::new();
    }
    let mut hasher = DefaultHasher::new();
    spec.ignore_differences.hash(&mut hasher);
    format!(":{:x}", hasher.finish())
}

/// Reads the options and rules of the Application into its manifests. Without its rules nothing can be said of it: what
/// belongs to others would count as drift.
pub(crate) async fn settle(spec: &ApplicationSpec, manifests: &mut Manifests<Stamped>) -> Result<(), Condition> {
    for manifest in manifests.items_mut() {
        manifest.handling = Handling::of(&manifest.object, &spec.sync_policy.sync_options);
    }
    if spec.ignore_differences.is_empty() {
        return Ok(());
    }
    let asked: Vec<Asked<'_>> = manifests.items().iter().map(|manifest| Asked::of(spec, manifest)).collect();
    let queries: Vec<Query> = asked.iter().filter_map(Asked::query).collect();
    let found = if queries.is_empty() { Ok(Vec::new()) } else { jq::paths("/proc/self/exe".into(), &queries).await };
    let mut found = match found {
        Ok(found) => found.into_iter(),
        Err(error) => {
            let message = format!("spec.ignoreDifferences: {error}");
            return Err(Condition { kind: ConditionKind::ComparisonError, category: "IgnoreDifferences", message });
        }
    };
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
