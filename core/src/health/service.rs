//! Services.

use serde_json::Value;

use super::Health;
use super::observed::items;
use crate::object::text_at;

/// A load balancer needs an address, as in Argo CD (kstatus is content with a cluster IP); all others exist or not.
pub(super) fn assess(object: &Value) -> Health {
    let balanced = text_at(object, &["spec", "type"]) == Some("LoadBalancer");
    if balanced && items(object, &["status", "loadBalancer", "ingress"]).is_empty() {
        return Health::progressing("waiting for the load balancer's address");
    }
    Health::healthy()
}
