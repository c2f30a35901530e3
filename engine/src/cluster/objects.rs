//! URLs, reads and small writes of single objects.

use gitmoor_core::names::LABEL_APPLICATION;
use gitmoor_core::resource::Resource;
use kube::api::{GetParams, ListParams, Patch, PatchParams, PostParams};
use kube::core::Request;
use serde_json::Value;

use super::{Cluster, ClusterError};

/// A request builder for the collection of a kind in a namespace (`None`: cluster-scoped, or all namespaces).
pub(super) fn collection(resource: &Resource, namespace: Option<&str>) -> Request {
    let api_version = resource.api_version();
    let root = if resource.group_kind.group.is_empty() { "api" } else { "apis" };
    let plural = &resource.plural;
    Request::new(match namespace.filter(|_| resource.namespaced) {
        Some(namespace) => format!("/{root}/{api_version}/namespaces/{namespace}/{plural}"),
        None => format!("/{root}/{api_version}/{plural}"),
    })
}

/// The request could not be put together; only a bug or a hostile name gets here.
pub(super) fn malformed(error: kube::core::request::Error) -> ClusterError {
    ClusterError::Refused { code: 400, reason: "BadRequest".to_owned(), message: error.to_string() }
}

/// Objects of a list, which says once for all of what kind they are.
pub(super) fn items(mut list: Value, resource: &Resource) -> Vec<Value> {
    let Some(Value::Array(mut items)) = list.get_mut("items").map(Value::take) else { return Vec::new() };
    for item in &mut items {
        item["apiVersion"] = resource.api_version().into();
        item["kind"] = resource.group_kind.kind.as_str().into();
    }
    items
}

impl Cluster {
    /// Reads an object; `None` when it is not there.
    pub async fn get(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>, ClusterError> {
        let request = collection(resource, namespace).get(name, &GetParams::default()).map_err(malformed)?;
        match self.read(request).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All objects of a kind in a namespace (`None`: in all).
    pub async fn list(&self, resource: &Resource, namespace: Option<&str>) -> Result<Vec<Value>, ClusterError> {
        let request = collection(resource, namespace).list(&ListParams::default()).map_err(malformed)?;
        Ok(items(self.read(request).await?, resource))
    }

    /// All objects of a kind, in all namespaces, that carry a value of our label.
    pub async fn list_labelled(&self, resource: &Resource, label: &str) -> Result<Vec<Value>, ClusterError> {
        let parameters = ListParams::default().labels(&format!("{LABEL_APPLICATION}={label}"));
        let request = collection(resource, None).list(&parameters).map_err(malformed)?;
        Ok(items(self.read(request).await?, resource))
    }

    /// Their metadata alone.
    pub async fn list_metadata(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
    ) -> Result<Vec<Value>, ClusterError> {
        let request = collection(resource, namespace).list_metadata(&ListParams::default()).map_err(malformed)?;
        Ok(items(self.read(request).await?, resource))
    }

    /// Creates an object; 409 when it is there.
    pub async fn create(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        object: &Value,
    ) -> Result<Value, ClusterError> {
        let body = object.to_string().into_bytes();
        let request = collection(resource, namespace).create(&PostParams::default(), body).map_err(malformed)?;
        self.write(request).await
    }

    /// Replaces an object; 409 when its resourceVersion is not the present one.
    pub async fn replace(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        object: &Value,
    ) -> Result<Value, ClusterError> {
        let body = object.to_string().into_bytes();
        let request = collection(resource, namespace).replace(name, &PostParams::default(), body).map_err(malformed)?;
        self.write(request).await
    }

    /// Merges a JSON merge patch (RFC 7386) into an object.
    pub async fn merge(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        patch: &Value,
    ) -> Result<Value, ClusterError> {
        let request = collection(resource, namespace)
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .map_err(malformed)?;
        self.write(request).await
    }

    /// Merges into the status; into the object itself where the kind has no status subresource.
    pub async fn merge_status(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
        patch: &Value,
    ) -> Result<Value, ClusterError> {
        let request = collection(resource, namespace)
            .patch_subresource("status", name, &PatchParams::default(), &Patch::Merge(patch))
            .map_err(malformed)?;
        match self.write(request).await {
            Err(error) if error.is_not_found() => self.merge(resource, namespace, name, patch).await,
            other => other,
        }
    }
}
