//! Ingresses.

use serde_json::Value;

use super::Health;
use super::observed::items;

/// Healthy once a controller has written an address, as in Argo CD (kstatus has no rule).
///
/// Some controllers never write one (Argo CD has the same limit): publish the address in the controller, or annotate
/// the Ingress with `argocd.argoproj.io/ignore-healthcheck`.
pub(super) fn assess(object: &Value) -> Health {
    if items(object, &["status", "loadBalancer", "ingress"]).is_empty() {
        return Health::progressing("waiting for an address from its ingress controller");
    }
    Health::healthy()
}
