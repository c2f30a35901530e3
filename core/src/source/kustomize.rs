//! `kustomize` of a source, written into the kustomization as `kustomize edit` would.
//!
//! Argo CD runs `kustomize edit` for each option. An overlay over the kustomization would not be the same: `namePrefix`
//! replaces the kustomization's own, and an image is matched by the name that stands in it.
//! Follows kustomize v5.8.1, `kustomize/commands/edit/{set,add}`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::Rest;
use crate::yaml;

/// The options as they are written; variables in them are replaced when a recipe is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KustomizeOptions {
    /// In place of the kustomization's own.
    pub name_prefix: String,
    /// In place of the kustomization's own.
    pub name_suffix: String,
    /// In place of the kustomization's own.
    pub namespace: String,
    /// `[NAME=]NEW_NAME[:TAG][@DIGEST]`; `*` keeps what stands in the kustomization.
    pub images: Vec<String>,
    /// Counts by name.
    pub replicas: Vec<Replica>,
    /// Labels on all objects, and in selectors.
    pub common_labels: BTreeMap<String, String>,
    /// They win over labels of the kustomization.
    pub force_common_labels: bool,
    /// Labels stay out of selectors.
    pub label_without_selector: bool,
    /// Labels go into templates; only without selectors.
    pub label_include_templates: bool,
    /// Annotations on all objects.
    pub common_annotations: BTreeMap<String, String>,
    /// They win over annotations of the kustomization.
    pub force_common_annotations: bool,
    /// Variables in annotations are replaced.
    pub common_annotations_envsubst: bool,
    /// Patches after those of the kustomization.
    pub patches: Vec<Patch>,
    /// Components after those of the kustomization.
    pub components: Vec<String>,
    /// Leave out components that are not there.
    pub ignore_missing_components: bool,
    /// Another kustomize than the agent's.
    pub version: String,
    /// For charts that kustomize inflates.
    pub kube_version: String,
    /// For charts that kustomize inflates.
    pub api_versions: Vec<String>,
    #[serde(flatten, skip_serializing)]
    pub(crate) rest: Rest,
}

/// An item of `replicas`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Replica {
    /// Name of the workload.
    pub name: String,
    /// A number, or a text that is one.
    pub count: Value,
}

/// An item of `patches`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Patch {
    /// A file, relative to the kustomization.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// The patch itself.
    #[serde(rename = "patch", skip_serializing_if = "String::is_empty")]
    pub inline: String,
    /// What it is applied to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Value>,
    /// `allowNameChange`, `allowKindChange`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, bool>,
}

impl KustomizeOptions {
    /// Nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self { rest: self.rest.clone(), ..Self::default() }
    }
}

/// The options do not fit the kustomization. None of the texts quotes content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is no mapping.
    #[error("it is no YAML mapping")]
    NotAMapping,
    /// A field has another type than kustomize wants.
    #[error("its field {0} has the wrong type")]
    Malformed(&'static str),
    /// An image that kustomize would refuse.
    #[error("kustomize.images: {0:?} names no tag, digest or other name")]
    Image(String),
    /// A label or annotation that is there already.
    #[error("kustomize.{field}: {key} stands in the kustomization already; set kustomize.{force} to replace it")]
    Present {
        /// The option.
        field: &'static str,
        /// Its key.
        key: String,
        /// The option that lets it win.
        force: &'static str,
    },
}

/// Writes the options into a kustomization; gives its new text, which is JSON. `components` are those that exist.
pub fn edit(text: &str, options: &KustomizeOptions, components: &[String]) -> Result<String, EditError> {
    let documents = yaml::read_documents(text, &yaml::Limits::default()).map_err(|_| EditError::NotAMapping)?;
    let mut kustomization = match documents.into_iter().next().map(|document| document.value) {
        Some(Value::Object(map)) => map,
        None => Map::new(),
        Some(_) => return Err(EditError::NotAMapping),
    };
    for (field, value) in
        [("namePrefix", &options.name_prefix), ("nameSuffix", &options.name_suffix), ("namespace", &options.namespace)]
    {
        if !value.is_empty() {
            kustomization.insert(field.to_owned(), json!(value));
        }
    }
    set_images(&mut kustomization, &options.images)?;
    set_replicas(&mut kustomization, &options.replicas)?;
    add_labels(&mut kustomization, options)?;
    let force = options.force_common_annotations;
    let annotations = mapping(&mut kustomization, "commonAnnotations", !options.common_annotations.is_empty())?;
    add(annotations, &options.common_annotations, force, "commonAnnotations", "forceCommonAnnotations")?;
    if !options.patches.is_empty() {
        let patches = options.patches.iter().filter_map(|patch| serde_json::to_value(patch).ok());
        list(&mut kustomization, "patches")?.extend(patches);
    }
    if !components.is_empty() {
        let present = list(&mut kustomization, "components")?;
        for component in components {
            if !present.iter().any(|one| one == component.as_str()) {
                present.push(json!(component));
            }
        }
    }
    Ok(Value::Object(kustomization).to_string())
}

fn list<'m>(map: &'m mut Map<String, Value>, field: &'static str) -> Result<&'m mut Vec<Value>, EditError> {
    let value = map.entry(field).or_insert_with(|| json!([]));
    if value.is_null() {
        *value = json!([]);
    }
    value.as_array_mut().ok_or(EditError::Malformed(field))
}

fn mapping<'m>(
    map: &'m mut Map<String, Value>,
    field: &'static str,
    wanted: bool,
) -> Result<Option<&'m mut Map<String, Value>>, EditError> {
    if !wanted {
        return Ok(None);
    }
    let value = map.entry(field).or_insert_with(|| json!({}));
    if value.is_null() {
        *value = json!({});
    }
    value.as_object_mut().map(Some).ok_or(EditError::Malformed(field))
}

fn add(
    map: Option<&mut Map<String, Value>>,
    pairs: &BTreeMap<String, String>,
    force: bool,
    field: &'static str,
    force_field: &'static str,
) -> Result<(), EditError> {
    let Some(map) = map else { return Ok(()) };
    for (key, value) in pairs {
        if map.contains_key(key) && !force {
            return Err(EditError::Present { field, key: key.clone(), force: force_field });
        }
        map.insert(key.clone(), json!(unquoted(value)));
    }
    Ok(())
}

/// `kustomize edit` takes one pair of quotes off.
fn unquoted(value: &str) -> &str {
    value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value)
}

fn add_labels(kustomization: &mut Map<String, Value>, options: &KustomizeOptions) -> Result<(), EditError> {
    let pairs = &options.common_labels;
    let (field, force) = ("commonLabels", "forceCommonLabels");
    if !options.label_without_selector || pairs.is_empty() {
        let labels = mapping(kustomization, field, !pairs.is_empty())?;
        return add(labels, pairs, options.force_common_labels, field, force);
    }
    let wanted = (false, options.label_include_templates);
    let labels = list(kustomization, "labels")?;
    let on = |label: &Value, key: &str| label[key].as_bool().unwrap_or_default();
    let settings = |label: &Value| (on(label, "includeSelectors"), on(label, "includeTemplates"));
    let at = labels.iter().position(|label| settings(label) == wanted).unwrap_or_else(|| {
        labels.push(json!({"pairs": {}, "includeSelectors": false, "includeTemplates": wanted.1}));
        labels.len() - 1
    });
    let label = labels[at].as_object_mut().ok_or(EditError::Malformed("labels"))?;
    let present = mapping(label, "pairs", true)?;
    add(present, pairs, options.force_common_labels, field, force)
}

/// The images of the kustomization and those of the options, by name; the options' win.
fn set_images(kustomization: &mut Map<String, Value>, images: &[String]) -> Result<(), EditError> {
    if images.is_empty() {
        return Ok(());
    }
    let mut by_name: BTreeMap<String, Image> = images
        .iter()
        .map(|text| Image::parse(text).map(|image| (image.name.clone(), image)))
        .collect::<Result<_, _>>()?;
    let present = list(kustomization, "images")?;
    for value in present.iter() {
        let old: Image = serde_json::from_value(value.clone()).map_err(|_| EditError::Malformed("images"))?;
        match by_name.get_mut(&old.name) {
            Some(new) => new.keep(&old),
            None => drop(by_name.insert(old.name.clone(), old)),
        }
    }
    *present = by_name
        .into_values()
        .filter_map(|mut image| {
            image.keep(&Image::default());
            serde_json::to_value(image).ok()
        })
        .collect();
    Ok(())
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Image {
    name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    new_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    new_tag: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    tag_suffix: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    digest: String,
}

impl Image {
    fn parse(text: &str) -> Result<Self, EditError> {
        let (key, value) = text.split_once('=').map_or((None, text), |(key, value)| (Some(key), value));
        let (name, new_tag, digest) = split_image(value);
        if name == text {
            return Err(EditError::Image(text.to_owned()));
        }
        let (name, new_name) = key.map_or((name, ""), |key| (key, name));
        Ok(Self {
            name: name.to_owned(),
            new_name: new_name.to_owned(),
            new_tag: new_tag.to_owned(),
            tag_suffix: String::new(),
            digest: digest.to_owned(),
        })
    }

    /// `*` stands for what was there.
    fn keep(&mut self, old: &Self) {
        for (new, old) in
            [(&mut self.new_name, &old.new_name), (&mut self.new_tag, &old.new_tag), (&mut self.digest, &old.digest)]
        {
            if new == "*" {
                new.clone_from(old);
            }
        }
    }
}

/// Name, tag and digest of `[[host[:port]/]component/]component[:tag][@digest]`; a colon before the first slash is a port.
fn split_image(text: &str) -> (&str, &str, &str) {
    let slash = text.find('/').unwrap_or_default();
    let find = |what: char| text[slash..].find(what).map(|at| at + slash);
    match (find('@'), find(':')) {
        (None, None) => (text, "", ""),
        (None, Some(colon)) => (&text[..colon], &text[colon + 1..], ""),
        (Some(at), Some(colon)) if colon < at => (&text[..colon], &text[colon + 1..at], &text[at + 1..]),
        (Some(at), _) => (&text[..at], "", &text[at + 1..]),
    }
}

fn set_replicas(kustomization: &mut Map<String, Value>, replicas: &[Replica]) -> Result<(), EditError> {
    if replicas.is_empty() {
        return Ok(());
    }
    let mut by_name = BTreeMap::new();
    for Replica { name, count } in replicas {
        let number = count.as_i64().or_else(|| count.as_str().and_then(|text| text.parse().ok()));
        let number = number.ok_or(EditError::Malformed("replicas"))?;
        by_name.insert(name.clone(), json!({"name": name, "count": number}));
    }
    let present = list(kustomization, "replicas")?;
    for value in present.iter() {
        let name = value["name"].as_str().ok_or(EditError::Malformed("replicas"))?;
        by_name.entry(name.to_owned()).or_insert_with(|| value.clone());
    }
    *present = by_name.into_values().collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edited(text: &str, options: Value) -> Result<Value, EditError> {
        let options: KustomizeOptions = serde_json::from_value(options).unwrap();
        edit(text, &options, &options.components).map(|text| serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn images_are_split_like_kustomize_does() {
        for (text, expected) in [
            ("nginx", ("nginx", "", "")),
            ("nginx:1", ("nginx", "1", "")),
            ("host:5000/nginx", ("host:5000/nginx", "", "")),
            ("host:5000/nginx:1@sha256:a", ("host:5000/nginx", "1", "sha256:a")),
            ("nginx@sha256:a", ("nginx", "", "sha256:a")),
        ] {
            assert_eq!(split_image(text), expected, "{text}");
        }
        assert_eq!(edited("{}", json!({"images": ["nginx"]})), Err(EditError::Image("nginx".into())));
    }

    #[test]
    fn options_replace_what_stands_there() {
        let text = "namePrefix: a-\nimages: [{name: app, newName: r/app, newTag: v1}, {name: db, newTag: v2}]\n";
        let options =
            json!({"namePrefix": "b-", "images": ["app=*:v3", "web=w"], "replicas": [{"name": "x", "count": "2"}]});
        let expected = json!({
            "namePrefix": "b-",
            "images": [
                {"name": "app", "newName": "r/app", "newTag": "v3"}, {"name": "db", "newTag": "v2"}, {"name": "web", "newName": "w"},
            ],
            "replicas": [{"name": "x", "count": 2}],
        });
        assert_eq!(edited(text, options), Ok(expected));
    }

    #[test]
    fn a_label_that_is_there_needs_force() {
        let text = "commonLabels: {a: b}\n";
        let error = edited(text, json!({"commonLabels": {"a": "c"}})).unwrap_err();
        assert!(error.to_string().contains("forceCommonLabels"), "{error}");
        let forced = edited(text, json!({"commonLabels": {"a": "c"}, "forceCommonLabels": true}));
        assert_eq!(forced, Ok(json!({"commonLabels": {"a": "c"}})));
        let apart = edited(text, json!({"commonLabels": {"a": "c"}, "labelWithoutSelector": true})).unwrap();
        assert_eq!(apart["labels"][0]["pairs"], json!({"a": "c"}));
    }
}
