//! Bases, files and charts from elsewhere, fetched into the user's cache without credentials.

use std::{collections::HashMap, sync::Mutex};

use futures::{FutureExt as _, future::BoxFuture};
use gitmoor_core::closure::{Category, RemoteContent, RemoteReference, Remotes, Wanted};
use gitmoor_engine::{
    reach::Hosts,
    remotes::{Access, FetchRemotes, RemoteError, RemoteStore, host},
};

use super::origins::Origins;

/// What was found in this run.
pub(super) type Seen = Mutex<HashMap<RemoteReference, RemoteContent>>;

impl FetchRemotes for Origins {
    fn fetch(&self, wanted: Wanted) -> BoxFuture<'_, Remotes> {
        async move {
            let mut found = Remotes::default();
            for reference in wanted {
                let content = self.remote(&reference).await;
                found.0.insert(reference, content);
            }
            found
        }
        .boxed()
    }
}

impl Origins {
    /// One look for each in a run.
    async fn remote(&self, reference: &RemoteReference) -> RemoteContent {
        let seen = |content: Option<RemoteContent>| {
            let mut seen = self.remotes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            match content {
                Some(content) => seen.insert(reference.clone(), content),
                None => seen.get(reference).cloned(),
            }
        };
        if let Some(known) = seen(None) {
            return known;
        }
        let content = self.found(reference).await.unwrap_or_else(|error| {
            let RemoteError { category, reason } = error;
            RemoteContent::Failed { category, reason }
        });
        seen(Some(content.clone()));
        content
    }

    async fn found(&self, reference: &RemoteReference) -> Result<RemoteContent, RemoteError> {
        let store = RemoteStore::new(self.data.clone(), self.fetcher.clone(), self.addresses.clone());
        let known = store.known(reference).filter(|pin| self.offline || pin.is_fixed(reference));
        if let Some(content) = known.and_then(|pin| store.content(reference, &pin)) {
            return Ok(content);
        }
        let lost = |reason: &str| RemoteError { category: Category::RemoteUnreachable, reason: reason.to_owned() };
        if self.offline {
            return Err(lost("was not fetched before, and is not with --offline"));
        }
        let own = self.own.iter().filter_map(|url| url.host().map(str::to_owned));
        let mirrors = self.addresses.replacements().iter().map(|replacement| host(&replacement.to));
        let access = Access { hosts: Hosts::new(own.chain(mirrors)), ..Access::default() };
        let pin = store.look(reference, &access).await?;
        let (wanted, reader) = (reference.clone(), store.clone());
        let content = tokio::task::spawn_blocking(move || reader.content(&wanted, &pin)).await.ok().flatten();
        content.ok_or_else(|| lost("cannot be read from the cache"))
    }
}
