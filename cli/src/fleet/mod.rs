//! All Applications of a tree, from the root Application on, as the agent would find and render them.
//!
//! ```text
//! ground (commit | work tree | folder), root file -survey-> Fleet: each Application, what it reads, what it holds
//!       sources -origins-> trees -gather-> digest -(known, or on disk? : render)-> Content
//! two fleets -bind-> stamped manifests of the Applications that differ
//! ```
//!
//! Nothing here asks a cluster. Whether a kind is namespaced is told by definitions in the tree and by name.

mod arguments;
mod bind;
mod cache;
mod ground;
mod origins;
mod remotes;
mod renders;
mod survey;

use std::{collections::BTreeMap, sync::Arc};

use gitmoor_core::{
    application::ApplicationSpec,
    closure::{Member, RemoteReference},
    lock::{Lock, Locked},
    object::{GroupKind, ObjectId},
    scope::Scopes,
    tracking::ApplicationKey,
    tree::RepoPath,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub(crate) use arguments::{Prepared, RenderArguments};
pub(crate) use bind::{AllBound, Binder, Bound, idle_digester};
pub(crate) use ground::Ground;
pub(crate) use origins::Update;
pub(crate) use survey::Surveyor;

/// Every Application of a tree.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    pub(crate) applications: BTreeMap<ApplicationKey, Surveyed>,
}

/// An Application, and what is known of it.
#[derive(Debug, Clone)]
pub(crate) struct Surveyed {
    /// The Application object.
    pub(crate) object: Arc<Value>,
    /// Its spec, when that can be read.
    pub(crate) spec: Option<Arc<ApplicationSpec>>,
    /// The Application whose object it is; none for a root.
    pub(crate) parent: Option<ApplicationKey>,
    /// What it reads of this repository.
    pub(crate) reads: Arc<BTreeMap<RepoPath, Member>>,
    /// What it uses from elsewhere that the lock file of this repository is about, as it is now.
    pub(crate) elsewhere: Arc<BTreeMap<RemoteReference, Locked>>,
    /// The lock file that holds for the Applications that it brings.
    pub(crate) lock: Arc<Lock>,
    /// What it holds, or why that cannot be told.
    pub(crate) outcome: Result<Known, Vec<String>>,
}

/// What an Application holds.
#[derive(Debug, Clone)]
pub(crate) struct Known {
    /// Equal digests hold the same.
    pub(crate) digest: String,
    /// That of the render alone, without what Applications in it carry of the lock file.
    render: String,
    pub(crate) content: Arc<Content>,
}

/// The objects of a render, without their bodies but those of Applications and AppProjects.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(crate) struct Content {
    pub(crate) objects: Vec<Written>,
    pub(crate) applications: Vec<Value>,
    pub(crate) projects: Vec<Value>,
    pub(crate) definitions: Vec<Definition>,
    pub(crate) warnings: Vec<String>,
}

/// A kind that a CustomResourceDefinition brings.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Definition {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) namespaced: bool,
    /// Versions that are served.
    pub(crate) versions: Vec<String>,
}

impl Definition {
    pub(crate) fn group_kind(&self) -> GroupKind {
        GroupKind::new(self.group.as_str(), self.kind.as_str())
    }
}

/// An object as it is written: without the namespace that its Application gives it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Written {
    pub(crate) group: String,
    pub(crate) kind: String,
    pub(crate) namespace: Option<String>,
    pub(crate) name: String,
    /// It is kept in the cluster, and is no hook.
    pub(crate) kept: bool,
}

impl Written {
    /// Its identity in the cluster.
    pub(crate) fn id(&self, scopes: &Scopes, destination: Option<&str>) -> ObjectId {
        let group_kind = GroupKind::new(self.group.as_str(), self.kind.as_str());
        let namespace = self.namespace.clone().or_else(|| destination.map(str::to_owned));
        let namespace = namespace.filter(|_| scopes.is_namespaced(&group_kind));
        ObjectId { group_kind, namespace, name: self.name.clone() }
    }
}

impl Surveyed {
    /// Where objects go that name no namespace.
    pub(crate) fn destination(&self) -> Option<&str> {
        let spec = self.spec.as_ref()?;
        spec.destination.namespace.as_deref().filter(|namespace| !namespace.is_empty())
    }

    /// What it holds, by identity.
    pub(crate) fn ids(&self, scopes: &Scopes) -> Vec<(ObjectId, bool)> {
        let content = self.outcome.as_ref().ok().map(|known| Arc::clone(&known.content));
        let objects = content.iter().flat_map(|content| &content.objects);
        objects.map(|written| (written.id(scopes, self.destination()), written.kept)).collect()
    }
}

impl Fleet {
    fn contents(&self) -> impl Iterator<Item = &Content> {
        self.applications.values().filter_map(|surveyed| Some(&*surveyed.outcome.as_ref().ok()?.content))
    }

    /// Kinds that the tree itself defines.
    pub(crate) fn definitions(&self) -> impl Iterator<Item = &Definition> {
        self.contents().flat_map(|content| &content.definitions)
    }

    /// The scopes of those.
    pub(crate) fn scopes(&self) -> impl Iterator<Item = (GroupKind, bool)> {
        self.definitions().map(|definition| (definition.group_kind(), definition.namespaced))
    }

    /// AppProjects of the tree.
    pub(crate) fn projects(&self) -> impl Iterator<Item = &Value> {
        self.contents().flat_map(|content| &content.projects)
    }

    /// Namespace of the roots, which is that of the agent.
    pub(crate) fn agent_namespace(&self) -> Option<&str> {
        let root = self.applications.iter().find(|(_, surveyed)| surveyed.parent.is_none());
        root.map(|(key, _)| key.namespace.as_str())
    }
}
