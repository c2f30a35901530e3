//! How much of an object has to be watched to know its health.

use super::rules;
use crate::object::GroupKind;

/// What a watch on a kind carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Watch {
    /// The object as it is.
    Full,
    /// Its metadata alone (`PartialObjectMetadata`).
    Metadata,
}

/// API groups that the API server itself serves. Their kinds without a rule have no state that could fail.
const BUILT_IN_GROUPS: &[&str] = &[
    "",
    "admissionregistration.k8s.io",
    "apps",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "resource.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];

/// Groups of add-ons whose kinds are configuration: read by a controller, without a state of their own.
const CONFIGURATION_GROUPS: &[&str] =
    &["extensions.istio.io", "networking.istio.io", "security.istio.io", "telemetry.istio.io"];

/// Single kinds of add-ons that are configuration.
const CONFIGURATION_KINDS: &[(&str, &[&str])] = &[
    ("argoproj.io", &["AppProject", "ClusterWorkflowTemplate", "WorkflowTemplate"]),
    (
        "monitoring.coreos.com",
        &["AlertmanagerConfig", "PodMonitor", "Probe", "PrometheusRule", "ScrapeConfig", "ServiceMonitor"],
    ),
    // What a metadata watch delivers when nobody put the real kind back.
    ("meta.k8s.io", &["PartialObjectMetadata"]),
];

/// How a kind has to be watched for [`assess`](super::assess) to know its health.
///
/// In full: kinds with a rule, and custom kinds that nothing is known about, since they may have conditions. As
/// metadata: built-in kinds without a rule (Secret, ConfigMap, RBAC, quotas, classes, webhook configurations, ...) and
/// custom kinds that are known to be configuration.
pub fn watch_of(group_kind: &GroupKind) -> Watch {
    if rules::rule_of(group_kind).is_some() {
        return Watch::Full;
    }
    let (group, kind) = (group_kind.group.as_str(), group_kind.kind.as_str());
    let configuration = BUILT_IN_GROUPS.contains(&group)
        || CONFIGURATION_GROUPS.contains(&group)
        || CONFIGURATION_KINDS.iter().any(|(of, kinds)| *of == group && kinds.contains(&kind));
    if configuration { Watch::Metadata } else { Watch::Full }
}
