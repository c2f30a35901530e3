//! What objects refer to, and whether it is there.
//!
//! A reference is known by the field that it stands in, wherever that is: pods, routes, webhooks, bindings, the kinds of
//! operators and the values of charts name others in the same words. Addresses of Services are found in any text.

use std::collections::BTreeSet;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gitmoor_core::object::group_of;
use serde_json::{Map, Value};

use super::fork::text_at;

/// What is referred to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Its kind; of a definition, the kind `CustomResourceDefinition`.
    pub kind: String,
    /// Empty for what has none.
    pub namespace: String,
    /// Its name; of a definition `KIND.GROUP`.
    pub name: String,
}

impl Target {
    /// `kind`, `namespace`, `name`.
    pub fn new(kind: &str, namespace: &str, name: &str) -> Self {
        let namespace = if CLUSTER_SCOPED.contains(&kind) { "" } else { namespace };
        Self { kind: kind.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Whether every cluster has it.
    pub fn is_builtin(&self) -> bool {
        match self.kind.as_str() {
            "Namespace" => ["default", "kube-system"].contains(&self.name.as_str()),
            "ServiceAccount" => self.name == "default",
            "ConfigMap" => self.name == "kube-root-ca.crt",
            "PriorityClass" => self.name.starts_with("system-"),
            "ClusterRole" => {
                self.name.starts_with("system:") || ["admin", "cluster-admin", "edit", "view"].contains(&&*self.name)
            }
            "Role" => self.namespace == "kube-system" && self.name == "extension-apiserver-authentication-reader",
            "Service" => self.namespace == "default" && self.name == "kubernetes",
            _ => false,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// Kinds without namespace among those that are referred to.
const CLUSTER_SCOPED: [&str; 9] = [
    "Namespace",
    "CustomResourceDefinition",
    "ClusterRole",
    "StorageClass",
    "PriorityClass",
    "IngressClass",
    "RuntimeClass",
    "ClusterIssuer",
    "ClusterSecretStore",
];

/// Groups below k8s.io whose kinds are no part of Kubernetes.
const GROUPS_OF_OTHERS: [&str; 3] =
    ["gateway.networking.k8s.io", "snapshot.storage.k8s.io", "groupsnapshot.storage.k8s.io"];

/// What objects bring: themselves, and what controllers make of them.
pub fn provided(objects: &[Value]) -> BTreeSet<Target> {
    let mut there = BTreeSet::new();
    for object in objects {
        let [kind, namespace, name] = ["/kind", "/metadata/namespace", "/metadata/name"].map(|at| text_at(object, at));
        there.insert(Target::new(kind, namespace, name));
        let mut secret = |namespace: &str, name: &str| {
            there.insert(Target::new("Secret", namespace, name));
        };
        match kind {
            "ExternalSecret" => {
                let target = text_at(object, "/spec/target/name");
                secret(namespace, if target.is_empty() { name } else { target });
            }
            "ClusterExternalSecret" => {
                for selector in object["spec"]["namespaceSelectors"].as_array().into_iter().flatten() {
                    for values in selector["matchExpressions"].as_array().into_iter().flatten() {
                        let names = values["values"].as_array().into_iter().flatten().filter_map(Value::as_str);
                        names.for_each(|namespace| secret(namespace, text_at(object, "/spec/externalSecretName")));
                    }
                }
            }
            "SealedSecret" => secret(namespace, name),
            "Certificate" => secret(namespace, text_at(object, "/spec/secretName")),
            "CustomResourceDefinition" => {
                let [kind, group] = ["/spec/names/kind", "/spec/group"].map(|at| text_at(object, at));
                there.insert(Target::new("CustomResourceDefinition", "", &format!("{kind}.{group}")));
            }
            "Application" if makes_its_namespace(object) => {
                there.insert(Target::new("Namespace", "", text_at(object, "/spec/destination/namespace")));
            }
            _ => {}
        }
    }
    there
}

fn makes_its_namespace(application: &Value) -> bool {
    let options = application.pointer("/spec/syncPolicy/syncOptions").and_then(Value::as_array);
    options.is_some_and(|options| options.contains(&Value::from("CreateNamespace=true")))
}

/// Every reference of an object, but for those that it calls optional.
pub fn references(object: &Value) -> BTreeSet<Target> {
    let [kind, api_version, namespace] = ["/kind", "/apiVersion", "/metadata/namespace"].map(|at| text_at(object, at));
    let mut found = BTreeSet::new();
    if !namespace.is_empty() {
        found.insert(Target::new("Namespace", "", namespace));
    }
    let group = group_of(api_version);
    if group.contains('.') && (!group.ends_with(".k8s.io") || GROUPS_OF_OTHERS.contains(&group)) {
        found.insert(Target::new("CustomResourceDefinition", "", &format!("{kind}.{group}")));
    }
    // Issuers of the cluster keep their Secrets beside cert-manager.
    let namespace = if kind == "ClusterIssuer" { "cert-manager" } else { namespace };
    match kind {
        "ConfigMap" | "Secret" => files(object).iter().for_each(|file| walk(file, "", namespace, &mut found)),
        // Its schema speaks of fields, and names nothing.
        "CustomResourceDefinition" => walk(&object["spec"]["conversion"], "conversion", namespace, &mut found),
        "Certificate" => walk(&object["spec"]["issuerRef"], "issuerRef", namespace, &mut found),
        _ => walk(object, "", namespace, &mut found),
    }
    found
}

/// What lies in a ConfigMap or a Secret: settings and templates of pods that programs read, or text.
fn files(object: &Value) -> Vec<Value> {
    let texts = object["data"].as_object().into_iter().flatten().filter_map(|(_, value)| {
        let text = value.as_str()?;
        if object["kind"] == "Secret" {
            String::from_utf8(STANDARD.decode(text).ok()?).ok()
        } else {
            Some(text.to_owned())
        }
    });
    texts.map(|text| serde_yaml::from_str::<Value>(&text).unwrap_or(Value::String(text))).collect()
}

/// Every reference in the values of a chart that is installed into a namespace.
pub fn references_of_values(values: &Value, namespace: &str) -> BTreeSet<Target> {
    let mut found = BTreeSet::new();
    walk(values, "", namespace, &mut found);
    found
}

fn walk(value: &Value, key: &str, namespace: &str, found: &mut BTreeSet<Target>) {
    match value {
        Value::Object(fields) if fields.get("optional") == Some(&Value::Bool(true)) => {}
        Value::Object(fields) => {
            found.extend(of_object(key, fields, namespace));
            for (key, value) in fields {
                if let Some(kind) = value.as_str().and_then(|_| kind_of_field(key)) {
                    found.insert(Target::new(kind, namespace, value.as_str().unwrap_or_default()));
                }
                walk(value, key, namespace, found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, key, namespace, found)),
        Value::String(text) => {
            found.extend(services(text, namespace));
            // Charts take some lists as text.
            if text.starts_with("- ") {
                let list: Value = serde_yaml::from_str(text).unwrap_or_default();
                walk(&list, key, namespace, found);
            }
        }
        _ => {}
    }
    found.retain(|target| !target.name.is_empty());
}

/// Fields that hold the name of another object.
fn kind_of_field(key: &str) -> Option<&'static str> {
    Some(match key {
        "serviceAccountName" => "ServiceAccount",
        "claimName" => "PersistentVolumeClaim",
        "storageClassName" | "storageClass" => "StorageClass",
        "priorityClassName" => "PriorityClass",
        "runtimeClassName" => "RuntimeClass",
        "ingressClassName" => "IngressClass",
        "serviceName" => "Service",
        // Those of charts: fernetKeySecretName, credentialsSecret.
        "existingSecret" | "credentialsSecret" => "Secret",
        "externalSecretName" => return None,
        _ if key == "secretName" || key.ends_with("SecretName") => "Secret",
        _ => return None,
    })
}

/// The object that one below this key names, if it names one.
fn of_object(key: &str, fields: &Map<String, Value>, namespace: &str) -> Option<Target> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str);
    let name = text("name")?;
    let kind = match key {
        "secretKeyRef" | "secretRef" | "secret" | "imagePullSecrets" | "envFromSecrets" => "Secret",
        // Of a ServiceMonitor.
        "credentials" => text("key").map(|_| "Secret")?,
        // cert-manager makes this one.
        "privateKeySecretRef" => return None,
        _ if key.ends_with("SecretRef") => "Secret",
        "configMapKeyRef" | "configMapRef" | "configMap" => "ConfigMap",
        "serviceAccountRef" => "ServiceAccount",
        "secretStoreRef" => text("kind").unwrap_or("SecretStore"),
        "issuerRef" => text("kind").unwrap_or("Issuer"),
        "roleRef" | "scaleTargetRef" => text("kind")?,
        "subjects" => text("kind").filter(|kind| *kind == "ServiceAccount")?,
        // Of an Ingress, a webhook, an APIService.
        "service" if fields.contains_key("port") || fields.contains_key("namespace") => "Service",
        // Of a chart that shall not make it.
        "serviceAccount" if fields.get("create") == Some(&Value::Bool(false)) => "ServiceAccount",
        _ => return None,
    };
    Some(Target::new(kind, text("namespace").unwrap_or(namespace), name))
}

/// Services of the cluster whose addresses stand in a text: `://NAME.NAMESPACE.svc`, and `://NAME.NAMESPACE` of the
/// namespace that it stands in.
fn services(text: &str, namespace: &str) -> Vec<Target> {
    let hosts = text.split("://").skip(1).map(|rest| {
        let end = rest.find(|letter: char| !letter.is_ascii_alphanumeric() && !"-.".contains(letter));
        &rest[..end.unwrap_or(rest.len())]
    });
    let named = hosts.filter_map(|host| {
        let labels: Vec<&str> = host.split('.').collect();
        match labels[..] {
            [name, of, "svc", ..] => Some(Target::new("Service", of, name)),
            [name, of] if of == namespace => Some(Target::new("Service", of, name)),
            _ => None,
        }
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn missing(objects: &[Value]) -> Vec<String> {
        let there = provided(objects);
        let named: BTreeSet<Target> = objects.iter().flat_map(references).collect();
        named.iter().filter(|target| !there.contains(target)).map(ToString::to_string).collect()
    }

    #[test]
    fn what_nobody_brings_is_found_wherever_it_is_named() {
        let pod = json!({
            "serviceAccountName": "a", "priorityClassName": "urgent", "imagePullSecrets": [{"name": "registry"}],
            "containers": [{"name": "c", "args": ["--to=http://store.other.svc.cluster.local:80/x"],
                "env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "x"}}},
                        {"name": "Y", "valueFrom": {"secretKeyRef": {"name": "maybe", "key": "x", "optional": true}}}],
                "envFrom": [{"configMapRef": {"name": "settings"}}, {"configMapRef": {"name": "maybe", "optional": true}}]}],
            "volumes": [{"name": "v", "secret": {"secretName": "files"}}, {"name": "w", "persistentVolumeClaim": {"claimName": "data"}}],
        });
        let objects = [
            json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "s", "namespace": "n"},
                   "spec": {"serviceName": "s", "template": {"spec": pod},
                            "volumeClaimTemplates": [{"spec": {"storageClassName": "fast"}}]}}),
            json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "i", "namespace": "n"},
                   "spec": {"ingressClassName": "alb", "rules": [{"http": {"paths": [
                       {"path": "/", "backend": {"service": {"name": "web", "port": {"name": "http"}}}}]}}]}}),
            json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "r", "namespace": "n"},
                   "roleRef": {"kind": "ClusterRole", "name": "own"},
                   "subjects": [{"kind": "ServiceAccount", "name": "b", "namespace": "m"}, {"kind": "User", "name": "u"}]}),
            json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": "e", "namespace": "n"},
                   "spec": {"secretStoreRef": {"name": "aws"}}}),
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "f", "namespace": "n"},
                   "data": {"values.yaml": STANDARD.encode("storage:\n  storageClass: slow\n")}}),
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "n"},
                   "data": {"x": "url: http://metrics.n:9090/\nother: https://n.example"}}),
        ];
        let expected = [
            "ClusterRole /own",
            "ConfigMap n/settings",
            "CustomResourceDefinition /ExternalSecret.external-secrets.io",
            "IngressClass /alb",
            "Namespace /n",
            "PersistentVolumeClaim n/data",
            "PriorityClass /urgent",
            "Secret n/files",
            "Secret n/keys",
            "Secret n/registry",
            "SecretStore n/aws",
            "Service n/metrics",
            "Service n/s",
            "Service n/web",
            "Service other/store",
            "ServiceAccount m/b",
            "ServiceAccount n/a",
            "StorageClass /fast",
            "StorageClass /slow",
        ];
        assert_eq!(missing(&objects), expected);
    }

    #[test]
    fn controllers_make_secrets_and_namespaces() {
        let in_namespace = |kind: &str, name: &str, spec: Value| json!({"kind": kind, "metadata": {"name": name, "namespace": "n"}, "spec": spec});
        let there = provided(&[
            in_namespace("ExternalSecret", "a", json!({"target": {"name": "b"}})),
            in_namespace("ExternalSecret", "c", json!({})),
            in_namespace("Certificate", "d", json!({"secretName": "e"})),
            in_namespace("SealedSecret", "f", json!({})),
            json!({"kind": "ClusterExternalSecret", "metadata": {"name": "g"}, "spec": {"externalSecretName": "h",
                   "namespaceSelectors": [{"matchExpressions": [{"operator": "In", "values": ["x", "y"]}]}]}}),
            in_namespace(
                "Application",
                "i",
                json!({"destination": {"namespace": "own"}, "syncPolicy": {"syncOptions": ["CreateNamespace=true"]}}),
            ),
        ]);
        for (namespace, name) in [("n", "b"), ("n", "c"), ("n", "e"), ("n", "f"), ("x", "h"), ("y", "h")] {
            assert!(there.contains(&Target::new("Secret", namespace, name)), "{namespace}/{name}");
        }
        assert!(there.contains(&Target::new("Namespace", "", "own")));
    }

    #[test]
    fn values_of_charts_name_others_in_words_of_their_own() {
        let values = json!({
            "fernetKeySecretName": "keys", "gitSync": {"credentialsSecret": "git"}, "hub": {"existingSecret": "hub"},
            "persistence": {"storageClass": "gp3"}, "ingress": {"ingressClassName": "alb"},
            "serviceAccount": {"create": false, "name": "sa"}, "extraEnvFrom": "- secretRef:\n    name: environment\n",
            "envFromSecrets": [{"name": "oauth"}], "other": {"serviceAccount": {"create": true, "name": "made"}},
        });
        let found: Vec<String> = references_of_values(&values, "n").iter().map(ToString::to_string).collect();
        let expected = [
            "IngressClass /alb",
            "Secret n/environment",
            "Secret n/git",
            "Secret n/hub",
            "Secret n/keys",
            "Secret n/oauth",
            "ServiceAccount n/sa",
            "StorageClass /gp3",
        ];
        assert_eq!(found, expected);
    }
}
