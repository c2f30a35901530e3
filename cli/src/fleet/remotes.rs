//! Bases, files and charts from elsewhere, fetched into the user's cache without credentials.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Mutex,
};

use futures::{FutureExt as _, future::BoxFuture};
use gitmoor_core::closure::{Category, RemoteContent, Remotes};
use gitmoor_engine::{
    git::RepositoryUrl,
    reach::Hosts,
    remotes::{Ask, FetchRemotes, Means, RemoteError, RemoteStore, server},
};

use super::origins::Origins;

/// What was found in this run.
pub(super) type Seen = Mutex<HashMap<Ask, RemoteContent>>;

impl FetchRemotes for Origins {
    fn fetch(&self, asked: BTreeSet<Ask>) -> BoxFuture<'_, Remotes> {
        async move {
            let mut found = Remotes::default();
            for mut ask in asked {
                if self.update.covers(&ask.reference) {
                    ask.locked = None;
                }
                let content = self.remote(&ask).await;
                found.0.insert(ask.reference, content);
            }
            found
        }
        .boxed()
    }
}

impl Origins {
    /// One look for each in a run.
    async fn remote(&self, ask: &Ask) -> RemoteContent {
        let seen = |content: Option<RemoteContent>| {
            let mut seen = self.remotes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match content {
                Some(content) => seen.insert(ask.clone(), content),
                None => seen.get(ask).cloned(),
            }
        };
        if let Some(known) = seen(None) {
            return known;
        }
        let content = self.found(ask).await.unwrap_or_else(|error| {
            let RemoteError { category, reason, .. } = error;
            RemoteContent::Failed { category, reason }
        });
        seen(Some(content.clone()));
        content
    }

    async fn found(&self, ask: &Ask) -> Result<RemoteContent, RemoteError> {
        let anew = self.update.anew && ask.locked.is_none() && !self.offline;
        let store = RemoteStore::new(self.data.clone(), self.fetcher.clone(), self.addresses.clone());
        let known = store.known(ask).filter(|pin| self.offline || (pin.is_fixed(ask) && !anew));
        if let Some(content) = known.and_then(|pin| store.content(&ask.reference, &pin)) {
            return Ok(content);
        }
        let lost = |reason: &str| RemoteError::new(Category::RemoteUnreachable, reason);
        if self.offline {
            return Err(lost("was not fetched before, and is not with --offline"));
        }
        let own = self.own.iter().flat_map(RepositoryUrl::servers);
        let mirrors = self.addresses.replacements().iter().filter_map(|replacement| server(&replacement.to));
        let means = Means { hosts: Hosts::new(own.chain(mirrors)), ..Means::default() };
        let pin = if anew { store.look_anew(ask, &means).await? } else { store.look(ask, &means).await? };
        let (wanted, reader) = (ask.reference.clone(), store.clone());
        let content = tokio::task::spawn_blocking(move || reader.content(&wanted, &pin)).await.ok().flatten();
        content.ok_or_else(|| lost("cannot be read from the cache"))
    }
}
