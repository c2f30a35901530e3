//! Nodes that exist in the API only: kwok makes each pod on them ready at once.

use gitmoor_local_cluster::server::flag;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;

use super::identity::Identity;
use super::scratch::Scratch;
use super::supervised::{self, Supervised};
use super::tools::tool;

/// What happens to nodes and pods: after kwok's own "fast" stages
/// (github.com/kubernetes-sigs/kwok, kustomize/stage).
const STAGES: &str = include_str!("kwok-stages.yaml");

/// Starts kwok.
pub(super) fn start_kwok(scratch: &Scratch, identity: &Identity) -> Supervised {
    let stages = scratch.write("kwok-stages.yaml", STAGES);
    let log = scratch.path().join("kwok.log");
    supervised::spawn(&tool("kwok"), &log, |command| {
        command
            // kwok looks for more configuration there.
            .env("HOME", scratch.path())
            .arg(flag("kubeconfig", identity.path()))
            .arg(flag("config", &stages))
            .args(["--manage-all-nodes=true", "--node-lease-duration-seconds=40", "--node-ip=10.0.0.1"]);
    })
}

/// Makes the nodes `node-0` to `node-(count - 1)`.
pub(super) async fn create(client: &kube::Client, count: usize) {
    let nodes: Api<Node> = Api::all(client.clone());
    for index in 0..count {
        let name = format!("node-{index}");
        let node = serde_json::from_value(json!({
            "metadata": {
                "name": name,
                "labels": { "kubernetes.io/hostname": name, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64" },
            },
        }))
        .expect("a valid node");
        nodes.create(&PostParams::default(), &node).await.unwrap_or_else(|error| panic!("node {name}: {error}"));
    }
}

/// How many nodes are ready for pods.
pub(super) async fn ready(client: &kube::Client) -> usize {
    let nodes: Api<Node> = Api::all(client.clone());
    let Ok(list) = nodes.list(&ListParams::default()).await else { return 0 };
    list.items.iter().filter(|node| is_ready(node)).count()
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let tainted = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten()).next().is_some();
    !tainted && conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
