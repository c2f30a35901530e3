//! What stands in for the controllers that do not run here: they make things ready, and open SealedSecrets.

use std::collections::BTreeSet;

use gitmoor_core::{
    builtin,
    health::ANNOTATION_IGNORE_HEALTHCHECK,
    object::{GroupKind, text_at},
};
use gitmoor_engine::cluster::Cluster;
use serde_json::{Map, Value, json};

use super::asked::VALUE;

/// Who makes these ready is here: the agent, and the API server itself, whose definitions go out of service when
/// somebody else writes their conditions.
const NOT_STOOD_IN: [&str; 6] =
    ["Application", "ExternalSecret", "ClusterExternalSecret", "SecretStore", "CustomResourceDefinition", "Namespace"];

const API_SERVICE: &str = "APIService";
const SEALED_SECRET: &str = "SealedSecret";

/// Kind, namespace and name of what Applications wait for: objects, and hooks that run.
fn waiting(applications: &[Value]) -> BTreeSet<(GroupKind, &str, &str)> {
    let entries = |pointer: &'static str| {
        let lists = applications.iter().filter_map(move |application| application.pointer(pointer)?.as_array());
        lists.flatten()
    };
    let is_unready =
        |entry: &&Value| matches!(entry["health"]["status"].as_str(), Some("Progressing" | "Missing" | "Unknown"));
    let objects = entries("/status/resources").filter(is_unready);
    let hooks = entries("/status/operationState/syncResult/resources").filter(|entry| entry["hookPhase"] == "Running");
    objects
        .chain(hooks)
        .filter_map(|entry| {
            let text = |key: &str| text_at(entry, &[key]).unwrap_or_default();
            let kind = text("kind");
            let other = !NOT_STOOD_IN.contains(&kind);
            other.then(|| (GroupKind::new(text("group"), kind), text("namespace"), text("name")))
        })
        .collect()
}

/// Writes the status that a controller would, for every object that its Application waits for.
pub(super) async fn make_ready(cluster: &Cluster, applications: &[Value]) {
    let waiting = waiting(applications);
    if waiting.is_empty() {
        return;
    }
    let Ok(resources) = cluster.discover().await else { return };
    for (kind, namespace, name) in waiting {
        let Some(resource) = resources.preferred(&kind) else { continue };
        let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
        // What fails is tried again with the next look.
        if kind.kind == API_SERVICE {
            let _ = cluster.merge(resource, namespace, name, &not_assessed()).await;
        } else if let Ok(Some(object)) = cluster.get(resource, namespace, name).await {
            if kind.kind == SEALED_SECRET {
                let (name, keys) = opened(&object);
                make_secret(cluster, namespace.unwrap_or_default(), name, &keys).await;
            }
            let _ = cluster.merge_status(resource, namespace, name, &json!({ "status": ready(&object) })).await;
        }
    }
}

/// Makes a Secret where there is none; false when that cannot be done yet, such as before its namespace is there.
pub(super) async fn make_secret(cluster: &Cluster, namespace: &str, name: &str, keys: &BTreeSet<String>) -> bool {
    let data: Map<String, Value> = keys.iter().map(|key| (key.clone(), VALUE.into())).collect();
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data });
    let made = cluster.create(&builtin::secrets(), Some(namespace), &secret).await;
    made.is_ok() || made.is_err_and(|error| error.is_conflict())
}

/// An aggregated API cannot answer here, which the API server itself says again and again; so it is not asked.
fn not_assessed() -> Value {
    json!({ "metadata": { "annotations": { ANNOTATION_IGNORE_HEALTHCHECK: "true" } } })
}

/// Name and keys of the Secret that a SealedSecret becomes.
fn opened(object: &Value) -> (&str, BTreeSet<String>) {
    let own = text_at(object, &["metadata", "name"]).unwrap_or_default();
    let name = text_at(object, &["spec", "template", "metadata", "name"]).unwrap_or(own);
    let data = [&object["spec"]["encryptedData"], &object["spec"]["template"]["data"]];
    let keys = data.into_iter().filter_map(Value::as_object).flat_map(Map::keys).cloned().collect();
    (name, keys)
}

/// How an object looks that its controller has made ready.
fn ready(object: &Value) -> Value {
    let generation = &object["metadata"]["generation"];
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let condition = |kind: &str| {
        json!({ "type": kind, "status": "True", "reason": "Rehearsal", "message": "stand-in",
            "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    match object["kind"].as_str().unwrap_or_default() {
        "Deployment" => json!({ "observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas,
            "readyReplicas": replicas, "availableReplicas": replicas,
            "conditions": [condition("Available"), condition("Progressing")] }),
        "StatefulSet" => json!({ "observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas,
            "readyReplicas": replicas, "availableReplicas": replicas, "currentReplicas": replicas,
            "currentRevision": "rehearsal", "updateRevision": "rehearsal" }),
        "ReplicaSet" => json!({ "observedGeneration": generation, "replicas": replicas, "readyReplicas": replicas,
            "availableReplicas": replicas }),
        "DaemonSet" => {
            json!({ "observedGeneration": generation, "desiredNumberScheduled": 1, "currentNumberScheduled": 1,
            "updatedNumberScheduled": 1, "numberReady": 1, "numberAvailable": 1, "numberMisscheduled": 0 })
        }
        "Job" => json!({ "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:01Z", "succeeded": 1,
            "conditions": [condition("SuccessCriteriaMet"), condition("Complete")] }),
        "Pod" if ends(object) => json!({ "phase": "Succeeded" }),
        "Pod" => json!({ "phase": "Running", "conditions": [condition("Ready")] }),
        "PersistentVolumeClaim" => json!({ "phase": "Bound" }),
        "Service" | "Ingress" => json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } }),
        "PodDisruptionBudget" => json!({ "observedGeneration": generation, "currentHealthy": 1, "desiredHealthy": 1,
            "disruptionsAllowed": 1, "expectedPods": 1 }),
        "SealedSecret" => json!({ "observedGeneration": generation, "conditions": [condition("Synced")] }),
        _ => json!({ "observedGeneration": generation, "conditions": [condition("Ready"), condition("Available")] }),
    }
}

/// Whether what runs in a pod is to end by itself.
fn ends(pod: &Value) -> bool {
    text_at(pod, &["spec", "restartPolicy"]).is_some_and(|policy| policy != "Always")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_becomes_the_secret_of_its_template() {
        let spec =
            json!({"encryptedData": {"a": "x"}, "template": {"metadata": {"name": "t"}, "data": {"b": "{{ .a }}"}}});
        let object = json!({"metadata": {"name": "own"}, "spec": spec});
        assert_eq!(opened(&object), ("t", ["a".to_owned(), "b".to_owned()].into()));
        assert_eq!(opened(&json!({"metadata": {"name": "own"}})), ("own", BTreeSet::new()));
    }

    #[test]
    fn definitions_stay_the_api_servers() {
        let entry = |kind: &str| json!({"group": "g", "kind": kind, "name": "a", "health": {"status": "Progressing"}});
        let fine = json!({"group": "g", "kind": "Service", "name": "a", "health": {"status": "Healthy"}});
        let resources = [entry("CustomResourceDefinition"), entry("Application"), entry("Deployment"), fine];
        let applications = [json!({"status": {"resources": resources}})];
        let kinds: Vec<String> = waiting(&applications).into_iter().map(|(kind, ..)| kind.kind).collect();
        assert_eq!(kinds, ["Deployment"]);
    }

    #[test]
    fn hooks_that_run_are_waited_for() {
        let hook = |name: &str, phase: &str| json!({"group": "batch", "kind": "Job", "namespace": "n", "name": name, "hookPhase": phase});
        let resources =
            json!([hook("done", "Succeeded"), hook("runs", "Running"), {"kind": "Service", "name": "object"}]);
        let applications = [json!({"status": {"operationState": {"syncResult": {"resources": resources}}}})];
        assert_eq!(waiting(&applications), [(GroupKind::new("batch", "Job"), "n", "runs")].into());
    }
}
