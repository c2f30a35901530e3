//! `external-secrets.io` ExternalSecret, versions v1 and v1beta1, which have the same fields.

mod spec;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;
use sha2::{Digest, Sha256};

use self::spec::{
    DataFromSpec, FindSpec, RemoteSpec, RewriteSpec, SourceReference, Spec, StoreReference, TargetSpec,
    TemplateFromSpec, TemplateRefSpec, TemplateSpec,
};
use super::request::{
    Conversion, Creation, Decoding, Deletion, Find, Form, Item, Merge, Property, Refresh, RemoteRef, RequestId,
    Rewrite, SecretRequest, Source, StoreRef, Target, Template, TemplateFrom, TemplateItem, TemplateOrigin,
    TemplateTarget, Version, Wanted,
};
use super::{Category, Failure};
use crate::object::text_at;
use crate::tracking::hex;

/// Group of the kinds.
pub const GROUP: &str = "external-secrets.io";

const DEFAULT_INTERVAL: Duration = Duration::from_secs(3600);

/// Reads an ExternalSecret.
///
/// # Errors
/// With the field that is wrong or not supported.
pub fn parse(object: &Value) -> Result<SecretRequest, Failure> {
    let spec: Spec = read_spec(object)?;
    spec.refuse_unsupported()?;
    let id = request_id(object, Form::External);
    let default_store = spec.secret_store_ref.clone().unwrap_or_default();
    let mut items = Vec::new();
    for (index, entry) in spec.data_from.iter().enumerate() {
        items.push(data_from(entry, &format!("spec.dataFrom[{index}]"), &default_store)?);
    }
    for (index, entry) in spec.data.iter().enumerate() {
        let place = format!("spec.data[{index}] ({})", entry.remote_ref.key);
        let source = source(entry.source_ref.as_ref(), &default_store, &place)?;
        let wanted = Wanted::Value { secret_key: entry.secret_key.clone(), remote: entry.remote_ref.remote(&place)? };
        items.push(Item { place, source, wanted });
    }
    Ok(SecretRequest {
        api_version: text_at(object, &["apiVersion"]).unwrap_or_default().to_owned(),
        uid: text_at(object, &["metadata", "uid"]).unwrap_or_default().to_owned(),
        version: version(object),
        items,
        target: target(spec.target, object, &id)?,
        refresh: refresh(spec.refresh_policy.as_deref(), spec.refresh_interval.as_deref())?,
        id,
    })
}

/// The object's identity.
pub(super) fn request_id(object: &Value, form: Form) -> RequestId {
    let text = |key: &str| text_at(object, &["metadata", key]).unwrap_or_default().to_owned();
    RequestId { form, namespace: text("namespace"), name: text("name") }
}

/// Reads `spec`; the message names the field and never repeats what stands in it.
pub(super) fn read_spec<T: serde::de::DeserializeOwned>(object: &Value) -> Result<T, Failure> {
    let spec = object.get("spec").cloned().unwrap_or_default();
    serde_json::from_value(spec).map_err(|error| Failure::new(Category::InvalidSpec, format!("spec: {error}")))
}

/// `GENERATION-HASH`, as `status.syncedResourceVersion` has it; our own annotations do not count.
pub fn version(object: &Value) -> String {
    let generation = object.pointer("/metadata/generation").and_then(Value::as_i64).unwrap_or_default();
    let mut hasher = Sha256::new();
    for part in ["labels", "annotations"] {
        hasher.update(part);
        for (key, value) in copied(object, part) {
            hasher.update(format!("\n{key}={value}"));
        }
    }
    format!("{generation}-{}", hex(&hasher.finalize()[..16]))
}

/// Labels or annotations of the object, without those that say who manages it.
pub(super) fn copied(object: &Value, part: &str) -> BTreeMap<String, String> {
    let map = object.get("metadata").and_then(|metadata| metadata.get(part)).and_then(Value::as_object);
    let texts = map.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    texts.filter(|(key, _)| !is_management(key)).collect()
}

fn is_management(key: &str) -> bool {
    let prefix = key.split_once('/').map_or("", |(prefix, _)| prefix);
    prefix == "gitmoor.dev"
        || prefix.ends_with(".gitmoor.dev")
        || prefix == "argocd.argoproj.io"
        || prefix == "kubectl.kubernetes.io"
        || prefix.ends_with("kustomize.toolkit.fluxcd.io")
}

impl Spec {
    fn refuse_unsupported(&self) -> Result<(), Failure> {
        let template = self.target.template.as_ref();
        let engine = template.and_then(|template| template.engine_version.as_deref());
        let problem = if self.sync_windows.is_some() {
            Some("spec.syncWindows")
        } else if self.target.manifest.is_some() {
            Some("spec.target.manifest: only Secrets are made")
        } else if engine.is_some_and(|engine| engine != "v2") {
            Some("spec.target.template.engineVersion: only v2")
        } else {
            None
        };
        problem.map_or(Ok(()), |problem| Err(not_supported(problem)))
    }
}

fn not_supported(what: impl std::fmt::Display) -> Failure {
    Failure::new(Category::NotSupported, format!("{what} is not supported"))
}

impl RemoteSpec {
    fn remote(&self, place: &str) -> Result<RemoteRef, Failure> {
        let property = self.property.clone().filter(|property| !property.is_empty()).map(Property::Gjson);
        Ok(RemoteRef {
            key: self.key.clone(),
            property,
            // What it means depends on the store's service; see `Store::read`.
            version: self.version.clone().filter(|v| !v.is_empty()).map_or(Version::Current, Version::Selector),
            metadata: choose(self.metadata_policy.as_deref(), &[("None", false), ("Fetch", true)], place)?,
            conversion: conversion(self.conversion_strategy.as_deref(), place)?,
            decoding: decoding(self.decoding_strategy.as_deref(), place)?,
            refuse_null_bytes: null_bytes(self.null_byte_policy.as_deref(), place)?,
        })
    }
}

/// The value for a word, the first one without a word.
fn choose<T: Copy>(word: Option<&str>, choices: &[(&str, T)], place: &str) -> Result<T, Failure> {
    let word = word.filter(|word| !word.is_empty()).unwrap_or(choices[0].0);
    let found = choices.iter().find(|(name, _)| *name == word).map(|(_, value)| *value);
    found.ok_or_else(|| not_supported(format!("{place}: {word}")))
}

fn conversion(word: Option<&str>, place: &str) -> Result<Conversion, Failure> {
    let choices = [("Default", Conversion::Default), ("Unicode", Conversion::Unicode), ("None", Conversion::None)];
    choose(word, &choices, place)
}

fn decoding(word: Option<&str>, place: &str) -> Result<Decoding, Failure> {
    let choices = [
        ("None", Decoding::None),
        ("Base64", Decoding::Base64),
        ("Base64URL", Decoding::Base64Url),
        ("Auto", Decoding::Auto),
    ];
    choose(word, &choices, place)
}

fn null_bytes(word: Option<&str>, place: &str) -> Result<bool, Failure> {
    choose(word, &[("Ignore", false), ("Fail", true)], place)
}

fn source(reference: Option<&SourceReference>, default: &StoreReference, place: &str) -> Result<Source, Failure> {
    if reference.is_some_and(|reference| reference.generator_ref.is_some()) {
        return Err(not_supported(format!("{place}.sourceRef.generatorRef")));
    }
    let named = reference.and_then(|reference| reference.store_ref.as_ref()).unwrap_or(default);
    if named.name.is_empty() {
        return Err(Failure::new(Category::InvalidSpec, format!("{place}: no store: set spec.secretStoreRef.name")));
    }
    let cluster = choose(named.kind.as_deref(), &[("SecretStore", false), ("ClusterSecretStore", true)], place)?;
    Ok(Source::Store(StoreRef { cluster, name: named.name.clone() }))
}

fn data_from(entry: &DataFromSpec, place: &str, default: &StoreReference) -> Result<Item, Failure> {
    let source = source(entry.source_ref.as_ref(), default, place)?;
    let rewrite = entry.rewrite.iter().map(|step| rewrite(step, place)).collect::<Result<Vec<_>, _>>()?;
    match (&entry.extract, &entry.find) {
        (Some(remote), None) => {
            let place = format!("{place}.extract ({})", remote.key);
            let wanted = Wanted::Extract { remote: remote.remote(&place)?, rewrite };
            Ok(Item { place, source, wanted })
        }
        (None, Some(spec)) => {
            let place = format!("{place}.find");
            Ok(Item { wanted: Wanted::Find { find: find(spec, &place)?, rewrite }, place, source })
        }
        _ => Err(Failure::new(Category::InvalidSpec, format!("{place}: either extract or find"))),
    }
}

fn find(spec: &FindSpec, place: &str) -> Result<Find, Failure> {
    let name = spec.name.as_ref().map(|name| name.regexp.clone().unwrap_or_default());
    if name.is_none() && spec.tags.is_empty() {
        return Err(Failure::new(Category::InvalidSpec, format!("{place}: name or tags have to be given")));
    }
    Ok(Find {
        path: spec.path.clone().filter(|path| !path.is_empty()),
        name,
        tags: spec.tags.clone(),
        recursive: true,
        base_names: false,
        conversion: conversion(spec.conversion_strategy.as_deref(), place)?,
        decoding: decoding(spec.decoding_strategy.as_deref(), place)?,
        refuse_null_bytes: null_bytes(spec.null_byte_policy.as_deref(), place)?,
    })
}

fn rewrite(step: &RewriteSpec, place: &str) -> Result<Rewrite, Failure> {
    match step {
        RewriteSpec { merge: Some(spec), .. } => {
            let json = choose(spec.strategy.as_deref(), &[("Extract", false), ("JSON", true)], place)?;
            if json && spec.into.is_empty() {
                return Err(Failure::new(Category::InvalidSpec, format!("{place}: merge as JSON needs `into`")));
            }
            let strict = [("Strict", false), ("IgnoreNotFound", true)];
            Ok(Rewrite::Merge(Merge {
                into: json.then(|| spec.into.clone()),
                priority: spec.priority.clone(),
                ignore_missing: choose(spec.priority_policy.as_deref(), &strict, place)?,
                ignore_conflicts: choose(
                    spec.conflict_policy.as_deref(),
                    &[("Error", false), ("Ignore", true)],
                    place,
                )?,
            }))
        }
        RewriteSpec { regexp: Some(spec), .. } => {
            Ok(Rewrite::Regexp { source: spec.source.clone(), target: spec.target.clone() })
        }
        RewriteSpec { transform: Some(spec), .. } => Ok(Rewrite::Transform(spec.template.clone())),
        _ => Err(not_supported(format!("{place}: this rewrite"))),
    }
}

fn target(spec: TargetSpec, object: &Value, id: &RequestId) -> Result<Target, Failure> {
    let creations = [
        ("Owner", Creation::Owner),
        ("Orphan", Creation::Orphan),
        ("Merge", Creation::Merge),
        ("CreateOrMerge", Creation::CreateOrMerge),
        ("None", Creation::None),
    ];
    let deletions = [("Retain", Deletion::Retain), ("Delete", Deletion::Delete), ("Merge", Deletion::Merge)];
    let secret_type = spec.template.as_ref().and_then(|template| template.secret_type.clone());
    let template = spec.template.map(template).transpose()?;
    Ok(Target {
        name: spec.name.filter(|name| !name.is_empty()).unwrap_or_else(|| id.name.clone()),
        creation: choose(spec.creation_policy.as_deref(), &creations, "spec.target.creationPolicy")?,
        deletion: choose(spec.deletion_policy.as_deref(), &deletions, "spec.target.deletionPolicy")?,
        immutable: spec.immutable,
        secret_type: secret_type.filter(|word| !word.is_empty()),
        labels: if template.is_none() { copied(object, "labels") } else { BTreeMap::new() },
        annotations: if template.is_none() { copied(object, "annotations") } else { BTreeMap::new() },
        template,
    })
}

fn template(spec: TemplateSpec) -> Result<Template, Failure> {
    let place = "spec.target.template";
    let from = spec.template_from.into_iter().enumerate();
    let from = from.map(|(index, entry)| template_from(entry, &format!("{place}.templateFrom[{index}]")));
    Ok(Template {
        from: from.collect::<Result<Vec<_>, _>>()?,
        keep_values: choose(spec.merge_policy.as_deref(), &[("Replace", false), ("Merge", true)], place)?,
        data: spec.data,
        labels: spec.metadata.labels,
        annotations: spec.metadata.annotations,
        finalizers: spec.metadata.finalizers,
    })
}

fn template_from(spec: TemplateFromSpec, place: &str) -> Result<TemplateFrom, Failure> {
    let scopes = [("Values", false), ("KeysAndValues", true)];
    let targets = [
        ("Data", TemplateTarget::Data),
        ("Labels", TemplateTarget::Labels),
        ("Annotations", TemplateTarget::Annotations),
    ];
    let object = |secret: bool, spec: TemplateRefSpec| {
        let items = spec.items.into_iter().map(|item| {
            let keys_and_values = choose(item.template_as.as_deref(), &scopes, place)?;
            Ok(TemplateItem { key: item.key, keys_and_values })
        });
        Ok(TemplateOrigin::Object { secret, name: spec.name, items: items.collect::<Result<Vec<_>, Failure>>()? })
    };
    let origin = match (spec.literal, spec.config_map, spec.secret) {
        (Some(text), None, None) => TemplateOrigin::Literal(text),
        (None, Some(spec), None) => object(false, spec)?,
        (None, None, Some(spec)) => object(true, spec)?,
        _ => return Err(Failure::new(Category::InvalidSpec, format!("{place}: one of literal, configMap, secret"))),
    };
    let into = choose(spec.target.as_deref(), &targets, place)?;
    Ok(TemplateFrom { origin, into, decoding: decoding(spec.values_decoding_strategy.as_deref(), place)? })
}

fn refresh(policy: Option<&str>, interval: Option<&str>) -> Result<Refresh, Failure> {
    let interval = match interval {
        None => DEFAULT_INTERVAL,
        Some(text) => crate::duration::parse(text).ok_or_else(|| {
            Failure::new(Category::InvalidSpec, "spec.refreshInterval is not a duration such as 1h30m".to_owned())
        })?,
    };
    // Without an interval it is fetched once, and again when the object changes.
    let periodic = if interval.is_zero() { Refresh::OnChange } else { Refresh::Every(interval) };
    let policies = [("Periodic", periodic), ("OnChange", Refresh::OnChange), ("CreatedOnce", Refresh::Once)];
    choose(policy, &policies, "spec.refreshPolicy")
}
