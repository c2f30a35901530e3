//! Taking over what another tool has made: its ownership of fields becomes ours, so that a field which leaves Git leaves
//! the cluster too.
//!
//! The way is that of `kubectl apply --server-side` (client-go, `util/csaupgrade`): `metadata.managedFields` is rewritten
//! in one JSON patch that fails when the object has changed meanwhile. The next apply then drops what is not in Git.

use serde_json::{Map, Value, json};

use crate::names::{ANNOTATION_DIGEST, FIELD_MANAGER};
use crate::object::{annotation, text_at};

/// Tools that keep objects as somebody's files have them. People's single edits count too: what they set is what the
/// object's files are to have from now on. Restarts, scalings and labels set by hand do not.
const FORMER_MANAGERS: [&str; 11] = [
    "kubectl",
    "kubectl-client-side-apply",
    "kubectl-create",
    "kubectl-edit",
    "kubectl-replace",
    "before-first-apply",
    "helm",
    "Helm",
    "argocd-controller",
    "argocd-application-controller",
    "argocd-server",
];

/// True when some other tool's ownership of fields can be taken over.
pub fn has_former_manager(object: &Value, also: Option<&str>) -> bool {
    entries(object).iter().any(|entry| is_former(entry, also))
}

/// True when we have applied an object, and a former manager still owns what it owned before that.
pub fn is_unfinished(object: &Value) -> bool {
    let entries = entries(object);
    let applied = entries.iter().find(|entry| is_ours(entry)).and_then(|entry| entry["time"].as_str());
    // RFC 3339 in UTC, with seconds: later times are greater.
    let before = |entry: &Value| applied.zip(entry["time"].as_str()).is_some_and(|(applied, time)| time <= applied);
    entries.iter().any(|entry| is_former(entry, None) && before(entry))
}

/// True when Argo CD has written to an object since we last applied it: it was given back, or two work on it.
pub fn is_taken_back(object: &Value) -> bool {
    let entries = entries(object);
    let applied = entries.iter().find(|entry| is_ours(entry)).and_then(|entry| entry["time"].as_str());
    let since = |entry: &Value| applied.zip(entry["time"].as_str()).is_some_and(|(applied, time)| time >= applied);
    // A number of replicas that is not in Git stays with whom it was left to.
    let more = |entry: &Value| entry["fieldsV1"] != json!({"f:spec": {"f:replicas": {}}});
    let by_argo_cd = |entry: &Value| entry["manager"].as_str().is_some_and(|name| name.starts_with("argocd-"));
    entries.iter().any(|entry| is_former(entry, None) && by_argo_cd(entry) && since(entry) && more(entry))
}

/// Who kept an object before, in a few words; `None` when nobody is known to.
pub fn former_owner(object: &Value) -> Option<String> {
    if let Some((application, _)) =
        annotation(object, "argocd.argoproj.io/tracking-id").and_then(|id| id.split_once(':'))
    {
        return Some(format!("Argo CD's Application {application}"));
    }
    if let Some(release) = annotation(object, "meta.helm.sh/release-name") {
        return Some(format!("Helm's release {release}"));
    }
    let of_manager = |entry: &Value| {
        Some(match entry["manager"].as_str()? {
            name if name.starts_with("argocd") => {
                let instance = text_at(object, &["metadata", "labels", "app.kubernetes.io/instance"]);
                instance.map_or_else(|| "Argo CD".to_owned(), |instance| format!("Argo CD's Application {instance}"))
            }
            "helm" | "Helm" => "Helm".to_owned(),
            name => name.to_owned(),
        })
    };
    entries(object).iter().filter(|entry| is_former(entry, None)).find_map(of_manager)
}

/// The JSON patch that makes the fields of former managers ours, and whether they own fields that we have not applied.
///
/// `keep_replicas`: the number of replicas is not in Git. Taken over, it would be reset by the next apply.
pub fn patch(object: &Value, also: Option<&str>, keep_replicas: bool) -> Option<(Value, bool)> {
    let (former, mut rest): (Vec<&Value>, Vec<&Value>) =
        entries(object).iter().partition(|entry| is_former(entry, also));
    if former.is_empty() {
        return None;
    }
    let position = rest.iter().position(|entry| is_ours(entry))?;
    let mut ours = rest.remove(position).clone();
    let before = ours["fieldsV1"].clone();
    let mut left: Vec<Value> = rest.into_iter().cloned().collect();
    for entry in former {
        let mut theirs = entry["fieldsV1"].clone();
        if let Some(fields) = theirs.as_object_mut() {
            fields.remove("f:status");
        }
        if keep_replicas && remove_replicas(&mut theirs) {
            let mut remainder = entry.clone();
            remainder["fieldsV1"] = json!({"f:spec": {"f:replicas": {}}});
            left.push(remainder);
        }
        unite(&mut ours["fieldsV1"], theirs);
    }
    let more = ours["fieldsV1"] != before;
    left.push(ours);
    let version = object["metadata"]["resourceVersion"].clone();
    let mut patch = vec![
        json!({"op": "replace", "path": "/metadata/managedFields", "value": left}),
        json!({"op": "replace", "path": "/metadata/resourceVersion", "value": version}),
    ];
    if more && annotation(object, ANNOTATION_DIGEST).is_some() {
        // Whoever comes next, should we not, sees that the object is to be applied again.
        let path = format!("/metadata/annotations/{}", ANNOTATION_DIGEST.replace('/', "~1"));
        patch.push(json!({"op": "remove", "path": path}));
    }
    Some((Value::Array(patch), more))
}

fn entries(object: &Value) -> &[Value] {
    object["metadata"]["managedFields"].as_array().map(Vec::as_slice).unwrap_or_default()
}

fn is_ours(entry: &Value) -> bool {
    entry["manager"] == FIELD_MANAGER && entry["operation"] == "Apply" && entry.get("subresource").is_none()
}

/// What is written through `status` or `scale` is nobody's files.
fn is_former(entry: &Value, also: Option<&str>) -> bool {
    let manager = entry["manager"].as_str().unwrap_or_default();
    let subresource = entry["subresource"].as_str().unwrap_or_default();
    subresource.is_empty() && (FORMER_MANAGERS.contains(&manager) || also == Some(manager))
}

fn remove_replicas(fields: &mut Value) -> bool {
    let Some(root) = fields.as_object_mut() else { return false };
    let Some(spec) = root.get_mut("f:spec").and_then(Value::as_object_mut) else { return false };
    let removed = spec.remove("f:replicas").is_some();
    if spec.is_empty() {
        root.remove("f:spec");
    }
    removed
}

/// Adds the fields of one tree to another. A leaf stands for all below it.
fn unite(ours: &mut Value, theirs: Value) {
    let Value::Object(theirs) = theirs else { return };
    let Some(tree) = ours.as_object_mut() else { return };
    for (key, below) in theirs {
        match tree.get_mut(&key) {
            None => drop(tree.insert(key, below)),
            Some(own) if own.as_object().is_some_and(Map::is_empty) => {}
            Some(own) if below.as_object().is_some_and(Map::is_empty) => *own = below,
            Some(own) => unite(own, below),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(entries: &[Value]) -> Value {
        json!({"metadata": {"resourceVersion": "7", "managedFields": entries}})
    }

    fn entry(manager: &str, operation: &str, fields: Value) -> Value {
        json!({"manager": manager, "operation": operation, "apiVersion": "apps/v1", "fieldsV1": fields})
    }

    #[test]
    fn the_fields_of_former_managers_become_ours_and_those_of_others_stay_theirs() {
        let status = json!({"manager": "kubectl-edit", "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}});
        let hpa = entry("kube-controller-manager", "Update", json!({"f:spec": {"f:replicas": {}}}));
        let live = object(&[
            entry("gitmoor", "Apply", json!({"f:spec": {"f:a": {}}})),
            entry(
                "kubectl-client-side-apply",
                "Update",
                json!({"f:spec": {"f:a": {}, "f:b": {"f:c": {}}}, "f:status": {}}),
            ),
            entry("argocd-controller", "Apply", json!({"f:metadata": {"f:annotations": {"f:x": {}}}})),
            status.clone(),
            hpa.clone(),
        ]);
        let (patch, more) = patch(&live, None, false).unwrap();
        assert!(more);
        let ours = json!({"f:spec": {"f:a": {}, "f:b": {"f:c": {}}}, "f:metadata": {"f:annotations": {"f:x": {}}}});
        assert_eq!(patch[0]["value"], json!([status, hpa, entry("gitmoor", "Apply", ours)]));
        assert_eq!(patch[1]["value"], "7");
    }

    #[test]
    fn replicas_that_are_not_in_git_stay_with_who_set_them() {
        let live = object(&[
            entry("gitmoor", "Apply", json!({"f:spec": {"f:a": {}}})),
            entry("helm", "Update", json!({"f:spec": {"f:a": {}, "f:replicas": {}}})),
        ]);
        let (kept, more) = patch(&live, None, true).unwrap();
        assert!(!more, "there is nothing to drop");
        let theirs = entry("helm", "Update", json!({"f:spec": {"f:replicas": {}}}));
        assert_eq!(kept[0]["value"][0], theirs);
        assert!(patch(&live, None, false).unwrap().1);
    }

    #[test]
    fn nobody_else_is_taken_over_unless_named() {
        let live = object(&[
            entry("gitmoor", "Apply", json!({"f:spec": {}})),
            entry("my-tool", "Update", json!({"f:spec": {"f:a": {}}})),
            entry("kubectl-rollout", "Update", json!({"f:spec": {"f:b": {}}})),
        ]);
        assert_eq!(patch(&live, None, false), None);
        assert!(patch(&live, Some("my-tool"), false).is_some());
        assert!(!has_former_manager(&live, None) && has_former_manager(&live, Some("my-tool")));
    }

    #[test]
    fn what_argo_cd_writes_after_us_is_taken_back() {
        let at = |mut entry: Value, time: &str| {
            entry["time"] = json!(format!("2026-01-01T00:00:{time}Z"));
            entry
        };
        let ours = || at(entry("gitmoor", "Apply", json!({"f:data": {"f:a": {}}})), "05");
        let tracking = json!({"f:metadata": {"f:annotations": {"f:argocd.argoproj.io/tracking-id": {}}}});
        for (other, taken_back) in [
            (at(entry("argocd-controller", "Update", tracking.clone()), "05"), true),
            (at(entry("argocd-controller", "Apply", tracking.clone()), "06"), true),
            (at(entry("argocd-controller", "Update", tracking.clone()), "04"), false),
            (at(entry("kubectl-edit", "Update", tracking), "06"), false),
            // Handed over when it was not in Git.
            (at(entry("argocd-controller", "Update", json!({"f:spec": {"f:replicas": {}}})), "06"), false),
        ] {
            assert_eq!(is_taken_back(&object(&[ours(), other.clone()])), taken_back, "{other}");
            assert!(!is_taken_back(&object(&[other])), "we have not applied it");
        }
    }

    #[test]
    fn the_former_owner_is_named() {
        let with = |metadata: Value| json!({"metadata": metadata});
        let tracked = with(json!({"annotations": {"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:web/shop"}}));
        assert_eq!(former_owner(&tracked).unwrap(), "Argo CD's Application shop");
        let entries = json!([entry("argocd-controller", "Update", json!({}))]);
        let labelled = with(json!({"labels": {"app.kubernetes.io/instance": "shop"}, "managedFields": entries}));
        assert_eq!(former_owner(&labelled).unwrap(), "Argo CD's Application shop");
        let release = with(json!({"annotations": {"meta.helm.sh/release-name": "shop"}}));
        assert_eq!(former_owner(&release).unwrap(), "Helm's release shop");
        assert_eq!(former_owner(&with(json!({}))), None);
    }
}
