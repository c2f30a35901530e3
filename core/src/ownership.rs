//! Field ownership: what `metadata.managedFields` says of our last apply.
//!
//! Format: Kubernetes' structured-merge-diff `FieldsV1`: a tree with keys `f:NAME` (field), `k:{…}` (list item by
//! its keys), `v:VALUE` (set item), `i:INDEX`, and `.` for the item itself; `{}` is a leaf.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::names::FIELD_MANAGER;

/// Our `Apply` entry of an object: its version and its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// API version that the fields are written in.
    pub api_version: String,
    /// The `fieldsV1` tree.
    pub fields: Value,
}

/// Hash of an entry, without its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EntryHash([u8; 16]);

impl Entry {
    /// Our entry among an object's managed fields; `None` when we never applied it or lost every field.
    pub fn of(object: &Value) -> Option<Self> {
        Self::of_manager(object, FIELD_MANAGER)
    }

    /// The `Apply` entry of another field manager of ours.
    pub fn of_manager(object: &Value, manager: &str) -> Option<Self> {
        let entries = object.get("metadata")?.get("managedFields")?.as_array()?;
        let ours = entries.iter().find(|entry| {
            entry["manager"] == manager && entry["operation"] == "Apply" && entry.get("subresource").is_none()
        })?;
        Some(Self { api_version: ours["apiVersion"].as_str()?.to_owned(), fields: ours.get("fieldsV1")?.clone() })
    }

    /// Hash of version and fields.
    pub fn hash(&self) -> EntryHash {
        let mut hasher = Sha256::new();
        hasher.update(&self.api_version);
        hasher.update([0]);
        hasher.update(self.fields.to_string());
        let mut short = [0; 16];
        short.copy_from_slice(&hasher.finalize()[..16]);
        EntryHash(short)
    }

    /// The first leaf of the desired object that this entry does not own; `None` when it owns all.
    pub fn first_missing(&self, desired: &Value) -> Option<FieldPath> {
        if desired["apiVersion"] != self.api_version.as_str() {
            return Some(FieldPath(vec!["apiVersion".to_owned()]));
        }
        let found = desired.as_object()?.iter().filter(|(key, _)| !matches!(key.as_str(), "apiVersion" | "kind"));
        let mut path = found.into_iter().find_map(|(key, value)| {
            let child = self.fields.get(format!("f:{key}"));
            let below = if key == "metadata" { missing_in_metadata(child, value) } else { missing(child, value) };
            below.map(|path| with(path, key))
        })?;
        path.reverse();
        Some(FieldPath(path))
    }
}

/// Where a field stands in an object: names, and `[i]` for items of lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath(Vec<String>);

impl FieldPath {
    /// Every field of an object.
    pub fn everything() -> Self {
        Self(Vec::new())
    }

    /// A path of names and `[i]`.
    pub(crate) fn of(parts: Vec<String>) -> Self {
        Self(parts)
    }

    /// The managers other than us whose entries hold the field, or the list that it is in.
    pub fn managers(&self, object: &Value) -> Vec<String> {
        let entries = object["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
        let others = entries.iter().filter(|entry| entry["manager"] != FIELD_MANAGER);
        let mut managers: Vec<String> = others
            .filter(|entry| self.is_held(&entry["fieldsV1"]))
            .filter_map(|entry| entry["manager"].as_str())
            .map(str::to_owned)
            .collect();
        managers.sort_unstable();
        managers.dedup();
        managers
    }

    fn is_held(&self, fields: &Value) -> bool {
        let names = self.0.iter().take_while(|part| !part.starts_with('['));
        names.into_iter().try_fold(fields, |at, name| at.get(format!("f:{name}"))).is_some()
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("every field");
        }
        for (index, part) in self.0.iter().enumerate() {
            let separator = if index == 0 || part.starts_with('[') { "" } else { "." };
            write!(f, "{separator}{part}")?;
        }
        Ok(())
    }
}

fn with(mut path: Vec<String>, part: &str) -> Vec<String> {
    path.push(part.to_owned());
    path
}

/// The API server owns name and namespace itself.
fn missing_in_metadata(fields: Option<&Value>, metadata: &Value) -> Option<Vec<String>> {
    let ours = metadata.as_object()?.iter().filter(|(key, _)| !matches!(key.as_str(), "name" | "namespace"));
    ours.into_iter().find_map(|(key, value)| {
        let child = fields.and_then(|fields| fields.get(format!("f:{key}")));
        missing(child, value).map(|path| with(path, key))
    })
}

/// The path below `value`, innermost part first.
fn missing(fields: Option<&Value>, value: &Value) -> Option<Vec<String>> {
    if value.is_null() {
        return None;
    }
    let Some(fields) = fields.and_then(Value::as_object) else {
        // An empty map or list may be dropped on the way in.
        let empty = value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty);
        return (!empty).then(Vec::new);
    };
    if fields.is_empty() {
        return None;
    }
    match value {
        Value::Object(map) => map
            .iter()
            .find_map(|(key, item)| missing(fields.get(&format!("f:{key}")), item).map(|path| with(path, key))),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| {
            let below = item_fields(fields, item, index).map(|(_, below)| below);
            missing(below, item).map(|path| with(path, &format!("[{index}]")))
        }),
        _ => None,
    }
}

/// Key and subtree of a list item: by value, by its keys (a key that the item leaves to its default fits any), or by
/// index.
pub(crate) fn item_fields<'a>(
    fields: &'a Map<String, Value>,
    item: &Value,
    index: usize,
) -> Option<(&'a str, &'a Value)> {
    fields
        .get_key_value(&format!("v:{item}"))
        .or_else(|| fields.get_key_value(&format!("i:{index}")))
        .or_else(|| fields.iter().find(|(key, _)| fits_keys(key, item)))
        .map(|(key, below)| (key.as_str(), below))
}

/// The fields and values that tell an item of a list from the others, out of the key of its subtree.
pub(crate) fn merge_keys(key: &str) -> Option<Map<String, Value>> {
    key.strip_prefix("k:").and_then(|json| serde_json::from_str(json).ok())
}

fn fits_keys(key: &str, item: &Value) -> bool {
    let Some(keys) = merge_keys(key) else { return false };
    keys.iter().any(|(name, value)| item.get(name) == Some(value))
        && keys.iter().all(|(name, value)| item.get(name).is_none_or(|own| own == value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn live(fields: Value) -> Value {
        json!({"metadata": {"managedFields": [
            {"manager": "gitmoor", "operation": "Update", "apiVersion": "apps/v1", "fieldsV1": {"f:x": {}}},
            {"manager": "gitmoor", "operation": "Apply", "apiVersion": "apps/v1", "subresource": "status", "fieldsV1": {"f:y": {}}},
            {"manager": "gitmoor", "operation": "Apply", "apiVersion": "apps/v1", "time": "2026-01-01T00:00:00Z", "fieldsV1": fields},
        ]}})
    }

    fn deployment() -> Value {
        json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": {"name": "web", "namespace": "web", "labels": {"app": "web"}, "finalizers": ["a/b"]},
            "spec": {"replicas": 2, "template": {"spec": {"containers": [
                {"name": "web", "image": "web:1", "ports": [{"containerPort": 80}], "command": ["run", "it"]}
            ]}}},
        })
    }

    fn fields() -> Value {
        json!({
            "f:metadata": {"f:labels": {"f:app": {}}, "f:finalizers": {"v:\"a/b\"": {}}},
            "f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {
                "k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:image": {}, "f:command": {},
                    "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}}}
            }}}},
        })
    }

    #[test]
    fn an_entry_covers_what_was_applied() {
        let entry = Entry::of(&live(fields())).unwrap();
        assert_eq!(entry.first_missing(&deployment()), None);
    }

    #[test]
    fn a_lost_field_is_named() {
        for (lost, path) in [
            ("/f:spec/f:replicas", "spec.replicas"),
            ("/f:metadata/f:labels/f:app", "metadata.labels.app"),
            ("/f:metadata/f:finalizers/v:\"a~1b\"", "metadata.finalizers[0]"),
            (
                "/f:spec/f:template/f:spec/f:containers/k:{\"name\":\"web\"}/f:image",
                "spec.template.spec.containers[0].image",
            ),
            ("/f:spec/f:template/f:spec/f:containers/k:{\"name\":\"web\"}", "spec.template.spec.containers[0]"),
        ] {
            let mut fields = fields();
            let (parent, leaf) = lost.rsplit_once('/').unwrap();
            let leaf = leaf.replace("~1", "/");
            fields.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(&leaf).unwrap();
            // A sibling keeps the parent from becoming a leaf.
            fields.pointer_mut(parent).unwrap()["."] = json!({});
            let entry = Entry::of(&live(fields)).unwrap();
            assert_eq!(entry.first_missing(&deployment()).unwrap().to_string(), path);
        }
    }

    #[test]
    fn the_hash_ignores_time_and_sees_fields() {
        let mut later = live(fields());
        later["metadata"]["managedFields"][2]["time"] = json!("2026-02-01T00:00:00Z");
        assert_eq!(Entry::of(&live(fields())).unwrap().hash(), Entry::of(&later).unwrap().hash());
        assert_ne!(Entry::of(&live(fields())).unwrap().hash(), Entry::of(&live(json!({"f:spec": {}}))).unwrap().hash());
        assert_eq!(Entry::of(&json!({"metadata": {}})), None);
    }

    #[test]
    fn another_version_is_not_covered() {
        let mut desired = deployment();
        desired["apiVersion"] = json!("apps/v2");
        assert_eq!(Entry::of(&live(fields())).unwrap().first_missing(&desired).unwrap().to_string(), "apiVersion");
    }

    #[test]
    fn the_manager_that_took_a_field_is_named() {
        let mut object = live(fields());
        let others = [
            json!({"manager": "kubectl-scale", "operation": "Update", "fieldsV1": {"f:spec": {"f:replicas": {}}}}),
            json!({"manager": "other", "operation": "Apply", "fieldsV1": {"f:data": {}}}),
        ];
        object["metadata"]["managedFields"].as_array_mut().unwrap().extend(others);
        let path = FieldPath(vec!["spec".into(), "replicas".into()]);
        assert_eq!(path.managers(&object), ["kubectl-scale"]);
        assert_eq!(
            FieldPath(vec!["spec".into(), "replicas".into(), "[0]".into()]).managers(&object),
            ["kubectl-scale"]
        );
        assert_eq!(FieldPath::everything().managers(&object), ["kubectl-scale", "other"]);
    }
}
