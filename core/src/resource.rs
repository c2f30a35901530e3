//! What the API server serves: kinds, their scope and plural names.

use std::collections::{BTreeSet, HashMap};

use crate::object::GroupKind;

/// A served version of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    /// Group and kind.
    pub group_kind: GroupKind,
    /// API version without the group: `v1`.
    pub version: String,
    /// Plural name in URLs.
    pub plural: String,
    /// True when its objects live in namespaces.
    pub namespaced: bool,
    /// True when it can be listed and watched.
    pub watchable: bool,
}

impl Resource {
    /// `group/version`, or the version alone for the core group.
    pub fn api_version(&self) -> String {
        match self.group_kind.group.as_str() {
            "" => self.version.clone(),
            group => format!("{group}/{}", self.version),
        }
    }
}

/// Everything that the API server serves, as of one discovery.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    by_kind: HashMap<GroupKind, Vec<Resource>>,
    /// `group/version` and `group/version/Kind` of everything, also of what cannot be applied.
    pub api_versions: BTreeSet<String>,
    /// Groups whose discovery failed: their kinds are neither there nor known to be absent.
    pub stale_groups: Vec<String>,
}

impl Resources {
    /// Adds a served version; the first one added of a kind is the preferred one.
    pub fn insert(&mut self, resource: Resource) {
        self.by_kind.entry(resource.group_kind.clone()).or_default().push(resource);
    }

    /// Adds a group's version and a kind of it to [`Self::api_versions`].
    pub fn insert_api_version(&mut self, group: &str, version: &str, kind: &str) {
        let api_version = if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") };
        self.api_versions.insert(format!("{api_version}/{kind}"));
        self.api_versions.insert(api_version);
    }

    /// The kind at the version that a manifest names.
    pub fn find(&self, group_kind: &GroupKind, version: &str) -> Option<&Resource> {
        self.by_kind.get(group_kind)?.iter().find(|resource| resource.version == version)
    }

    /// The kind at the version that the server prefers.
    pub fn preferred(&self, group_kind: &GroupKind) -> Option<&Resource> {
        self.by_kind.get(group_kind)?.first()
    }

    /// The kinds of a group that are served.
    pub fn kinds(&self, group: &str) -> impl Iterator<Item = &str> {
        self.by_kind.keys().filter(move |kind| kind.group == group).map(|kind| kind.kind.as_str())
    }

    /// The versions of a kind that are served.
    pub fn versions(&self, group_kind: &GroupKind) -> Vec<&str> {
        self.by_kind.get(group_kind).into_iter().flatten().map(|resource| resource.version.as_str()).collect()
    }
}
