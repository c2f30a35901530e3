//! `spec.ignoreDifferences`: which fields of which objects belong to others.
//!
//! Drift is a field of ours that somebody else took ([`crate::ownership`]); so a rule only has to say which lost fields
//! are none. Matching is Argo CD's (`util/argo/normalizers/diff_normalizer.go`): globs for group and kind, equality or
//! nothing for name and namespace, and every rule that fits counts.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::glob;
use crate::object::ObjectId;
use crate::ownership::{Entry, item_fields, merge_keys};

/// One rule of `spec.ignoreDifferences`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct IgnoreRule {
    /// Glob for the API group; empty for the core group alone.
    pub group: String,
    /// Glob for the kind.
    pub kind: String,
    /// Name, any when empty.
    pub name: String,
    /// Namespace, any when empty.
    pub namespace: String,
    /// JSON pointers (RFC 6901).
    pub json_pointers: Vec<String>,
    /// jq path expressions.
    pub jq_path_expressions: Vec<String>,
    /// Field managers whose fields are theirs.
    pub managed_fields_managers: Vec<String>,
}

impl IgnoreRule {
    /// True for an object that the rule is about.
    pub fn fits(&self, id: &ObjectId) -> bool {
        let is = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        glob::matches(&self.group, &id.group_kind.group, None)
            && glob::matches(&self.kind, &id.group_kind.kind, None)
            && is(&self.name, &id.name)
            && is(&self.namespace, id.namespace.as_deref().unwrap_or_default())
    }

    /// The first pointer that is none.
    pub fn malformed_pointer(&self) -> Option<&str> {
        self.json_pointers.iter().map(String::as_str).find(|pointer| !pointer.starts_with('/'))
    }
}

/// The rules about an object.
pub fn rules_for<'a>(rules: &'a [IgnoreRule], id: &'a ObjectId) -> impl Iterator<Item = &'a IgnoreRule> {
    rules.iter().filter(move |rule| rule.fits(id))
}

/// A step from a value into what it holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Part {
    /// Into an item of a list.
    Index(usize),
    /// Into a field.
    Key(String),
}

/// Where a field stands in an object.
pub type ValuePath = Vec<Part>;

/// What is ignored of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignored {
    /// Fields of the manifest, the last one of a list first.
    paths: Vec<ValuePath>,
    /// Managers whose fields are theirs.
    pub managers: Vec<String>,
}

impl Ignored {
    /// What the rules say of an object, `found` being the paths that their jq expressions gave. `None`: nothing.
    pub fn of(manifest: &Value, rules: &[&IgnoreRule], found: Vec<ValuePath>) -> Option<Self> {
        let pointers = rules.iter().flat_map(|rule| &rule.json_pointers);
        let mut paths: Vec<ValuePath> = pointers.filter_map(|pointer| parts(manifest, pointer)).chain(found).collect();
        paths.retain(|path| !path.is_empty());
        paths.sort_unstable_by(|one, other| other.cmp(one));
        paths.dedup();
        let mut managers: Vec<String> = rules.iter().flat_map(|rule| &rule.managed_fields_managers).cloned().collect();
        managers.sort_unstable();
        managers.dedup();
        (!(paths.is_empty() && managers.is_empty())).then_some(Self { paths, managers })
    }

    /// The manifest without what is ignored; `live` is looked at for the fields of the ignored managers.
    pub fn compared(&self, manifest: &Value, live: Option<&Value>) -> Value {
        let mut compared = manifest.clone();
        for path in &self.paths {
            replace(&mut compared, path, None);
        }
        live.map_or(compared.clone(), |live| self.without_managers(compared, live))
    }

    /// What to apply where `RespectIgnoreDifferences` is set and the object exists.
    ///
    /// A field that somebody else owns is left out. One that only we own keeps its live value: left out, the API server
    /// would reset it.
    pub fn respected(&self, manifest: &Value, live: &Value) -> Value {
        let entry = Entry::of(live);
        let mut body = manifest.clone();
        for path in &self.paths {
            let kept = entry.as_ref().and_then(|entry| kept(manifest, path, live, &entry.fields));
            replace(&mut body, path, kept);
        }
        self.without_managers(body, live)
    }

    fn without_managers(&self, manifest: Value, live: &Value) -> Value {
        let entries = live["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default();
        let theirs = entries
            .iter()
            .filter(|entry| entry["manager"].as_str().is_some_and(|name| self.managers.iter().any(|m| m == name)));
        theirs.fold(manifest, |manifest, entry| minus(&manifest, &entry["fieldsV1"], &[]).unwrap_or_default())
    }
}

/// The parts of a JSON pointer, as the manifest has lists and maps.
fn parts(manifest: &Value, pointer: &str) -> Option<ValuePath> {
    let mut at = manifest;
    let mut path = Vec::new();
    for part in pointer.strip_prefix('/')?.split('/') {
        let part = part.replace("~1", "/").replace("~0", "~");
        let (part, below) = match at {
            Value::Array(items) => {
                let index = part.parse().ok()?;
                (Part::Index(index), items.get(index)?)
            }
            _ => (Part::Key(part.clone()), at.get(&part)?),
        };
        at = below;
        path.push(part);
    }
    Some(path)
}

/// Puts another value at a path, or nothing. A map that loses its last field goes too.
fn replace(value: &mut Value, path: &[Part], with: Option<Value>) {
    let Some((part, rest)) = path.split_first() else { return };
    match (value, part) {
        (Value::Object(map), Part::Key(key)) => {
            let Some(below) = map.get_mut(key) else { return };
            match with {
                Some(with) if rest.is_empty() => *below = with,
                None if rest.is_empty() => drop(map.remove(key)),
                with => {
                    replace(below, rest, with);
                    if is_hollow(below) {
                        map.remove(key);
                    }
                }
            }
        }
        (Value::Array(items), Part::Index(index)) => {
            let Some(below) = items.get_mut(*index) else { return };
            match with {
                Some(with) if rest.is_empty() => *below = with,
                None if rest.is_empty() => drop(items.remove(*index)),
                with => replace(below, rest, with),
            }
        }
        _ => {}
    }
}

fn is_hollow(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

/// The live value at a path of the manifest, as far as we own it; `None` when we do not.
fn kept(manifest: &Value, path: &[Part], live: &Value, fields: &Value) -> Option<Value> {
    let Some((part, rest)) = path.split_first() else { return owned(live, fields) };
    let leaf = fields.as_object().is_some_and(Map::is_empty);
    let (manifest, live, below) = match part {
        Part::Key(key) => (manifest.get(key)?, live.get(key)?, fields.get(format!("f:{key}"))),
        Part::Index(index) => {
            let item = manifest.get(*index)?;
            let keys = fields.as_object().and_then(|fields| item_fields(fields, item, *index));
            (item, live_item(live, item, *index, fields)?, keys.map(|(_, below)| below))
        }
    };
    // A leaf of ours is ours as a whole.
    kept(manifest, rest, live, if leaf { fields } else { below? })
}

/// The item of a live list that an item of the manifest stands for.
fn live_item<'a>(live: &'a Value, item: &Value, index: usize, fields: &Value) -> Option<&'a Value> {
    let keys = fields.as_object().and_then(|fields| item_fields(fields, item, index)).map(|(key, _)| merge_keys(key));
    match keys {
        Some(Some(keys)) => {
            live.as_array()?.iter().find(|live| keys.iter().all(|(key, value)| live.get(key) == Some(value)))
        }
        _ => live.get(index),
    }
}

/// The part of a live value that an entry owns.
fn owned(live: &Value, fields: &Value) -> Option<Value> {
    let tree = fields.as_object()?;
    if tree.is_empty() {
        return Some(live.clone());
    }
    match live {
        Value::Object(map) => {
            let ours = map
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), owned(value, tree.get(&format!("f:{key}"))?)?)));
            Some(Value::Object(ours.collect()))
        }
        Value::Array(items) => {
            let ours = items.iter().enumerate().filter_map(|(index, item)| {
                let (_, below) = item_fields(tree, item, index)?;
                owned(item, below)
            });
            Some(Value::Array(ours.collect()))
        }
        scalar => Some(scalar.clone()),
    }
}

/// A manifest without the fields of an entry; `protected` are the keys of the list item that it is.
fn minus(value: &Value, fields: &Value, protected: &[String]) -> Option<Value> {
    let Some(tree) = fields.as_object() else { return Some(value.clone()) };
    if tree.is_empty() {
        return None;
    }
    match value {
        Value::Object(map) => {
            let rest: Map<String, Value> = map
                .iter()
                .filter_map(|(key, item)| {
                    let below = tree.get(&format!("f:{key}")).filter(|_| !protected.contains(key));
                    Some((key.clone(), below.map_or_else(|| Some(item.clone()), |below| minus(item, below, &[]))?))
                })
                .collect();
            (!rest.is_empty() || map.is_empty()).then_some(Value::Object(rest))
        }
        Value::Array(items) => {
            let rest = items.iter().enumerate().filter_map(|(index, item)| match item_fields(tree, item, index) {
                Some((key, below)) => {
                    let keys = merge_keys(key).map(|keys| keys.keys().cloned().collect::<Vec<_>>());
                    minus(item, below, &keys.unwrap_or_default())
                }
                None => Some(item.clone()),
            });
            Some(Value::Array(rest.collect()))
        }
        scalar => Some(scalar.clone()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::object::GroupKind;

    fn rule(value: Value) -> IgnoreRule {
        serde_json::from_value(value).unwrap()
    }

    fn id(group: &str, kind: &str) -> ObjectId {
        ObjectId { group_kind: GroupKind::new(group, kind), namespace: Some("web".into()), name: "a".into() }
    }

    fn deployment() -> Value {
        json!({"spec": {"replicas": 2, "template": {"spec": {"containers": [
            {"name": "web", "image": "web:1"}, {"name": "proxy", "image": "proxy:1"},
        ]}}}})
    }

    fn live(ours: Value, theirs: Value) -> Value {
        json!({
            "metadata": {"managedFields": [
                {"manager": "gitmoor", "operation": "Apply", "apiVersion": "apps/v1", "fieldsV1": ours},
                {"manager": "other", "operation": "Update", "apiVersion": "apps/v1", "fieldsV1": theirs},
            ]},
            "spec": {"replicas": 7, "template": {"spec": {"containers": [
                {"name": "injected", "image": "injected:1"}, {"name": "web", "image": "web:9"}, {"name": "proxy", "image": "proxy:9"},
            ]}}},
        })
    }

    #[test]
    fn rules_fit_by_globs_for_group_and_kind_and_by_equality_for_the_rest() {
        for (wanted, fits) in [
            (json!({"group": "apps", "kind": "Deployment"}), true),
            (json!({"group": "*", "kind": "*"}), true),
            (json!({"group": "app*", "kind": "Dep*"}), true),
            (json!({"kind": "Deployment"}), false),
            (json!({"group": "apps", "kind": "Deployment", "name": "a", "namespace": "web"}), true),
            (json!({"group": "apps", "kind": "Deployment", "name": "b"}), false),
            (json!({"group": "apps", "kind": "Deployment", "name": "*"}), false),
            (json!({"group": "apps", "kind": "Deployment", "namespace": "other"}), false),
        ] {
            assert_eq!(rule(wanted.clone()).fits(&id("apps", "Deployment")), fits, "{wanted}");
        }
    }

    #[test]
    fn pointers_name_fields_and_items_of_the_manifest() {
        let rule = rule(json!({"group": "apps", "kind": "Deployment", "jsonPointers": [
            "/spec/replicas", "/spec/template/spec/containers/0", "/spec/template/spec/containers/1/image", "/not/there",
        ]}));
        assert_eq!(rule.malformed_pointer(), None);
        let ignored = Ignored::of(&deployment(), &[&rule], Vec::new()).unwrap();
        let rest = json!({"spec": {"template": {"spec": {"containers": [{"name": "proxy"}]}}}});
        assert_eq!(ignored.compared(&deployment(), None), rest);
        let nothing = self::rule(json!({"kind": "*", "jsonPointers": ["/not/there"]}));
        assert_eq!(Ignored::of(&deployment(), &[&nothing], Vec::new()), None);
    }

    #[test]
    fn a_map_without_fields_that_are_compared_is_none() {
        let rule = rule(json!({"kind": "ConfigMap", "jsonPointers": ["/data/a~1b"]}));
        let map = json!({"kind": "ConfigMap", "data": {"a/b": "1"}});
        let ignored = Ignored::of(&map, &[&rule], Vec::new()).unwrap();
        assert_eq!(ignored.compared(&map, None), json!({"kind": "ConfigMap"}));
    }

    #[test]
    fn the_fields_of_trusted_managers_are_theirs_but_for_the_keys_of_lists() {
        let theirs = json!({"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:image": {}},
        }}}}});
        let rule = rule(json!({"kind": "*", "managedFieldsManagers": ["other"]}));
        let ignored = Ignored::of(&deployment(), &[&rule], Vec::new()).unwrap();
        let rest = json!({"spec": {"template": {"spec": {"containers": [
            {"name": "web"}, {"name": "proxy", "image": "proxy:1"},
        ]}}}});
        assert_eq!(ignored.compared(&deployment(), Some(&live(json!({}), theirs.clone()))), rest);
        assert_eq!(ignored.respected(&deployment(), &live(json!({}), theirs)), rest);
    }

    #[test]
    fn what_is_respected_is_left_to_its_owner_and_keeps_its_value_when_that_is_us() {
        let rule = rule(json!({"kind": "*", "jsonPointers": [
            "/spec/replicas", "/spec/template/spec/containers/0/image", "/spec/template/spec/containers/1/image",
        ]}));
        let ignored = Ignored::of(&deployment(), &[&rule], Vec::new()).unwrap();
        let ours = json!({"f:spec": {"f:replicas": {}, "f:template": {"f:spec": {"f:containers": {
            "k:{\"name\":\"web\"}": {".": {}, "f:name": {}, "f:image": {}},
            "k:{\"name\":\"proxy\"}": {".": {}, "f:name": {}},
        }}}}});
        let body = ignored.respected(&deployment(), &live(ours, json!({})));
        let expected = json!({"spec": {"replicas": 7, "template": {"spec": {"containers": [
            {"name": "web", "image": "web:9"}, {"name": "proxy"},
        ]}}}});
        assert_eq!(body, expected);
    }
}
