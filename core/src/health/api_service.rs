//! APIServices.

use serde_json::Value;

use super::conditions::wanted;
use super::observed::condition;
use super::{Health, HealthStatus};

/// Progressing until available, as in Argo CD: what serves the API may still be starting, and an API that went away
/// comes back by itself as soon as it answers.
pub(super) fn assess(object: &Value) -> Health {
    match condition(object, "Available") {
        Some(available) => wanted(object, available, HealthStatus::Progressing),
        None => Health::progressing("waiting to be checked by the API server"),
    }
}
