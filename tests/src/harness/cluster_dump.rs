//! What a cluster looks like, for people: printed when a test fails.

use std::fmt::Write as _;

use k8s_openapi::api::core::v1::{Event, Pod};
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams};
use serde_json::Value;

/// The Applications with sync, health and conditions, the pods and the last
/// events of the namespaces.
pub async fn dump(client: &kube::Client, namespaces: &[String]) -> String {
    let mut text = String::new();
    for namespace in namespaces {
        let _ = writeln!(text, "--- namespace {namespace}");
        text.push_str(&applications(client, namespace).await);
        text.push_str(&pods(client, namespace).await);
        text.push_str(&events(client, namespace).await);
    }
    text
}

async fn applications(client: &kube::Client, namespace: &str) -> String {
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Application"));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &kind);
    // Most often there is no such kind on this cluster.
    let Ok(list) = api.list(&ListParams::default()).await else { return String::new() };
    list.items.iter().fold(String::new(), |mut text, application| {
        let field = |path: &str| application.data.pointer(path).and_then(Value::as_str).unwrap_or("-").to_owned();
        let _ = writeln!(
            text,
            "Application {}: sync {} at {}, health {}, operation {}: {}",
            application.metadata.name.as_deref().unwrap_or_default(),
            field("/status/sync/status"),
            field("/status/sync/revision"),
            field("/status/health/status"),
            field("/status/operationState/phase"),
            field("/status/operationState/message"),
        );
        for condition in application.data.pointer("/status/conditions").and_then(Value::as_array).into_iter().flatten()
        {
            let _ = writeln!(text, "  condition {condition}");
        }
        for resource in application.data.pointer("/status/resources").and_then(Value::as_array).into_iter().flatten() {
            let _ = writeln!(text, "  resource {resource}");
        }
        text
    })
}

async fn pods(client: &kube::Client, namespace: &str) -> String {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let list = match api.list(&ListParams::default()).await {
        Ok(list) => list,
        Err(error) => return format!("pods: {error}\n"),
    };
    list.items.iter().fold(String::new(), |mut text, pod| {
        let status = pod.status.clone().unwrap_or_default();
        let (phase, reason) = (status.phase.unwrap_or_default(), status.reason.unwrap_or_default());
        let _ = writeln!(text, "Pod {}: {phase} {reason}", pod.metadata.name.as_deref().unwrap_or_default());
        text
    })
}

async fn events(client: &kube::Client, namespace: &str) -> String {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let mut list = match api.list(&ListParams::default()).await {
        Ok(list) => list.items,
        Err(error) => return format!("events: {error}\n"),
    };
    list.sort_by(|a, b| a.metadata.creation_timestamp.cmp(&b.metadata.creation_timestamp));
    list.iter().rev().take(20).rev().fold(String::new(), |mut text, event| {
        let object = &event.involved_object;
        let _ = writeln!(
            text,
            "Event {} {}: {}: {}",
            object.kind.as_deref().unwrap_or_default(),
            object.name.as_deref().unwrap_or_default(),
            event.reason.as_deref().unwrap_or_default(),
            event.message.as_deref().unwrap_or_default(),
        );
        text
    })
}
