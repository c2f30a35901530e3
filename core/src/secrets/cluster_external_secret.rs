//! ClusterExternalSecret: an ExternalSecret for each of many namespaces.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Value, json};

use super::Failure;
use super::external_secret::read_spec;
use super::store::LabelSelector;
use crate::object::{group_of, text_at};

/// Its kind.
pub const KIND: &str = "ClusterExternalSecret";
/// Annotation that is handed down, so that all are read at once.
const FORCE_SYNC: &str = "force-sync";
/// What the operator says too.
const SOME_FAILED: &str = "one or more namespaces failed";

/// A ClusterExternalSecret, read.
#[derive(Clone, Debug, PartialEq)]
pub struct Fanout {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Name of the ExternalSecrets.
    pub target: String,
    api_version: String,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    selectors: Vec<LabelSelector>,
    namespaces: BTreeSet<String>,
    spec: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Declared {
    external_secret_spec: Value,
    external_secret_name: Option<String>,
    #[serde(default)]
    external_secret_metadata: Metadata,
    namespace_selector: Option<LabelSelector>,
    #[serde(default)]
    namespace_selectors: Vec<LabelSelector>,
    #[serde(default)]
    namespaces: BTreeSet<String>,
}

#[derive(Default, Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// Reads a ClusterExternalSecret.
///
/// # Errors
/// With the field that is wrong.
pub fn parse(object: &Value) -> Result<Fanout, Failure> {
    let spec: Declared = read_spec(object)?;
    let text = |path: &[&str]| text_at(object, path).unwrap_or_default().to_owned();
    let name = text(&["metadata", "name"]);
    let mut annotations = spec.external_secret_metadata.annotations;
    if let Some(value) = text_at(object, &["metadata", "annotations", FORCE_SYNC]) {
        annotations.insert(FORCE_SYNC.to_owned(), value.to_owned());
    }
    Ok(Fanout {
        uid: text(&["metadata", "uid"]),
        api_version: text(&["apiVersion"]),
        target: spec.external_secret_name.filter(|name| !name.is_empty()).unwrap_or_else(|| name.clone()),
        labels: spec.external_secret_metadata.labels,
        annotations,
        selectors: spec.namespace_selector.into_iter().chain(spec.namespace_selectors).collect(),
        namespaces: spec.namespaces,
        spec: spec.external_secret_spec,
        name,
    })
}

impl Fanout {
    /// Whether a namespace with these labels gets one.
    pub fn selects(&self, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
        self.namespaces.contains(namespace) || self.selectors.iter().any(|selector| selector.fits(labels))
    }

    /// The ExternalSecret of a namespace.
    pub fn external_secret(&self, namespace: &str) -> Value {
        let owner = json!({
            "apiVersion": self.api_version, "kind": KIND, "name": self.name, "uid": self.uid,
            "controller": true, "blockOwnerDeletion": true,
        });
        json!({
            "apiVersion": self.api_version, "kind": "ExternalSecret",
            "metadata": {
                "name": self.target, "namespace": namespace,
                "labels": self.labels, "annotations": self.annotations, "ownerReferences": [owner],
            },
            "spec": self.spec,
        })
    }

    /// Whether it made an ExternalSecret.
    pub fn made(&self, external_secret: &Value) -> bool {
        maker(external_secret).is_some_and(|owner| owner["uid"] == self.uid.as_str())
    }
}

/// Why an ExternalSecret that it made gives no Secret, if so.
pub fn unread(external_secret: &Value) -> Option<String> {
    let ready = super::status::ready_condition(external_secret).filter(|ready| ready["status"] == "False")?;
    Some(ready["message"].as_str().unwrap_or("it is not ready").to_owned())
}

/// The ClusterExternalSecret that controls an ExternalSecret.
fn maker(external_secret: &Value) -> Option<&Value> {
    let owners = external_secret.pointer("/metadata/ownerReferences")?.as_array()?;
    let controller = owners.iter().find(|owner| owner["controller"] == true)?;
    let group = group_of(controller["apiVersion"].as_str().unwrap_or_default());
    (group == super::external_secret::GROUP && controller["kind"] == KIND).then_some(controller)
}

/// What has come of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provisioned {
    /// Namespaces that have their ExternalSecret.
    pub namespaces: BTreeSet<String>,
    /// Namespaces that have not, or whose ExternalSecret gives no Secret, with the reason.
    pub failed: BTreeMap<String, String>,
}

/// The patch of its status as the operator writes it, when there is anything new to say.
pub fn status(object: &Value, outcome: Result<(&Fanout, &Provisioned), &Failure>) -> Option<Value> {
    let (ready, message) = match outcome {
        Ok((_, provisioned)) if provisioned.failed.is_empty() => (true, String::new()),
        Ok(_) => (false, SOME_FAILED.to_owned()),
        Err(failure) => (false, failure.to_string()),
    };
    let status = if ready { "True" } else { "False" };
    let mut condition = json!({"type": "Ready", "status": status});
    if !message.is_empty() {
        condition["message"] = message.into();
    }
    let mut wanted = json!({"conditions": [condition]});
    if let Ok((fanout, Provisioned { namespaces, failed })) = outcome {
        let failed: Vec<Value> =
            failed.iter().map(|(namespace, reason)| json!({"namespace": namespace, "reason": reason})).collect();
        wanted["externalSecretName"] = fanout.target.as_str().into();
        wanted["provisionedNamespaces"] = json!(namespaces);
        wanted["failedNamespaces"] = failed.into();
    }
    let present = object.get("status").unwrap_or(&Value::Null);
    let same = |key: &str, value: &Value| {
        present.get(key).map_or_else(|| value.as_array().is_some_and(Vec::is_empty), |present| present == value)
    };
    let news = wanted.as_object().into_iter().flatten().any(|(key, value)| !same(key, value));
    news.then(|| json!({"status": wanted}))
}

#[cfg(test)]
mod tests {
    use super::super::Category;
    use super::*;

    fn object(spec: &Value) -> Value {
        json!({
            "apiVersion": "external-secrets.io/v1", "kind": KIND,
            "metadata": {"name": "all", "uid": "u", "annotations": {"force-sync": "1", "other": "x"}}, "spec": spec,
        })
    }

    #[test]
    fn namespaces_are_selected_by_name_and_by_any_selector() {
        let fanout = parse(&object(&json!({
            "externalSecretSpec": {}, "namespaces": ["named"],
            "namespaceSelector": {"matchLabels": {"a": "1"}},
            "namespaceSelectors": [{"matchExpressions": [{"key": "b", "operator": "Exists"}]}],
        })))
        .unwrap();
        let labels = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        assert!(fanout.selects("named", &labels(&[])));
        assert!(fanout.selects("x", &labels(&[("a", "1")])) && fanout.selects("x", &labels(&[("b", "2")])));
        assert!(!fanout.selects("x", &labels(&[("a", "2")])));
        let none = parse(&object(&json!({"externalSecretSpec": {}}))).unwrap();
        assert!(!none.selects("x", &labels(&[("a", "1")])), "without a selector none");
        assert!(parse(&object(&json!({}))).is_err());
    }

    #[test]
    fn what_it_makes_is_its_own() {
        let metadata = json!({"labels": {"l": "1"}, "annotations": {"a": "1"}});
        let spec =
            json!({"externalSecretSpec": {"data": []}, "externalSecretName": "es", "externalSecretMetadata": metadata});
        let fanout = parse(&object(&spec)).unwrap();
        let made = fanout.external_secret("n");
        assert_eq!((&made["metadata"]["name"], &made["spec"]), (&json!("es"), &json!({"data": []})));
        assert_eq!(made["metadata"]["annotations"], json!({"a": "1", "force-sync": "1"}));
        assert!(fanout.made(&made));
        let mut other = made;
        other["metadata"]["ownerReferences"][0]["uid"] = "another".into();
        assert!(!fanout.made(&other));
    }

    #[test]
    fn one_that_cannot_be_read_says_why() {
        let of = |condition: Value| unread(&json!({"status": {"conditions": [condition]}}));
        let failed = json!({"type": "Ready", "status": "False", "message": "NoCredentials: no keys"});
        assert_eq!(of(failed).as_deref(), Some("NoCredentials: no keys"));
        assert_eq!(of(json!({"type": "Ready", "status": "True", "message": "x"})), None);
        assert_eq!(unread(&json!({})), None, "nobody has read it yet");
    }

    #[test]
    fn status_is_written_when_it_says_something_new() {
        let mut all = object(&json!({"externalSecretSpec": {}}));
        let fanout = parse(&all).unwrap();
        let mut provisioned = Provisioned { namespaces: ["a".to_owned()].into(), ..Provisioned::default() };
        let patch = status(&all, Ok((&fanout, &provisioned))).unwrap();
        assert_eq!(patch["status"]["conditions"], json!([{"type": "Ready", "status": "True"}]));
        assert_eq!(patch["status"]["provisionedNamespaces"], json!(["a"]));
        all["status"] = patch["status"].clone();
        assert_eq!(status(&all, Ok((&fanout, &provisioned))), None);
        provisioned.failed.insert("b".into(), "external secret already exists in namespace".into());
        let patch = status(&all, Ok((&fanout, &provisioned))).unwrap();
        assert_eq!(patch["status"]["conditions"][0]["message"], SOME_FAILED);
        assert_eq!(patch["status"]["failedNamespaces"][0]["namespace"], "b");
        let failure = Failure::new(Category::InvalidSpec, "spec: x");
        assert_eq!(status(&all, Err(&failure)).unwrap()["status"]["conditions"][0]["status"], "False");
    }
}
