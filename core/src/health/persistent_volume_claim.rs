//! PersistentVolumeClaims.

use serde_json::Value;

use super::observed::at;
use super::{Health, HealthStatus};
use crate::object::text_at;

/// By phase, as in Argo CD (kstatus: a lost claim is in progress), and Degraded when a resize was found infeasible.
///
/// A claim whose class binds with the first consumer is pending until a pod uses it. Nothing in the claim tells that
/// from a volume that is being made, so it is Progressing, and the message says what it may need.
pub(super) fn assess(object: &Value) -> Health {
    match text_at(object, &["status", "phase"]) {
        Some("Bound") => infeasible_resize(object).map_or_else(Health::healthy, Health::degraded),
        Some("Lost") => Health::degraded("the volume it was bound to is gone"),
        Some("Pending") | None => Health::progressing(
            "waiting for a volume; a class with WaitForFirstConsumer binds when a pod uses the claim",
        ),
        Some(other) => Health::new(HealthStatus::Unknown, format!("phase {other}")),
    }
}

fn infeasible_resize(object: &Value) -> Option<String> {
    let statuses = at(object, &["status", "allocatedResourceStatuses"])?.as_object()?;
    let status = statuses.get("storage")?.as_str().filter(|status| status.ends_with("Infeasible"))?;
    let [wanted, present] = [&["status", "allocatedResources", "storage"], &["status", "capacity", "storage"]]
        .map(|path| text_at(object, path).unwrap_or("?"));
    Some(format!("resize from {present} to {wanted} failed: {status}"))
}
