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

/// A ClusterExternalSecret, or ClusterPushSecret: every namespace that failed counts, and the first one says why.
pub(super) fn assess_cluster_external(object: &Value) -> Health {
    let failed = object["status"]["failedNamespaces"].as_array().map(Vec::as_slice).unwrap_or_default();
    let Some(first) = failed.first() else { return assess_external(object) };
    let text = |key: &str| text_at(first, &[key]).unwrap_or_default();
    let more = if failed.len() > 1 { format!(" and {} more", failed.len() - 1) } else { String::new() };
    without_values(Health::degraded(format!("no Secret in {}{more}: {}", text("namespace"), text("reason"))))
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
