//! Prometheus operator: what runs as pods. Monitors and rules are configuration.

use serde_json::Value;

use super::Health;
use super::observed::{NOT_OBSERVED, condition, flag};

/// `Reconciled` decides when it is not true, else `Available`, whose status can also be `Degraded`. Pods that are not
/// ready are Progressing; anything else that is not well is Degraded.
///
/// Differences to Argo CD: it does not look at `Reconciled` or at pausing, and a start without any ready pod
/// (`NoPodReady`) is Degraded there.
pub(super) fn assess(object: &Value) -> Health {
    if flag(object, &["spec", "paused"]) {
        return Health::suspended("paused");
    }
    let decisive = condition(object, "Reconciled")
        .filter(|reconciled| !reconciled.is_true())
        .or_else(|| condition(object, "Available"));
    let Some(said) = decisive else {
        return Health::progressing(NOT_OBSERVED);
    };
    said.stale(object).unwrap_or_else(|| match said.status {
        "True" => Health::healthy(),
        "Unknown" => Health::progressing(said.text()),
        _ if ["NoPodReady", "SomePodsNotReady"].contains(&said.reason) => Health::progressing(said.text()),
        _ => Health::degraded(said.text()),
    })
}
