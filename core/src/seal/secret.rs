//! A Secret as it is read and written: values decoded, and held so that they cannot be printed.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use zeroize::{Zeroize as _, Zeroizing};

use super::{Scope, SealError};
use crate::sensitive::Sensitive;

/// What only the API server writes, or what belongs to one cluster. `managedFields` names fields of the data.
const NOT_OF_THE_REPOSITORY: [&str; 10] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
    "uid",
];
/// Annotations with a copy of the whole Secret, in clear.
const COPIES: [&str; 2] =
    ["kubectl.kubernetes.io/last-applied-configuration", "kubecfg.ksonnet.io/last-applied-configuration"];
/// Longest name of a value (Kubernetes: `IsConfigMapKey`).
const LONGEST_NAME: usize = 253;

/// A Secret whose values are in clear.
#[derive(Debug)]
pub struct Secret {
    /// Labels, annotations and the like, without what only a server writes.
    pub(super) metadata: Map<String, Value>,
    /// The field `type`.
    pub(super) kind_of_data: Option<String>,
    pub(super) immutable: Option<bool>,
    /// The values, decoded.
    pub(super) data: BTreeMap<String, Sensitive<Vec<u8>>>,
}

impl Secret {
    /// Reads one; `stringData` wins over `data`, as in the API. Whatever `object` holds is wiped afterwards.
    pub fn read(mut object: Value) -> Result<Self, SealError> {
        let secret = read(&mut object);
        scrub(object);
        secret
    }

    /// `metadata.name`; empty when there is none.
    pub fn name(&self) -> &str {
        text(&self.metadata, "name")
    }

    /// `metadata.namespace`; empty when there is none.
    pub fn namespace(&self) -> &str {
        text(&self.metadata, "namespace")
    }

    /// How many values it has.
    pub fn len(&self) -> usize {
        self.data.len()
    }

    /// Whether it has no value.
    pub fn is_empty(&self) -> bool {
        self.data.is_empty()
    }

    /// The scope that its annotations ask for.
    pub fn scope(&self) -> Scope {
        self.metadata.get("annotations").and_then(Value::as_object).map(Scope::of).unwrap_or_default()
    }

    /// Makes its annotations ask for a scope.
    pub fn set_scope(&mut self, scope: Scope) {
        scope.annotate(map_in(&mut self.metadata, "annotations"));
        if self.metadata.get("annotations").and_then(Value::as_object).is_some_and(Map::is_empty) {
            self.metadata.remove("annotations");
        }
    }

    /// Gives it another name.
    pub fn rename(&mut self, name: &str) {
        self.metadata.insert("name".to_owned(), Value::from(name));
    }

    /// Puts it into a namespace, unless it is in another one.
    pub fn place(&mut self, namespace: &str) -> Result<(), SealError> {
        match self.namespace() {
            "" => {
                self.metadata.insert("namespace".to_owned(), Value::from(namespace));
                Ok(())
            }
            own if own == namespace => Ok(()),
            own => Err(SealError::Namespace { own: own.to_owned(), asked: namespace.to_owned() }),
        }
    }

    /// As a manifest, with the values in base64: they are as good as in clear, so [`scrub`] it after use.
    pub fn to_value(&self) -> Value {
        let encoded =
            self.data.iter().map(|(name, value)| (name.clone(), Value::from(STANDARD.encode(value.expose()))));
        let mut object = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": self.metadata });
        object["data"] = Value::Object(encoded.collect());
        if let Some(secret_type) = &self.kind_of_data {
            object["type"] = Value::from(secret_type.as_str());
        }
        if let Some(immutable) = self.immutable {
            object["immutable"] = Value::from(immutable);
        }
        object
    }

    /// Takes a value, for keys and certificates that come in Secrets.
    pub fn value(&self, name: &str) -> Option<&[u8]> {
        self.data.get(name).map(|value| value.expose().as_slice())
    }
}

/// Wipes every string of a value.
pub fn scrub(value: Value) {
    match value {
        Value::String(mut text) => text.zeroize(),
        Value::Array(items) => items.into_iter().for_each(scrub),
        Value::Object(map) => map.into_iter().for_each(|(_, value)| scrub(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn read(object: &mut Value) -> Result<Secret, SealError> {
    let kind = kind_of(object);
    let Some(map) = object.as_object_mut().filter(|_| kind == "v1 Secret") else {
        return Err(SealError::Kind { expected: "Secret", found: kind });
    };
    let known = ["apiVersion", "kind", "metadata", "type", "immutable", "data", "stringData"];
    if let Some(field) = map.keys().find(|field| !known.contains(&field.as_str())) {
        return Err(SealError::field(field, "is no field of a Secret; remove it, it would be lost"));
    }
    let mut data = BTreeMap::new();
    read_values(map, "data", &mut data, decode)?;
    read_values(map, "stringData", &mut data, |text| Some(Sensitive::new(text.as_bytes().to_vec())))?;
    let secret_type = match map.remove("type") {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text).filter(|text| !text.is_empty()),
        Some(_) => return Err(SealError::field("type", "is not a string")),
    };
    let immutable = match map.remove("immutable") {
        None | Some(Value::Null) => None,
        Some(Value::Bool(immutable)) => Some(immutable),
        Some(_) => return Err(SealError::field("immutable", "is not true or false")),
    };
    let metadata = read_metadata(map.remove("metadata"), "metadata")?;
    Ok(Secret { metadata, kind_of_data: secret_type, immutable, data })
}

/// `apiVersion` and kind, or what it is instead.
pub(super) fn kind_of(object: &Value) -> String {
    let Value::Object(map) = object else { return "no mapping".to_owned() };
    match (map.get("apiVersion").and_then(Value::as_str), map.get("kind").and_then(Value::as_str)) {
        (Some(version), Some(kind)) => format!("{version} {kind}"),
        _ => "apiVersion or kind is missing".to_owned(),
    }
}

fn read_values(
    map: &mut Map<String, Value>,
    field: &'static str,
    data: &mut BTreeMap<String, Sensitive<Vec<u8>>>,
    decode: impl Fn(&str) -> Option<Sensitive<Vec<u8>>>,
) -> Result<(), SealError> {
    let values = match map.get_mut(field) {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Object(values)) => values,
        Some(_) => return Err(SealError::field(field, "is not a mapping")),
    };
    for (name, value) in values {
        let path = || format!("{field}.{name}");
        if !is_name(name) {
            return Err(SealError::field(path(), "may have letters, digits, `-`, `_` and `.` only, 253 at most"));
        }
        let text = match value {
            Value::Null => "",
            Value::String(text) => text,
            _ => return Err(SealError::field(path(), "is not a string; quote it")),
        };
        let decoded =
            decode(text).ok_or_else(|| SealError::field(path(), "is not base64; plain text goes to stringData"))?;
        data.insert(name.clone(), decoded);
    }
    Ok(())
}

/// Whether Kubernetes takes it as the name of a value.
pub(super) fn is_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(allowed) && name != "." && !name.starts_with("..")
}

/// As Go decodes `[]byte` in JSON: line breaks are skipped.
fn decode(text: &str) -> Option<Sensitive<Vec<u8>>> {
    if !text.contains(['\n', '\r']) {
        return STANDARD.decode(text).ok().map(Sensitive::new);
    }
    let mut compact = Zeroizing::new(String::with_capacity(text.len()));
    compact.extend(text.chars().filter(|char| !matches!(char, '\n' | '\r')));
    STANDARD.decode(&*compact).ok().map(Sensitive::new)
}

pub(super) fn read_metadata(metadata: Option<Value>, path: &'static str) -> Result<Map<String, Value>, SealError> {
    let mut metadata = match metadata {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(map)) => map,
        Some(_) => return Err(SealError::field(path, "is not a mapping")),
    };
    for field in NOT_OF_THE_REPOSITORY {
        metadata.remove(field).into_iter().for_each(scrub);
    }
    metadata.retain(|_, value| !value.is_null());
    for field in ["name", "namespace"] {
        if metadata.get(field).is_some_and(|value| !value.is_string()) {
            return Err(SealError::field(format!("{path}.{field}"), "is not a string; quote it"));
        }
    }
    for field in ["labels", "annotations"] {
        let entries = match metadata.get(field) {
            None => continue,
            Some(Value::Object(entries)) => entries,
            Some(_) => return Err(SealError::field(format!("{path}.{field}"), "is not a mapping")),
        };
        if let Some((name, _)) = entries.iter().find(|(_, value)| !value.is_string()) {
            return Err(SealError::field(format!("{path}.{field}.{name}"), "is not a string; quote it"));
        }
    }
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        COPIES.into_iter().filter_map(|name| annotations.remove(name)).for_each(scrub);
        if annotations.is_empty() {
            metadata.remove("annotations");
        }
    }
    Ok(metadata)
}

pub(super) fn text<'m>(map: &'m Map<String, Value>, field: &str) -> &'m str {
    map.get(field).and_then(Value::as_str).unwrap_or_default()
}

/// The mapping in a field, made where it is missing or no mapping.
pub(super) fn map_in<'m>(map: &'m mut Map<String, Value>, field: &str) -> &'m mut Map<String, Value> {
    let value = map.entry(field).or_insert_with(|| Value::Object(Map::new()));
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made a mapping"),
    }
}
