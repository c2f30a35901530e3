//! AWS controllers for Kubernetes (ACK), all of their groups.

use serde_json::Value;

use super::Health;
use super::observed::{NOT_OBSERVED, condition, true_condition};

/// `ACK.Terminal` is Degraded: the controller has given up until the spec changes. `ACK.Recoverable` is Progressing
/// with its message: it tries again. Healthy once `Ready`, or `ACK.ResourceSynced` of older controllers, is true.
///
/// Conditions: <https://aws-controllers-k8s.github.io/community/docs/user-docs/conditions/>.
pub(super) fn assess(object: &Value) -> Health {
    if let Some(terminal) = true_condition(object, "ACK.Terminal") {
        return Health::degraded(terminal.text());
    }
    let synced = condition(object, "Ready").or_else(|| condition(object, "ACK.ResourceSynced"));
    match (synced, true_condition(object, "ACK.Recoverable")) {
        (Some(synced), _) if synced.is_true() => Health::healthy(),
        (_, Some(error)) => Health::progressing(error.text()),
        (Some(waiting), None) => Health::progressing(waiting.text()),
        (None, None) => Health::progressing(NOT_OBSERVED),
    }
}
