//! Manifests: from documents of the repository to objects that can be applied.
//!
//! A manifest is read (`Rendered`), then bound to what the cluster serves and stamped with label, tracking id and
//! digest (`Stamped`). Only stamped manifests can be planned and applied.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use crate::closure::RemoteReference;
use crate::handling::Handling;
use crate::hook::Role;
use crate::lock::{self, Lock};
use crate::names::{ANNOTATION_DIGEST, ANNOTATION_TRACKING_ID, APPLICATION_GROUP, APPLICATION_KIND, LABEL_APPLICATION};
use crate::object::{GroupKind, ObjectId, annotation, group_of, text_at};
use crate::resource::Resources;
use crate::template::placeholders_in;
use crate::tracking::{ApplicationKey, Digester, Installation};

/// Where a manifest comes from, for messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// File of the repository, or `kustomize build PATH`.
    pub source: String,
    /// Position of the document in it, from 1.
    pub document: usize,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, document {}", self.source, self.document)
    }
}

/// One object of the repository.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Its identity.
    pub id: ObjectId,
    /// The object.
    pub object: Value,
    /// Where it comes from.
    pub origin: Origin,
    /// How it is compared and applied.
    pub handling: Handling,
}

/// Stage: as the repository has it.
#[derive(Clone, Copy, Debug)]
pub struct Rendered;
/// Stage: bound to the cluster, with label, tracking id and digest.
#[derive(Clone, Copy, Debug)]
pub struct Stamped;

/// The complete manifests of an Application at a stage.
#[derive(Clone, Debug)]
pub struct Manifests<Stage> {
    items: Vec<Manifest>,
    by_id: HashMap<ObjectId, usize>,
    stage: PhantomData<Stage>,
}

impl<Stage> Manifests<Stage> {
    /// The manifests, in the order of the repository.
    pub fn items(&self) -> &[Manifest] {
        &self.items
    }

    /// The manifest of an object; only stamped manifests are found.
    pub fn get(&self, id: &ObjectId) -> Option<&Manifest> {
        self.by_id.get(id).and_then(|index| self.items.get(*index))
    }
}

/// A document of the repository that cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Not a mapping, or a field that every object has is missing or no string.
    #[error("{origin}: {reason}")]
    NotAnObject {
        /// Where it stands.
        origin: Origin,
        /// What is wrong.
        reason: String,
    },
    /// The same object twice.
    #[error("{id} is defined twice: in {first} and in {second}")]
    Duplicate {
        /// The object.
        id: ObjectId,
        /// The first definition.
        first: Origin,
        /// The second one.
        second: Origin,
    },
    /// A kind that the API server does not serve.
    #[error("{origin}: the cluster does not serve {api_version} {kind}{hint}")]
    UnknownKind {
        /// Where it stands.
        origin: Origin,
        /// As written.
        api_version: String,
        /// As written.
        kind: String,
        /// Which versions it does serve, or that its CustomResourceDefinition is missing.
        hint: String,
    },
    /// A namespaced object without a namespace, and the Application names none.
    #[error(
        "{origin}: {id} has no namespace; set metadata.namespace, or spec.destination.namespace of the Application"
    )]
    NoNamespace {
        /// Where it stands.
        origin: Origin,
        /// The object.
        id: ObjectId,
    },
    /// Values that setup.conf should have given.
    #[error("{origin}: {id} still has {placeholders}; put the value into setup.conf and run gitmoor init")]
    Unresolved {
        /// Where it stands.
        origin: Origin,
        /// The object.
        id: ObjectId,
        /// Whose values are missing.
        placeholders: String,
    },
    /// An object without a name of its own that is kept: each sync would make another one.
    #[error("{origin}: {id} has a generateName, which only hooks may have; give it a name")]
    GeneratedName {
        /// Where it stands.
        origin: Origin,
        /// The object.
        id: ObjectId,
    },
}

impl Manifests<Rendered> {
    /// Reads objects from values; Lists are flattened. All errors are reported together, with what could be read.
    pub fn read(documents: impl IntoIterator<Item = (Origin, Value)>) -> (Self, Vec<ManifestError>) {
        let (mut items, mut errors) = (Vec::new(), Vec::new());
        for (origin, value) in documents {
            read_object(value, &origin, &mut items, &mut errors);
        }
        (Self { items, by_id: HashMap::new(), stage: PhantomData }, errors)
    }

    /// All objects of several sources; of one that stands in several, the last counts. Gives what to warn of.
    /// `namespace`: where objects go that name none.
    pub fn merge(sources: Vec<Self>, namespace: &str) -> (Self, Vec<String>) {
        let id = |manifest: &Manifest| {
            let mut id = manifest.id.clone();
            id.namespace.get_or_insert_with(|| namespace.to_owned());
            id
        };
        let (mut items, mut repeated): (Vec<Manifest>, _) = (Vec::new(), Vec::new());
        for source in sources {
            let news: HashMap<ObjectId, Origin> =
                source.items.iter().map(|manifest| (id(manifest), manifest.origin.clone())).collect();
            items.retain(|old| match news.get(&id(old)) {
                Some(new) => {
                    repeated.push(format!("{} stands in {} and in {new}; the latter counts", old.id, old.origin));
                    false
                }
                None => true,
            });
            items.extend(source.items);
        }
        (Self { items, by_id: HashMap::new(), stage: PhantomData }, repeated)
    }

    /// Charts that Applications among them name.
    pub fn charts(&self) -> BTreeSet<RemoteReference> {
        self.items.iter().flat_map(|manifest| lock::charts_of(&manifest.object)).collect()
    }

    /// Has Applications among them carry what is locked of their charts.
    pub fn pin(&mut self, lock: &Lock) {
        let applications =
            self.items.iter_mut().filter(|manifest| manifest.id.group_kind.is(APPLICATION_GROUP, APPLICATION_KIND));
        applications.for_each(|manifest| lock.pin(&mut manifest.object));
    }
}

fn read_object(value: Value, origin: &Origin, items: &mut Vec<Manifest>, errors: &mut Vec<ManifestError>) {
    let mut object = match value {
        Value::Object(map) => map,
        Value::Null => return,
        _ => return errors.push(not_an_object(origin, "not a mapping".to_owned())),
    };
    let is_list = object.get("kind").and_then(Value::as_str).is_some_and(|kind| kind.ends_with("List"));
    if is_list && object.get("items").is_some_and(Value::is_array) {
        if let Some(Value::Array(list)) = object.remove("items") {
            for item in list {
                read_object(item, origin, items, errors);
            }
        }
        return;
    }
    let object = Value::Object(object);
    match identify(&object) {
        Ok(id) => items.push(Manifest { id, object, origin: origin.clone(), handling: Handling::default() }),
        Err(reason) => errors.push(not_an_object(origin, reason)),
    }
}

fn not_an_object(origin: &Origin, reason: String) -> ManifestError {
    ManifestError::NotAnObject { origin: origin.clone(), reason }
}

/// The identity of an object as it is written.
fn identify(object: &Value) -> Result<ObjectId, String> {
    let required = |path: &[&str]| {
        let text = text_at(object, path).filter(|text| !text.is_empty());
        text.ok_or_else(|| format!("{} is missing or not a string", path.join(".")))
    };
    let api_version = required(&["apiVersion"])?;
    let kind = required(&["kind"])?;
    // The name of a hook may be made anew for each run.
    let name = required(&["metadata", "name"]).or_else(|missing| {
        let generate_name = text_at(object, &["metadata", "generateName"]).filter(|text| !text.is_empty());
        generate_name.ok_or(missing)
    })?;
    for (field, path) in [("labels", "metadata.labels"), ("annotations", "metadata.annotations")] {
        let bad =
            object["metadata"][field].as_object().and_then(|map| map.iter().find(|(_, value)| !value.is_string()));
        if let Some((key, _)) = bad {
            return Err(format!("{path}: the value of {key} is not a string; quote it"));
        }
    }
    Ok(ObjectId {
        group_kind: GroupKind::new(group_of(api_version), kind),
        namespace: text_at(object, &["metadata", "namespace"]).filter(|text| !text.is_empty()).map(str::to_owned),
        name: name.to_owned(),
    })
}

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
        (Manifests { items, by_id, stage: PhantomData }, errors)
    }
}

impl Manifests<Stamped> {
    /// Takes out the manifests that are not to be kept.
    pub fn retain(&mut self, keep: impl FnMut(&Manifest) -> bool) {
        self.items.retain(keep);
        let positions = self.items.iter().enumerate();
        self.by_id = positions.map(|(index, manifest)| (manifest.id.clone(), index)).collect();
    }

    /// The manifests, to say how they are handled.
    pub fn items_mut(&mut self) -> &mut [Manifest] {
        &mut self.items
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

fn unknown_kind(origin: &Origin, id: &ObjectId, api_version: String, resources: &Resources) -> ManifestError {
    let versions = resources.versions(&id.group_kind);
    let hint = if !versions.is_empty() {
        format!("; it serves {}", versions.join(", "))
    } else if resources.stale_groups.contains(&id.group_kind.group) {
        format!("; discovery of the group {} fails, see its APIService", id.group_kind.group)
    } else {
        "; its CustomResourceDefinition is missing".to_owned()
    };
    ManifestError::UnknownKind { origin: origin.clone(), api_version, kind: id.group_kind.kind.clone(), hint }
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

impl Manifest {
    /// The digest that was stamped.
    pub fn digest(&self) -> &str {
        annotation(&self.object, ANNOTATION_DIGEST).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::resource::Resource;
    use crate::sensitive::Sensitive;

    fn stamped(object: Value) -> Result<Value, String> {
        let mut resources = Resources::default();
        let (version, plural) = ("v1".to_owned(), "secrets".to_owned());
        let group_kind = GroupKind::new("", "Secret");
        resources.insert(Resource { group_kind, version, plural, namespaced: true, watchable: true });
        let origin = Origin { source: "a.yaml".into(), document: 1 };
        let (read, errors) = Manifests::read([(origin, object)]);
        assert_eq!(errors, []);
        let stamp = Stamp {
            installation: &Installation::parse("gitmoor").unwrap(),
            application: &ApplicationKey { namespace: "gitmoor".into(), name: "web".into() },
            namespace: Some("web"),
            resources: &resources,
            digester: &Digester::new(Sensitive::new(vec![0; 16])),
        };
        let (stamped, errors) = read.stamp(&stamp);
        errors.first().map_or_else(|| Ok(stamped.items()[0].object["data"].clone()), |error| Err(error.to_string()))
    }

    #[test]
    fn string_data_becomes_data_and_what_is_no_string_is_refused_without_its_value() {
        let secret = |strings: Value| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}, "data": {"b": "Mg=="}, "stringData": strings});
        assert_eq!(stamped(secret(json!({"a": "1"}))), Ok(json!({"a": "MQ==", "b": "Mg=="})));
        let error = stamped(secret(json!({"pin": 4711}))).unwrap_err();
        assert_eq!(error, "a.yaml, document 1: stringData: the value of pin is not a string; quote it");
    }
}
