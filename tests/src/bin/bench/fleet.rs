//! The Applications that are measured: each a kustomization of the same few kinds of objects.

use gitmoor_tests::harness::kustomization;
use serde_json::{Value, json};

/// So many Applications with so many objects each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fleet {
    /// Applications.
    pub applications: usize,
    /// Objects of each.
    pub objects: usize,
    /// Applications that share a base; 0 where there are no bases.
    pub shared: usize,
}

impl Fleet {
    /// Every file of the repository, as path and content.
    pub(crate) fn files(self) -> Vec<(String, String)> {
        let bases = if self.shared == 0 { 0 } else { self.applications.div_ceil(self.shared) };
        let bases = (0..bases).flat_map(|base| {
            let listed = (format!("{}/kustomization.yaml", base_folder(base)), kustomization(&["map.yaml"]));
            [listed, changed_base(base, 0)]
        });
        bases.chain((0..self.applications).flat_map(|application| self.files_of(application))).collect()
    }

    fn files_of(self, application: usize) -> Vec<(String, String)> {
        let folder = folder(application);
        let names: Vec<String> = (0..self.objects).map(|index| format!("{index}.yaml")).collect();
        let mut listed: Vec<&str> = names.iter().map(String::as_str).collect();
        let base = application.checked_div(self.shared).map(|base| format!("../../{}", base_folder(base)));
        listed.extend(base.as_deref());
        // What is shared has a name of its own in each.
        let prefix = base.as_ref().map_or_else(String::new, |_| format!("namePrefix: {}-\n", name(application)));
        let manifest = |index: usize| serde_yaml::to_string(&object(application, index, 0)).unwrap_or_default();
        let mut files = vec![(format!("{folder}/kustomization.yaml"), kustomization(&listed) + &prefix)];
        files.extend(names.iter().enumerate().map(|(index, name)| (format!("{folder}/{name}"), manifest(index))));
        files
    }

    /// Every object, as it is after a sync, in a namespace.
    pub(crate) fn objects_in(self, namespace: &str) -> Vec<Value> {
        let all =
            (0..self.applications).flat_map(|application| (0..self.objects).map(move |index| (application, index)));
        all.map(|(application, index)| in_namespace(object(application, index, 0), namespace)).collect()
    }
}

/// The name of an Application.
pub(crate) fn name(application: usize) -> String {
    format!("app-{application:04}")
}

/// Its folder in the repository.
pub(crate) fn folder(application: usize) -> String {
    format!("apps/{}", name(application))
}

fn base_folder(base: usize) -> String {
    format!("bases/base-{base:03}")
}

/// The object of a base, as path and content.
pub(crate) fn changed_base(base: usize, generation: usize) -> (String, String) {
    let mut object = object(0, 0, generation);
    object["metadata"]["name"] = "shared".into();
    (format!("{}/map.yaml", base_folder(base)), serde_yaml::to_string(&object).unwrap_or_default())
}

/// The object with a namespace.
pub(crate) fn in_namespace(mut object: Value, namespace: &str) -> Value {
    object["metadata"]["namespace"] = namespace.into();
    object
}

/// The first object of an Application: the one that pushes change; as path and content.
pub(crate) fn changed_file(application: usize, generation: usize) -> (String, String) {
    let text = serde_yaml::to_string(&object(application, 0, generation)).unwrap_or_default();
    (format!("{}/0.yaml", folder(application)), text)
}

/// An object of an Application: of ten, five ConfigMaps and one of each of five other kinds.
pub(crate) fn object(application: usize, index: usize, generation: usize) -> Value {
    let name = format!("{}-{index}", name(application));
    let labels = json!({"app.kubernetes.io/name": name});
    let with = |api_version: &str, kind: &str, body: Value| {
        let mut object = json!({
            "apiVersion": api_version, "kind": kind, "metadata": {"name": name, "labels": labels},
        });
        if let (Some(object), Value::Object(body)) = (object.as_object_mut(), body) {
            object.extend(body);
        }
        object
    };
    match index % 10 {
        1 => with("v1", "Secret", json!({"data": {"password": "bm90IGEgc2VjcmV0"}})),
        3 => with("v1", "ServiceAccount", json!({"automountServiceAccountToken": false})),
        5 => with("v1", "Service", json!({"spec": {"selector": labels, "ports": [{"name": "http", "port": 80}]}})),
        7 => with("apps/v1", "Deployment", deployment(&labels)),
        9 => with("rbac.authorization.k8s.io/v1", "Role", role()),
        _ => with("v1", "ConfigMap", json!({"data": {"generation": generation.to_string(), "text": "x".repeat(400)}})),
    }
}

fn deployment(labels: &Value) -> Value {
    json!({"spec": {
        "selector": {"matchLabels": labels},
        "template": {
            "metadata": {"labels": labels},
            "spec": {"containers": [{
                "name": "web", "image": "registry.example.com/web:1",
                "ports": [{"name": "http", "containerPort": 8080}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
            }]},
        },
    }})
}

fn role() -> Value {
    json!({"rules": [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]}]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_changes_one_object_of_one_application() {
        let fleet = Fleet { applications: 2, objects: 10, shared: 0 };
        let files = fleet.files();
        assert_eq!(files.len(), 2 * 11);
        let (path, changed) = changed_file(1, 1);
        let (_, before) = files.iter().find(|(name, _)| *name == path).unwrap();
        let different = before.lines().zip(changed.lines()).filter(|(old, new)| old != new).count();
        assert_eq!(different, 1, "{before}\n{changed}");
    }
}
