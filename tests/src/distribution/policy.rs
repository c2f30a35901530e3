//! What every object of the distribution has to keep to.
//!
//! An object that cannot keep a rule is excused beside it, by its annotation `gitmoor.dev/policy-exception`: one line
//! `RULE: reason` for each. An excuse that is not needed is a fault as well.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fork::{Excuses, name_of, text_at};

/// API versions that are stable and neither deprecated nor removed in Kubernetes 1.36, and those of operators.
const API_VERSIONS: [&str; 14] = [
    "v1",
    "apps/v1",
    "batch/v1",
    "autoscaling/v2",
    "policy/v1",
    "networking.k8s.io/v1",
    "rbac.authorization.k8s.io/v1",
    "storage.k8s.io/v1",
    "apiextensions.k8s.io/v1",
    "coordination.k8s.io/v1",
    "argoproj.io/v1alpha1",
    "cert-manager.io/v1",
    "external-secrets.io/v1",
    "monitoring.coreos.com/v1",
];

/// Where exceptions stand.
const EXCEPTION: &str = "/metadata/annotations/gitmoor.dev~1policy-exception";

/// A broken rule, by the name that an exception gives it, and what is wrong.
struct Fault {
    rule: &'static str,
    text: String,
}

fn fault(rule: &'static str, text: impl Into<String>) -> Fault {
    Fault { rule, text: text.into() }
}

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
pub fn faults(objects: &[Value]) -> Vec<String> {
    let excused = |object: &Value| {
        let name = name_of(object);
        let found = without_excuses(object, faults_of(object, objects));
        found.into_iter().map(move |text| format!("{name}: {text}"))
    };
    objects.iter().flat_map(excused).collect()
}

/// Rules that charts of others are held to as well: what values can change, and what breaks clusters. How their
/// programs run is upstream's.
const RULES_FOR_OTHERS: [&str; 5] = ["apiVersion", "Secret", "image", "resources", "PodDisruptionBudget"];

/// API versions that charts of others use besides ours.
const MORE_API_VERSIONS: [&str; 3] =
    ["admissionregistration.k8s.io/v1", "apiregistration.k8s.io/v1", "scheduling.k8s.io/v1"];

/// Every breach in what charts of others render to, but for those with a reason in `policy-exceptions.yaml`; and the
/// excuses that were needed, as `OBJECT: RULE`.
pub fn faults_of_others(objects: &[Value], excuses: &Excuses) -> (Vec<String>, BTreeSet<String>) {
    let (mut faults, mut needed) = (Vec::new(), BTreeSet::new());
    for object in objects {
        let name = format!("{} {}", text_at(object, "/kind"), text_at(object, "/metadata/name"));
        for Fault { rule, text } in faults_of(object, objects) {
            let api_version = text_at(object, "/apiVersion");
            // Kinds of operators are known by their definitions.
            let builtin = !api_version.split('/').next().unwrap_or_default().contains('.')
                || api_version.split('/').next().unwrap_or_default().ends_with(".k8s.io");
            let allowed = rule == "apiVersion" && (!builtin || MORE_API_VERSIONS.contains(&api_version));
            let excuse =
                [name.as_str(), "*"].into_iter().find(|at| excuses.get(*at).is_some_and(|of| of.contains_key(rule)));
            if RULES_FOR_OTHERS.contains(&rule) && !allowed {
                match excuse {
                    Some(at) => {
                        needed.insert(format!("{at}: {rule}"));
                    }
                    None => faults.push(format!("{name}: {rule}: {text}")),
                }
            }
        }
    }
    (faults, needed)
}

/// The same of values that a chart does not know: an excuse from `values` covers a path and all below it.
pub fn faults_of_values(unknown: &BTreeSet<String>, excuses: &Excuses) -> (Vec<String>, BTreeSet<String>) {
    let none = BTreeMap::new();
    let excused = excuses.get("values").unwrap_or(&none);
    let covers = |above: &&String, path: &str| {
        path.strip_prefix(above.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    let (mut faults, mut needed) = (Vec::new(), BTreeSet::new());
    for path in unknown {
        match excused.keys().find(|above| covers(above, path)) {
            Some(above) => {
                needed.insert(format!("values: {above}"));
            }
            None => faults.push(format!("the chart has no value {path}")),
        }
    }
    (faults, needed)
}

/// What no exception covers, and exceptions that cover nothing.
fn without_excuses(object: &Value, found: Vec<Fault>) -> Vec<String> {
    let mut excuses = BTreeMap::new();
    let mut faults = Vec::new();
    for line in text_at(object, EXCEPTION).lines().filter(|line| !line.trim().is_empty()) {
        match line.split_once(": ") {
            Some((rule, reason)) if !reason.trim().is_empty() => drop(excuses.insert(rule.trim(), false)),
            _ => faults.push(format!("the exception {line:?} is not RULE: reason")),
        }
    }
    for Fault { rule, text } in found {
        match excuses.get_mut(rule) {
            Some(used) => *used = true,
            None => faults.push(format!("{rule}: {text}")),
        }
    }
    let idle = excuses.into_iter().filter(|(_, used)| !used);
    faults.extend(idle.map(|(rule, _)| format!("an exception from {rule}, which it keeps")));
    faults
}

fn faults_of(object: &Value, objects: &[Value]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let api_version = text_at(object, "/apiVersion");
    if !API_VERSIONS.contains(&api_version) {
        faults.push(fault("apiVersion", format!("{api_version} is not among the known ones")));
    }
    if text_at(object, "/kind") == "Secret" {
        faults.push(fault("Secret", "a plain Secret"));
    }
    if object["kind"] == "Namespace" && !has_network_policy(object, objects) {
        faults.push(fault("NetworkPolicy", "no NetworkPolicy for all pods of the namespace"));
    }
    if let Some(spec) = pod_spec(object) {
        faults.extend(faults_of_pod(spec));
        faults.extend(dangling(spec, object, objects));
        for container in containers(spec) {
            let name = text_at(container, "/name");
            let of_container = faults_of_container(container);
            faults.extend(
                of_container.into_iter().map(|Fault { rule, text }| fault(rule, format!("container {name}: {text}"))),
            );
        }
        faults.extend(faults_of_long_running(spec, object, objects));
    }
    faults
}

fn has_network_policy(namespace: &Value, objects: &[Value]) -> bool {
    objects.iter().any(|object| {
        object["kind"] == "NetworkPolicy"
            && object["metadata"]["namespace"] == namespace["metadata"]["name"]
            && object["spec"]["podSelector"] == serde_json::json!({})
    })
}

fn faults_of_pod(spec: &Value) -> Vec<Fault> {
    // What names no account gets a token of `default` unless it says otherwise.
    expectations(
        spec,
        &[
            ("runAsNonRoot", "/securityContext/runAsNonRoot", Value::Bool(true)),
            ("seccompProfile", "/securityContext/seccompProfile/type", Value::from("RuntimeDefault")),
            ("automountServiceAccountToken", "/automountServiceAccountToken", Value::Bool(false)),
        ],
    )
}

fn faults_of_container(container: &Value) -> Vec<Fault> {
    let mut faults = expectations(
        container,
        &[
            ("allowPrivilegeEscalation", "/securityContext/allowPrivilegeEscalation", Value::Bool(false)),
            ("readOnlyRootFilesystem", "/securityContext/readOnlyRootFilesystem", Value::Bool(true)),
            ("capabilities", "/securityContext/capabilities/drop", Value::from(vec!["ALL"])),
        ],
    );
    // No limit on CPU: it only throttles.
    for field in ["/resources/requests/cpu", "/resources/requests/memory", "/resources/limits/memory"] {
        if container.pointer(field).is_none() {
            faults.push(fault("resources", format!("no {field}")));
        }
    }
    faults.extend(fault_of_image(text_at(container, "/image")));
    faults
}

fn fault_of_image(image: &str) -> Option<Fault> {
    if image.contains("@sha256:") {
        return None;
    }
    // A colon before the last slash belongs to the registry's port.
    let name = image.rsplit('/').next().unwrap_or_default();
    match name.split_once(':') {
        Some((_, tag)) if !tag.is_empty() && tag != "latest" => None,
        _ => Some(fault("image", format!("{image:?} is not pinned"))),
    }
}

/// What holds for pods that are meant to stay.
fn faults_of_long_running(spec: &Value, object: &Value, objects: &[Value]) -> Vec<Fault> {
    let mut faults = Vec::new();
    if !selected_by("NetworkPolicy", "/spec/podSelector", object, objects) {
        faults.push(fault("NetworkPolicy", "none selects it"));
    }
    if ["Job", "CronJob", "Pod"].contains(&text_at(object, "/kind")) {
        return faults;
    }
    for container in spec["containers"].as_array().into_iter().flatten() {
        for probe in ["readinessProbe", "livenessProbe"] {
            if container.get(probe).is_none() {
                faults.push(fault(probe, format!("container {}: none", text_at(container, "/name"))));
            }
        }
    }
    // Without the field an autoscaler owns the number.
    let replicas = object.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(2);
    let counted = text_at(object, "/kind") != "DaemonSet";
    if counted && replicas > 1 && !selected_by("PodDisruptionBudget", "/spec/selector", object, objects) {
        faults.push(fault("PodDisruptionBudget", "replicated without one"));
    }
    faults
}

fn selected_by(kind: &str, selector: &str, workload: &Value, objects: &[Value]) -> bool {
    let template = ["/spec/template", "/spec/jobTemplate/spec/template", ""];
    let labels = template.iter().find_map(|at| workload.pointer(&format!("{at}/metadata/labels")));
    objects.iter().filter(|object| object["kind"] == kind).any(|object| {
        let wanted = object.pointer(selector).and_then(|selector| selector["matchLabels"].as_object());
        object["metadata"]["namespace"] == workload["metadata"]["namespace"]
            && wanted.is_some_and(|wanted| {
                wanted.iter().all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
            })
    })
}

/// References to objects that the same render should hold. Secrets come from elsewhere.
fn dangling(spec: &Value, object: &Value, objects: &[Value]) -> Vec<Fault> {
    let mut references = vec![("ServiceAccount", text_at(spec, "/serviceAccountName"))];
    for container in containers(spec) {
        let sources = container["envFrom"].as_array().into_iter().flatten();
        for source in sources.filter(|source| source.pointer("/configMapRef/optional") != Some(&Value::Bool(true))) {
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
    references.into_iter().map(|(kind, name)| fault("reference", format!("{kind} {name:?} is not there"))).collect()
}

fn reference<'v>(kind: &'static str, value: &'v Value, pointer: &str) -> Option<(&'static str, &'v str)> {
    Some((kind, text_at(value, pointer))).filter(|(_, name)| !name.is_empty())
}

/// The names of the Secrets that pods of the render refer to.
pub fn secrets_needed(objects: &[Value]) -> BTreeSet<String> {
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

fn expectations(value: &Value, expected: &[(&'static str, &str, Value)]) -> Vec<Fault> {
    expected
        .iter()
        .filter(|(_, pointer, wanted)| value.pointer(pointer) != Some(wanted))
        .map(|(rule, pointer, wanted)| fault(rule, format!("{pointer} is not {wanted}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let namespace =
            serde_json::json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "default" } });
        let faults = faults(&[deployment, secret, namespace]).join("\n");
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
            "NetworkPolicy: none selects it",
            "PodDisruptionBudget",
            "a plain Secret",
            "NetworkPolicy: no NetworkPolicy for all pods",
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

    #[test]
    fn an_exception_needs_a_reason_and_a_fault() {
        let pod = |exception: &str| {
            serde_json::json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": { "name": "plain", "annotations": { "gitmoor.dev/policy-exception": exception } },
            })
        };
        assert_eq!(faults(&[pod("Secret: nothing in it is secret\n")]), [] as [String; 0]);
        for (exception, expected) in [
            ("", "a plain Secret"),
            ("Secret", "is not RULE: reason"),
            ("Secret: ", "is not RULE: reason"),
            ("Secret: because\nimage: because", "an exception from image, which it keeps"),
        ] {
            let found = faults(&[pod(exception)]).join("\n");
            assert!(found.contains(expected), "{expected} not in {found}");
        }
    }
}
