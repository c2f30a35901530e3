//! Followed revisions: where they stand, and what their Applications are known to want there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use gitmoor_core::tracking::ApplicationKey;
use gitmoor_core::tree::RepoPath;

use super::{Evaluation, Follow, Head, Inner, Origin, Position, Reads, Snapshot, State, Unreachable};

impl State {
    /// Every followed revision, by what it is of.
    pub(crate) fn follows(&self) -> BTreeMap<Origin, BTreeSet<String>> {
        let mut follows: BTreeMap<Origin, BTreeSet<String>> = BTreeMap::new();
        for follow in self.lock().followed.keys() {
            follows.entry(follow.origin.clone()).or_default().insert(follow.revision.clone());
        }
        follows
    }

    /// Where the revisions of a repository or chart stood.
    pub(crate) fn heads(&self, origin: &Origin) -> BTreeMap<String, Position> {
        let inner = self.lock();
        let of_origin = inner.followed.iter().filter(|(follow, _)| follow.origin == *origin);
        of_origin
            .filter_map(|(follow, followed)| match &followed.head {
                Some(Head::At(position)) => Some((follow.revision.clone(), position.clone())),
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
            if tracked.follows().all(|other| other != follow) {
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
    pub(crate) fn reachable(&self, origin: &Origin, error: Option<Unreachable>) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let news = match &error {
            Some(error) => inner.unreachable.insert(origin.clone(), error.clone()).as_ref() != Some(error),
            None => inner.unreachable.remove(origin).is_some(),
        };
        if news { inner.of_origin(origin).map(|(key, _)| key.clone()).collect() } else { Vec::new() }
    }

    /// The Application was evaluated with its sources at `at`. Gives those that waited for that; itself when a source
    /// moved on meanwhile.
    pub(crate) fn evaluated(
        &self,
        key: &ApplicationKey,
        snapshot: &Snapshot,
        at: &[Position],
        evaluation: Arc<Evaluation>,
        reads: Reads,
    ) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        let mut current = !at.is_empty();
        for (source, position) in snapshot.sources.iter().zip(at) {
            let Some(followed) = inner.followed.get_mut(&source.follow) else {
                current = false;
                continue;
            };
            current &= followed.head.as_ref() == Some(&Head::At(position.clone()));
            match &reads {
                Reads::Sets(sets) => {
                    // Two sources may follow the same revision.
                    let same =
                        |index: usize| snapshot.sources.get(index).is_some_and(|other| other.follow == source.follow);
                    let sets = sets.iter().filter(|(index, _)| same(*index)).map(|(_, set)| set);
                    followed.index.insert_all(key.clone(), sets);
                }
                Reads::Everything | Reads::Unknown => followed.index.remove(key),
            }
        }
        let Some(tracked) = inner.applications.get_mut(key) else { return Vec::new() };
        let same_spec = Arc::ptr_eq(&tracked.spec, &snapshot.spec);
        tracked.evaluation = Some(evaluation);
        tracked.reads_everything = matches!(reads, Reads::Everything);
        tracked.dirty = !(current && same_spec) || matches!(reads, Reads::Unknown);
        tracked.undecidable = matches!(reads, Reads::Unknown);
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
        let of_follow = self.applications.iter().filter(|(_, tracked)| tracked.follows().any(|other| other == follow));
        of_follow.filter(|(_, tracked)| tracked.dirty).map(|(key, _)| key.clone()).collect()
    }
}
