//! Records which commit of each repository is known, once per repository: Applications that a commit does not touch keep
//! their own revision, and every view of the CLI shows both.

use std::sync::Arc;

use gitmoor_core::names::REPOSITORIES_CONFIG_MAP;
use gitmoor_core::recorded::Recorded;
use gitmoor_engine::cluster::{Cluster, ClusterError};
use gitmoor_engine::git::RepositoryUrl;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use crate::clock;
use crate::objects;
use crate::state::{Origin, State};

/// Takes notes of repositories that have moved.
#[derive(Clone, Debug)]
pub(crate) struct Heads {
    notes: mpsc::UnboundedSender<Note>,
}

#[derive(Debug)]
enum Note {
    /// It stands elsewhere.
    Moved(RepositoryUrl),
    /// Somebody waits until what was noted before is written.
    Told(oneshot::Sender<()>),
}

impl Heads {
    /// Starts the recorder; its future ends when all senders are gone.
    pub(crate) fn start(cluster: Cluster, namespace: String, state: Arc<State>) -> (Self, impl Future<Output = ()>) {
        let (notes, mut receiver) = mpsc::unbounded_channel();
        let record = async move {
            while let Some(note) = receiver.recv().await {
                match note {
                    Note::Moved(url) => {
                        if let Err(error) = write(&cluster, &namespace, &url, entry(&state, &url)).await {
                            tracing::warn!(repository = %url, %error, "the commit compared with cannot be recorded");
                        }
                    }
                    // Whoever waited may be gone.
                    Note::Told(waiting) => drop(waiting.send(())),
                }
            }
        };
        (Self { notes }, record)
    }

    /// The repository stands at other commits now.
    pub(crate) fn moved(&self, url: &RepositoryUrl) {
        // Nobody listens only when the agent is stopping.
        let _ = self.notes.send(Note::Moved(url.clone()));
    }

    /// Waits until everything that has moved so far is recorded, or could not be.
    pub(crate) async fn told(&self) {
        let (waiting, told) = oneshot::channel();
        if self.notes.send(Note::Told(waiting)).is_ok() {
            let _ = told.await;
        }
    }
}

fn entry(state: &State, url: &RepositoryUrl) -> Recorded {
    let heads = state.heads(&Origin::Git(url.clone()));
    let revisions = heads.into_iter().map(|(name, at)| (name, at.to_string())).collect();
    Recorded { repo_url: url.to_string(), revisions, since: clock::now() }
}

/// One key per repository, its value readable JSON. A restart that finds what was there writes nothing.
async fn write(cluster: &Cluster, namespace: &str, url: &RepositoryUrl, entry: Recorded) -> Result<(), ClusterError> {
    let (maps, name, key) = (objects::config_maps(), REPOSITORIES_CONFIG_MAP, url.directory_name());
    let Some(present) = cluster.get(&maps, Some(namespace), name).await? else {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": name, "namespace": namespace}, "data": {key: entry.to_text()},
        });
        return cluster.create(&maps, Some(namespace), &object).await.map(drop);
    };
    let before = present["data"][&key].as_str().and_then(Recorded::read);
    if before.is_some_and(|before| before.is_at(&entry)) {
        return Ok(());
    }
    let patch = json!({"data": {key: entry.to_text()}});
    cluster.merge(&maps, Some(namespace), name, &patch).await.map(drop)
}
