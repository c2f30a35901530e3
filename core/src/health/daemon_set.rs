//! DaemonSets.

use serde_json::Value;

use super::Health;
use super::observed::{count, unseen};
use crate::object::text_at;

/// Follows `kubectl rollout status`, as Argo CD and kstatus do.
///
/// With `OnDelete` old pods do not count against it, but they have to be available (Argo CD asks for nothing).
pub(super) fn assess(object: &Value) -> Health {
    if let Some(waiting) = unseen(object) {
        return waiting;
    }
    let desired = count(object, "desiredNumberScheduled");
    let updated = count(object, "updatedNumberScheduled");
    let available = count(object, "numberAvailable");
    let on_delete = text_at(object, &["spec", "updateStrategy", "type"]) == Some("OnDelete");
    if updated < desired && !on_delete {
        return Health::progressing(format!("{updated} of {desired} pods updated"));
    }
    if available < desired {
        return Health::progressing(format!("{available} of {desired} pods available"));
    }
    if updated < desired {
        return Health::healthy_because(format!(
            "{updated} of {desired} pods updated; update strategy OnDelete waits for pods to be deleted"
        ));
    }
    Health::healthy()
}
