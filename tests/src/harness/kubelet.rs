//! A node whose kubelet knows one thing: the logs of containers.

use axum::Router;
use axum::extract::State;
use axum::http::Uri;
use axum::routing::get;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::json;

use super::namespaces::unique_name;
use super::tls;

/// A running one. Pods are bound to its node by `spec.nodeName`.
pub struct Kubelet {
    /// Name of its node.
    pub node: String,
    server: tokio::task::JoinHandle<()>,
}

impl Kubelet {
    /// Makes a node, and serves these texts as the log of every container: of its present run, and of the one before.
    pub async fn start(client: &kube::Client, present: &str, previous: &str) -> Self {
        let texts = (present.to_owned(), previous.to_owned());
        let routes = Router::new().route("/containerLogs/{namespace}/{pod}/{container}", get(logs)).with_state(texts);
        let served = tls::serve(routes).await;
        let name = unique_name("kubelet");
        let nodes: Api<Node> = Api::all(client.clone());
        let node = serde_json::from_value(json!({"metadata": {"name": name}})).expect("a valid node");
        nodes.create(&PostParams::default(), &node).await.expect("the node can be made");
        let status = json!({"status": {
            "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": served.address.port()}},
        }});
        nodes.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await.expect("it can be reached");
        Self { node: name, server: served.server }
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn logs(State((present, previous)): State<(String, String)>, uri: Uri) -> String {
    if uri.query().is_some_and(|query| query.contains("previous=true")) { previous } else { present }
}
