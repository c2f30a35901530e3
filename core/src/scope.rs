//! Whether a kind's objects live in namespaces, told without a cluster.
//!
//! Built-in kinds are known by name, those of the repository by their CustomResourceDefinition. Of all others the name
//! decides: kinds called `Cluster…` are cluster-scoped by habit.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::manifest::{Manifest, Manifests, Rendered};
use crate::object::{GroupKind, text_at};
use crate::resource::{Resource, Resources};

/// Built-in kinds without namespace (Kubernetes 1.36, `kubectl api-resources --namespaced=false`), by group.
const CLUSTER_SCOPED: [(&str, &[&str]); 15] = [
    ("", &["Namespace", "Node", "PersistentVolume"]),
    ("rbac.authorization.k8s.io", &["ClusterRole", "ClusterRoleBinding"]),
    ("apiextensions.k8s.io", &["CustomResourceDefinition"]),
    ("apiregistration.k8s.io", &["APIService"]),
    (
        "admissionregistration.k8s.io",
        &[
            "MutatingWebhookConfiguration",
            "ValidatingWebhookConfiguration",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "MutatingAdmissionPolicy",
            "MutatingAdmissionPolicyBinding",
        ],
    ),
    ("storage.k8s.io", &["StorageClass", "CSIDriver", "CSINode", "VolumeAttachment", "VolumeAttributesClass"]),
    ("scheduling.k8s.io", &["PriorityClass"]),
    ("node.k8s.io", &["RuntimeClass"]),
    ("flowcontrol.apiserver.k8s.io", &["FlowSchema", "PriorityLevelConfiguration"]),
    ("certificates.k8s.io", &["CertificateSigningRequest", "ClusterTrustBundle"]),
    ("resource.k8s.io", &["DeviceClass", "ResourceSlice", "DeviceTaintRule"]),
    ("networking.k8s.io", &["IngressClass", "IPAddress", "ServiceCIDR"]),
    ("gateway.networking.k8s.io", &["GatewayClass"]),
    ("karpenter.sh", &["NodePool", "NodeClaim"]),
    ("kubeflow.org", &["Profile"]),
];

/// What is known of the scope of kinds.
#[derive(Clone, Debug, Default)]
pub struct Scopes {
    defined: BTreeMap<GroupKind, bool>,
}

/// The kind that a CustomResourceDefinition defines, and whether it is namespaced.
pub fn definition(object: &Value) -> Option<(GroupKind, bool)> {
    if object["kind"] != "CustomResourceDefinition" {
        return None;
    }
    let group = text_at(object, &["spec", "group"])?;
    let kind = text_at(object, &["spec", "names", "kind"])?;
    Some((GroupKind::new(group, kind), text_at(object, &["spec", "scope"])? == "Namespaced"))
}

/// The versions that a CustomResourceDefinition has served.
pub fn served_versions(object: &Value) -> Vec<String> {
    let versions = object["spec"]["versions"].as_array().into_iter().flatten();
    let served = versions.filter(|version| version["served"] != false);
    served.filter_map(|version| text_at(version, &["name"]).map(str::to_owned)).collect()
}

impl Scopes {
    /// With what CustomResourceDefinitions say.
    pub fn new(defined: impl IntoIterator<Item = (GroupKind, bool)>) -> Self {
        Self { defined: defined.into_iter().collect() }
    }

    /// Whether objects of a kind live in namespaces.
    pub fn is_namespaced(&self, group_kind: &GroupKind) -> bool {
        if let Some(namespaced) = self.defined.get(group_kind) {
            return *namespaced;
        }
        let built_in = CLUSTER_SCOPED.iter().find(|(group, _)| *group == group_kind.group);
        if built_in.is_some_and(|(_, kinds)| kinds.contains(&group_kind.kind.as_str())) {
            return false;
        }
        // Groups of Kubernetes itself are complete in the table.
        let is_own = group_kind.group.is_empty() || group_kind.group.ends_with(".k8s.io") && built_in.is_some();
        is_own || !group_kind.kind.starts_with("Cluster")
    }

    /// A cluster that serves just the kinds and versions of these manifests, so that they can be bound.
    pub fn resources<'m>(&self, manifests: impl IntoIterator<Item = &'m Manifests<Rendered>>) -> Resources {
        let mut resources = Resources::default();
        for Manifest { id, object, .. } in manifests.into_iter().flat_map(Manifests::items) {
            let version = text_at(object, &["apiVersion"]).and_then(|text| text.rsplit('/').next()).unwrap_or_default();
            if resources.find(&id.group_kind, version).is_none() {
                resources.insert(Resource {
                    group_kind: id.group_kind.clone(),
                    version: version.to_owned(),
                    plural: String::new(),
                    namespaced: self.is_namespaced(&id.group_kind),
                    watchable: false,
                });
            }
        }
        resources
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn definitions_count_before_names() {
        let defined = |kind: &str, scope: &str| {
            let object = json!({"kind": "CustomResourceDefinition", "spec": {"group": "example.com", "scope": scope, "names": {"kind": kind}}});
            definition(&object).unwrap()
        };
        let scopes = Scopes::new([defined("Thing", "Cluster"), defined("ClusterThing", "Namespaced")]);
        for (group, kind, namespaced) in [
            ("example.com", "Thing", false),
            ("example.com", "ClusterThing", true),
            ("example.com", "Other", true),
            ("external-secrets.io", "ClusterSecretStore", false),
            ("external-secrets.io", "ExternalSecret", true),
            ("", "Namespace", false),
            ("", "Secret", true),
            ("rbac.authorization.k8s.io", "ClusterRole", false),
            ("rbac.authorization.k8s.io", "Role", true),
        ] {
            assert_eq!(scopes.is_namespaced(&GroupKind::new(group, kind)), namespaced, "{kind}");
        }
    }
}
