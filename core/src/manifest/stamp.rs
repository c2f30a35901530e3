//! Binding: from what the repository has to what the cluster serves, with the marks by which an object is found again.

use std::collections::HashMap;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::{Manifest, ManifestError, Manifests, Origin, Rendered, Stamped, not_an_object};
use crate::hook::Role;
use crate::names::{ANNOTATION_DIGEST, ANNOTATION_TRACKING_ID, APPLICATION_GROUP, APPLICATION_KIND, LABEL_APPLICATION};
use crate::object::{ObjectId, text_at};
use crate::resource::Resources;
use crate::template::{did_you_mean, placeholders_in};
use crate::tracking::{ApplicationKey, Digester, Installation};

/// What stamping needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'a> {
    /// The installation.
    pub installation: &'a Installation,
    /// The Application.
    pub application: &'a ApplicationKey,
    /// Namespace of objects that name none.
    pub namespace: Option<&'a str>,
    /// What the cluster serves.
    pub resources: &'a Resources,
    /// Makes the digests.
    pub digester: &'a Digester,
}

impl Manifests<Rendered> {
    /// Binds every object to the kind that the cluster serves, and stamps it. What cannot be bound is reported.
    pub fn stamp(self, stamp: &Stamp<'_>) -> (Manifests<Stamped>, Vec<ManifestError>) {
        let mut seen: HashMap<ObjectId, Origin> = HashMap::with_capacity(self.items.len());
        let (mut items, mut errors) = (Vec::with_capacity(self.items.len()), Vec::new());
        for manifest in self.items {
            let manifest = match bind(manifest, stamp) {
                Ok(manifest) => manifest,
                Err(error) => {
                    errors.push(*error);
                    continue;
                }
            };
            let (id, origin) = (manifest.id.clone(), manifest.origin.clone());
            if let Some(first) = seen.get(&id).cloned() {
                errors.push(ManifestError::Duplicate { id, first, second: origin });
            } else {
                seen.insert(id, origin);
                items.push(write_stamp(manifest, stamp));
            }
        }
        let by_id = items
            .iter()
            .enumerate()
            .map(|(index, manifest): (usize, &Manifest)| (manifest.id.clone(), index))
            .collect();
        let defined = |api_version: &str, kind: &str| items.iter().any(|item| defines(&item.object, api_version, kind));
        let errors = errors.into_iter().map(|error| match error {
            ManifestError::UnknownKind { origin, api_version, kind, .. } if defined(&api_version, &kind) => {
                ManifestError::AwaitedKind { origin, api_version, kind }
            }
            other => other,
        });
        let errors = errors.collect();
        (Manifests { items, by_id, stage: PhantomData }, errors)
    }
}

/// Scope and namespace, and the form that an apply takes.
fn bind(mut manifest: Manifest, stamp: &Stamp<'_>) -> Result<Manifest, Box<ManifestError>> {
    let Manifest { id, object, origin, handling: _ } = &mut manifest;
    if text_at(object, &["metadata", "name"]).is_none() && Role::of(object).is_object() {
        let (origin, id) = (origin.clone(), id.clone());
        return Err(Box::new(ManifestError::GeneratedName { origin, id }));
    }
    let api_version = text_at(object, &["apiVersion"]).unwrap_or_default().to_owned();
    let version = api_version.rsplit('/').next().unwrap_or_default();
    let Some(resource) = stamp.resources.find(&id.group_kind, version) else {
        return Err(Box::new(unknown_kind(origin, id, api_version.clone(), stamp.resources)));
    };
    if resource.namespaced {
        let Some(namespace) = id.namespace.clone().or_else(|| stamp.namespace.map(str::to_owned)) else {
            return Err(Box::new(ManifestError::NoNamespace { origin: origin.clone(), id: id.clone() }));
        };
        object["metadata"]["namespace"] = Value::String(namespace.clone());
        id.namespace = Some(namespace);
    } else {
        id.namespace = None;
    }
    // An Application says so itself, wherever it comes from.
    if !id.group_kind.is(APPLICATION_GROUP, APPLICATION_KIND) {
        let left = placeholders_in(object);
        if !left.is_empty() {
            let placeholders = left.into_iter().collect::<Vec<_>>().join(", ");
            let (origin, id) = (origin.clone(), id.clone());
            return Err(Box::new(ManifestError::Unresolved { origin, id, placeholders }));
        }
    }
    clean(object, id.namespace.is_some());
    if id.group_kind.is("", "Secret") {
        fold_string_data(object).map_err(|reason| not_an_object(origin, reason))?;
    }
    Ok(manifest)
}

/// Whether an object is the definition of a kind, and has it served in a version.
fn defines(object: &Value, api_version: &str, kind: &str) -> bool {
    let Some((group, version)) = api_version.split_once('/') else { return false };
    let spec = &object["spec"];
    let is_it = object["kind"] == "CustomResourceDefinition" && spec["group"] == group && spec["names"]["kind"] == kind;
    let mut versions = spec["versions"].as_array().into_iter().flatten();
    is_it && versions.any(|one| one["name"] == version && one["served"] == true)
}

fn unknown_kind(origin: &Origin, id: &ObjectId, api_version: String, resources: &Resources) -> ManifestError {
    let versions = resources.versions(&id.group_kind);
    let hint = if !versions.is_empty() {
        format!("; it serves {}", versions.join(", "))
    } else if resources.stale_groups.contains(&id.group_kind.group) {
        format!("; discovery of the group {} fails, see its APIService", id.group_kind.group)
    } else if is_built_in(&id.group_kind.group) {
        let like = did_you_mean(&id.group_kind.kind, resources.kinds(&id.group_kind.group));
        like.map(|kind| format!("; did you mean {kind}?")).unwrap_or_default()
    } else {
        "; its CustomResourceDefinition is missing".to_owned()
    };
    ManifestError::UnknownKind { origin: origin.clone(), api_version, kind: id.group_kind.kind.clone(), hint }
}

/// Whether the API server itself brings the kinds of a group (`k8s.io/api`): nobody defines others there.
fn is_built_in(group: &str) -> bool {
    ["", "apps", "autoscaling", "batch", "policy"].contains(&group)
        || [
            "apps",
            "authentication",
            "authorization",
            "certificates",
            "coordination",
            "discovery",
            "events",
            "networking",
        ]
        .contains(&group.strip_suffix(".k8s.io").unwrap_or("-"))
        || ["node.k8s.io", "rbac.authorization.k8s.io", "scheduling.k8s.io", "storage.k8s.io"].contains(&group)
}

/// Takes out what only the server writes; an apply that names it fails or owns what it should not.
fn clean(object: &mut Value, namespaced: bool) {
    let Some(map) = object.as_object_mut() else { return };
    map.remove("status");
    let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    for field in ["creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"] {
        metadata.remove(field);
    }
    if !namespaced {
        metadata.remove("namespace");
    }
    metadata.retain(|_, value| !value.is_null());
}

/// `stringData` is write-only: applied as it is, its fields would never be found among the owned ones.
fn fold_string_data(object: &mut Value) -> Result<(), String> {
    let Some(map) = object.as_object_mut() else { return Ok(()) };
    let Some(Value::Object(strings)) = map.remove("stringData") else { return Ok(()) };
    let data = map.entry("data").or_insert_with(|| Value::Object(Map::new()));
    if data.is_null() {
        *data = Value::Object(Map::new());
    }
    if let Some(data) = data.as_object_mut() {
        for (key, value) in strings {
            let Some(text) = value.as_str() else {
                return Err(format!("stringData: the value of {key} is not a string; quote it"));
            };
            data.insert(key, Value::String(STANDARD.encode(text)));
        }
    }
    Ok(())
}

fn write_stamp(mut manifest: Manifest, stamp: &Stamp<'_>) -> Manifest {
    let metadata = &mut manifest.object["metadata"];
    metadata["labels"][LABEL_APPLICATION] = Value::String(stamp.installation.label_value(stamp.application));
    metadata["annotations"][ANNOTATION_TRACKING_ID] =
        Value::String(stamp.installation.tracking_id(stamp.application, &manifest.id));
    if let Some(annotations) = metadata["annotations"].as_object_mut() {
        annotations.remove(ANNOTATION_DIGEST);
    }
    let digest = stamp.digester.digest(&manifest.object);
    manifest.object["metadata"]["annotations"][ANNOTATION_DIGEST] = Value::String(digest);
    manifest
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::GroupKind;
    use crate::resource::Resource;
    use crate::sensitive::Sensitive;

    fn stamped(object: Value) -> Result<Value, String> {
        let (stamped, errors) = stamp_all([object]);
        errors.first().map_or_else(|| Ok(stamped.items()[0].object["data"].clone()), |error| Err(error.to_string()))
    }

    fn stamp_all(objects: impl IntoIterator<Item = Value>) -> (Manifests<Stamped>, Vec<ManifestError>) {
        let mut resources = Resources::default();
        for (group_kind, plural, namespaced) in [
            (GroupKind::new("", "Secret"), "secrets", true),
            (GroupKind::new("apiextensions.k8s.io", "CustomResourceDefinition"), "customresourcedefinitions", false),
        ] {
            let (version, plural) = ("v1".to_owned(), plural.to_owned());
            resources.insert(Resource { group_kind, version, plural, namespaced, watchable: true });
        }
        let origin = |document| Origin { source: "a.yaml".into(), document };
        let objects = objects.into_iter().enumerate();
        let (read, errors) = Manifests::read(objects.map(|(index, object)| (origin(index + 1), object)));
        assert_eq!(errors, []);
        let stamp = Stamp {
            installation: &Installation::parse("gitmoor").unwrap(),
            application: &ApplicationKey { namespace: "gitmoor".into(), name: "web".into() },
            namespace: Some("web"),
            resources: &resources,
            digester: &Digester::new(Sensitive::new(vec![0; 16])),
        };
        read.stamp(&stamp)
    }

    #[test]
    fn a_kind_whose_definition_comes_with_it_is_awaited() {
        let definition = |served: bool| {
            json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
                "metadata": {"name": "things.example.com"},
                "spec": {"group": "example.com", "names": {"kind": "Thing"}, "versions": [{"name": "v1", "served": served}]}})
        };
        let object = |version: &str| json!({"apiVersion": format!("example.com/{version}"), "kind": "Thing", "metadata": {"name": "a"}});
        let is_awaited = |served: bool, version: &str| {
            let (_, errors) = stamp_all([object(version), definition(served)]);
            matches!(errors[..], [ManifestError::AwaitedKind { .. }])
        };
        assert!(is_awaited(true, "v1"));
        assert!(!is_awaited(false, "v1") && !is_awaited(true, "v2"));
    }

    #[test]
    fn a_kind_that_the_server_should_know_is_misspelt_and_another_has_no_definition() {
        let of = |api_version: &str, kind: &str| {
            stamped(json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a"}})).unwrap_err()
        };
        assert!(of("v1", "Secrte").ends_with("; did you mean Secret?"), "{}", of("v1", "Secrte"));
        assert!(!of("apps/v1", "Thing").contains("definition"), "{}", of("apps/v1", "Thing"));
        let gateway = of("gateway.networking.k8s.io/v1", "Gateway");
        assert!(gateway.ends_with("its CustomResourceDefinition is missing"), "{gateway}");
    }

    #[test]
    fn string_data_becomes_data_and_what_is_no_string_is_refused_without_its_value() {
        let secret = |strings: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"b": "Mg=="}, "stringData": strings});
        assert_eq!(stamped(secret(json!({"a": "1"}))), Ok(json!({"a": "MQ==", "b": "Mg=="})));
        let error = stamped(secret(json!({"pin": 4711}))).unwrap_err();
        assert_eq!(error, "a.yaml, document 1: stringData: the value of pin is not a string; quote it");
    }
}
