//! Status as the operator writes it, and only when something has changed.

use serde_json::{Value, json};

use super::Failure;
use super::request::{Form, RequestId, SecretRequest};
use crate::object::text_at;

/// What has come of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The Secret holds what was read.
    Synced,
    /// The Secret is gone with its keys.
    Deleted,
    /// There is no Secret to add keys to.
    Missing,
    /// It failed; the Secret, if there is one, is as it was.
    Failed(Failure),
}

/// The patch of `status`, when there is anything to write. `written` says that the Secret was changed just now, or that
/// somebody wants to see that it was looked at.
///
/// `request` is `None` for an object that cannot be read.
pub fn patch(
    id: &RequestId,
    request: Option<&SecretRequest>,
    object: &Value,
    outcome: &Outcome,
    written: bool,
    now: &str,
) -> Option<Value> {
    match id.form {
        Form::External => external(request, object, outcome, written, now),
        Form::Legacy => legacy(object, outcome, written, now),
    }
}

fn external(
    request: Option<&SecretRequest>,
    object: &Value,
    outcome: &Outcome,
    written: bool,
    now: &str,
) -> Option<Value> {
    let (status, reason, message) = words(outcome);
    let old = ready_condition(object);
    let is = |key: &str, value: &str| old.is_some_and(|old| old[key] == value);
    let settled = !matches!(outcome, Outcome::Failed(_));
    let same_condition = is("status", status) && is("reason", reason) && is("message", &message);
    let version = request.map(|request| request.version.as_str());
    let same_version = text_at(object, &["status", "syncedResourceVersion"]) == version;
    if same_condition && (!settled || (same_version && !written)) {
        return None;
    }
    let since = old.filter(|old| old["status"] == status).and_then(|old| old["lastTransitionTime"].as_str());
    let condition = json!({
        "type": "Ready", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since.unwrap_or(now),
    });
    let mut patch = json!({"status": {"conditions": with_condition(object, condition)}});
    if settled {
        patch["status"]["refreshTime"] = now.into();
        patch["status"]["syncedResourceVersion"] = version.into();
    }
    if let (Outcome::Synced, Some(request)) = (outcome, request) {
        patch["status"]["binding"] = json!({"name": request.target.name});
    }
    Some(patch)
}

fn words(outcome: &Outcome) -> (&'static str, &'static str, String) {
    match outcome {
        Outcome::Synced => ("True", "SecretSynced", "secret synced".to_owned()),
        Outcome::Deleted => ("True", "SecretDeleted", "secret deleted due to DeletionPolicy=Delete".to_owned()),
        Outcome::Missing => {
            ("True", "SecretMissing", "secret will not be created due to CreationPolicy=Merge".to_owned())
        }
        Outcome::Failed(failure) => ("False", "SecretSyncedError", failure.to_string()),
    }
}

/// The Ready condition of an object.
pub fn ready_condition(object: &Value) -> Option<&Value> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    conditions.iter().find(|condition| condition["type"] == "Ready")
}

/// All conditions, with this one in place of the one of its type.
pub fn with_condition(object: &Value, condition: Value) -> Vec<Value> {
    let old = object.pointer("/status/conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let kept = old.into_iter().filter(|other| other["type"] != condition["type"]);
    kept.chain([condition.clone()]).collect()
}

fn legacy(object: &Value, outcome: &Outcome, written: bool, now: &str) -> Option<Value> {
    let text = match outcome {
        Outcome::Failed(failure) => format!("ERROR, {failure}"),
        Outcome::Synced | Outcome::Deleted | Outcome::Missing => "SUCCESS".to_owned(),
    };
    let generation = object.pointer("/metadata/generation").cloned().unwrap_or_default();
    let same = text_at(object, &["status", "status"]) == Some(&text)
        && object.pointer("/status/observedGeneration") == Some(&generation);
    (!same || written).then(|| json!({"status": {"lastSync": now, "observedGeneration": generation, "status": text}}))
}

#[cfg(test)]
mod tests {
    use super::super::Category;
    use super::super::external_secret::parse;
    use super::*;

    fn object(status: &Value) -> Value {
        json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "generation": 3},
            "spec": {"secretStoreRef": {"name": "s"}, "data": [{"secretKey": "k", "remoteRef": {"key": "r"}}]},
            "status": status,
        })
    }

    #[test]
    fn status_is_written_with_a_change_and_never_alone() {
        let fresh = object(&Value::Null);
        let request = parse(&fresh).unwrap();
        let written = patch(&request.id, Some(&request), &fresh, &Outcome::Synced, true, "t1").unwrap();
        let status = &written["status"];
        assert_eq!(status["conditions"][0]["reason"], "SecretSynced");
        assert_eq!(status["binding"]["name"], "a");
        assert!(status["syncedResourceVersion"].as_str().unwrap().starts_with("3-"));

        let synced = object(status);
        assert_eq!(patch(&request.id, Some(&request), &synced, &Outcome::Synced, false, "t2"), None);
        let again = patch(&request.id, Some(&request), &synced, &Outcome::Synced, true, "t2").unwrap();
        assert_eq!(again["status"]["refreshTime"], "t2");
        assert_eq!(again["status"]["conditions"][0]["lastTransitionTime"], "t1");

        let failed = Outcome::Failed(Failure::new(Category::Throttled, "r"));
        let failing = patch(&request.id, Some(&request), &synced, &failed, false, "t3").unwrap();
        let condition = &failing["status"]["conditions"][0];
        assert_eq!(
            (condition["status"].as_str(), condition["message"].as_str()),
            (Some("False"), Some("Throttled: r"))
        );
        assert_eq!(failing["status"].get("refreshTime"), None, "the last good refresh stays");
        assert_eq!(patch(&request.id, Some(&request), &object(&failing["status"]), &failed, false, "t4"), None);
    }

    #[test]
    fn the_legacy_form_has_its_own_status() {
        let fresh = object(&Value::Null);
        let mut request = parse(&fresh).unwrap();
        request.id.form = Form::Legacy;
        let synced = patch(&request.id, Some(&request), &fresh, &Outcome::Synced, true, "t1").unwrap();
        assert_eq!(synced["status"], json!({"lastSync": "t1", "observedGeneration": 3, "status": "SUCCESS"}));
        assert_eq!(patch(&request.id, Some(&request), &object(&synced["status"]), &Outcome::Synced, false, "t2"), None);
    }
}
