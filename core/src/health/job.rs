//! Jobs.

use serde_json::Value;

use super::Health;
use super::observed::{count, flag, number, true_condition};

/// Follows Argo CD: Progressing until it has ended. kstatus calls a running Job current, which is of no use to
/// somebody who waits for a migration.
///
/// The end is `Complete` or `Failed`, not the earlier `SuccessCriteriaMet` or `FailureTarget`: until then pods run.
pub(super) fn assess(object: &Value) -> Health {
    if let Some(failed) = true_condition(object, "Failed") {
        return Health::degraded(failed.text());
    }
    if true_condition(object, "Complete").is_some() {
        return Health::healthy();
    }
    if flag(object, &["spec", "suspend"]) {
        return Health::suspended("suspended");
    }
    if let Some(failing) = true_condition(object, "FailureTarget") {
        return Health::progressing(format!("failing: {}", failing.text()));
    }
    let wanted = number(object, &["spec", "completions"]).unwrap_or(1);
    let [succeeded, active, failed] = ["succeeded", "active", "failed"].map(|field| count(object, field));
    Health::progressing(format!("{succeeded} of {wanted} pods succeeded, active: {active}, failed: {failed}"))
}
