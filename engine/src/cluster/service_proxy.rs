//! HTTP to a Service through the API server, for those who have no other way into the cluster.

use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE};
use serde_json::Value;

use super::{Cluster, ClusterError};

/// A Service that is reached through the API server.
pub struct ServiceProxy<'c> {
    cluster: &'c Cluster,
    path: String,
}

impl Cluster {
    /// Looks a Service up; requests go to its first port, as kubeseal does it.
    ///
    /// # Errors
    /// When there is no such Service, or it may not be read.
    pub async fn service_proxy(&self, namespace: &str, name: &str) -> Result<ServiceProxy<'_>, ClusterError> {
        for part in [namespace, name] {
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
            {
                return Err(bad_request(format!("`{part}` is no name of a namespace or Service")));
            }
        }
        let path = format!("/api/v1/namespaces/{namespace}/services/{name}");
        let request = Request::get(path).body(Vec::new()).map_err(|error| bad_request(error.to_string()))?;
        let service: Value = self.read(request).await?;
        let port = service["spec"]["ports"][0]["name"].as_str().unwrap_or_default();
        let path = format!("/api/v1/namespaces/{namespace}/services/http:{name}:{port}/proxy");
        Ok(ServiceProxy { cluster: self, path })
    }
}

impl ServiceProxy<'_> {
    /// The text at a path of the Service.
    pub async fn get(&self, path: &str) -> Result<String, ClusterError> {
        let request = Request::get(format!("{}{path}", self.path)).header(ACCEPT, "*/*").body(Vec::new());
        self.send(request).await
    }

    /// Posts JSON to a path of the Service, and gives the text of its answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<String, ClusterError> {
        let request = Request::post(format!("{}{path}", self.path)).header(CONTENT_TYPE, "application/json");
        self.send(request.body(body.to_string().into_bytes())).await
    }

    async fn send(&self, request: Result<Request<Vec<u8>>, http::Error>) -> Result<String, ClusterError> {
        let request = request.map_err(|error| bad_request(error.to_string()))?;
        self.cluster.client.request_text(request).await.map_err(ClusterError::from)
    }
}

fn bad_request(message: String) -> ClusterError {
    ClusterError::Refused { code: 400, reason: "BadRequest".to_owned(), message }
}
