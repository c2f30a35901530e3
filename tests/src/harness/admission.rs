//! A mutating admission webhook on loopback, with a certificate that the API server is told to trust.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::post;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::tls;

type Mutate = Arc<dyn Fn(&Value) -> Vec<Value> + Send + Sync>;

/// A running webhook; stops when it is dropped.
pub struct AdmissionWebhook {
    url: String,
    authority: String,
    server: tokio::task::JoinHandle<()>,
}

impl AdmissionWebhook {
    /// Serves the operations of a JSON patch for each object that is admitted.
    pub async fn start(mutate: impl Fn(&Value) -> Vec<Value> + Send + Sync + 'static) -> Self {
        let mutate: Mutate = Arc::new(mutate);
        let served = tls::serve(Router::new().route("/", post(review)).with_state(mutate)).await;
        let url = format!("https://{}/", served.address);
        Self { url, authority: served.authority, server: served.server }
    }

    /// The configuration that registers it for one kind in one namespace.
    pub fn configuration(&self, name: &str, namespace: &str, (group, version, resource): (&str, &str, &str)) -> Value {
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": [{
                "name": "tests.gitmoor.dev", "admissionReviewVersions": ["v1"], "sideEffects": "None",
                "failurePolicy": "Fail", "timeoutSeconds": 10,
                "clientConfig": {"url": self.url, "caBundle": STANDARD.encode(&self.authority)},
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "rules": [{
                    "apiGroups": [group], "apiVersions": [version], "resources": [resource],
                    "operations": ["CREATE", "UPDATE"],
                }],
            }],
        })
    }
}

impl Drop for AdmissionWebhook {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn review(State(mutate): State<Mutate>, body: Bytes) -> impl IntoResponse {
    let review: Value = serde_json::from_slice(&body).unwrap_or_default();
    let operations = mutate(&review["request"]["object"]);
    let mut response = json!({"uid": review["request"]["uid"], "allowed": true});
    if !operations.is_empty() {
        response["patchType"] = json!("JSONPatch");
        response["patch"] = json!(STANDARD.encode(Value::Array(operations).to_string()));
    }
    let answer = json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
    ([(header::CONTENT_TYPE, "application/json")], answer.to_string())
}
