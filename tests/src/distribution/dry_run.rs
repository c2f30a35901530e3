//! What an API server says of objects, without keeping them.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use futures::{StreamExt as _, stream};
use http_body_util::BodyExt as _;
use kube::Resource as _;
use kube::api::{ApiResource, DynamicObject};
use kube::client::Body;
use kube::core::GroupVersionKind;
use kube::discovery::{ApiCapabilities, Scope, pinned_kind};
use serde_json::{Value, json};

use super::fork::{name_of, text_at};
use crate::harness::await_state::eventually;
use crate::harness::installation::{PATIENCE, api, apply};

/// Requests at the same time.
const AT_ONCE: usize = 8;

/// What it said.
#[derive(Debug, Default)]
pub struct Verdict {
    /// Refusals, and warnings: of deprecated versions, unknown fields, pods that their namespace will refuse.
    pub faults: Vec<String>,
    /// Kinds that it does not serve.
    pub unknown: BTreeSet<String>,
    /// How many objects it accepted.
    pub accepted: usize,
}

/// Makes the definitions and namespaces among the objects, and those namespaces, for others to be looked at.
pub async fn prepare(client: &kube::Client, objects: &[Value], namespaces: &[&str]) {
    for name in namespaces {
        apply(client, &json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})).await;
    }
    for object in objects.iter().filter(|object| object["kind"] == "Namespace") {
        apply(client, object).await;
    }
    let definitions: Vec<&Value> =
        objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition").collect();
    for definition in &definitions {
        apply(client, definition).await;
    }
    for definition in definitions {
        let name = text_at(definition, "/metadata/name");
        eventually(&format!("{name} is established"), PATIENCE, async || {
            let kind = "apiextensions.k8s.io/v1/CustomResourceDefinition";
            let live = api(client, kind, None).get(name).await.map_err(|error| error.to_string())?;
            let conditions = live.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let established = |one: &Value| one["type"] == "Established" && one["status"] == "True";
            if conditions.iter().any(established) { Ok(()) } else { Err(format!("{conditions:?}")) }
        })
        .await;
    }
}

/// Asks about every object.
pub async fn dry_run(client: &kube::Client, objects: &[Value]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut kinds = HashMap::new();
    for object in objects {
        let kind = kind_of(object);
        if let Entry::Vacant(unknown) = kinds.entry(kind.clone()) {
            let served = pinned_kind(client, &kind).await.ok();
            if served.is_none() {
                verdict.unknown.insert(format!("{}/{}", text_at(object, "/apiVersion"), kind.kind));
            }
            unknown.insert(served);
        }
    }
    let known = objects.iter().filter_map(|object| Some((object, kinds[&kind_of(object)].as_ref()?)));
    let mut answers = stream::iter(known.map(|(object, kind)| ask(client, object, kind))).buffer_unordered(AT_ONCE);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(()) => verdict.accepted += 1,
            Err(fault) => verdict.faults.push(fault),
        }
    }
    verdict.faults.sort();
    verdict
}

fn kind_of(object: &Value) -> GroupVersionKind {
    let api_version = text_at(object, "/apiVersion");
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    GroupVersionKind::gvk(group, version, text_at(object, "/kind"))
}

async fn ask(
    client: &kube::Client,
    object: &Value,
    (resource, capabilities): &(ApiResource, ApiCapabilities),
) -> Result<(), String> {
    let id = name_of(object);
    let namespace = text_at(object, "/metadata/namespace");
    let namespace = (capabilities.scope == Scope::Namespaced).then_some(namespace);
    if namespace == Some("") {
        return Err(format!("{id}: it has no namespace"));
    }
    let url = DynamicObject::url_path(resource, namespace);
    let name = text_at(object, "/metadata/name");
    let asked = "dryRun=All&force=true&fieldManager=gitmoor-tests&fieldValidation=Strict";
    let request = http::Request::patch(format!("{url}/{name}?{asked}"))
        .header("Content-Type", "application/apply-patch+yaml")
        .body(Body::from(object.to_string().into_bytes()))
        .unwrap();
    let answer = client.send(request).await.map_err(|error| format!("{id}: {error}"))?;
    let warnings: Vec<String> = answer
        .headers()
        .get_all("warning")
        .iter()
        .map(|text| String::from_utf8_lossy(text.as_bytes()).into())
        .collect();
    let status = answer.status();
    let body = answer.into_body().collect().await.map_err(|error| format!("{id}: {error}"))?.to_bytes();
    if !status.is_success() {
        let said: Value = serde_json::from_slice(&body).unwrap_or_default();
        return Err(format!("{id}: {}", text_at(&said, "/message")));
    }
    if warnings.is_empty() { Ok(()) } else { Err(format!("{id}: {}", warnings.join("; "))) }
}
