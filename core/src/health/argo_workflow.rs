//! Argo Workflows.

use serde_json::Value;

use super::observed::{flag, true_condition};
use super::{Health, HealthStatus};
use crate::object::text_at;

/// By phase, as in Argo CD; a workflow that somebody suspended is Suspended (Argo CD: Progressing).
pub(super) fn assess(object: &Value) -> Health {
    let message = text_at(object, &["status", "message"]);
    match text_at(object, &["status", "phase"]) {
        Some("Succeeded") => Health::healthy(),
        Some("Failed" | "Error") => Health::degraded(message.unwrap_or("failed")),
        None | Some("" | "Pending" | "Running") if flag(object, &["spec", "suspend"]) => Health::suspended("suspended"),
        None | Some("") => Health::progressing("waiting to be started"),
        Some(phase @ ("Pending" | "Running")) => Health::progressing(message.unwrap_or(phase)),
        Some(other) => Health::new(HealthStatus::Unknown, format!("phase {other}")),
    }
}

/// A CronWorkflow is Degraded when no workflow can be made of it. Its runs do not count, and suspended it is Healthy
/// like a CronJob.
pub(super) fn assess_scheduled(object: &Value) -> Health {
    ["SpecError", "SubmissionError"]
        .into_iter()
        .find_map(|name| true_condition(object, name))
        .map_or_else(Health::healthy, |error| Health::degraded(error.text()))
}
