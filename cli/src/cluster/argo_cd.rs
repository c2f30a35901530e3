//! Whether Argo CD works on what the agent would work on.

use gitmoor_core::argo_cd::Controller;
use gitmoor_core::builtin;
use gitmoor_engine::argo_cd::running;
use gitmoor_engine::cluster::Selection;
use serde_json::Value;

use super::Connection;

/// The agent's setting that makes it work beside Argo CD.
const VARIABLE: &str = "GITMOOR_BESIDE_ARGO_CD";
const FLAG: &str = "--beside-argo-cd";
/// The agent's Deployment, by label, and the ConfigMap with its settings.
const AGENT: &str = "app.kubernetes.io/name=gitmoor-agent";
const SETTINGS: &str = "gitmoor-agent-settings";

impl Connection {
    /// The controllers of Argo CD that run; none where that may not be read.
    pub(crate) async fn argo_cd(&self) -> Vec<Controller> {
        running(&self.cluster).await.unwrap_or_default()
    }

    /// Whether the agent of a namespace was told to work beside Argo CD.
    pub(crate) async fn works_beside_argo_cd(&self, namespace: &str) -> bool {
        let settings = self.cluster.get(&builtin::config_maps(), Some(namespace), SETTINGS).await.ok().flatten();
        if settings.is_some_and(|settings| settings["data"][VARIABLE] == "true") {
            return true;
        }
        let selection = Selection { labels: Some(AGENT.to_owned()), ..Selection::default() };
        let found = self.cluster.select(&builtin::deployments(), Some(namespace), &selection).await;
        found.unwrap_or_default().iter().any(is_told)
    }
}

fn is_told(deployment: &Value) -> bool {
    let listed = |container: &Value, field: &str| container[field].as_array().cloned().unwrap_or_default();
    let containers = deployment.pointer("/spec/template/spec/containers").and_then(Value::as_array);
    containers.into_iter().flatten().any(|container| {
        listed(container, "args").iter().any(|word| word == FLAG)
            || listed(container, "env").iter().any(|one| one["name"] == VARIABLE && one["value"] == "true")
    })
}
