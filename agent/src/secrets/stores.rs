//! Status of stores: whether they can be used as they are. AWS is not asked.

use gitmoor_core::names::FIELD_MANAGER_SECRETS;
use gitmoor_core::object::{GroupKind, group_of, text_at};
use gitmoor_core::resource::Resource;
use gitmoor_core::secrets::Failure;
use gitmoor_core::secrets::status::{ready_condition, with_condition};
use gitmoor_core::secrets::store::Store;
use serde_json::{Value, json};

use super::Shared;
use crate::clock;

/// Writes the Ready condition of a store, when it says something new. Stores of other controllers are left alone.
pub(super) fn report(shared: &Shared, object: &Value, store: &Result<Store, Failure>) {
    let class = text_at(object, &["spec", "controller"]).unwrap_or_default();
    let form = gitmoor_core::secrets::request::Form::External;
    let namespace = text_at(object, &["metadata", "namespace"]);
    let elsewhere = namespace.is_some_and(|namespace| !shared.serves(namespace));
    let other_class = !(class.is_empty() || class == shared.options.class);
    if elsewhere || other_class || shared.book.lock().left_to_others.contains(&form) {
        return;
    }
    let (status, reason, message) = match store {
        Ok(_) => ("True", "Valid", "store validated".to_owned()),
        Err(failure) => ("False", "InvalidProviderConfig", failure.to_string()),
    };
    let old = ready_condition(object);
    if old.is_some_and(|old| old["status"] == status && old["reason"] == reason && old["message"] == message.as_str()) {
        return;
    }
    let since = old.filter(|old| old["status"] == status).and_then(|old| old["lastTransitionTime"].as_str());
    let condition = json!({
        "type": "Ready", "status": status, "reason": reason, "message": message,
        "lastTransitionTime": since.map_or_else(clock::now, str::to_owned),
    });
    let patch = json!({"status": {"capabilities": "ReadOnly", "conditions": with_condition(object, condition)}});
    let resource = resource(object);
    let text = |key: &str| text_at(object, &["metadata", key]).map(str::to_owned);
    let (cluster, namespace, name) = (shared.cluster.clone(), text("namespace"), text("name").unwrap_or_default());
    tokio::spawn(async move {
        if let Err(error) = cluster.merge_status(&resource, namespace.as_deref(), &name, &patch).await {
            tracing::warn!(store = name, manager = FIELD_MANAGER_SECRETS, %error, "status of a store cannot be written");
        }
    });
}

/// The kind of an object, whose plural is an `s` behind it.
pub(super) fn resource(object: &Value) -> Resource {
    let api_version = text_at(object, &["apiVersion"]).unwrap_or_default();
    let kind = text_at(object, &["kind"]).unwrap_or_default();
    Resource {
        group_kind: GroupKind::new(group_of(api_version), kind),
        version: api_version.rsplit('/').next().unwrap_or_default().to_owned(),
        plural: format!("{}s", kind.to_ascii_lowercase()),
        namespaced: !kind.starts_with("Cluster"),
        watchable: true,
    }
}
