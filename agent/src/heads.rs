//! Records which commit of each repository was compared with last, once per repository: Applications that a commit does
//! not touch keep their own revision, and a view can show both.

use std::sync::Arc;

use gitmoor_core::names::REPOSITORIES_CONFIG_MAP;
use gitmoor_engine::cluster::{Cluster, ClusterError};
use gitmoor_engine::git::RepositoryUrl;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use crate::clock;
use crate::objects;
use crate::state::{Origin, State};

/// Takes notes of repositories that have moved.
#[derive(Clone, Debug)]
pub(crate) struct Heads {
    moved: mpsc::UnboundedSender<RepositoryUrl>,
}

impl Heads {
    /// Starts the recorder; its future ends when all senders are gone.
    pub(crate) fn start(cluster: Cluster, namespace: String, state: Arc<State>) -> (Self, impl Future<Output = ()>) {
        let (moved, mut receiver) = mpsc::unbounded_channel::<RepositoryUrl>();
        let record = async move {
            while let Some(url) = receiver.recv().await {
                if let Err(error) = write(&cluster, &namespace, &url, entry(&state, &url)).await {
                    tracing::warn!(repository = %url, %error, "the commit compared with cannot be recorded");
                }
            }
        };
        (Self { moved }, record)
    }

    /// The repository stands at other commits now.
    pub(crate) fn moved(&self, url: &RepositoryUrl) {
        // Nobody listens only when the agent is stopping.
        let _ = self.moved.send(url.clone());
    }
}

fn entry(state: &State, url: &RepositoryUrl) -> Value {
    let revisions: Map<String, Value> =
        state.heads(&Origin::Git(url.clone())).into_iter().map(|(name, at)| (name, json!(at.to_string()))).collect();
    json!({"repoURL": url.as_str(), "revisions": revisions, "since": clock::now()})
}

/// One key per repository, its value readable JSON. A restart that finds what was there writes nothing.
async fn write(cluster: &Cluster, namespace: &str, url: &RepositoryUrl, entry: Value) -> Result<(), ClusterError> {
    let (maps, name, key) = (objects::config_maps(), REPOSITORIES_CONFIG_MAP, url.directory_name());
    let Some(present) = cluster.get(&maps, Some(namespace), name).await? else {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace}, "data": {key: entry.to_string()},
        });
        return cluster.create(&maps, Some(namespace), &object).await.map(drop);
    };
    let before: Option<Value> = present["data"][&key].as_str().and_then(|text| serde_json::from_str(text).ok());
    if before.is_some_and(|before| before["revisions"] == entry["revisions"]) {
        return Ok(());
    }
    let patch = json!({"data": {key: entry.to_string()}});
    cluster.merge(&maps, Some(namespace), name, &patch).await.map(drop)
}
