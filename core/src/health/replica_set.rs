//! ReplicaSets and ReplicationControllers.

use serde_json::Value;

use super::Health;
use super::observed::{count, number, true_condition, unseen};

/// Degraded when pods cannot be created, as in Argo CD: unlike a Deployment it has no deadline that would tell later.
pub(super) fn assess(object: &Value) -> Health {
    if let Some(waiting) = unseen(object) {
        return waiting;
    }
    if let Some(failure) = true_condition(object, "ReplicaFailure") {
        return Health::degraded(failure.text());
    }
    let desired = number(object, &["spec", "replicas"]).unwrap_or(1);
    let available = count(object, "availableReplicas");
    let surplus = count(object, "replicas") - desired;
    if available < desired {
        Health::progressing(format!("{available} of {desired} replicas available"))
    } else if surplus > 0 {
        Health::progressing(format!("replicas pending termination: {surplus}"))
    } else {
        Health::healthy()
    }
}
