//! `spec` as it stands in the object.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) secret_store_ref: Option<StoreReference>,
    #[serde(default)]
    pub(super) target: TargetSpec,
    pub(super) refresh_policy: Option<String>,
    pub(super) refresh_interval: Option<String>,
    pub(super) sync_windows: Option<Value>,
    #[serde(default)]
    pub(super) data: Vec<DataSpec>,
    #[serde(default)]
    pub(super) data_from: Vec<DataFromSpec>,
}

#[derive(Clone, Default, Deserialize)]
pub(super) struct StoreReference {
    #[serde(default)]
    pub(super) name: String,
    pub(super) kind: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SourceReference {
    pub(super) store_ref: Option<StoreReference>,
    pub(super) generator_ref: Option<Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DataSpec {
    pub(super) secret_key: String,
    pub(super) remote_ref: RemoteSpec,
    pub(super) source_ref: Option<SourceReference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct DataFromSpec {
    pub(super) extract: Option<RemoteSpec>,
    pub(super) find: Option<FindSpec>,
    #[serde(default)]
    pub(super) rewrite: Vec<RewriteSpec>,
    pub(super) source_ref: Option<SourceReference>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RemoteSpec {
    pub(super) key: String,
    pub(super) property: Option<String>,
    pub(super) version: Option<String>,
    pub(super) metadata_policy: Option<String>,
    pub(super) conversion_strategy: Option<String>,
    pub(super) decoding_strategy: Option<String>,
    pub(super) null_byte_policy: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FindSpec {
    pub(super) path: Option<String>,
    pub(super) name: Option<FindName>,
    #[serde(default)]
    pub(super) tags: BTreeMap<String, String>,
    pub(super) conversion_strategy: Option<String>,
    pub(super) decoding_strategy: Option<String>,
    pub(super) null_byte_policy: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct FindName {
    pub(super) regexp: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct RewriteSpec {
    pub(super) regexp: Option<RegexpSpec>,
    pub(super) transform: Option<TransformSpec>,
    pub(super) merge: Option<MergeSpec>,
}

#[derive(Deserialize)]
pub(super) struct RegexpSpec {
    pub(super) source: String,
    pub(super) target: String,
}

#[derive(Deserialize)]
pub(super) struct TransformSpec {
    pub(super) template: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MergeSpec {
    #[serde(default)]
    pub(super) into: String,
    #[serde(default)]
    pub(super) priority: Vec<String>,
    pub(super) priority_policy: Option<String>,
    pub(super) conflict_policy: Option<String>,
    pub(super) strategy: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TargetSpec {
    pub(super) name: Option<String>,
    pub(super) creation_policy: Option<String>,
    pub(super) deletion_policy: Option<String>,
    #[serde(default)]
    pub(super) immutable: bool,
    pub(super) manifest: Option<Value>,
    pub(super) template: Option<TemplateSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TemplateSpec {
    #[serde(rename = "type")]
    pub(super) secret_type: Option<String>,
    pub(super) engine_version: Option<String>,
    pub(super) merge_policy: Option<String>,
    #[serde(default)]
    pub(super) metadata: MetadataSpec,
    #[serde(default)]
    pub(super) data: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) template_from: Vec<TemplateFromSpec>,
}

#[derive(Default, Deserialize)]
pub(super) struct MetadataSpec {
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) finalizers: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TemplateFromSpec {
    pub(super) config_map: Option<TemplateRefSpec>,
    pub(super) secret: Option<TemplateRefSpec>,
    pub(super) literal: Option<String>,
    pub(super) target: Option<String>,
    pub(super) values_decoding_strategy: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct TemplateRefSpec {
    pub(super) name: String,
    #[serde(default)]
    pub(super) items: Vec<TemplateItemSpec>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct TemplateItemSpec {
    pub(super) key: String,
    pub(super) template_as: Option<String>,
}
