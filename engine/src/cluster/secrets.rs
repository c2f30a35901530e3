//! What external secrets need: applies under another field manager, metadata of single objects, tokens.

use gitmoor_core::object::ObjectId;
use gitmoor_core::resource::Resource;
use gitmoor_core::sensitive::Sensitive;
use kube::api::{DeleteParams, GetParams, Patch, PatchParams, PostParams, Preconditions};
use kube::core::Request;
use serde_json::{Value, json};

use super::objects::{collection, malformed};
use super::{Cluster, ClusterError};

impl Cluster {
    /// Applies an object under a field manager of its own, taking fields over from others; gives it as stored.
    ///
    /// # Errors
    /// As the API server answers; for Secrets without its message.
    pub async fn apply_as(&self, manager: &str, resource: &Resource, object: &Value) -> Result<Value, ClusterError> {
        let text = |key: &str| object.pointer(&format!("/metadata/{key}")).and_then(Value::as_str);
        let (namespace, name) = (text("namespace"), text("name").unwrap_or_default());
        let id = ObjectId {
            group_kind: resource.group_kind.clone(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        };
        let parameters = PatchParams::apply(manager).force();
        let request =
            collection(resource, namespace).patch(name, &parameters, &Patch::Apply(object)).map_err(malformed)?;
        self.write(request).await.map_err(|error| error.about(&id))
    }

    /// Merges a JSON merge patch into a Secret under a field manager; gives it as stored.
    ///
    /// # Errors
    /// As the API server answers, without its message.
    pub async fn merge_secret(
        &self,
        manager: &str,
        resource: &Resource,
        id: &ObjectId,
        patch: &Value,
    ) -> Result<Value, ClusterError> {
        let parameters = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        let request = collection(resource, id.namespace.as_deref())
            .patch(&id.name, &parameters, &Patch::Merge(patch))
            .map_err(malformed)?;
        self.write(request).await.map_err(|error| error.about(id))
    }

    /// Reads the metadata of an object; `None` when it is not there.
    pub async fn get_metadata(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<Option<Value>, ClusterError> {
        let request = collection(resource, namespace).get_metadata(name, &GetParams::default()).map_err(malformed)?;
        match self.read(request).await {
            Ok(object) => Ok(Some(object)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes exactly the object that was judged. Not there any more is fine.
    ///
    /// # Errors
    /// 409 when the object is another one, or has changed since.
    pub async fn delete_exactly(
        &self,
        resource: &Resource,
        id: &ObjectId,
        uid: &str,
        resource_version: &str,
    ) -> Result<(), ClusterError> {
        let preconditions =
            Preconditions { uid: Some(uid.to_owned()), resource_version: Some(resource_version.to_owned()) };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let request = collection(resource, id.namespace.as_deref()).delete(&id.name, &parameters).map_err(malformed)?;
        match self.write::<Value>(request).await {
            Err(error) if !error.is_not_found() => Err(error.about(id)),
            _ => Ok(()),
        }
    }

    /// A token of a ServiceAccount for some audiences, good for an hour.
    pub async fn service_account_token(
        &self,
        namespace: &str,
        name: &str,
        audiences: &[String],
    ) -> Result<Sensitive<String>, ClusterError> {
        let body = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest",
            "spec": {"audiences": audiences, "expirationSeconds": 3600},
        });
        let request = Request::new(format!("/api/v1/namespaces/{namespace}/serviceaccounts"))
            .create_subresource("token", name, &PostParams::default(), body.to_string().into_bytes())
            .map_err(malformed)?;
        let mut answer: Value = self.write(request).await?;
        match answer.pointer_mut("/status/token").map(Value::take) {
            Some(Value::String(token)) => Ok(Sensitive::new(token)),
            _ => Err(ClusterError::Unreachable(format!("no token for ServiceAccount {namespace}/{name}"))),
        }
    }
}
