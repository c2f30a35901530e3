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
            let (mirrors, before) = (mirrors.clone(), std::mem::take(&mut unused));
            let (state, remotes) = (Arc::clone(&self.state), Arc::clone(&self.remotes));
            // Until all are evaluated nobody can tell what is used.
            let used = move || state.all_evaluated().then(|| used(&state, &remotes));
            match tokio::task::spawn_blocking(move || look(&mirrors, used, &before)).await {
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
}

fn used(state: &State, remotes: &RemoteFollowers) -> BTreeSet<String> {
    let followed = state.follows().into_keys().filter_map(|origin| match origin {
        Origin::Git(url) => Some(url.directory_name()),
        Origin::Chart(_) => None,
    });
    followed.chain(remotes.repositories().iter().map(RepositoryUrl::directory_name)).collect()
}

struct Look {
    unused: BTreeSet<String>,
    removed: Vec<String>,
    bytes: u64,
}

/// `used` is asked again before each removal: somebody may have begun to use one.
fn look(
    mirrors: &MirrorsOnDisk,
    used: impl Fn() -> Option<BTreeSet<String>>,
    before: &BTreeSet<String>,
) -> std::io::Result<Look> {
    let mut look = Look { unused: BTreeSet::new(), removed: Vec::new(), bytes: 0 };
    if let Some(in_use) = used() {
        for name in mirrors.names()?.difference(&in_use) {
            let unused = || used().is_some_and(|used| !used.contains(name));
            if before.contains(name) && mirrors.remove(name, unused)? {
                look.removed.push(name.clone());
            } else {
                look.unused.insert(name.clone());
            }
        }
    }
    look.bytes = mirrors.bytes();
    Ok(look)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_mirror_that_is_taken_up_while_others_are_removed_stays() {
        let data = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            std::fs::create_dir_all(data.path().join("repositories").join(name)).unwrap();
        }
        let mirrors = MirrorsOnDisk::new(data.path());
        let asked = Cell::new(0);
        // Nothing is used at first; from the second question on, `b` is.
        let used = || {
            asked.set(asked.get() + 1);
            Some(if asked.get() > 1 { ["b".to_owned()].into() } else { BTreeSet::new() })
        };
        let both = ["a".to_owned(), "b".to_owned()].into();
        let look = look(&mirrors, used, &both).unwrap();
        assert_eq!((look.removed, look.unused), (vec!["a".to_owned()], ["b".to_owned()].into()));
        assert_eq!(mirrors.names().unwrap(), ["b".to_owned()].into());
    }
}
