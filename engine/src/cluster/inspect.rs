//! What people's commands read: typed lists, selections, logs, rights, the server's clock.

use futures::stream::{BoxStream, StreamExt};
use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use gitmoor_core::resource::Resource;
use http::header::{ACCEPT, DATE};
use http::{HeaderValue, Request};
use kube::api::{ListParams, LogParams};
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::objects::{collection, items, malformed};
use super::{Cluster, ClusterError};

/// Which objects of a kind to list.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    /// Label selector, as in a query.
    pub labels: Option<String>,
    /// Field selector, as in a query.
    pub fields: Option<String>,
    /// At most this many.
    pub limit: Option<u32>,
}

/// Which lines of a container's log to read.
#[derive(Clone, Debug, Default)]
pub struct Logs<'a> {
    /// The container; may be left out when the pod has one.
    pub container: Option<&'a str>,
    /// Of the run before the last restart.
    pub previous: bool,
    /// Only the last ones.
    pub tail: Option<u32>,
    /// Only those of the last seconds.
    pub since_seconds: Option<u32>,
}

/// Something that somebody wants to do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// API group.
    pub group: &'static str,
    /// Plural name.
    pub resource: &'static str,
    /// Such as `log` of pods.
    pub subresource: &'static str,
    /// Such as `get`.
    pub verb: &'static str,
    /// Namespace; in the whole cluster when there is none.
    pub namespace: Option<String>,
}

impl Cluster {
    /// All objects of a kind in a namespace (`None`: in all), of which only some fields are read: with thousands of
    /// objects, reading is what takes time.
    pub async fn list_as<T: DeserializeOwned>(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
    ) -> Result<Vec<T>, ClusterError> {
        #[derive(Deserialize)]
        struct List<T> {
            items: Vec<T>,
        }
        let request = collection(resource, namespace).list(&ListParams::default()).map_err(malformed)?;
        Ok(self.read::<List<T>>(request).await?.items)
    }

    /// The table that the API server makes of a kind in a namespace, without the objects (`meta.k8s.io/v1`; Kubernetes'
    /// "Receiving resources as Tables").
    pub async fn table<T: DeserializeOwned>(&self, resource: &Resource, namespace: &str) -> Result<T, ClusterError> {
        let mut request = collection(resource, Some(namespace)).list(&ListParams::default()).map_err(malformed)?;
        let address = format!("{}?includeObject=None", request.uri().path());
        *request.uri_mut() =
            address.parse().map_err(|_| ClusterError::Configuration(format!("{address} is no address")))?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json;as=Table;v=v1;g=meta.k8s.io"));
        self.read(request).await
    }

    /// The selected objects of a kind in a namespace (`None`: in all).
    pub async fn select(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        selection: &Selection,
    ) -> Result<Vec<Value>, ClusterError> {
        let Selection { labels, fields, limit } = selection.clone();
        let parameters = ListParams { label_selector: labels, field_selector: fields, limit, ..ListParams::default() };
        let request = collection(resource, namespace).list(&parameters).map_err(malformed)?;
        Ok(items(self.read(request).await?, resource))
    }

    /// Lines of a container's log.
    pub async fn logs(&self, namespace: &str, pod: &str, logs: &Logs<'_>) -> Result<String, ClusterError> {
        let request = Self::log_request(namespace, pod, logs, false)?;
        self.client.request_text(request).await.map_err(ClusterError::from)
    }

    /// The lines of a container's log as they are written, until the container ends.
    pub async fn follow_logs(
        &self,
        namespace: &str,
        pod: &str,
        logs: &Logs<'_>,
    ) -> Result<BoxStream<'static, Result<String, ClusterError>>, ClusterError> {
        let request = Self::log_request(namespace, pod, logs, true)?;
        let lines = self.client.request_stream(request).await?.lines();
        Ok(lines.map_err(|error| ClusterError::Unreachable(error.to_string())).boxed())
    }

    fn log_request(
        namespace: &str,
        pod: &str,
        logs: &Logs<'_>,
        follow: bool,
    ) -> Result<Request<Vec<u8>>, ClusterError> {
        let Logs { container, previous, tail, since_seconds } = *logs;
        let parameters = LogParams {
            container: container.map(str::to_owned),
            follow,
            previous,
            tail_lines: tail.map(i64::from),
            since_seconds: since_seconds.map(i64::from),
            ..LogParams::default()
        };
        collection(&gitmoor_core::builtin::pods(), Some(namespace)).logs(pod, &parameters).map_err(malformed)
    }

    /// Whether this user may do something (SelfSubjectAccessReview).
    pub async fn may(&self, access: &Access) -> Result<bool, ClusterError> {
        let Access { group, resource, subresource, verb, namespace } = access;
        let body = json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {
                "group": group, "resource": resource, "subresource": subresource, "verb": verb,
                "namespace": namespace.as_deref().unwrap_or_default(),
            }},
        });
        let request = Request::post("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|error| ClusterError::Unreachable(error.to_string()))?;
        let answer: Value = self.read(request).await?;
        Ok(answer["status"]["allowed"] == true)
    }

    /// Who this user is to the API server (SelfSubjectReview).
    pub async fn who(&self) -> Result<String, ClusterError> {
        let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"});
        let request = Request::post("/apis/authentication.k8s.io/v1/selfsubjectreviews")
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes())
            .map_err(|error| ClusterError::Unreachable(error.to_string()))?;
        let answer: Value = self.read(request).await?;
        Ok(answer["status"]["userInfo"]["username"].as_str().unwrap_or_default().to_owned())
    }

    /// The JSON document at a path of the API server.
    pub async fn read_path<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClusterError> {
        let request = Request::get(path).body(Vec::new());
        self.read(request.map_err(|error| ClusterError::Unreachable(error.to_string()))?).await
    }

    /// The time of the API server, as it stands in the head of an answer (RFC 9110, `Date`).
    pub async fn server_time(&self) -> Result<Option<String>, ClusterError> {
        let request = Request::get("/version")
            .body(Body::empty())
            .map_err(|error| ClusterError::Unreachable(error.to_string()))?;
        let answer = self.client.send(request).await?;
        Ok(answer.headers().get(DATE).and_then(|value| value.to_str().ok()).map(str::to_owned))
    }
}
