//! Applications, so that an application of applications knows how its children fare.

use serde_json::Value;

use super::observed::{at, items};
use super::{Health, HealthStatus};
use crate::object::text_at;

/// The fields of a source that say what is deployed.
const SOURCE: [&str; 4] = ["repoURL", "path", "chart", "targetRevision"];

/// The child's own health, unless its sync says that this health is about something else than what it should deploy:
///
/// - compared with another source than its spec has now, syncing, or never synced: at least Progressing;
/// - never synced and without automated sync: Suspended, since it waits for somebody;
/// - the last sync failed and it is not in sync: at least Degraded.
///
/// Argo CD passes `status.health` on and nothing else, so there a child that is out of sync since its source changed is
/// Healthy, and the next wave starts before the child has. A child that is merely out of sync (drift without self-heal,
/// something to prune) keeps its health.
pub(super) fn assess(object: &Value) -> Health {
    let message = text_at(object, &["status", "health", "message"]).unwrap_or_default();
    let Some(own) = text_at(object, &["status", "health", "status"]).and_then(HealthStatus::from_word) else {
        return Health::progressing(with_error(object, "waiting to be compared"));
    };
    let sync = text_at(object, &["status", "sync", "status"]).unwrap_or("Unknown");
    let operation = text_at(object, &["status", "operationState", "phase"]);
    let at_least = |status: HealthStatus, why: String| Health::new(own.max(status), why);

    if compared_with_another_source(object) {
        return at_least(HealthStatus::Progressing, "waiting to be compared with its present source".to_owned());
    }
    match operation {
        Some("Running" | "Terminating") => return at_least(HealthStatus::Progressing, "syncing".to_owned()),
        Some("Failed" | "Error") if sync != "Synced" => {
            let why = text_at(object, &["status", "operationState", "message"]).unwrap_or_default();
            return at_least(HealthStatus::Degraded, format!("last sync failed: {why}"));
        }
        _ => {}
    }
    match sync {
        "Synced" => Health::new(own, message),
        "OutOfSync" if never_synced(object) && !automated(object) => {
            Health::suspended("never synced, waits for a manual sync")
        }
        _ if never_synced(object) => Health::progressing(with_error(object, "not synced yet")),
        "OutOfSync" => Health::new(own, if message.is_empty() { "out of sync" } else { message }),
        _ => Health::new(own, with_error(object, "not known to be in sync")),
    }
}

/// Before the first sync its health says nothing (`Missing`, or `Healthy` because nothing is there).
fn never_synced(object: &Value) -> bool {
    items(object, &["status", "history"]).is_empty() && at(object, &["status", "operationState"]).is_none()
}

fn automated(object: &Value) -> bool {
    let policy = ["spec", "syncPolicy", "automated"];
    let switched_off = at(object, &[policy.as_slice(), &["enabled"]].concat()) == Some(&Value::Bool(false));
    at(object, &policy).is_some_and(|policy| !policy.is_null()) && !switched_off
}

fn compared_with_another_source(object: &Value) -> bool {
    let present = object.get("spec").map(sources).unwrap_or_default();
    let compared = at(object, &["status", "sync", "comparedTo"]).map(sources).unwrap_or_default();
    !present.is_empty() && !compared.is_empty() && present != compared
}

/// `sources`, or the one `source`, reduced to what is deployed.
fn sources(of: &Value) -> Vec<[&str; 4]> {
    let several = items(of, &["sources"]);
    let one = of.get("source").filter(|_| several.is_empty());
    let fields = |source| SOURCE.map(|field| text_at(source, &[field]).unwrap_or_default());
    several.iter().chain(one).map(fields).collect()
}

/// The text, and the first error among the child's conditions; theirs have no status.
fn with_error(object: &Value, text: &str) -> String {
    let error = items(object, &["status", "conditions"]).iter().find_map(|condition| {
        let name = text_at(condition, &["type"]).filter(|name| name.ends_with("Error"))?;
        Some(format!("{text}: {name}: {}", text_at(condition, &["message"]).unwrap_or_default()))
    });
    error.unwrap_or_else(|| text.to_owned())
}
