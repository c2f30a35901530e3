//! Namespaces.

use serde_json::Value;

use super::Health;
use crate::object::text_at;

/// Healthy unless it terminates, which its deletion timestamp has said before this is asked.
pub(super) fn assess(object: &Value) -> Health {
    match text_at(object, &["status", "phase"]) {
        Some("Terminating") => Health::progressing("terminating"),
        _ => Health::healthy(),
    }
}
