//! HorizontalPodAutoscalers.

use serde_json::Value;

use super::Health;
use super::observed::{Condition, NOT_OBSERVED, at, conditions_in, items};
use crate::object::annotation;

/// Where `autoscaling/v1` keeps its conditions, as JSON.
const V1_CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

/// Degraded when it cannot scale its target or has lost its metrics; Healthy when it can scale, also when it is
/// switched off by a target with 0 replicas or stands at its limit.
///
/// Difference: metrics that were never there are Progressing (Argo CD: Degraded). A new target has no metrics
/// until its pods have run for a while, and that must not fail the sync that brings it. `ScalingLimited` is what the
/// controller writes first after it has read metrics, and it keeps it: that tells the two cases apart.
pub(super) fn assess(object: &Value) -> Health {
    match annotation(object, V1_CONDITIONS) {
        Some(text) => {
            let list: Value = serde_json::from_str(text).unwrap_or_default();
            by_conditions(object, list.as_array().map_or(&[], Vec::as_slice))
        }
        None => by_conditions(object, items(object, &["status", "conditions"])),
    }
}

fn by_conditions(object: &Value, list: &[Value]) -> Health {
    let named = |name: &str| conditions_in(list).find(|condition| condition.name == name);
    if let Some(unable) = named("AbleToScale").filter(Condition::is_false)
        && unable.reason.starts_with("Failed")
    {
        return Health::degraded(unable.text());
    }
    let measured = named("ScalingLimited").is_some() || at(object, &["status", "lastScaleTime"]).is_some();
    match named("ScalingActive") {
        Some(active) if active.is_true() => Health::healthy(),
        Some(inactive) if inactive.reason == "ScalingDisabled" => {
            Health::healthy_because("scaling is off: its target has 0 replicas")
        }
        Some(inactive) if inactive.reason.starts_with("Failed") && !measured => {
            Health::progressing(format!("waiting for the first metrics: {}", inactive.message))
        }
        Some(inactive) => Health::degraded(inactive.text()),
        None => Health::progressing(NOT_OBSERVED),
    }
}
