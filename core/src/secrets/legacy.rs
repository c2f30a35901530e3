//! `kubernetes-client.io/v1` ExternalSecret of kubernetes-external-secrets, with its AWS backends.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::external_secret::{read_spec, request_id, version};
use super::request::{
    Conversion, Decoding, Find, Form, Item, Property, Refresh, RemoteRef, SecretRequest, Service, Source, Target,
    Version, Wanted,
};
use super::{Category, Failure};
use crate::object::text_at;

/// Group of the kind.
pub const GROUP: &str = "kubernetes-client.io";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    backend_type: String,
    role_arn: Option<String>,
    region: Option<String>,
    #[serde(rename = "type")]
    secret_type: Option<String>,
    template: Option<TemplateSpec>,
    #[serde(default, alias = "properties")]
    data: Vec<DataSpec>,
    #[serde(default)]
    data_from: Vec<String>,
    #[serde(default)]
    data_from_with_options: Vec<OptionsSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DataSpec {
    key: Option<String>,
    name: Option<String>,
    property: Option<String>,
    #[serde(default)]
    is_binary: bool,
    version_stage: Option<String>,
    version_id: Option<String>,
    path: Option<String>,
    #[serde(default)]
    recursive: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OptionsSpec {
    key: String,
    version_stage: Option<String>,
    version_id: Option<String>,
}

#[derive(Deserialize)]
struct TemplateSpec {
    #[serde(rename = "type")]
    secret_type: Option<String>,
    #[serde(default)]
    metadata: MetadataSpec,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

#[derive(Default, Deserialize)]
struct MetadataSpec {
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
    #[serde(flatten)]
    others: BTreeMap<String, Value>,
}

/// Reads an ExternalSecret; values are read again after `interval`, which the object itself does not say.
///
/// # Errors
/// With the field that is wrong or not supported.
pub fn parse(object: &Value, interval: Duration) -> Result<SecretRequest, Failure> {
    let spec: Spec = read_spec(object)?;
    let service = match spec.backend_type.as_str() {
        "secretsManager" => Service::SecretsManager,
        "systemManager" => Service::ParameterStore,
        other => return Err(not_supported(format!("backendType {other} is not supported"))),
    };
    let id = request_id(object, Form::Legacy);
    let source = Source::Inline {
        service,
        role: spec.role_arn.clone().filter(|arn| !arn.is_empty()),
        region: spec.region.clone().filter(|region| !region.is_empty()),
    };
    let item = |(place, wanted): (String, Wanted)| Item { place, source: source.clone(), wanted };
    Ok(SecretRequest {
        api_version: text_at(object, &["apiVersion"]).unwrap_or_default().to_owned(),
        uid: text_at(object, &["metadata", "uid"]).unwrap_or_default().to_owned(),
        version: version(object),
        items: wanted(&spec)?.into_iter().map(item).collect(),
        target: target(spec, id.name.clone())?,
        refresh: Refresh::Every(interval),
        id,
    })
}

fn not_supported(message: impl Into<String>) -> Failure {
    Failure::new(Category::NotSupported, message)
}

fn wanted(spec: &Spec) -> Result<Vec<(String, Wanted)>, Failure> {
    let mut all = Vec::new();
    for (index, key) in spec.data_from.iter().enumerate() {
        let remote = RemoteRef { key: key.clone(), conversion: Conversion::None, ..RemoteRef::default() };
        all.push((format!("spec.dataFrom[{index}] ({key})"), Wanted::Extract { remote, rewrite: Vec::new() }));
    }
    for (index, entry) in spec.data_from_with_options.iter().enumerate() {
        let remote = RemoteRef {
            key: entry.key.clone(),
            version: pinned(entry.version_stage.as_ref(), entry.version_id.as_ref()),
            conversion: Conversion::None,
            ..RemoteRef::default()
        };
        let place = format!("spec.dataFromWithOptions[{index}] ({})", entry.key);
        all.push((place, Wanted::Extract { remote, rewrite: Vec::new() }));
    }
    for (index, entry) in spec.data.iter().enumerate() {
        all.push(data(entry, index)?);
    }
    Ok(all)
}

fn data(entry: &DataSpec, index: usize) -> Result<(String, Wanted), Failure> {
    if let Some(path) = &entry.path {
        let find = Find {
            path: Some(path.clone()),
            recursive: entry.recursive,
            base_names: true,
            conversion: Conversion::None,
            ..Find::default()
        };
        return Ok((format!("spec.data[{index}] ({path})"), Wanted::Find { find, rewrite: Vec::new() }));
    }
    let (Some(key), Some(name)) = (&entry.key, &entry.name) else {
        return Err(Failure::new(Category::InvalidSpec, format!("spec.data[{index}]: key and name, or path")));
    };
    let remote = RemoteRef {
        key: key.clone(),
        property: entry.property.clone().map(Property::Lodash),
        version: pinned(entry.version_stage.as_ref(), entry.version_id.as_ref()),
        decoding: if entry.is_binary { Decoding::Base64 } else { Decoding::None },
        ..RemoteRef::default()
    };
    Ok((format!("spec.data[{index}] ({key})"), Wanted::Value { secret_key: name.clone(), remote }))
}

fn pinned(stage: Option<&String>, id: Option<&String>) -> Version {
    match (id, stage) {
        (Some(id), _) => Version::Id(id.clone()),
        (None, Some(stage)) => Version::Stage(stage.clone()),
        (None, None) => Version::Current,
    }
}

fn target(spec: Spec, name: String) -> Result<Target, Failure> {
    let mut target = Target { name, secret_type: spec.secret_type, ..Target::default() };
    if let Some(template) = spec.template {
        let texts = template.metadata.labels.values().chain(template.metadata.annotations.values());
        if texts.chain(&template.secret_type).any(|text| text.contains("<%")) {
            return Err(not_supported(
                "spec.template has lodash templates (<% %>), which are not supported: use an external-secrets.io \
                 ExternalSecret with spec.target.template",
            ));
        }
        let others = template.others.keys().chain(template.metadata.others.keys());
        if let Some(other) = others.into_iter().next() {
            return Err(not_supported(format!(
                "spec.template: {other} is not supported, only type, labels, annotations"
            )));
        }
        target.secret_type = template.secret_type.or(target.secret_type);
        target.labels = template.metadata.labels;
        target.annotations = template.metadata.annotations;
    }
    Ok(target)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(spec: &Value) -> Value {
        json!({
            "apiVersion": "kubernetes-client.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": "a", "namespace": "n", "uid": "u", "generation": 1, "labels": {"not": "copied"}},
            "spec": spec,
        })
    }

    fn read(spec: &Value) -> Result<SecretRequest, Failure> {
        parse(&object(spec), Duration::from_secs(60))
    }

    #[test]
    fn what_the_predecessor_reads_is_read() {
        let request = read(&json!({
            "backendType": "secretsManager", "roleArn": "arn:r", "region": "eu-west-1",
            "template": {"type": "kubernetes.io/tls", "metadata": {"labels": {"l": "v"}}},
            "dataFrom": ["whole"],
            "dataFromWithOptions": [{"key": "old", "versionStage": "AWSPREVIOUS"}],
            "data": [
                {"key": "k", "name": "n", "property": "a.b", "versionId": "1", "versionStage": "X"},
                {"key": "bin", "name": "b", "isBinary": true},
            ],
        }))
        .unwrap();
        let places: Vec<&str> = request.items.iter().map(|item| item.place.as_str()).collect();
        let expected =
            ["spec.dataFrom[0] (whole)", "spec.dataFromWithOptions[0] (old)", "spec.data[0] (k)", "spec.data[1] (bin)"];
        assert_eq!(places, expected);
        let Wanted::Value { remote, .. } = &request.items[2].wanted else { panic!("a value") };
        assert_eq!(remote.version, Version::Id("1".into()));
        assert_eq!(remote.property, Some(Property::Lodash("a.b".into())));
        assert_eq!(request.target.secret_type.as_deref(), Some("kubernetes.io/tls"));
        assert_eq!(request.target.labels, BTreeMap::from([("l".to_owned(), "v".to_owned())]));
    }

    #[test]
    fn what_is_not_supported_is_said() {
        for (spec, expected) in [
            (json!({"backendType": "vault", "data": []}), "backendType vault"),
            (json!({"backendType": "systemManager", "template": {"type": "<%= x %>"}}), "lodash"),
            (json!({"backendType": "systemManager", "template": {"stringData": {}}}), "stringData"),
            (json!({"backendType": "systemManager", "data": [{"key": "k"}]}), "key and name"),
        ] {
            let failure = read(&spec).unwrap_err();
            assert!(failure.message.contains(expected), "{failure}");
        }
    }
}
