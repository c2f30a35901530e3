//! The Application as its users write it: `argoproj.io/v1alpha1`.
//!
//! Known fields are read into types; whatever is left over is reported by its path, never ignored in silence.
//! Field names: Argo CD's `pkg/apis/application/v1alpha1/types.go`.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::handling;
use crate::ignore::IgnoreRule;
use crate::operation::Retry;
use crate::source::{RecipeError, Rest, Source, is_set};

/// `spec` of an Application, as far as it is supported.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApplicationSpec {
    /// Name of the AppProject; `default` when empty.
    pub project: String,
    /// Where the manifests come from.
    pub source: Option<Source>,
    /// Where they come from, when that is several places; they stand in place of `source`.
    pub sources: Vec<Source>,
    /// Where they go.
    pub destination: Destination,
    /// How they are kept.
    pub sync_policy: SyncPolicy,
    /// For people only.
    pub info: Vec<Value>,
    /// Which fields of which objects belong to others.
    pub ignore_differences: Vec<IgnoreRule>,
    /// How many entries the history keeps.
    pub revision_history_limit: Option<usize>,
    #[serde(flatten)]
    rest: Rest,
}

/// `spec.destination`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Destination {
    /// URL of the API server; only the agent's own.
    pub server: Option<String>,
    /// Name of the cluster; only `in-cluster`.
    pub name: Option<String>,
    /// Namespace of objects that name none.
    pub namespace: Option<String>,
    #[serde(flatten)]
    rest: Rest,
}

/// `spec.syncPolicy`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SyncPolicy {
    /// Sync without being asked.
    pub automated: Option<Automated>,
    /// Options by name.
    pub sync_options: Vec<String>,
    /// How a sync that failed is repeated.
    pub retry: Option<Retry>,
    /// Labels and annotations of the namespace that `CreateNamespace=true` makes.
    pub managed_namespace_metadata: NamespaceMetadata,
    #[serde(flatten)]
    rest: Rest,
}

/// `spec.syncPolicy.managedNamespaceMetadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NamespaceMetadata {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its annotations.
    pub annotations: BTreeMap<String, String>,
}

impl NamespaceMetadata {
    /// True when it says nothing.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty()
    }
}

/// `spec.syncPolicy.automated`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Automated {
    /// Delete what left Git.
    pub prune: bool,
    /// Repair drift.
    pub self_heal: bool,
    /// An empty render may delete everything.
    pub allow_empty: bool,
    /// False switches automation off.
    pub enabled: Option<bool>,
    #[serde(flatten)]
    rest: Rest,
}

/// As many sources as one Application may have.
const MOST_SOURCES: usize = 100;

/// The spec cannot be worked with.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A field has the wrong type.
    #[error("spec of the Application cannot be read: {0}")]
    Malformed(String),
    /// A field that is needed is missing or wrong.
    #[error("{field}: {reason}")]
    Invalid {
        /// Path of the field.
        field: &'static str,
        /// What is wrong and the way out.
        reason: String,
    },
    /// Fields that change what would be applied, and that are not supported.
    #[error("not supported: {}; remove them, or wait for a version that does", .0.join(", "))]
    Unsupported(Vec<String>),
    /// A source is wrong.
    #[error(transparent)]
    Source(#[from] RecipeError),
}

impl ApplicationSpec {
    /// Reads `spec` of an Application object.
    pub fn read(object: &Value) -> Result<Self, SpecError> {
        let spec = object.get("spec").cloned().unwrap_or(Value::Null);
        serde_json::from_value(spec).map_err(|error| SpecError::Malformed(error.to_string()))
    }

    /// The sources, as they are written: `sources` stand in place of `source`.
    pub fn sources(&self) -> &[Source] {
        if self.sources.is_empty() { self.source.as_slice() } else { &self.sources }
    }

    /// The sources, when the spec can be worked with as a whole.
    pub fn validate(&self) -> Result<&[Source], SpecError> {
        let unsupported: Vec<String> = self.unsupported();
        if !unsupported.is_empty() {
            return Err(SpecError::Unsupported(unsupported));
        }
        let invalid = |field, reason: &str| SpecError::Invalid { field, reason: reason.to_owned() };
        if self.sources().is_empty() {
            return Err(invalid("spec.source", "missing; name a repository and a path"));
        }
        if self.sources().len() > MOST_SOURCES {
            return Err(invalid("spec.sources", "more than 100; split the Application"));
        }
        if self.sources().iter().any(|source| source.repo_url.is_empty()) {
            return Err(invalid("spec.source.repoURL", "missing"));
        }
        if self.destination.server.as_deref().is_some_and(|server| server.trim_end_matches('/') != IN_CLUSTER_URL) {
            return Err(invalid(
                "spec.destination.server",
                "only https://kubernetes.default.svc, the agent's own cluster",
            ));
        }
        if self.destination.name.as_deref().is_some_and(|name| !name.is_empty() && name != "in-cluster") {
            return Err(invalid("spec.destination.name", "only in-cluster, the agent's own cluster"));
        }
        if let Some(pointer) = self.ignore_differences.iter().find_map(IgnoreRule::malformed_pointer) {
            let reason = format!("`{pointer}` does not begin with `/`");
            return Err(invalid("spec.ignoreDifferences.jsonPointers", &reason));
        }
        Ok(self.sources())
    }

    /// Paths of fields that are set, not supported, and would change what is applied.
    pub fn unsupported(&self) -> Vec<String> {
        let automated = self.sync_policy.automated.clone().unwrap_or_default();
        let rests = [
            ("spec", &self.rest),
            ("spec.destination", &self.destination.rest),
            ("spec.syncPolicy", &self.sync_policy.rest),
            ("spec.syncPolicy.automated", &automated.rest),
        ];
        let mut found: Vec<String> = rests
            .into_iter()
            .flat_map(|(path, rest)| {
                rest.iter().filter(|(_, value)| is_set(value)).map(move |(key, _)| format!("{path}.{key}"))
            })
            .collect();
        for (index, source) in self.sources().iter().enumerate() {
            let at = if self.sources.is_empty() { "spec.source".to_owned() } else { format!("spec.sources[{index}]") };
            found.extend(source.unknown_fields(&at));
        }
        let options = self.sync_policy.sync_options.iter().filter(|option| !handling::is_known(option));
        found.extend(options.map(|option| format!("spec.syncPolicy.syncOptions {option}")));
        found
    }

    /// The automation that is on, if any.
    pub fn automated(&self) -> Option<&Automated> {
        self.sync_policy.automated.as_ref().filter(|automated| automated.enabled != Some(false))
    }
}

/// How an Application names the agent's own cluster.
pub const IN_CLUSTER_URL: &str = "https://kubernetes.default.svc";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(spec: Value) -> ApplicationSpec {
        ApplicationSpec::read(&json!({"spec": spec})).unwrap()
    }

    #[test]
    fn a_plain_application_is_valid() {
        let spec = read(json!({
            "project": "default",
            "source": {"repoURL": "https://git/x.git", "targetRevision": "main", "path": "apps/web", "helm": {}},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "web"},
            "syncPolicy": {"automated": {"prune": true, "selfHeal": true}, "syncOptions": ["ServerSideApply=true"]},
        }));
        assert_eq!(spec.validate().unwrap()[0].revision(), "main");
        assert!(spec.automated().unwrap().prune);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let spec = read(json!({
            "project": "tenant",
            "source": {"repoURL": "https://git/x.git", "path": ".", "plugin": {"name": "x"}},
            "somethingNew": [{"kind": "Deployment"}],
            "syncPolicy": {"retry": {"limit": 3}, "syncOptions": ["Replace=always"]},
        }));
        let expected = ["spec.somethingNew", "spec.source.plugin", "spec.syncPolicy.syncOptions Replace=always"];
        assert_eq!(spec.unsupported(), expected);
        assert!(matches!(spec.validate(), Err(SpecError::Unsupported(_))));
    }

    #[test]
    fn other_clusters_are_refused() {
        for destination in [json!({"server": "https://10.0.0.1"}), json!({"name": "staging"})] {
            let spec = read(json!({"source": {"repoURL": "https://git/x.git"}, "destination": destination}));
            assert!(matches!(spec.validate(), Err(SpecError::Invalid { .. })));
        }
        let error = ApplicationSpec::read(&json!({"spec": {"source": "x"}})).unwrap_err();
        assert!(matches!(error, SpecError::Malformed(_)));
    }
}
