//! KServe.

use serde_json::Value;

use super::conditions::wanted;
use super::observed::{NOT_OBSERVED, condition, true_condition};
use super::{Health, HealthStatus};
use crate::object::text_at;

/// Degraded when the model cannot be loaded or the spec is invalid, also while an older model still serves; stopped is
/// Suspended. `Ready=False` is Progressing, as in Argo CD: it is what a service says while its pods start.
pub(super) fn assess(object: &Value) -> Health {
    if true_condition(object, "Stopped").is_some() {
        return Health::suspended("stopped");
    }
    let transition = text_at(object, &["status", "modelStatus", "transitionStatus"]);
    let failure = ["message", "reason"]
        .into_iter()
        .find_map(|field| text_at(object, &["status", "modelStatus", "lastFailureInfo", field]));
    match (transition, condition(object, "Ready")) {
        (Some(failed @ ("BlockedByFailedLoad" | "InvalidSpec")), _) => {
            Health::degraded(failure.map_or_else(|| failed.to_owned(), |failure| format!("{failed}: {failure}")))
        }
        (Some("InProgress"), Some(ready)) if ready.is_true() => {
            Health::progressing("waiting for the new model to load")
        }
        (_, Some(ready)) => wanted(object, ready, HealthStatus::Progressing),
        (_, None) => Health::progressing(NOT_OBSERVED),
    }
}
