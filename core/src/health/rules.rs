//! Which rule a kind has.

use serde_json::Value;

use super::{
    Health, ack, api_service, application, argo_workflow, cert_manager, conditions, cron_job,
    custom_resource_definition, daemon_set, deployment, gateway_api, horizontal_pod_autoscaler, ingress, job, knative,
    kserve, kubeflow, namespace, persistent_volume, persistent_volume_claim, pod, pod_disruption_budget,
    prometheus_operator, replica_set, secrets, service, stateful_set,
};
use crate::object::GroupKind;

/// Assesses an object whose present generation has been observed and that nobody deletes.
pub(super) type Assess = fn(&Value) -> Health;

/// The kinds of a group that share a rule.
pub(super) struct Rule {
    /// API group; `*.` in front stands for any first part.
    pub(super) group: &'static str,
    /// Kinds; an empty list stands for all kinds of the group.
    pub(super) kinds: &'static [&'static str],
    /// The rule.
    pub(super) assess: Assess,
}

impl Rule {
    pub(super) fn covers(&self, group_kind: &GroupKind) -> bool {
        let group = match self.group.strip_prefix('*') {
            Some(suffix) => group_kind.group.ends_with(suffix),
            None => group_kind.group == self.group,
        };
        group && (self.kinds.is_empty() || self.kinds.contains(&group_kind.kind.as_str()))
    }
}

const fn rule(group: &'static str, kinds: &'static [&'static str], assess: Assess) -> Rule {
    Rule { group, kinds, assess }
}

/// Every rule: workloads, other built-in kinds, then add-ons.
pub(super) const RULES: &[Rule] = &[
    rule("apps", &["DaemonSet"], daemon_set::assess),
    rule("apps", &["Deployment"], deployment::assess),
    rule("apps", &["ReplicaSet"], replica_set::assess),
    rule("apps", &["StatefulSet"], stateful_set::assess),
    rule("batch", &["CronJob"], cron_job::assess),
    rule("batch", &["Job"], job::assess),
    rule("", &["Pod"], pod::assess),
    rule("", &["ReplicationController"], replica_set::assess),
    rule("", &["Namespace"], namespace::assess),
    rule("", &["Node"], conditions::assess),
    rule("", &["PersistentVolume"], persistent_volume::assess),
    rule("", &["PersistentVolumeClaim"], persistent_volume_claim::assess),
    rule("", &["Service"], service::assess),
    rule("apiextensions.k8s.io", &["CustomResourceDefinition"], custom_resource_definition::assess),
    rule("apiregistration.k8s.io", &["APIService"], api_service::assess),
    rule("autoscaling", &["HorizontalPodAutoscaler"], horizontal_pod_autoscaler::assess),
    rule("networking.k8s.io", &["Ingress"], ingress::assess),
    rule("policy", &["PodDisruptionBudget"], pod_disruption_budget::assess),
    rule("*.services.k8s.aws", &[], ack::assess),
    rule("argoproj.io", &["Application"], application::assess),
    rule("argoproj.io", &["CronWorkflow"], argo_workflow::assess_scheduled),
    rule("argoproj.io", &["Workflow"], argo_workflow::assess),
    rule("bitnami.com", &["SealedSecret"], secrets::assess_sealed),
    rule("cert-manager.io", &["Certificate"], cert_manager::assess_certificate),
    rule("cert-manager.io", &["ClusterIssuer", "Issuer"], cert_manager::assess_issuer),
    rule("external-secrets.io", &["ClusterExternalSecret", "ClusterPushSecret"], secrets::assess_cluster_external),
    rule("external-secrets.io", &["ExternalSecret", "PushSecret"], secrets::assess_external),
    rule("external-secrets.io", &["ClusterSecretStore", "SecretStore"], secrets::assess_store),
    rule(
        "gateway.networking.k8s.io",
        &["GRPCRoute", "HTTPRoute", "TCPRoute", "TLSRoute", "UDPRoute"],
        gateway_api::assess_route,
    ),
    rule("kubeflow.org", &["Notebook"], kubeflow::assess_notebook),
    rule("kubeflow.org", &["Profile"], kubeflow::assess_profile),
    rule(
        "kubeflow.org",
        &["Experiment", "JAXJob", "MPIJob", "PaddleJob", "PyTorchJob", "TFJob", "Trial", "XGBoostJob"],
        kubeflow::assess_training,
    ),
    rule("trainer.kubeflow.org", &["TrainJob"], kubeflow::assess_training),
    rule("kubernetes-client.io", &["ExternalSecret"], secrets::assess_legacy_external),
    rule(
        "monitoring.coreos.com",
        &["Alertmanager", "Prometheus", "PrometheusAgent", "ThanosRuler"],
        prometheus_operator::assess,
    ),
    rule("serving.knative.dev", &["Configuration", "Revision", "Route", "Service"], knative::assess),
    rule("serving.kserve.io", &["InferenceService"], kserve::assess),
];

/// The rule of a kind, if it has one of its own.
pub(super) fn rule_of(group_kind: &GroupKind) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.covers(group_kind))
}
