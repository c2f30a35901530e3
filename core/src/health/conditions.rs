//! Any kind that has conditions.

use serde_json::Value;

use super::observed::{Condition, condition, conditions, true_condition};
use super::{Health, HealthStatus};

/// Conditions that are true when all is well.
const WANTED: &[&str] =
    &["Ready", "Available", "Healthy", "Synced", "Reconciled", "Accepted", "Programmed", "ResolvedRefs", "Succeeded"];

/// Conditions that are true when it has failed: `Stalled` is the convention of kstatus, the others are widespread.
const UNWANTED: &[&str] = &["Stalled", "Failed", "Degraded"];

/// Parts of a reason that tell a failure from a wait.
const FAILURES: &[&str] = &[
    "BackOff",
    "Conflict",
    "CrashLoop",
    "Denied",
    "Error",
    "Exceeded",
    "Fail",
    "Forbidden",
    "Invalid",
    "NotAllowed",
    "NotFound",
    "Rejected",
    "Unauthorized",
];

/// Health by the conventions for conditions: `Stalled` and its like are Degraded, then `Reconciling` is Progressing,
/// then the worst of `Ready`, `Available` and its like decides. Without any of them the object is Healthy.
///
/// A wanted condition that is `False` is Progressing in kstatus and Degraded in most of Argo CD's scripts. Neither is
/// right for all: here it is Degraded when its reason says so (`InvalidSpec`, `SyncFailed`, `AccessDenied`, ...), else
/// Progressing, because controllers start from `Ready=False` and a false alarm would fail a sync.
pub(super) fn assess(object: &Value) -> Health {
    if let Some(failed) = UNWANTED.iter().find_map(|name| true_condition(object, name)) {
        return failed.stale(object).unwrap_or_else(|| Health::degraded(failed.text()));
    }
    if true_condition(object, "Suspended").is_some() {
        return Health::suspended("suspended");
    }
    if let Some(reconciling) = true_condition(object, "Reconciling") {
        return Health::progressing(reconciling.text());
    }
    conditions(object)
        .filter(|condition| WANTED.contains(&condition.name))
        .map(|condition| wanted(object, condition, failed_or_waiting(condition)))
        .reduce(Health::or_worse)
        .unwrap_or_default()
}

/// Health of a kind whose controller always sets a condition and means failure when it is `False`.
///
/// `waiting` says what is waited for as long as the condition is not there.
pub(super) fn required(object: &Value, name: &str, waiting: &str) -> Health {
    match condition(object, name) {
        Some(condition) => wanted(object, condition, HealthStatus::Degraded),
        None => Health::progressing(waiting),
    }
}

/// Health by a condition that is true when all is well.
pub(super) fn wanted(object: &Value, condition: Condition<'_>, when_false: HealthStatus) -> Health {
    condition.stale(object).unwrap_or_else(|| match condition.status {
        "True" => Health::healthy(),
        "False" => Health::new(when_false, condition.text()),
        _ => Health::progressing(condition.text()),
    })
}

fn failed_or_waiting(condition: Condition<'_>) -> HealthStatus {
    let failed = FAILURES.iter().any(|part| condition.reason.contains(part));
    if failed { HealthStatus::Degraded } else { HealthStatus::Progressing }
}
