//! Which pod works: its label selects it for the Service that webhooks come through.
//!
//! A waiting agent does not know who follows what, and nobody repeats a webhook that it refused.

use std::time::Duration;

use gitmoor_core::names::LABEL_LEADER;
use gitmoor_engine::cluster::Cluster;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::objects;

const PAUSE: Duration = Duration::from_secs(5);

/// Keeps the label of the agent's own pod: without it until the agent leads, then with it. A container that was
/// started again finds the label of the one before on its pod.
pub(crate) async fn label(cluster: Cluster, namespace: String, pod: String, leading: oneshot::Receiver<()>) {
    let set = async |value: Value| {
        let patch = json!({"metadata": {"labels": {LABEL_LEADER: value}}});
        while let Err(error) = cluster.merge(&objects::pods(), Some(&namespace), &pod, &patch).await {
            tracing::warn!(%error, pod, "the agent's pod cannot be labelled: webhooks may not arrive");
            sleep(PAUSE).await;
        }
    };
    set(Value::Null).await;
    if leading.await.is_ok() {
        set(json!("true")).await;
    }
}
