//! The kinds that the agent itself reads and writes.

use gitmoor_core::names::{APPLICATION_GROUP, APPLICATION_KIND, PROJECT_KIND};
use gitmoor_core::object::GroupKind;
use gitmoor_core::resource::Resource;

fn kind(group: &str, kind: &str, version: &str, plural: &str, namespaced: bool) -> Resource {
    let group_kind = GroupKind::new(group, kind);
    Resource { group_kind, version: version.to_owned(), plural: plural.to_owned(), namespaced, watchable: true }
}

/// Applications.
pub(crate) fn applications() -> Resource {
    kind(APPLICATION_GROUP, APPLICATION_KIND, "v1alpha1", "applications", true)
}

/// AppProjects.
pub(crate) fn projects() -> Resource {
    kind(APPLICATION_GROUP, PROJECT_KIND, "v1alpha1", "appprojects", true)
}

/// ConfigMaps.
pub(crate) fn config_maps() -> Resource {
    kind("", "ConfigMap", "v1", "configmaps", true)
}

/// Secrets.
pub(crate) fn secrets() -> Resource {
    kind("", "Secret", "v1", "secrets", true)
}

/// Deployments.
pub(crate) fn deployments() -> Resource {
    kind("apps", "Deployment", "v1", "deployments", true)
}

/// StatefulSets.
pub(crate) fn stateful_sets() -> Resource {
    kind("apps", "StatefulSet", "v1", "statefulsets", true)
}

/// DaemonSets.
pub(crate) fn daemon_sets() -> Resource {
    kind("apps", "DaemonSet", "v1", "daemonsets", true)
}

/// Pods.
pub(crate) fn pods() -> Resource {
    kind("", "Pod", "v1", "pods", true)
}

/// ServiceAccounts.
pub(crate) fn service_accounts() -> Resource {
    kind("", "ServiceAccount", "v1", "serviceaccounts", true)
}

/// Namespaces.
pub(crate) fn namespaces() -> Resource {
    kind("", "Namespace", "v1", "namespaces", false)
}

/// Events.
pub(crate) fn events() -> Resource {
    kind("", "Event", "v1", "events", true)
}

/// Leases.
pub(crate) fn leases() -> Resource {
    kind("coordination.k8s.io", "Lease", "v1", "leases", true)
}

/// Definitions of kinds.
pub(crate) fn definitions() -> Resource {
    kind("apiextensions.k8s.io", "CustomResourceDefinition", "v1", "customresourcedefinitions", false)
}
