//! What every object of the distribution has to keep to. A rule that one object may break
//! is relaxed here, with the reason next to it.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fork::{name_of, text_at};

/// API versions that are stable and neither deprecated nor removed in Kubernetes 1.36, and our own.
const API_VERSIONS: [&str; 11] = [
    "v1",
    "apps/v1",
    "batch/v1",
    "autoscaling/v2",
    "policy/v1",
    "networking.k8s.io/v1",
    "rbac.authorization.k8s.io/v1",
    "storage.k8s.io/v1",
    "apiextensions.k8s.io/v1",
    "argoproj.io/v1alpha1",
    "external-secrets.io/v1",
];

/// Where a workload has its pod template's spec.
fn pod_spec(object: &Value) -> Option<&Value> {
    match text_at(object, "/kind") {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => object.pointer("/spec/template/spec"),
        "CronJob" => object.pointer("/spec/jobTemplate/spec/template/spec"),
        "Pod" => object.pointer("/spec"),
        _ => None,
    }
}

/// Every breach in one render, as `Kind namespace/name: what`.
pub(crate) fn faults(objects: &[Value]) -> Vec<String> {
    objects.iter().flat_map(|object| faults_of(object, objects)).collect()
}

fn faults_of(object: &Value, objects: &[Value]) -> Vec<String> {
    let mut faults = Vec::new();
    let api_version = text_at(object, "/apiVersion");
    if !API_VERSIONS.contains(&api_version) {
        faults.push(format!("API version {api_version} is not among the known ones"));
    }
    if text_at(object, "/kind") == "Secret" {
        faults.push("a plain Secret".to_owned());
    }
    if let Some(spec) = pod_spec(object) {
        faults.extend(faults_of_pod(spec));
        faults.extend(dangling(spec, object, objects));
        for container in containers(spec) {
            let name = text_at(container, "/name");
            faults.extend(faults_of_container(container).into_iter().map(|fault| format!("container {name}: {fault}")));
        }
        faults.extend(faults_of_long_running(spec, object, objects));
    }
    let name = name_of(object);
    faults.into_iter().map(|fault| format!("{name}: {fault}")).collect()
}

fn faults_of_pod(spec: &Value) -> Vec<String> {
    expectations(
        spec,
        &[
            ("/securityContext/runAsNonRoot", Value::Bool(true)),
            ("/securityContext/seccompProfile/type", Value::from("RuntimeDefault")),
            ("/automountServiceAccountToken", Value::Bool(false)),
        ],
    )
}

fn faults_of_container(container: &Value) -> Vec<String> {
    let mut faults = expectations(
        container,
        &[
            ("/securityContext/allowPrivilegeEscalation", Value::Bool(false)),
            ("/securityContext/readOnlyRootFilesystem", Value::Bool(true)),
            ("/securityContext/capabilities/drop", Value::from(vec!["ALL"])),
        ],
    );
    // No limit on CPU: it only throttles.
    for field in ["/resources/requests/cpu", "/resources/requests/memory", "/resources/limits/memory"] {
        if container.pointer(field).is_none() {
            faults.push(format!("no {field}"));
        }
    }
    faults.extend(fault_of_image(text_at(container, "/image")));
    faults
}

fn fault_of_image(image: &str) -> Option<String> {
    if image.contains("@sha256:") {
        return None;
    }
    // A colon before the last slash belongs to the registry's port.
    let name = image.rsplit('/').next().unwrap_or_default();
    match name.split_once(':') {
        Some((_, tag)) if !tag.is_empty() && tag != "latest" => None,
        _ => Some(format!("image {image:?} is not pinned")),
    }
}

/// What holds for pods that are meant to stay.
fn faults_of_long_running(spec: &Value, object: &Value, objects: &[Value]) -> Vec<String> {
    if ["Job", "CronJob", "Pod"].contains(&text_at(object, "/kind")) {
        return Vec::new();
    }
    let mut faults = Vec::new();
    for container in spec["containers"].as_array().into_iter().flatten() {
        for probe in ["readinessProbe", "livenessProbe"] {
            if container.get(probe).is_none() {
                faults.push(format!("container {}: no {probe}", text_at(container, "/name")));
            }
        }
    }
    if !selected_by("NetworkPolicy", "/spec/podSelector", object, objects) {
        faults.push("no NetworkPolicy selects it".to_owned());
    }
    // Without the field an autoscaler owns the number.
    let replicas = object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(2);
    if replicas > 1 && !selected_by("PodDisruptionBudget", "/spec/selector", object, objects) {
        faults.push("replicated without a PodDisruptionBudget".to_owned());
    }
    faults
}

fn selected_by(kind: &str, selector: &str, workload: &Value, objects: &[Value]) -> bool {
    let labels = &workload["spec"]["template"]["metadata"]["labels"];
    objects.iter().filter(|object| object["kind"] == kind).any(|object| {
        let wanted = object.pointer(selector).and_then(|selector| selector["matchLabels"].as_object());
        object["metadata"]["namespace"] == workload["metadata"]["namespace"]
            && wanted.is_some_and(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
    })
}

/// References to objects that the same render should hold. Secrets come from elsewhere.
fn dangling(spec: &Value, object: &Value, objects: &[Value]) -> Vec<String> {
    let mut references = vec![("ServiceAccount", text_at(spec, "/serviceAccountName"))];
    for container in containers(spec) {
        for source in container["envFrom"].as_array().into_iter().flatten() {
            references.extend(reference("ConfigMap", source, "/configMapRef/name"));
        }
        for variable in container["env"].as_array().into_iter().flatten() {
            references.extend(reference("ConfigMap", variable, "/valueFrom/configMapKeyRef/name"));
        }
    }
    for volume in spec["volumes"].as_array().into_iter().flatten() {
        references.extend(reference("ConfigMap", volume, "/configMap/name"));
        references.extend(reference("PersistentVolumeClaim", volume, "/persistentVolumeClaim/claimName"));
    }
    let namespace = &object["metadata"]["namespace"];
    let exists = |kind: &str, name: &str| {
        objects.iter().any(|other| {
            other["kind"] == kind && other["metadata"]["name"] == name && other["metadata"]["namespace"] == *namespace
        })
    };
    references.retain(|(kind, name)| !exists(kind, name));
    references.into_iter().map(|(kind, name)| format!("refers to {kind} {name:?}, which is not there")).collect()
}

fn reference<'v>(kind: &'static str, value: &'v Value, pointer: &str) -> Option<(&'static str, &'v str)> {
    Some((kind, text_at(value, pointer))).filter(|(_, name)| !name.is_empty())
}

/// The names of the Secrets that pods of the render refer to.
pub(crate) fn secrets_needed(objects: &[Value]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for spec in objects.iter().filter_map(pod_spec) {
        for container in containers(spec) {
            for source in container["envFrom"].as_array().into_iter().flatten() {
                names.insert(text_at(source, "/secretRef/name").to_owned());
            }
            for variable in container["env"].as_array().into_iter().flatten() {
                names.insert(text_at(variable, "/valueFrom/secretKeyRef/name").to_owned());
            }
        }
        for volume in spec["volumes"].as_array().into_iter().flatten() {
            names.insert(text_at(volume, "/secret/secretName").to_owned());
        }
    }
    names.remove("");
    names
}

fn containers(spec: &Value) -> impl Iterator<Item = &Value> {
    ["containers", "initContainers"].into_iter().flat_map(|field| spec[field].as_array().into_iter().flatten())
}

fn expectations(value: &Value, expected: &[(&str, Value)]) -> Vec<String> {
    expected
        .iter()
        .filter(|(pointer, wanted)| value.pointer(pointer) != Some(wanted))
        .map(|(pointer, wanted)| format!("{pointer} is not {wanted}"))
        .collect()
}

#[test]
fn a_careless_workload_breaks_every_rule() {
    let deployment = serde_json::json!({
        "apiVersion": "apps/v1beta1",
        "kind": "Deployment",
        "metadata": { "name": "careless", "namespace": "default" },
        "spec": { "replicas": 3, "template": { "spec": {
            "serviceAccountName": "missing",
            "containers": [{ "name": "main", "image": "registry:5000/main" }],
        } } },
    });
    let secret = serde_json::json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "plain" } });
    let faults = faults(&[deployment, secret]).join("\n");
    for expected in [
        "apps/v1beta1",
        "runAsNonRoot",
        "seccompProfile",
        "automountServiceAccountToken",
        "\"missing\"",
        "allowPrivilegeEscalation",
        "readOnlyRootFilesystem",
        "capabilities",
        "requests/cpu",
        "requests/memory",
        "limits/memory",
        "not pinned",
        "readinessProbe",
        "livenessProbe",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "a plain Secret",
    ] {
        assert!(faults.contains(expected), "{expected} not in\n{faults}");
    }
}

#[test]
fn an_image_is_pinned_by_tag_or_digest() {
    for (image, pinned) in [
        ("example.com/a:1.2", true),
        ("example.com:5000/a:1.2", true),
        ("example.com/a@sha256:0123", true),
        ("example.com:5000/a", false),
        ("a:latest", false),
        ("a:", false),
        ("", false),
    ] {
        assert_eq!(fault_of_image(image).is_none(), pinned, "{image}");
    }
}
