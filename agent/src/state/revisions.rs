//! Followed revisions: where they stand, and what their Applications are known to want there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use gitmoor_core::tracking::ApplicationKey;
use gitmoor_core::tree::RepoPath;

use super::{Evaluation, Follow, Head, Inner, Origin, Position, Reads, Snapshot, State, Unreachable};

/// Where a revision stands now.
pub(crate) struct Move {
    /// Which.
    pub follow: Follow,
    /// Where.
    pub head: Head,
    /// The paths that differ from before; `None` when any may.
    pub changed: Option<Vec<RepoPath>>,
}

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

    /// Revisions of one repository or chart stand elsewhere now: all at once, so that nobody plans at the new place of
    /// one beside the old place of another. Gives the Applications whose inputs that touches.
    pub(crate) fn advance(&self, moves: Vec<Move>) -> Vec<ApplicationKey> {
        let mut inner = self.lock();
        moves.into_iter().flat_map(|moved| inner.advance(moved)).collect()
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
        current &= Arc::ptr_eq(&tracked.spec, &snapshot.spec) && tracked.touches == snapshot.touches;
        tracked.evaluation = Some(evaluation);
        tracked.reads_everything = matches!(reads, Reads::Everything);
        tracked.dirty = !current || matches!(reads, Reads::Unknown);
        tracked.undecidable = matches!(reads, Reads::Unknown);
        let mut wake = inner.waiting_for(key);
        if !current {
            wake.push(key.clone());
        }
        wake
    }
}

impl Inner {
    fn advance(&mut self, Move { follow, head, changed }: Move) -> Vec<ApplicationKey> {
        let Some(followed) = self.followed.get_mut(&follow) else { return Vec::new() };
        if followed.head.as_ref() == Some(&head) {
            return self.undecided(&follow);
        }
        let known_before = matches!(followed.head, Some(Head::At(_)));
        let touched = changed.filter(|_| known_before).map(|paths| followed.index.touched(paths.iter()));
        followed.head = Some(head);
        followed.since = Some(Instant::now());
        let mut wake = Vec::new();
        for (key, tracked) in &mut self.applications {
            if tracked.follows().all(|other| *other != follow) {
                continue;
            }
            let indexed = tracked.evaluation.is_some() && !tracked.dirty;
            if !indexed || tracked.reads_everything || touched.as_ref().is_none_or(|touched| touched.contains(key)) {
                tracked.touch();
                wake.push(key.clone());
            }
        }
        // Prunes may have waited for nothing but that this stands where another address of it does.
        let follows = |by: &ApplicationKey| {
            self.applications.get(by).is_some_and(|tracked| tracked.follows().any(|other| *other == follow))
        };
        let held = self.applications.iter().filter(|(_, tracked)| tracked.held_by.as_ref().is_some_and(follows));
        wake.extend(held.map(|(key, _)| key.clone()));
        wake
    }

    /// Those of a revision that have not been evaluated, for which a repeated answer is news too.
    fn undecided(&self, follow: &Follow) -> Vec<ApplicationKey> {
        let of_follow = self.applications.iter().filter(|(_, tracked)| tracked.follows().any(|other| other == follow));
        of_follow.filter(|(_, tracked)| tracked.dirty).map(|(key, _)| key.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use gitmoor_core::tracking::Installation;
    use gitmoor_engine::addresses::Addresses;
    use gitmoor_engine::git::CommitId;
    use serde_json::{Value, json};

    use super::*;

    fn key(name: &str) -> ApplicationKey {
        ApplicationKey { namespace: "gitmoor".into(), name: name.into() }
    }

    fn application(url: &str, version: &str) -> Value {
        json!({
            "metadata": {"name": "web", "namespace": "gitmoor", "uid": "1", "resourceVersion": version},
            "spec": {
                "source": {"repoURL": url, "path": "web", "targetRevision": "main"},
                "destination": {"server": "https://kubernetes.default.svc"},
            },
        })
    }

    fn state() -> State {
        State::new(Installation::parse("gitmoor").unwrap(), ["gitmoor".to_owned()].into(), Addresses::default())
    }

    fn advance(state: &State, name: &str, digit: char) -> Position {
        let position = Position::Commit(CommitId::parse(&digit.to_string().repeat(40)).unwrap());
        let follow = state.snapshot(&key(name)).unwrap().sources[0].follow.clone();
        state.advance(vec![Move { follow, head: Head::At(position.clone()), changed: None }]);
        position
    }

    fn evaluation() -> Arc<Evaluation> {
        Arc::new(Evaluation {
            sources: Vec::new(),
            several: false,
            desired: Some(Arc::new([])),
            output: String::new(),
            images: Arc::new([]),
            problems: Vec::new(),
            awaited: Vec::new(),
            warnings: Vec::new(),
            unknown_kinds: false,
            asks_cluster: false,
            charts: BTreeSet::new(),
        })
    }

    /// Evaluates an Application while something happens; gives who is to look because of that.
    fn evaluate(state: &State, name: &str, at: &Position, meanwhile: impl FnOnce()) -> Vec<ApplicationKey> {
        let snapshot = state.snapshot(&key(name)).unwrap();
        meanwhile();
        state.evaluated(&key(name), &snapshot, std::slice::from_ref(at), evaluation(), Reads::Sets(Vec::new()))
    }

    #[test]
    fn what_changes_while_an_application_is_evaluated_is_looked_at_afterwards() {
        let state = state();
        state.upsert_application(&key("web"), application("https://git.example/r", "1"));
        let first = advance(&state, "web", '1');
        assert_eq!(evaluate(&state, "web", &first, || ()), []);
        assert!(!state.snapshot(&key("web")).unwrap().dirty);
        let meanwhile: [(&str, &dyn Fn()); 4] = [
            ("a base", &|| drop(state.inputs_changed(&[key("web")].into()))),
            ("its project", &|| drop(state.project_changed(Some(&["default".to_owned()].into())))),
            ("its spec", &|| {
                let mut changed = application("https://git.example/r", "2");
                changed["spec"]["source"]["path"] = json!("other");
                state.upsert_application(&key("web"), changed);
            }),
            ("its branch", &|| drop(advance(&state, "web", '2'))),
        ];
        for (what, happen) in meanwhile {
            let at = if what == "its branch" { first.clone() } else { advance(&state, "web", '1') };
            assert_eq!(evaluate(&state, "web", &at, happen), [key("web")], "{what}");
            assert!(state.snapshot(&key("web")).unwrap().dirty, "{what}");
        }
    }

    #[test]
    fn what_was_evaluated_is_not_carried_out_for_a_request_that_came_later() {
        let state = state();
        state.upsert_application(&key("web"), application("https://git.example/r", "1"));
        let at = advance(&state, "web", '1');
        evaluate(&state, "web", &at, || ());
        let snapshot = state.snapshot(&key("web")).unwrap();
        assert!(state.present(&key("web"), &snapshot).is_some());
        let mut asked = application("https://git.example/r", "2");
        asked["operation"] = json!({"sync": {}});
        state.upsert_application(&key("web"), asked.clone());
        assert_eq!(state.present(&key("web"), &snapshot).unwrap()["operation"], asked["operation"], "the same spec");
        state.inputs_changed(&[key("web")].into());
        assert!(state.present(&key("web"), &snapshot).is_none(), "the request is for what is there now");
        let snapshot = state.snapshot(&key("web")).unwrap();
        asked["operation"] = json!({"sync": {"revision": "v1"}});
        asked["metadata"]["resourceVersion"] = json!("3");
        state.upsert_application(&key("web"), asked);
        assert!(state.present(&key("web"), &snapshot).is_none(), "it asks for another revision");
    }

    #[test]
    fn two_addresses_of_a_repository_are_waited_for_like_one() {
        let state = state();
        state.upsert_application(&key("old"), application("https://git.example/r", "1"));
        state.upsert_application(&key("new"), application("git@git.example:r.git", "1"));
        let first = advance(&state, "old", '1');
        evaluate(&state, "old", &first, || ());
        assert_eq!(state.prune_held_by(&key("old"), &[]), Some(key("new")), "it may want what leaves");
        advance(&state, "new", '1');
        evaluate(&state, "new", &first, || ());
        assert_eq!(state.prune_held_by(&key("old"), &[]), None);
        let second = advance(&state, "old", '2');
        evaluate(&state, "old", &second, || ());
        assert_eq!(state.prune_held_by(&key("old"), &[]), Some(key("new")), "its mirror is behind");
        let follow = state.snapshot(&key("new")).unwrap().sources[0].follow.clone();
        let moved = Move { follow, head: Head::At(second), changed: Some(Vec::new()) };
        assert_eq!(state.advance(vec![moved]), [key("old")], "not that it changes anything for itself");
        assert_eq!(state.prune_held_by(&key("old"), &[]), None);
    }
}
