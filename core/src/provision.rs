//! What a tree needs and does not bring: services behind webhooks, Secrets of pods.
//!
//! Told from the rendered objects alone. What somebody makes by hand on the cluster is not known here.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::object::{group_of, text_at};

/// An object of an Application, with the namespace that it goes to.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// Whose it is, for people.
    pub application: &'a str,
    /// The object.
    pub object: &'a Value,
}

/// Something that is missing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Missing {
    /// Whose object needs it.
    pub application: String,
    /// The object.
    pub subject: String,
    /// What is missing, and the way out.
    pub message: String,
}

/// Kinds with a pod template, and where it is.
const PODS: [(&str, &str); 8] = [
    ("Pod", "/spec"),
    ("Deployment", "/spec/template/spec"),
    ("StatefulSet", "/spec/template/spec"),
    ("DaemonSet", "/spec/template/spec"),
    ("ReplicaSet", "/spec/template/spec"),
    ("ReplicationController", "/spec/template/spec"),
    ("Job", "/spec/template/spec"),
    ("CronJob", "/spec/jobTemplate/spec/template/spec"),
];

/// A Secret that a pod cannot start without: namespace, name, and keys that it asks for.
pub type Wanted<'a> = BTreeMap<(&'a str, &'a str), BTreeSet<&'a str>>;

fn missing(item: Item<'_>, message: String) -> Missing {
    let object = item.object;
    let text = |path: &[&str]| text_at(object, path).unwrap_or_default();
    let namespace = text_at(object, &["metadata", "namespace"]).map(|name| format!("{name}/")).unwrap_or_default();
    let subject = format!("{} {namespace}{}", text(&["kind"]), text(&["metadata", "name"]));
    Missing { application: item.application.to_owned(), subject, message }
}

/// Webhooks and aggregated APIs whose service is not in the tree, or selects no pods of it.
pub fn unserved(items: &[Item<'_>]) -> Vec<Missing> {
    let mut found: Vec<Missing> = items
        .iter()
        .flat_map(|item| backends(item.object).into_iter().map(move |backend| (item, backend)))
        .filter_map(|(item, (namespace, name))| {
            let why = why_unserved(items, namespace, name)?;
            Some(missing(*item, format!("nobody serves it: {why}")))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Services that an object sends requests of the API server to.
fn backends(object: &Value) -> Vec<(&str, &str)> {
    let mut services: Vec<&Value> = Vec::new();
    match object["kind"].as_str().unwrap_or_default() {
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => {
            let hooks = object["webhooks"].as_array().into_iter().flatten();
            services.extend(hooks.map(|hook| &hook["clientConfig"]["service"]));
        }
        "CustomResourceDefinition" => {
            services.push(&object["spec"]["conversion"]["webhook"]["clientConfig"]["service"]);
        }
        "APIService" => services.push(&object["spec"]["service"]),
        _ => {}
    }
    services.into_iter().filter_map(|at| Some((text_at(at, &["namespace"])?, text_at(at, &["name"])?))).collect()
}

fn why_unserved(items: &[Item<'_>], namespace: &str, name: &str) -> Option<String> {
    let is_it = |object: &Value| {
        object["kind"] == "Service"
            && text_at(object, &["metadata", "name"]) == Some(name)
            && text_at(object, &["metadata", "namespace"]) == Some(namespace)
    };
    let Some(service) = items.iter().map(|item| item.object).find(|object| is_it(object)) else {
        return Some(format!("there is no Service {namespace}/{name}; add it, or remove the webhook"));
    };
    let selector = service["spec"]["selector"].as_object().filter(|selector| !selector.is_empty())?;
    let fits = |labels: &Value| selector.iter().all(|(key, value)| labels.get(key) == Some(value));
    let serves = |object: &Value| {
        let same = text_at(object, &["metadata", "namespace"]) == Some(namespace);
        same && template(object).is_some_and(|template| fits(&template["metadata"]["labels"]))
    };
    let served = items.iter().any(|item| serves(item.object));
    (!served).then(|| format!("the Service {namespace}/{name} selects no pods of the tree; correct its selector"))
}

/// The pod template of an object, or the pod itself.
fn template(object: &Value) -> Option<&Value> {
    let (_, path) = PODS.iter().find(|(kind, _)| object["kind"] == *kind)?;
    object.pointer(path.strip_suffix("/spec")?)
}

fn pod_spec(object: &Value) -> Option<&Value> {
    let (_, path) = PODS.iter().find(|(kind, _)| object["kind"] == *kind)?;
    object.pointer(path)
}

/// Secrets that pods of the tree cannot start without and that nothing in the tree makes.
pub fn unprovided(items: &[Item<'_>]) -> Vec<Missing> {
    let provided = Provided::by(items);
    let mut found = Vec::new();
    for item in items {
        let mut wanted = Wanted::new();
        wants(item.object, &mut wanted);
        for (namespace, name) in wanted.into_keys() {
            if !provided.has(namespace, name) {
                let way =
                    "add a Secret, SealedSecret or ExternalSecret of that name, or mark the reference as optional";
                found.push(missing(*item, format!("nobody provides the Secret {namespace}/{name}; {way}")));
            }
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The Secrets that a tree makes.
#[derive(Debug)]
pub struct Provided<'a> {
    named: BTreeSet<(&'a str, &'a str)>,
    /// In namespaces that are not told here.
    everywhere: BTreeSet<&'a str>,
}

impl<'a> Provided<'a> {
    /// Those that the objects are, or that their controllers make.
    pub fn by(items: &[Item<'a>]) -> Self {
        Self {
            named: items.iter().filter_map(|item| provides(item.object)).collect(),
            everywhere: items.iter().filter_map(|item| provides_everywhere(item.object)).collect(),
        }
    }

    /// Whether there is one of this name, or may be.
    pub fn has(&self, namespace: &str, name: &str) -> bool {
        self.named.contains(&(namespace, name)) || self.everywhere.contains(name)
    }
}

/// The Secret that an object is, or that its controller makes.
fn provides(object: &Value) -> Option<(&str, &str)> {
    let namespace = text_at(object, &["metadata", "namespace"])?;
    let own = text_at(object, &["metadata", "name"])?;
    let group = group_of(text_at(object, &["apiVersion"])?);
    let name = match (group, object["kind"].as_str()?) {
        ("", "Secret") | ("kubernetes-client.io", "ExternalSecret") => own,
        ("external-secrets.io", "ExternalSecret") => text_at(object, &["spec", "target", "name"]).unwrap_or(own),
        ("bitnami.com", "SealedSecret") => text_at(object, &["spec", "template", "metadata", "name"]).unwrap_or(own),
        ("cert-manager.io", "Certificate") => text_at(object, &["spec", "secretName"])?,
        _ => return None,
    };
    Some((namespace, name))
}

/// The Secret that an object makes in namespaces of its choice.
fn provides_everywhere(object: &Value) -> Option<&str> {
    if object["kind"] != "ClusterExternalSecret" {
        return None;
    }
    let spec = object.get("spec")?;
    text_at(spec, &["externalSecretSpec", "target", "name"]).or_else(|| text_at(spec, &["externalSecretName"]))
}

/// Collects the Secrets that the pods of an object cannot start without.
pub fn wants<'a>(object: &'a Value, wanted: &mut Wanted<'a>) {
    let Some(spec) = pod_spec(object) else { return };
    let namespace = text_at(object, &["metadata", "namespace"]).unwrap_or_default();
    let mut want = |reference: &'a Value, field: &str, key: Option<&'a str>| {
        let Some(name) = text_at(reference, &[field]).filter(|_| reference["optional"] != true) else { return };
        wanted.entry((namespace, name)).or_default().extend(key);
    };
    let list = |at: &'a Value| at.as_array().into_iter().flatten();
    for volume in list(&spec["volumes"]) {
        want(&volume["secret"], "secretName", None);
        list(&volume["projected"]["sources"]).for_each(|source| want(&source["secret"], "name", None));
    }
    let containers = ["containers", "initContainers"].into_iter().flat_map(|field| list(&spec[field]));
    for container in containers {
        list(&container["envFrom"]).for_each(|from| want(&from["secretRef"], "name", None));
        for variable in list(&container["env"]) {
            let reference = &variable["valueFrom"]["secretKeyRef"];
            want(reference, "name", text_at(reference, &["key"]));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn messages(found: Vec<Missing>) -> Vec<String> {
        found.into_iter().map(|missing| format!("{}: {}", missing.subject, missing.message)).collect()
    }

    fn items(objects: &[Value]) -> Vec<Item<'_>> {
        objects.iter().map(|object| Item { application: "gitmoor/a", object }).collect()
    }

    #[test]
    fn a_webhook_needs_a_service_that_selects_pods() {
        let hook = |service: &str| {
            json!({"kind": "ValidatingWebhookConfiguration", "metadata": {"name": service},
            "webhooks": [{"clientConfig": {"service": {"namespace": "n", "name": service}}}]})
        };
        let service = |name: &str, app: &str| json!({"kind": "Service", "metadata": {"name": name, "namespace": "n"}, "spec": {"selector": {"app": app}}});
        let deployment = json!({"kind": "Deployment", "metadata": {"name": "d", "namespace": "n"},
            "spec": {"template": {"metadata": {"labels": {"app": "served", "more": "x"}}, "spec": {}}}});
        let objects = [
            hook("none"),
            hook("served"),
            hook("idle"),
            service("served", "served"),
            service("idle", "other"),
            deployment,
        ];
        let found = messages(unserved(&items(&objects)));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0]
                .starts_with("ValidatingWebhookConfiguration idle: nobody serves it: the Service n/idle selects no")
        );
        assert!(found[1].contains("there is no Service n/none"));
    }

    #[test]
    fn a_secret_has_a_maker_or_is_missing() {
        let deployment = json!({"kind": "Deployment", "metadata": {"name": "d", "namespace": "n"}, "spec": {"template": {"spec": {
            "volumes": [{"secret": {"secretName": "sealed"}}, {"secret": {"secretName": "absent"}}, {"secret": {"secretName": "maybe", "optional": true}}],
            "containers": [{"envFrom": [{"secretRef": {"name": "external"}}], "env": [{"valueFrom": {"secretKeyRef": {"name": "plain", "key": "k"}}}]}],
            "initContainers": [{"envFrom": [{"secretRef": {"name": "elsewhere"}}]}],
        }}}});
        let object = |api_version: &str, kind: &str, namespace: &str, name: &str, spec: Value| json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec});
        let objects = [
            deployment,
            object("v1", "Secret", "n", "plain", json!({})),
            object("v1", "Secret", "other", "elsewhere", json!({})),
            object("bitnami.com/v1alpha1", "SealedSecret", "n", "sealed", json!({})),
            object("external-secrets.io/v1", "ExternalSecret", "n", "x", json!({"target": {"name": "external"}})),
        ];
        let found = messages(unprovided(&items(&objects)));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("the Secret n/absent;") && found[1].contains("the Secret n/elsewhere;"), "{found:?}");
    }
}
