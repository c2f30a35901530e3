//! Mirrors that nobody follows any more give their disk space back.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gitmoor_engine::git::{MirrorsOnDisk, RepositoryUrl};

use crate::metrics::Metrics;
use crate::remotes::RemoteFollowers;
use crate::state::{Origin, State};

/// What is looked at.
pub(crate) struct Tidy {
    /// Folder of all data.
    pub data: PathBuf,
    /// Between two looks.
    pub interval: Duration,
    /// Who follows what.
    pub state: Arc<State>,
    /// What else is used.
    pub remotes: Arc<RemoteFollowers>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
}

impl Tidy {
    /// Removes each mirror that was not used at two looks in a row, as long as the agent runs.
    pub(crate) async fn run(self) {
        let mirrors = MirrorsOnDisk::new(&self.data);
        let mut unused = BTreeSet::new();
        loop {
            tokio::time::sleep(self.interval).await;
            // Until then nobody can tell what is used.
            let used = self.state.all_evaluated().then(|| self.used());
            let (mirrors, before) = (mirrors.clone(), std::mem::take(&mut unused));
            match tokio::task::spawn_blocking(move || look(&mirrors, used.as_ref(), &before)).await {
                Ok(Ok(look)) => {
                    self.metrics.mirrors_removed.inc_by(look.removed.len() as u64);
                    self.metrics.mirror_bytes.set(i64::try_from(look.bytes).unwrap_or(i64::MAX));
                    look.removed.iter().for_each(|name| tracing::info!(mirror = name, "nobody follows it: removed"));
                    unused = look.unused;
                }
                Ok(Err(error)) => tracing::warn!(%error, "mirrors that nobody follows cannot be removed"),
                Err(_) => return,
            }
        }
    }

    fn used(&self) -> BTreeSet<String> {
        let followed = self.state.follows().into_keys().filter_map(|origin| match origin {
            Origin::Git(url) => Some(url.directory_name()),
            Origin::Chart(_) => None,
        });
        followed.chain(self.remotes.repositories().iter().map(RepositoryUrl::directory_name)).collect()
    }
}

struct Look {
    unused: BTreeSet<String>,
    removed: Vec<String>,
    bytes: u64,
}

fn look(mirrors: &MirrorsOnDisk, used: Option<&BTreeSet<String>>, before: &BTreeSet<String>) -> std::io::Result<Look> {
    let mut look = Look { unused: BTreeSet::new(), removed: Vec::new(), bytes: 0 };
    if let Some(used) = used {
        for name in mirrors.names()?.difference(used) {
            if before.contains(name) {
                mirrors.remove(name)?;
                look.removed.push(name.clone());
            } else {
                look.unused.insert(name.clone());
            }
        }
    }
    look.bytes = mirrors.bytes();
    Ok(look)
}
