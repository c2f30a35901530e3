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

/// `spec` of an Application, as far as it is supported.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ApplicationSpec {
    /// Name of the AppProject; only `default` (or empty) so far.
    pub project: String,
    /// Where the manifests come from.
    pub source: Option<Source>,
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

/// `spec.source`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Source {
    /// URL of the repository.
    #[serde(rename = "repoURL")]
    pub repo_url: String,
    /// Branch, tag or commit; `HEAD` when missing.
    pub target_revision: Option<String>,
    /// Folder in the repository.
    pub path: Option<String>,
    #[serde(flatten)]
    rest: Rest,
}

impl Source {
    /// The revision to follow.
    pub fn revision(&self) -> &str {
        self.target_revision.as_deref().filter(|revision| !revision.is_empty()).unwrap_or("HEAD")
    }
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

type Rest = BTreeMap<String, Value>;

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
}

impl ApplicationSpec {
    /// Reads `spec` of an Application object.
    pub fn read(object: &Value) -> Result<Self, SpecError> {
        let spec = object.get("spec").cloned().unwrap_or(Value::Null);
        serde_json::from_value(spec).map_err(|error| SpecError::Malformed(error.to_string()))
    }

    /// The source, when the spec can be worked with as a whole.
    pub fn validate(&self) -> Result<&Source, SpecError> {
        let unsupported: Vec<String> = self.unsupported();
        if !unsupported.is_empty() {
            return Err(SpecError::Unsupported(unsupported));
        }
        let invalid = |field, reason: &str| SpecError::Invalid { field, reason: reason.to_owned() };
        let Some(source) = &self.source else {
            return Err(invalid("spec.source", "missing; name a repository and a path"));
        };
        if source.repo_url.is_empty() {
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
        Ok(source)
    }

    /// Paths of fields that are set, not supported, and would change what is applied.
    pub fn unsupported(&self) -> Vec<String> {
        let source = self.source.clone().unwrap_or_default();
        let automated = self.sync_policy.automated.clone().unwrap_or_default();
        let rests = [
            ("spec", &self.rest),
            ("spec.source", &source.rest),
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
        if !matches!(self.project.as_str(), "" | "default") {
            found.push(format!("spec.project={}", self.project));
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

/// A field that is there but says nothing does not count.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(map) => map.values().any(is_set),
        Value::String(text) => !text.is_empty(),
        Value::Bool(on) => *on,
        Value::Number(_) => true,
    }
}

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
        assert_eq!(spec.validate().unwrap().revision(), "main");
        assert!(spec.automated().unwrap().prune);
    }

    #[test]
    fn what_is_not_supported_is_named() {
        let spec = read(json!({
            "project": "tenant",
            "source": {"repoURL": "https://git/x.git", "path": ".", "helm": {"values": "a: 1"}},
            "somethingNew": [{"kind": "Deployment"}],
            "syncPolicy": {"retry": {"limit": 3}, "syncOptions": ["Replace=always"]},
        }));
        let expected = [
            "spec.somethingNew",
            "spec.source.helm",
            "spec.project=tenant",
            "spec.syncPolicy.syncOptions Replace=always",
        ];
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
