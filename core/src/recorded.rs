//! What the agent records of repositories: where the revisions stand that it has seen.
//!
//! Once per repository, in a ConfigMap beside its lease: an Application that a commit does not touch keeps its own revision,
//! and nobody could tell from that whether the commit has been seen.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A repository, as it is recorded and shown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Recorded {
    /// Its address, without credentials.
    #[serde(rename = "repoURL")]
    pub repo_url: String,
    /// The commits of the revisions that are followed, such as `main`.
    pub revisions: BTreeMap<String, String>,
    /// When the last of them moved (RFC 3339).
    pub since: String,
}

impl Recorded {
    /// As a value of the ConfigMap.
    pub fn to_text(&self) -> String {
        serde_json::json!(self).to_string()
    }

    /// A value of the ConfigMap; `None` of what nobody can read.
    pub fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Nothing has moved: when that was noted is no matter.
    pub fn is_at(&self, other: &Self) -> bool {
        self.repo_url == other.repo_url && self.revisions == other.revisions
    }

    /// The same with some revisions alone; `None` when none of them is recorded.
    pub fn of<'r>(&self, revisions: impl IntoIterator<Item = &'r str>) -> Option<Self> {
        let found = |name: &str| self.revisions.get_key_value(name).map(|(name, at)| (name.clone(), at.clone()));
        let revisions: BTreeMap<String, String> = revisions.into_iter().filter_map(found).collect();
        (!revisions.is_empty()).then(|| Self { revisions, ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_read_again() {
        let revisions = [("main".to_owned(), "a".to_owned()), ("next".to_owned(), "b".to_owned())];
        let recorded = Recorded {
            repo_url: "https://git/x".into(),
            revisions: revisions.into(),
            since: "2026-01-01T00:00:00Z".into(),
        };
        assert_eq!(Recorded::read(&recorded.to_text()), Some(recorded.clone()));
        assert_eq!(Recorded::read("no JSON"), None);
        let later = Recorded { since: "2026-01-02T00:00:00Z".into(), ..recorded.clone() };
        assert!(recorded.is_at(&later) && recorded != later);
        let next = recorded.of(["next", "other"]).unwrap();
        assert_eq!((next.revisions.len(), next.since.as_str()), (1, "2026-01-01T00:00:00Z"));
        assert!(!recorded.is_at(&next) && recorded.of(["other"]).is_none());
    }
}
