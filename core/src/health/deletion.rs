//! Objects that are being deleted.

use serde_json::Value;

use super::Health;
use super::observed::{Condition, at, conditions, items};
use crate::object::text_at;

/// How the message of an object begins that is being deleted.
pub const PENDING_DELETION: &str = "pending deletion";

/// Progressing, when the object is being deleted: it is on its way out of the cluster, whatever it says of itself.
///
/// The message names what holds the object: its finalizers, or for a Namespace the conditions in which its controller
/// says what is left in it.
pub(super) fn pending(object: &Value) -> Option<Health> {
    at(object, &["metadata", "deletionTimestamp"]).filter(|at| !at.is_null())?;
    let finalizers: Vec<&str> = items(object, &["metadata", "finalizers"]).iter().filter_map(Value::as_str).collect();
    let left: Vec<String> = match text_at(object, &["kind"]) {
        Some("Namespace") => conditions(object).filter(Condition::is_true).map(|held| held.text()).collect(),
        _ => Vec::new(),
    };
    Some(Health::progressing(match (left.as_slice(), finalizers.as_slice()) {
        ([], []) => PENDING_DELETION.to_owned(),
        ([], finalizers) => format!("{PENDING_DELETION}, held by {}", finalizers.join(", ")),
        (left, _) => format!("{PENDING_DELETION}: {}", left.join("; ")),
    }))
}
