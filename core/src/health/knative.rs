//! Knative Serving.

use serde_json::Value;

use super::Health;
use super::conditions::required;
use super::observed::NOT_OBSERVED;

/// `Ready` decides: in Knative `Unknown` means in progress and `False` means failed
/// (<https://github.com/knative/specs/blob/main/specs/serving/overview.md#conditions>). Argo CD also asks for the two
/// conditions that `Ready` is made of.
pub(super) fn assess(object: &Value) -> Health {
    required(object, "Ready", NOT_OBSERVED)
}
