//! cert-manager.

use serde_json::Value;

use super::Health;
use super::conditions::required;
use super::observed::true_condition;

/// A Certificate that is being issued is Progressing, whatever `Ready` says; then `Ready` decides. As in Argo CD.
pub(super) fn assess_certificate(object: &Value) -> Health {
    match true_condition(object, "Issuing") {
        Some(issuing) => Health::progressing(issuing.text()),
        None => required(object, "Ready", "waiting for the certificate"),
    }
}

/// An Issuer or ClusterIssuer: `Ready` decides.
pub(super) fn assess_issuer(object: &Value) -> Health {
    required(object, "Ready", "waiting for the issuer")
}
