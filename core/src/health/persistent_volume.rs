//! PersistentVolumes.

use serde_json::Value;

use super::{Health, HealthStatus};
use crate::object::text_at;

/// By phase. A released volume is Healthy, as it keeps what it should keep, but the message says that no claim can bind
/// it.
pub(super) fn assess(object: &Value) -> Health {
    let reported = text_at(object, &["status", "message"]).or_else(|| text_at(object, &["status", "reason"]));
    match text_at(object, &["status", "phase"]) {
        Some("Available" | "Bound") => Health::healthy(),
        Some("Released") => {
            Health::healthy_because("released by its claim; not bindable until its claimRef is removed")
        }
        Some("Failed") => Health::degraded(reported.unwrap_or("failed")),
        Some("Pending") | None => Health::progressing(reported.unwrap_or("waiting to be available")),
        Some(other) => Health::new(HealthStatus::Unknown, format!("phase {other}")),
    }
}
