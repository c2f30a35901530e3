//! Manifests: from documents of the repository to objects that can be applied.
//!
//! A manifest is read (`Rendered`), then bound to what the cluster serves and stamped with label, tracking id and
//! digest (`Stamped`). Only stamped manifests can be planned and applied.

mod stamp;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::marker::PhantomData;

use serde_json::Value;

use crate::closure::RemoteReference;
use crate::handling::Handling;
use crate::lock::{self, Lock};
use crate::names::{ANNOTATION_DIGEST, APPLICATION_GROUP, APPLICATION_KIND};
use crate::object::{GroupKind, ObjectId, annotation, group_of, text_at};

pub use stamp::Stamp;

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
    /// A kind that is not served yet: its definition is among the manifests.
    #[error("{origin}: {api_version} {kind} waits for its CustomResourceDefinition, which comes with it")]
    AwaitedKind {
        /// Where it stands.
        origin: Origin,
        /// As written.
        api_version: String,
        /// As written.
        kind: String,
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
    #[error("{origin}: {id} still has {placeholders}; put the value into setup.conf, and run gitmoor init setup.conf")]
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

impl Manifest {
    /// The digest that was stamped.
    pub fn digest(&self) -> &str {
        annotation(&self.object, ANNOTATION_DIGEST).unwrap_or_default()
    }
}
