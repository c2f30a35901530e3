//! Where repositories stand, as far as agents have seen them.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use gitmoor_core::{builtin, names::REPOSITORIES_CONFIG_MAP, recorded::Recorded, view::ApplicationView};
use gitmoor_engine::git::{RepositoryUrl, UrlPolicy};
use serde_json::{Map, Value};

use super::Connection;

/// What agents have recorded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Repositories(Vec<(RepositoryUrl, Recorded)>);

impl Repositories {
    /// Those that some Applications follow, with the revisions that they follow.
    pub(crate) fn of<'v>(&self, views: impl IntoIterator<Item = &'v ApplicationView>) -> Vec<Recorded> {
        // A thousand Applications name few repositories.
        let mut written: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (url, revision) in views.into_iter().flat_map(ApplicationView::follows) {
            written.entry(url).or_default().insert(revision);
        }
        let mut followed: BTreeMap<RepositoryUrl, BTreeSet<&str>> = BTreeMap::new();
        for (url, revisions) in written {
            if let Some(url) = read(url) {
                followed.entry(url).or_default().extend(revisions);
            }
        }
        let recorded = |(url, recorded): &(RepositoryUrl, Recorded)| recorded.of(followed.get(url)?.iter().copied());
        self.0.iter().filter_map(recorded).collect()
    }
}

impl Connection {
    /// Where the repositories of an Application stand, as its agent has seen them.
    pub(crate) async fn repositories_of(&self, view: &ApplicationView) -> Vec<Recorded> {
        let agent = self.agent_of(&view.key().namespace).await;
        self.repositories(&agent.namespaces.iter().map(String::as_str).collect()).await.of([view])
    }

    /// What the agents of these namespaces have recorded; nothing where that may not be read.
    pub(crate) async fn repositories(&self, agents: &BTreeSet<&str>) -> Repositories {
        let maps = builtin::config_maps();
        let maps = agents.iter().map(|agent| self.cluster.get(&maps, Some(agent), REPOSITORIES_CONFIG_MAP));
        let found = join_all(maps).await.into_iter().filter_map(Result::ok).flatten();
        let mut all = Vec::new();
        for map in found {
            let texts = map["data"].as_object().into_iter().flat_map(Map::values).filter_map(Value::as_str);
            all.extend(texts.filter_map(Recorded::read).filter_map(|one| Some((read(&one.repo_url)?, one))));
        }
        Repositories(all)
    }
}

fn read(url: &str) -> Option<RepositoryUrl> {
    RepositoryUrl::parse(url, &UrlPolicy { allow_local: true, allow_plain_http: true }).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_application_is_shown_what_it_follows_however_it_is_written() {
        let recorded = |url: &str, revisions: &[&str]| {
            let revisions = revisions.iter().map(|name| ((*name).to_owned(), "c".to_owned())).collect();
            (read(url).unwrap(), Recorded { repo_url: url.into(), revisions, since: String::new() })
        };
        let all =
            Repositories(vec![recorded("https://git/x.git", &["main", "next"]), recorded("https://git/y", &["main"])]);
        let view: ApplicationView = serde_json::from_value(
            json!({"spec": {"source": {"repoURL": "https://GIT/x/", "targetRevision": "main"}}}),
        )
        .unwrap();
        let of = all.of([&view, &ApplicationView::default()]);
        let [one] = &of[..] else { panic!("{of:?}") };
        assert_eq!((one.repo_url.as_str(), one.revisions.len()), ("https://git/x.git", 1));
    }
}
