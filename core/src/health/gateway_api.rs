//! Routes of the Gateway API. Gateways themselves follow the conventions for conditions.

use serde_json::Value;

use super::conditions::wanted;
use super::observed::{conditions_in, items};
use super::{Health, HealthStatus};
use crate::object::text_at;

/// The worst of what the parents (gateways, mostly) say: a parent that does not accept the route or cannot resolve
/// its references is Degraded, as in Argo CD. Without an answer of a parent it is Progressing.
pub(super) fn assess_route(object: &Value) -> Health {
    items(object, &["status", "parents"])
        .iter()
        .map(|parent| assess_parent(object, parent))
        .reduce(Health::or_worse)
        .unwrap_or_else(|| Health::progressing("waiting for a gateway to accept the route"))
}

fn assess_parent(object: &Value, parent: &Value) -> Health {
    let said = conditions_in(items(parent, &["conditions"]))
        .filter_map(|condition| {
            let when_false = match condition.name {
                "Accepted" | "ResolvedRefs" => HealthStatus::Degraded,
                "Programmed" => HealthStatus::Progressing,
                _ => return None,
            };
            Some(wanted(object, condition, when_false))
        })
        .reduce(Health::or_worse)
        .unwrap_or_else(|| Health::progressing("waiting for the gateway"));
    let name = text_at(parent, &["parentRef", "name"]).unwrap_or_default();
    match said.message {
        Some(message) => Health::new(said.status, format!("{name}: {message}")),
        None => said,
    }
}
