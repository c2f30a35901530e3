//! StatefulSets.

use serde_json::Value;

use super::Health;
use super::observed::{count, number, unseen};
use crate::object::text_at;

/// Counts, as `kubectl rollout status` does: a StatefulSet's controller sets no conditions, so it is never Degraded.
///
/// `OnDelete` needs its replicas ready, as in Argo CD (kstatus asks for nothing). Replicas above the wanted number are
/// Progressing, as in kstatus (Argo CD does not look). Revisions are not compared: with an equal number of updated and
/// ready replicas they differ only until the controller's next write.
pub(super) fn assess(object: &Value) -> Health {
    if let Some(waiting) = unseen(object) {
        return waiting;
    }
    let desired = number(object, &["spec", "replicas"]).unwrap_or(1);
    let updated = count(object, "updatedReplicas");
    let ready = count(object, "readyReplicas");
    if ready < desired {
        return Health::progressing(format!("{ready} of {desired} replicas ready"));
    }
    let surplus = count(object, "replicas") - desired;
    if surplus > 0 {
        return Health::progressing(format!("replicas pending termination: {surplus}"));
    }
    if text_at(object, &["spec", "updateStrategy", "type"]) == Some("OnDelete") {
        return on_delete(updated, desired);
    }
    let partition = number(object, &["spec", "updateStrategy", "rollingUpdate", "partition"]).unwrap_or(0);
    let to_update = (desired - partition).max(0);
    if updated < to_update {
        return Health::progressing(format!("{updated} of {to_update} replicas updated"));
    }
    // Lags behind the ready ones under minReadySeconds; old API servers do not have the field.
    if let Some(available) = number(object, &["status", "availableReplicas"])
        && available < desired
    {
        return Health::progressing(format!("{available} of {desired} replicas available"));
    }
    match (desired, partition) {
        (0, _) => Health::healthy_because("scaled to 0 replicas"),
        (_, 0) => Health::healthy(),
        _ => Health::healthy_because(format!("partition {partition}: {updated} of {desired} replicas updated")),
    }
}

fn on_delete(updated: i64, desired: i64) -> Health {
    if updated < desired {
        return Health::healthy_because(format!(
            "{updated} of {desired} replicas updated; update strategy OnDelete waits for pods to be deleted"
        ));
    }
    Health::healthy()
}
