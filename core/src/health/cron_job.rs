//! CronJobs.

use serde_json::Value;

use super::Health;
use super::observed::{flag, items};
use crate::object::text_at;

/// Degraded when the last run that was started has ended and did not succeed, as in Argo CD; kstatus calls every
/// CronJob current.
///
/// Healthy while a run goes on, since the runs are not what is synced, and before the first success: that may be
/// a first run that is not over. Suspended ones are Healthy, as in Argo CD since its issue 24428: suspending is how a
/// schedule is switched off for good, and must not hold up what comes after it.
pub(super) fn assess(object: &Value) -> Health {
    if flag(object, &["spec", "suspend"]) {
        return Health::healthy_because("suspended");
    }
    // Both are RFC 3339 in UTC with whole seconds, so they compare as text.
    let scheduled = text_at(object, &["status", "lastScheduleTime"]);
    let succeeded = text_at(object, &["status", "lastSuccessfulTime"]);
    match scheduled.zip(succeeded) {
        Some((scheduled, succeeded)) if succeeded < scheduled && items(object, &["status", "active"]).is_empty() => {
            Health::degraded(format!("the run of {scheduled} did not succeed; the last success was {succeeded}"))
        }
        _ => Health::healthy(),
    }
}
