//! Followed revisions: where they stand, and what their Applications are known to want there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use gitmoor_core::tracking::ApplicationKey;
use gitmoor_core::tree::RepoPath;
use gitmoor_engine::git::{CommitId, FetchError, RepositoryUrl};

use super::{Evaluation, Follow, Head, Inner, Reads, Snapshot, State};

impl State {
    /// Every followed revision, by repository.
    pub(crate) fn follows(&self) -> BTreeMap<RepositoryUrl, BTreeSet<String>> {
        let mut follows: BTreeMap<RepositoryUrl, BTreeSet<String>> = BTreeMap::new();
        for follow in self.lock().followed.keys() {
            follows.entry(follow.url.clone()).or_default().insert(follow.revision.clone());
        }
        follows
    }

    /// Where the revisions of a repository stood.
    pub(crate) fn heads(&self, url: &RepositoryUrl) -> BTreeMap<String, CommitId> {
        let inner = self.lock();
        let of_url = inner.followed.iter().filter(|(follow, _)| follow.url == *url);
        of_url
            .filter_map(|(follow, followed)| match &followed.head {
                Some(Head::At(commit)) => Some((follow.revision.clone(), commit.clone())),
                _ => None,
            })
            .collect()
    }

    /// A revision stands at `head` now. `changed`: the paths that differ from before, `None` when any may.
    ///
    /// Gives the Applications whose inputs that touches.
    pub(crate) fn advance(&self, follow: &Follow, head: Head, changed: Option<&[RepoPath]>) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let Some(followed) = inner.followed.get_mut(follow) else { return Vec::new() };
        if followed.head.as_ref() == Some(&head) {
            return inner.undecided(follow);
        }
        let known_before = matches!(followed.head, Some(Head::At(_)));
        let touched = changed.filter(|_| known_before).map(|paths| followed.index.touched(paths.iter()));
        followed.head = Some(head);
        followed.since = Some(Instant::now());
        let mut wake = Vec::new();
        for (key, tracked) in &mut inner.applications {
            if tracked.follow.as_ref() != Some(follow) {
                continue;
            }
            let indexed = tracked.evaluation.is_some() && !tracked.dirty;
            if !indexed || tracked.reads_everything || touched.as_ref().is_none_or(|touched| touched.contains(key)) {
                tracked.dirty = true;
                wake.push(key.clone());
            }
        }
        wake
    }

    /// The repository cannot be reached (`Some`), or can again. Gives its Applications when that is news.
    pub(crate) fn reachable(&self, url: &RepositoryUrl, error: Option<FetchError>) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let news = match &error {
            Some(error) => inner.unreachable.insert(url.clone(), error.clone()).as_ref() != Some(error),
            None => inner.unreachable.remove(url).is_some(),
        };
        if news { inner.of_repository(url).map(|(key, _)| key.clone()).collect() } else { Vec::new() }
    }

    /// The Application was evaluated at `at`. Gives those that waited for that; itself when Git moved on meanwhile.
    pub(crate) fn evaluated(
        &self,
        key: &ApplicationKey,
        snapshot: &Snapshot,
        at: &CommitId,
        evaluation: Arc<Evaluation>,
        reads: Reads<'_>,
    ) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let head = snapshot.follow.as_ref().and_then(|follow| inner.followed.get_mut(follow)).map(|followed| {
            match reads {
                Reads::Set(read_set) => followed.index.insert(key.clone(), read_set),
                Reads::Everything | Reads::Unknown => followed.index.remove(key),
            }
            followed.head.clone()
        });
        let current = head.flatten() == Some(Head::At(at.clone()));
        let Some(tracked) = inner.applications.get_mut(key) else { return Vec::new() };
        let same_spec = Arc::ptr_eq(&tracked.spec, &snapshot.spec);
        tracked.evaluation = Some(evaluation);
        tracked.reads_everything = matches!(reads, Reads::Everything);
        tracked.dirty = !(current && same_spec) || matches!(reads, Reads::Unknown);
        let again = !(current && same_spec);
        let mut wake = inner.waiting_for(key);
        if again {
            wake.push(key.clone());
        }
        wake
    }
}

impl Inner {
    /// Those of a revision that have not been evaluated, for which a repeated answer is news too.
    fn undecided(&self, follow: &Follow) -> Vec<ApplicationKey> {
        let of_follow = self.applications.iter().filter(|(_, tracked)| tracked.follow.as_ref() == Some(follow));
        of_follow.filter(|(_, tracked)| tracked.dirty).map(|(key, _)| key.clone()).collect()
    }
}
