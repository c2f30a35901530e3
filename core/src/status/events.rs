//! What of a change of status people look for among the events of an Application.

use serde_json::Value;

use crate::object::text_at;

/// Something that happened, for `kubectl describe`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Event {
    /// `Warning` instead of `Normal`.
    pub warning: bool,
    /// One word.
    pub reason: String,
    /// In a sentence.
    pub message: String,
}

/// The events of a change from one status to the next. Reasons of operations: Argo CD's.
pub fn events(before: &Value, after: &Value) -> Vec<Event> {
    let mut events: Vec<Event> = operation(before, after).into_iter().collect();
    events.extend(new_conditions(before, after));
    events.extend(health(before, after));
    events
}

fn operation(before: &Value, after: &Value) -> Option<Event> {
    let (old, new) = (&before["operationState"], &after["operationState"]);
    let ended =
        new.get("finishedAt").is_some() && ["finishedAt", "message"].iter().any(|field| old[field] != new[field]);
    let message = text_at(new, &["message"]).unwrap_or_default();
    let revision = text_at(new, &["syncResult", "revision"]).unwrap_or_default();
    let revision = revision.get(..7).unwrap_or(revision);
    let results = new["syncResult"]["resources"].as_array().map(Vec::as_slice).unwrap_or_default();
    let counted = |status: &str| results.iter().filter(|result| result["status"] == status).count();
    if ended && new["phase"] == "Succeeded" {
        let (applied, pruned) = (counted("Synced"), counted("Pruned"));
        let message = format!("sync to {revision} succeeded: {applied} applied, {pruned} deleted");
        return (applied + pruned > 0).then(|| Event {
            warning: false,
            reason: "OperationCompleted".to_owned(),
            message,
        });
    }
    if ended {
        let message = format!("sync to {revision} failed: {message}");
        return Some(Event { warning: true, reason: "OperationCompleted".to_owned(), message });
    }
    let attempt = |state: &Value| state["operation"]["info"].clone();
    (new["phase"] == "Running" && !attempt(new).is_null() && attempt(new) != attempt(old)).then(|| Event {
        warning: false,
        reason: "OperationStarted".to_owned(),
        message: format!("sync to {revision} started"),
    })
}

fn new_conditions(before: &Value, after: &Value) -> impl Iterator<Item = Event> {
    let all = |status: &Value| status["conditions"].as_array().cloned().unwrap_or_default();
    let old = all(before);
    all(after).into_iter().filter_map(move |condition| {
        let text = condition["message"].as_str()?;
        if old.iter().any(|old| old["message"] == text) {
            return None;
        }
        let (reason, message) = text.split_once(": ").unwrap_or(("Condition", text));
        Some(Event { warning: true, reason: reason.to_owned(), message: message.to_owned() })
    })
}

/// Only what got bad, and what is good again after it was bad.
fn health(before: &Value, after: &Value) -> Option<Event> {
    let of = |status: &Value| text_at(status, &["health", "status"]).unwrap_or_default().to_owned();
    let (old, new) = (of(before), of(after));
    let detail = text_at(after, &["health", "message"]).unwrap_or_default();
    let event = |warning, reason: &str, message| Event { warning, reason: reason.to_owned(), message };
    match (old.as_str(), new.as_str()) {
        (old, "Degraded") if old != "Degraded" => Some(event(true, "Degraded", detail.to_owned())),
        ("Degraded", "Healthy") => Some(event(false, "Healthy", "everything is healthy again".to_owned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_tells_what_is_new_and_the_same_status_nothing() {
        let before = json!({"health": {"status": "Healthy"}, "conditions": [{"message": "A: old"}]});
        let after = json!({
            "health": {"status": "Degraded", "message": "Deployment.apps web/web: no image"},
            "conditions": [{"message": "A: old"}, {"message": "ApplyRejected: no such field"}],
            "operationState": {
                "phase": "Succeeded", "finishedAt": "1", "message": "everything is applied",
                "syncResult": {"revision": "0123456789", "resources": [{"status": "Synced"}, {"status": "Pruned"}]},
            },
        });
        let told: Vec<String> =
            events(&before, &after).into_iter().map(|e| format!("{} {}", e.reason, e.message)).collect();
        let expected = [
            "OperationCompleted sync to 0123456 succeeded: 1 applied, 1 deleted",
            "ApplyRejected no such field",
            "Degraded Deployment.apps web/web: no image",
        ];
        assert_eq!(told, expected);
        assert_eq!(events(&after, &after), []);
    }
}
