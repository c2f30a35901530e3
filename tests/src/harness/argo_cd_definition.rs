//! Argo CD's own definition of Application, as far as it is stricter than the one that the distribution brings: its status
//! is no subresource, has required fields, and no others than it names.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use serde_json::{Value, json};

use super::definitions::{apply, shipped};

const STATUS: &str = include_str!("argo-cd-status.txt");

/// Puts it into the place of the one that is there.
///
/// # Panics
/// When the API server refuses it.
pub async fn install(client: &kube::Client) {
    let shipped = shipped();
    let ours = shipped.iter().find(|definition| definition.spec.names.kind == "Application").expect("it is shipped");
    let mut definition = serde_json::to_value(ours).expect("a definition is JSON");
    let version = &mut definition["spec"]["versions"][0];
    let fields = version.as_object_mut().expect("a version is an object");
    fields.remove("subresources");
    fields["additionalPrinterColumns"].as_array_mut().expect("a list of columns").truncate(4);
    version["schema"]["openAPIV3Schema"]["properties"]["status"] = status();
    let definition: CustomResourceDefinition = serde_json::from_value(definition).expect("it is one still");
    apply(client, &definition).await;
}

fn status() -> Value {
    let mut schema = json!({"type": "object"});
    for line in STATUS.lines().filter(|line| !line.starts_with('#')) {
        let (path, kind) = line.split_once(' ').expect("a path and a type");
        *path.split('.').fold(&mut schema, field) = leaf(kind, path.ends_with("[]"));
    }
    schema
}

/// The schema of a field, which is made when it is not there.
fn field<'a>(parent: &'a mut Value, name: &str) -> &'a mut Value {
    let (bare, required) = name.strip_suffix('!').map_or((name, false), |bare| (bare, true));
    let (bare, list) = bare.strip_suffix("[]").map_or((bare, false), |bare| (bare, true));
    let parent = if parent.get("items").is_some() { &mut parent["items"] } else { parent };
    if required {
        let before = parent.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
        parent["required"] = before.into_iter().chain([json!(bare)]).collect();
    }
    let schema = &mut parent["properties"][bare];
    if schema.is_null() {
        *schema = if list { json!({"type": "array", "items": {"type": "object"}}) } else { json!({"type": "object"}) };
    }
    schema
}

fn leaf(kind: &str, list: bool) -> Value {
    let any = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "required": ["repoURL"],
        "properties": {"repoURL": {"type": "string"}}});
    let one = match kind {
        "time" => json!({"type": "string", "format": "date-time"}),
        "source" => any,
        "sources" => json!({"type": "array", "items": any}),
        "integer" => json!({"type": "integer", "format": "int64"}),
        other => json!({"type": other}),
    };
    if list { json!({"type": "array", "items": one}) } else { one }
}
