//! Deployments.

use serde_json::Value;

use super::Health;
use super::observed::{condition, count, flag, number, true_condition, unseen};

/// Follows `kubectl rollout status`, as Argo CD does.
///
/// Differences: unset replicas mean 1 (Argo CD skips the comparison), an unobserved new Deployment is Progressing
/// (Argo CD compares with zero), and while pods cannot be created the message says why (Argo CD and kstatus
/// only count). That alone is not Degraded: a quota or an admission webhook that comes up later resolves it, and the
/// Deployment's own progress deadline ends the wait.
pub(super) fn assess(object: &Value) -> Health {
    if flag(object, &["spec", "paused"]) {
        return Health::suspended("paused");
    }
    if let Some(waiting) = unseen(object) {
        return waiting;
    }
    if let Some(progress) = condition(object, "Progressing")
        && progress.reason == "ProgressDeadlineExceeded"
    {
        return Health::degraded(progress.text());
    }
    let desired = number(object, &["spec", "replicas"]).unwrap_or(1);
    let updated = count(object, "updatedReplicas");
    let available = count(object, "availableReplicas");
    let old = count(object, "replicas") - updated;
    let waiting = if updated < desired {
        format!("{updated} of {desired} replicas updated")
    } else if old > 0 {
        format!("old replicas pending termination: {old}")
    } else if available < updated {
        format!("{available} of {updated} updated replicas available")
    } else if desired == 0 {
        return Health::healthy_because("scaled to 0 replicas");
    } else {
        return Health::healthy();
    };
    match true_condition(object, "ReplicaFailure") {
        Some(failure) => Health::progressing(format!("{waiting}: {}", failure.text())),
        None => Health::progressing(waiting),
    }
}
