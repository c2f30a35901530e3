//! What makes Secrets: external-secrets, its predecessor, and sealed-secrets.

use serde_json::Value;

use super::conditions::required;
use super::observed::generation;
use super::{Health, HealthStatus};
use crate::object::text_at;

/// An ExternalSecret or PushSecret: `Ready` decides. It is Progressing while the Secret was made from an older spec,
/// which only `status.syncedResourceVersion` (`GENERATION-HASH`) tells.
pub(super) fn assess_external(object: &Value) -> Health {
    let health = without_values(required(object, "Ready", "waiting for the secret to be fetched"));
    let synced = text_at(object, &["status", "syncedResourceVersion"])
        .and_then(|version| version.split('-').next()?.parse::<i64>().ok());
    match synced.zip(generation(object)) {
        Some((synced, now)) if synced < now && health.status == HealthStatus::Healthy => {
            Health::progressing(format!("waiting for its controller: generation {now}, synced {synced}"))
        }
        _ => health,
    }
}

/// A SecretStore or ClusterSecretStore: `Ready` decides.
pub(super) fn assess_store(object: &Value) -> Health {
    required(object, "Ready", "waiting for the store to be validated")
}

/// An ExternalSecret of `kubernetes-client.io`: `status.status` is `SUCCESS`, or an error as text.
pub(super) fn assess_legacy_external(object: &Value) -> Health {
    match text_at(object, &["status", "status"]) {
        Some("SUCCESS") => Health::healthy(),
        Some(error) => without_values(Health::degraded(error)),
        None => Health::progressing("waiting for the secret to be fetched"),
    }
}

/// A SealedSecret: `Synced` decides.
pub(super) fn assess_sealed(object: &Value) -> Health {
    without_values(required(object, "Synced", "waiting to be unsealed"))
}

/// Errors of templates and parsers quote what they choke on, here a secret value. They stay where they are.
fn without_values(health: Health) -> Health {
    let message = health.message.as_deref().unwrap_or_default().to_ascii_lowercase();
    let quotes = ["decod", "invalid character", "parsing", "template", "unmarshal"];
    if quotes.iter().any(|word| message.contains(word)) {
        return Health::new(health.status, "see the object's own status; not repeated here, as it may quote a value");
    }
    health
}
