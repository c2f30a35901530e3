//! What stands in for what is not here: AWS' secret stores, and the controllers that make things ready.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, PoisonError, RwLock},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, response::IntoResponse, routing::post};
use gitmoor_core::{
    object::{GroupKind, text_at},
    provision::{Wanted, wants},
};
use gitmoor_engine::cluster::Cluster;
use serde_json::{Map, Value, json};

use crate::{failure::Failure, fleet::AllBound};

/// What every generated value is.
const VALUE: &str = "stand-in";

/// The properties that ExternalSecrets ask of each key; none: the value itself.
type Properties = BTreeMap<String, BTreeSet<String>>;

/// Answers for Secrets Manager, Parameter Store and STS on loopback, with a generated value for every key that the tree
/// names.
pub(super) struct StandInAws {
    address: SocketAddr,
    known: Arc<Known>,
}

/// What is known at this moment.
type Known = RwLock<Properties>;

impl StandInAws {
    /// Starts to answer.
    pub(super) async fn serve(bound: &AllBound) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::io("the stand-in for AWS cannot start", &error);
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let known = Arc::new(RwLock::new(properties(bound)));
        let router = Router::new().route("/", post(answer)).with_state(Arc::clone(&known));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, known })
    }

    /// Where.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The tree names other keys now.
    pub(super) fn learn(&self, bound: &AllBound) {
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = properties(bound);
    }
}

/// What ExternalSecrets ask for. One that takes a key as a whole gets the keys that pods ask of the Secret.
fn properties(bound: &AllBound) -> Properties {
    let objects: Vec<&Value> =
        bound.values().flat_map(|bound| bound.manifests.items()).map(|item| &item.object).collect();
    let mut wanted = Wanted::new();
    objects.iter().for_each(|object| wants(object, &mut wanted));
    let mut found = Properties::new();
    for object in objects.into_iter().filter(|object| object["kind"] == "ExternalSecret") {
        collect(&object["spec"], &mut found);
        let name = text_at(object, &["spec", "target", "name"]).or(text_at(object, &["metadata", "name"]));
        let namespace = text_at(object, &["metadata", "namespace"]).unwrap_or_default();
        let keys = wanted.get(&(namespace, name.unwrap_or_default())).cloned().unwrap_or_default();
        for part in object["spec"]["dataFrom"].as_array().into_iter().flatten() {
            let key = text_at(part, &["extract", "key"]).or(part.as_str());
            if let Some(key) = key {
                let entry = found.entry(key.to_owned()).or_default();
                entry.extend(keys.iter().map(|key| (*key).to_owned()));
                // It has to be a map, whatever is in it.
                entry.insert("value".to_owned());
            }
        }
    }
    found
}

fn collect(value: &Value, found: &mut Properties) {
    match value {
        Value::Object(map) => {
            if let Some(key) = map.get("key").and_then(Value::as_str) {
                let property = map.get("property").and_then(Value::as_str).filter(|text| !text.is_empty());
                found.entry(key.to_owned()).or_default().extend(property.map(str::to_owned));
            }
            map.values().for_each(|value| collect(value, found));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, found)),
        _ => {}
    }
}

fn value_of(known: &Properties, key: &str) -> String {
    let properties = known.get(key).filter(|properties| !properties.is_empty());
    let Some(properties) = properties else { return VALUE.to_owned() };
    let mut value = Value::Object(Map::new());
    for property in properties {
        let mut at = &mut value;
        for part in property.split('.') {
            if !at.is_object() {
                *at = Value::Object(Map::new());
            }
            at = &mut at[part];
        }
        *at = Value::String(VALUE.to_owned());
    }
    value.to_string()
}

async fn answer(State(known): State<Arc<Known>>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let operation = target.rsplit('.').next().unwrap_or_default();
    if operation.is_empty() {
        return ([("content-type", "text/xml")], token(&String::from_utf8_lossy(&body)));
    }
    let request: Value = serde_json::from_slice(&body).unwrap_or_default();
    let known = known.read().unwrap_or_else(PoisonError::into_inner);
    let document = document(&known, operation, &request).to_string();
    ([("content-type", "application/x-amz-json-1.1")], document)
}

fn document(known: &Properties, operation: &str, request: &Value) -> Value {
    let secret = |key: &str| {
        json!({ "ARN": format!("arn:aws:secretsmanager:us-east-1:000000000000:secret:{key}-standi"), "Name": key,
            "SecretString": value_of(known, key), "VersionId": "00000000-0000-0000-0000-000000000000" })
    };
    let parameter =
        |key: &str| json!({ "Name": key, "Type": "SecureString", "Value": value_of(known, key), "Version": 1 });
    let texts = |field: &str| -> Vec<String> {
        let list = request[field].as_array().into_iter().flatten();
        list.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let text = |field: &str| text_at(request, &[field]).unwrap_or_default();
    match operation {
        "GetSecretValue" => secret(text("SecretId")),
        "BatchGetSecretValue" => {
            json!({ "SecretValues": texts("SecretIdList").iter().map(|key| secret(key)).collect::<Vec<_>>(), "Errors": [] })
        }
        "GetParameter" => json!({ "Parameter": parameter(text("Name")) }),
        "GetParameters" => {
            json!({ "Parameters": texts("Names").iter().map(|key| parameter(key)).collect::<Vec<_>>(), "InvalidParameters": [] })
        }
        "GetParametersByPath" => {
            let below = known.keys().filter(|key| key.starts_with(text("Path")));
            json!({ "Parameters": below.map(|key| parameter(key)).collect::<Vec<_>>() })
        }
        "ListSecrets" => json!({ "SecretList": known.keys().map(|key| json!({ "Name": key })).collect::<Vec<_>>() }),
        _ => json!({}),
    }
}

/// STS: every role may be assumed.
fn token(request: &str) -> String {
    let action = request.split('&').find_map(|pair| pair.strip_prefix("Action=")).unwrap_or("AssumeRole");
    format!(
        "<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><{action}Result><Credentials>\
         <AccessKeyId>rehearsal</AccessKeyId><SecretAccessKey>rehearsal</SecretAccessKey><SessionToken>rehearsal</SessionToken>\
         <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials><Arn>arn:aws:sts::000000000000:assumed-role/rehearsal/rehearsal</Arn>\
         <Account>000000000000</Account><UserId>rehearsal</UserId></{action}Result></{action}Response>"
    )
}

/// Who makes these ready is here: the agent, and the API server itself, whose definitions go out of service when
/// somebody else writes their conditions.
const NOT_STOOD_IN: [&str; 6] =
    ["Application", "ExternalSecret", "ClusterExternalSecret", "SecretStore", "CustomResourceDefinition", "Namespace"];

/// Kind, namespace and name of what an Application waits for.
fn waiting(applications: &[Value]) -> Vec<(GroupKind, &str, &str)> {
    applications
        .iter()
        .flat_map(|application| application["status"]["resources"].as_array().into_iter().flatten())
        .filter(|entry| matches!(entry["health"]["status"].as_str(), Some("Progressing" | "Missing" | "Unknown")))
        .filter_map(|entry| {
            let text = |key: &str| text_at(entry, &[key]).unwrap_or_default();
            let kind = text("kind");
            let other = !NOT_STOOD_IN.contains(&kind);
            other.then(|| (GroupKind::new(text("group"), kind), text("namespace"), text("name")))
        })
        .collect()
}

/// Writes the status that a controller would, for every object that its Application waits for.
pub(super) async fn make_ready(cluster: &Cluster, applications: &[Value]) {
    let waiting = waiting(applications);
    if waiting.is_empty() {
        return;
    }
    let Ok(resources) = cluster.discover().await else { return };
    for (kind, namespace, name) in waiting {
        let Some(resource) = resources.preferred(&kind) else { continue };
        let namespace = Some(namespace).filter(|namespace| !namespace.is_empty());
        if let Ok(Some(object)) = cluster.get(resource, namespace, name).await {
            // It is tried again with the next look.
            let _ = cluster.merge_status(resource, namespace, name, &json!({ "status": ready(&object) })).await;
        }
    }
}

/// How an object looks that its controller has made ready.
fn ready(object: &Value) -> Value {
    let generation = &object["metadata"]["generation"];
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
    let condition = |kind: &str| {
        json!({ "type": kind, "status": "True", "reason": "Rehearsal", "message": "stand-in",
            "lastTransitionTime": "2026-01-01T00:00:00Z" })
    };
    match object["kind"].as_str().unwrap_or_default() {
        "Deployment" => json!({ "observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas,
            "readyReplicas": replicas, "availableReplicas": replicas,
            "conditions": [condition("Available"), condition("Progressing")] }),
        "StatefulSet" => json!({ "observedGeneration": generation, "replicas": replicas, "updatedReplicas": replicas,
            "readyReplicas": replicas, "availableReplicas": replicas, "currentReplicas": replicas,
            "currentRevision": "rehearsal", "updateRevision": "rehearsal" }),
        "ReplicaSet" => json!({ "observedGeneration": generation, "replicas": replicas, "readyReplicas": replicas,
            "availableReplicas": replicas }),
        "DaemonSet" => {
            json!({ "observedGeneration": generation, "desiredNumberScheduled": 1, "currentNumberScheduled": 1,
            "updatedNumberScheduled": 1, "numberReady": 1, "numberAvailable": 1, "numberMisscheduled": 0 })
        }
        "Job" => json!({ "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:01Z", "succeeded": 1,
            "conditions": [condition("SuccessCriteriaMet"), condition("Complete")] }),
        "Pod" => json!({ "phase": "Running", "conditions": [condition("Ready")] }),
        "PersistentVolumeClaim" => json!({ "phase": "Bound" }),
        "Service" | "Ingress" => json!({ "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } }),
        "PodDisruptionBudget" => json!({ "observedGeneration": generation, "currentHealthy": 1, "desiredHealthy": 1,
            "disruptionsAllowed": 1, "expectedPods": 1 }),
        "SealedSecret" => json!({ "observedGeneration": generation, "conditions": [condition("Synced")] }),
        _ => json!({ "observedGeneration": generation, "conditions": [condition("Ready"), condition("Available")] }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_stay_the_api_servers() {
        let entry = |kind: &str| json!({"group": "g", "kind": kind, "name": "a", "health": {"status": "Progressing"}});
        let fine = json!({"group": "g", "kind": "Service", "name": "a", "health": {"status": "Healthy"}});
        let resources = [entry("CustomResourceDefinition"), entry("Application"), entry("Deployment"), fine];
        let applications = [json!({"status": {"resources": resources}})];
        let kinds: Vec<String> = waiting(&applications).into_iter().map(|(kind, ..)| kind.kind).collect();
        assert_eq!(kinds, ["Deployment"]);
    }
}
