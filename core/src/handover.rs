//! A Secret whose maker is deleted goes to the one that makes it from now on, instead of being deleted with it.
//!
//! ExternalSecrets and SealedSecrets own the Secrets that they make; the garbage collector deletes what nobody owns any
//! more. Whoever deletes a maker hands its Secrets over first.

use serde_json::{Value, json};

use crate::object::{GroupKind, group_of, text_at};
use crate::secrets::{external_secret, legacy};

/// Kinds whose objects own the Secrets that they make; who comes first takes over first.
pub const MAKERS: [(&str, &str); 3] =
    [(external_secret::GROUP, "ExternalSecret"), ("bitnami.com", "SealedSecret"), (legacy::GROUP, "ExternalSecret")];

/// Whether objects of a kind own Secrets that they make.
pub fn makes_secrets(kind: &GroupKind) -> bool {
    MAKERS.iter().any(|(group, name)| kind.is(group, name))
}

/// An object that makes a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maker {
    /// What it is.
    pub kind: GroupKind,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Name of the Secret.
    pub target: String,
    api_version: String,
    /// The Secret goes with it.
    owns: bool,
}

/// Reads an object; `None` when it is being deleted, or adds to what somebody else makes.
pub fn maker(object: &Value) -> Option<Maker> {
    let text = |path: &[&str]| text_at(object, path).map(str::to_owned);
    let api_version = text(&["apiVersion"])?;
    let kind = GroupKind::new(group_of(&api_version), text(&["kind"])?);
    if !makes_secrets(&kind) || object.pointer("/metadata/deletionTimestamp").is_some() {
        return None;
    }
    let name = text(&["metadata", "name"])?;
    let external = kind.group == external_secret::GROUP;
    let policy = text_at(object, &["spec", "target", "creationPolicy"]).filter(|_| external).unwrap_or("Owner");
    if matches!(policy, "Merge" | "None") {
        return None;
    }
    let named = text(&["spec", "target", "name"]).filter(|target| external && !target.is_empty());
    Some(Maker {
        target: named.unwrap_or_else(|| name.clone()),
        uid: text(&["metadata", "uid"])?,
        owns: policy == "Owner",
        kind,
        name,
        api_version,
    })
}

/// Whether an object owns a Secret.
pub fn owns(uid: &str, secret: &Value) -> bool {
    owners(secret).any(|owner| owner["uid"] == uid)
}

fn owners(secret: &Value) -> impl Iterator<Item = &Value> {
    secret.pointer("/metadata/ownerReferences").and_then(Value::as_array).into_iter().flatten()
}

/// Owner references of a Secret without the one that goes (by uid), and with its successor. Without a successor the Secret
/// is held by something else, such as an Application.
pub fn owner_references(secret: &Value, going: &str, successor: Option<&Maker>) -> Vec<Value> {
    let mut kept: Vec<Value> = owners(secret).filter(|owner| owner["uid"] != going).cloned().collect();
    let controlled = kept.iter().any(|owner| owner["controller"] == true);
    if let Some(maker) = successor.filter(|maker| maker.owns && !controlled) {
        kept.push(json!({
            "apiVersion": maker.api_version, "kind": maker.kind.kind, "name": maker.name, "uid": maker.uid,
            "controller": true, "blockOwnerDeletion": true,
        }));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(api_version: &str, kind: &str, spec: &Value) -> Value {
        json!({"apiVersion": api_version, "kind": kind, "metadata": {"name": "a", "uid": "new"}, "spec": spec})
    }

    #[test]
    fn makers_are_those_that_make_the_secret() {
        let target = |api_version: &str, kind: &str, spec: Value| {
            maker(&object(api_version, kind, &spec)).map(|maker| (maker.target, maker.owns))
        };
        let external = |spec: Value| target("external-secrets.io/v1", "ExternalSecret", spec);
        let some = |name: &str, owns: bool| Some((name.to_owned(), owns));
        assert_eq!(external(json!({})), some("a", true));
        assert_eq!(external(json!({"target": {"name": "b", "creationPolicy": "Orphan"}})), some("b", false));
        assert_eq!(external(json!({"target": {"creationPolicy": "Merge"}})), None);
        assert_eq!(
            target("kubernetes-client.io/v1", "ExternalSecret", json!({"target": {"name": "b"}})),
            some("a", true)
        );
        assert_eq!(target("bitnami.com/v1alpha1", "SealedSecret", json!({})), some("a", true));
        assert_eq!(target("v1", "Secret", json!({})), None);
        let mut going = object("external-secrets.io/v1", "ExternalSecret", &json!({}));
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        assert_eq!(maker(&going), None);
    }

    #[test]
    fn only_the_reference_that_goes_is_replaced() {
        let secret = json!({"metadata": {"ownerReferences": [
            {"uid": "old", "controller": true}, {"uid": "other", "kind": "ConfigMap"},
        ]}});
        assert!(owns("old", &secret) && !owns("new", &secret));
        let new = maker(&object("external-secrets.io/v1", "ExternalSecret", &json!({}))).unwrap();
        let references = owner_references(&secret, "old", Some(&new));
        assert_eq!((&references[0]["uid"], &references[1]["uid"]), (&json!("other"), &json!("new")));
        assert_eq!(references[1]["apiVersion"], "external-secrets.io/v1");
        assert_eq!(owner_references(&secret, "old", None).len(), 1);
        assert_eq!(owner_references(&secret, "other", Some(&new)), [json!({"uid": "old", "controller": true})]);
    }
}
