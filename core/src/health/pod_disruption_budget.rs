//! PodDisruptionBudgets.

use serde_json::Value;

use super::Health;
use super::observed::{Condition, condition, unseen};

/// Degraded when the controller cannot compute it. A budget that allows no disruption now does its work, so it
/// is Healthy, as in Argo CD.
pub(super) fn assess(object: &Value) -> Health {
    match condition(object, "DisruptionAllowed").filter(Condition::is_false) {
        Some(blocked) if blocked.reason == "InsufficientPods" => Health::healthy_because("no disruption allowed now"),
        Some(failed) => Health::degraded(failed.text()),
        None => unseen(object).unwrap_or_default(),
    }
}
