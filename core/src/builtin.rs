//! The kinds that both programs read and write whatever a repository holds.

use crate::names::{APPLICATION_GROUP, APPLICATION_KIND, PROJECT_KIND};
use crate::object::GroupKind;
use crate::resource::Resource;

fn kind(group: &str, kind: &str, version: &str, plural: &str, namespaced: bool) -> Resource {
    let group_kind = GroupKind::new(group, kind);
    Resource { group_kind, version: version.to_owned(), plural: plural.to_owned(), namespaced, watchable: true }
}

/// Applications.
pub fn applications() -> Resource {
    kind(APPLICATION_GROUP, APPLICATION_KIND, "v1alpha1", "applications", true)
}

/// AppProjects.
pub fn projects() -> Resource {
    kind(APPLICATION_GROUP, PROJECT_KIND, "v1alpha1", "appprojects", true)
}

/// ConfigMaps.
pub fn config_maps() -> Resource {
    kind("", "ConfigMap", "v1", "configmaps", true)
}

/// Secrets.
pub fn secrets() -> Resource {
    kind("", "Secret", "v1", "secrets", true)
}

/// Deployments.
pub fn deployments() -> Resource {
    kind("apps", "Deployment", "v1", "deployments", true)
}

/// StatefulSets.
pub fn stateful_sets() -> Resource {
    kind("apps", "StatefulSet", "v1", "statefulsets", true)
}

/// DaemonSets.
pub fn daemon_sets() -> Resource {
    kind("apps", "DaemonSet", "v1", "daemonsets", true)
}

/// ServiceAccounts.
pub fn service_accounts() -> Resource {
    kind("", "ServiceAccount", "v1", "serviceaccounts", true)
}

/// Namespaces.
pub fn namespaces() -> Resource {
    kind("", "Namespace", "v1", "namespaces", false)
}

/// Events.
pub fn events() -> Resource {
    kind("", "Event", "v1", "events", true)
}

/// Leases.
pub fn leases() -> Resource {
    kind("coordination.k8s.io", "Lease", "v1", "leases", true)
}

/// Definitions of kinds.
pub fn definitions() -> Resource {
    kind("apiextensions.k8s.io", "CustomResourceDefinition", "v1", "customresourcedefinitions", false)
}

/// Pods.
pub fn pods() -> Resource {
    kind("", "Pod", "v1", "pods", true)
}

/// ReplicaSets.
pub fn replica_sets() -> Resource {
    kind("apps", "ReplicaSet", "v1", "replicasets", true)
}

/// ExternalSecrets of External Secrets Operator's kind.
pub fn external_secrets() -> Resource {
    kind("external-secrets.io", "ExternalSecret", "v1", "externalsecrets", true)
}

/// ClusterExternalSecrets.
pub fn cluster_external_secrets() -> Resource {
    kind("external-secrets.io", "ClusterExternalSecret", "v1", "clusterexternalsecrets", false)
}

/// ExternalSecrets of kubernetes-external-secrets' kind.
pub fn legacy_external_secrets() -> Resource {
    kind("kubernetes-client.io", "ExternalSecret", "v1", "externalsecrets", true)
}

/// PersistentVolumeClaims.
pub fn claims() -> Resource {
    kind("", "PersistentVolumeClaim", "v1", "persistentvolumeclaims", true)
}

/// Jobs.
pub fn jobs() -> Resource {
    kind("batch", "Job", "v1", "jobs", true)
}
