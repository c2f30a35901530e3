//! What people's commands read: typed lists, selections, logs, rights, the server's clock.

use futures::stream::{BoxStream, StreamExt};
use futures::{AsyncBufReadExt as _, TryStreamExt as _};
use gitmoor_core::resource::Resource;
use http::header::{ACCEPT, DATE};
use http::{HeaderMap, HeaderValue, Request};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use kube::api::{GetParams, ListParams, LogParams};
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

    /// The time of the API server, as it stands in the head of an answer; `None` when it tells none.
    pub async fn server_time(&self) -> Result<Option<Timestamp>, ClusterError> {
        let request = Request::get("/version").body(Vec::new());
        let request = request.map_err(|error| ClusterError::Unreachable(error.to_string()))?;
        Ok(self.read_dated::<Value>(request).await?.1)
    }

    /// Reads an object, and when that was by the clock of the API server.
    pub async fn get_dated(
        &self,
        resource: &Resource,
        namespace: Option<&str>,
        name: &str,
    ) -> Result<(Option<Value>, Option<Timestamp>), ClusterError> {
        let request = collection(resource, namespace).get(name, &GetParams::default()).map_err(malformed)?;
        match self.read_dated(request).await {
            Ok((object, told)) => Ok((Some(object), told)),
            Err(error) if error.is_not_found() => Ok((None, None)),
            Err(error) => Err(error),
        }
    }

    /// The objects of a name in all namespaces, and when that was by the clock of the API server.
    pub async fn all_named_dated(
        &self,
        resource: &Resource,
        name: &str,
    ) -> Result<(Vec<Value>, Option<Timestamp>), ClusterError> {
        let parameters = ListParams::default().fields(&format!("metadata.name={name}"));
        let request = collection(resource, None).list(&parameters).map_err(malformed)?;
        let (list, told) = self.read_dated(request).await?;
        Ok((items(list, resource), told))
    }

    /// An answer, and the time in its head (RFC 9110, `Date`).
    async fn read_dated<T: DeserializeOwned>(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<(T, Option<Timestamp>), ClusterError> {
        let answer = self.client.send(request.map(Body::from)).await?;
        let (status, told) = (answer.status(), date(answer.headers()));
        let body = answer.into_body().collect_bytes().await?;
        if !status.is_success() {
            return Err(refused(status.as_u16(), &body));
        }
        let read = serde_json::from_slice(&body);
        Ok((read.map_err(|error| ClusterError::Unreachable(error.to_string()))?, told))
    }
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    rfc2822::parse(text).ok().map(|zoned| zoned.timestamp())
}

/// What the API server says why not, as its Status has it.
fn refused(code: u16, body: &[u8]) -> ClusterError {
    let status: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |field: &str| status[field].as_str().unwrap_or_default().to_owned();
    ClusterError::Refused { code, reason: text("reason"), message: text("message") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_tells_the_time_or_why_there_is_none() {
        let mut headers = HeaderMap::new();
        assert_eq!(date(&headers), None);
        headers.insert(DATE, HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(date(&headers).map(|told| told.to_string()).as_deref(), Some("1994-11-06T08:49:37Z"));
        let status = br#"{"kind":"Status","reason":"Forbidden","message":"no"}"#;
        let expected = ClusterError::Refused { code: 403, reason: "Forbidden".into(), message: "no".into() };
        assert_eq!(refused(403, status), expected);
        assert_eq!(refused(502, b"<html>").code(), Some(502));
    }
}
